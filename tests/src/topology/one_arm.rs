//! VIP and real servers in one subnet, IPv4 and IPv6.
//!
//! ```text
//!                              switch `lan`
//!  ┌──────────────┬───────────────┬───┴───────────┬────────────────┐
//!  director       rs1             rs2             router           client
//!  192.168.60.11  192.168.60.12   192.168.60.13   192.168.60.254   192.168.60.50
//!  fd00:60::11    fd00:60::12     fd00:60::13     fd00:60::254     fd00:60::50
//!  (VIPs)         VIPs on lo      VIPs on lo      10.60.0.254, fd00:61::254
//!                                                 │
//!                                                 far-client 10.60.0.50, fd00:61::50
//! ```
//! The real servers are prepared; the Director holds nothing yet.

use super::blueprint::{Blueprint, Cable, HostPlan, QUIET};

/// The IPv4 VIP.
pub const VIP: &str = "192.168.60.10";
/// The IPv6 VIP.
pub const VIP6: &str = "fd00:60::10";
/// The Director's own addresses.
pub const DIRECTOR: [&str; 2] = ["192.168.60.11", "fd00:60::11"];
/// The IPv4 addresses of `rs1` and `rs2`.
pub const REAL_SERVERS: [&str; 2] = ["192.168.60.12", "192.168.60.13"];
/// The IPv6 addresses of `rs1` and `rs2`.
pub const REAL_SERVERS6: [&str; 2] = ["fd00:60::12", "fd00:60::13"];
/// The addresses of the client on the segment.
pub const CLIENT: [&str; 2] = ["192.168.60.50", "fd00:60::50"];
/// The addresses of the client beyond the router.
pub const FAR_CLIENT: [&str; 2] = ["10.60.0.50", "fd00:61::50"];

const DEFAULT: [&str; 2] = ["default via 192.168.60.254", "default via fd00:60::254"];

pub(super) fn blueprint() -> Blueprint {
    let on_lan = |name, addresses: [&'static str; 2]| HostPlan {
        name,
        cables: vec![Cable::new("lan", &addresses)],
        routes: DEFAULT.to_vec(),
        ..HostPlan::default()
    };
    let real_server = |name, addresses| HostPlan {
        settings: QUIET.to_vec(),
        quiet_vips: [VIP, VIP6].map(|vip| vip.parse().expect("a VIP is an address")).to_vec(),
        serves: true,
        ..on_lan(name, addresses)
    };
    let router = HostPlan {
        name: "router",
        cables: vec![
            Cable::new("lan", &["192.168.60.254/24", "fd00:60::254/64"]),
            Cable::new("far", &["10.60.0.254/24", "fd00:61::254/64"]),
        ],
        settings: vec![
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv6.conf.all.forwarding", "1"),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
        ],
        ..HostPlan::default()
    };
    let far_client = HostPlan {
        name: "far-client",
        cables: vec![Cable::new("far", &["10.60.0.50/24", "fd00:61::50/64"])],
        routes: vec!["default via 10.60.0.254", "default via fd00:61::254"],
        ..HostPlan::default()
    };
    Blueprint {
        switches: vec!["lan", "far"],
        hosts: vec![
            HostPlan { managed: true, ..on_lan("director", ["192.168.60.11/24", "fd00:60::11/64"]) },
            router,
            real_server("rs1", ["192.168.60.12/24", "fd00:60::12/64"]),
            real_server("rs2", ["192.168.60.13/24", "fd00:60::13/64"]),
            on_lan("client", ["192.168.60.50/24", "fd00:60::50/64"]),
            far_client,
        ],
    }
}
