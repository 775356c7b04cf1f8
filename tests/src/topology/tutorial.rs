//! The classic tutorial's network: VIP and real servers in different subnets, and everything on one switch.
//!
//! ```text
//!                                 switch `lan`
//!  ┌──────────┬───────────┬───────────┬──┴────────────────┬──────────────────┐
//!  director   rs1         rs2         router               client
//!  192.168.   192.168.    192.168.    192.168.40.254 eth0  172.16.0.50/16
//!  40.11/24   40.12/24    40.13/24    172.16.0.254   eth1
//!  (VIP       VIP on lo   VIP on lo   10.50.0.254    eth2 ──── far-client 10.50.0.50/24
//!  172.16.21.10)
//! ```
//! Everybody's default gateway is the router. Replies of the real servers go to it with the VIP as their source, so it
//! must not filter by source. The real servers are prepared; the Director holds nothing yet.

use super::blueprint::{Blueprint, Cable, HostPlan, QUIET};

/// The VIP, inside 172.16.0.0/16, where the clients are.
pub const VIP: &str = "172.16.21.10";
/// The Director's own address.
pub const DIRECTOR: &str = "192.168.40.11";
/// The real servers `rs1` and `rs2`.
pub const REAL_SERVERS: [&str; 2] = ["192.168.40.12", "192.168.40.13"];
/// The router's address on the inside.
pub const ROUTER: &str = "192.168.40.254";
/// The client on the VIP's segment.
pub const CLIENT: &str = "172.16.0.50";
/// The client beyond the router.
pub const FAR_CLIENT: &str = "10.50.0.50";

/// The picture, for people.
pub const PICTURE: &str =
    "  client 172.16.0.50       router 172.16.0.254 · 192.168.40.254 · 10.50.0.254 ──── far-client 10.50.0.50
        │                        │
  ──────┴────────────┬───────────┴───┬─────────────────────┬──────── one switch, two subnets
                     │               │                     │
      director 192.168.40.11   rs1 192.168.40.12     rs2 192.168.40.13
      VIP 172.16.21.10         VIP on lo, quiet      VIP on lo, quiet";

pub(super) fn blueprint() -> Blueprint {
    let director = HostPlan {
        name: "director",
        cables: vec![Cable::new("lan", &["192.168.40.11/24"])],
        routes: vec!["default via 192.168.40.254"],
        managed: true,
        ..HostPlan::default()
    };
    let router = HostPlan {
        name: "router",
        cables: vec![
            Cable::new("lan", &["192.168.40.254/24"]),
            Cable::new("lan", &["172.16.0.254/16"]),
            Cable::new("far", &["10.50.0.254/24"]),
        ],
        settings: vec![
            ("net.ipv4.ip_forward", "1"),
            // Packets from the inside carry the VIP, an address of the outside, as their source.
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
            // Both subnets are on one switch, so the router sends much out of the segment it came from, and would
            // tell hosts to take a short cut that their own subnets don't allow.
            ("net.ipv4.conf.all.send_redirects", "0"),
            ("net.ipv4.conf.default.send_redirects", "0"),
            // Else both links answer for both addresses.
            ("net.ipv4.conf.all.arp_ignore", "1"),
        ],
        ..HostPlan::default()
    };
    let client = HostPlan {
        name: "client",
        cables: vec![Cable::new("lan", &["172.16.0.50/16"])],
        routes: vec!["default via 172.16.0.254"],
        ..HostPlan::default()
    };
    let far_client = HostPlan {
        name: "far-client",
        cables: vec![Cable::new("far", &["10.50.0.50/24"])],
        routes: vec!["default via 10.50.0.254"],
        ..HostPlan::default()
    };
    let real_server = |name, address| HostPlan {
        name,
        cables: vec![Cable::new("lan", &[address])],
        routes: vec!["default via 192.168.40.254"],
        settings: QUIET.to_vec(),
        quiet_vips: vec![VIP.parse().expect("the VIP is an address")],
        serves: true,
        ..HostPlan::default()
    };
    Blueprint {
        switches: vec!["lan", "far"],
        hosts: vec![
            director,
            router,
            real_server("rs1", "192.168.40.12/24"),
            real_server("rs2", "192.168.40.13/24"),
            client,
            far_client,
        ],
    }
}
