//! The cluster's network: one switch that joins nodes, real servers, a client and the control plane.
//!
//! ```text
//!                      one switch, 10.89.0.0/24
//!   ┌────────────┬────────────┬─────┴─────┬────────────┬────────────┐
//!  .1           .11          .12         .21          .22          .31
//!  control      n1           n2          rs1          rs2          client
//!  plane        └─ guests with a kubelet  └─ namespaces of this machine, VIP .100 on lo
//! ```
//!
//! All of it lies in namespaces that belong to one process (see [`super::sandbox`]), so it disappears with it.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::topology::{Host, Process};

/// The switch's own address: the control plane's, and everyone's gateway.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 1);
/// What clients connect to; `objects.yaml` names it too.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 100);
/// The real servers and their addresses.
pub const REAL_SERVERS: [(&str, Ipv4Addr); 2] =
    [("rs1", Ipv4Addr::new(10, 89, 0, 21)), ("rs2", Ipv4Addr::new(10, 89, 0, 22))];
/// The client and its address.
pub const CLIENT: (&str, Ipv4Addr) = ("client", Ipv4Addr::new(10, 89, 0, 31));

const BRIDGE: &str = "switch";

/// A node: `n1`, `n2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeName(pub u8);

impl NodeName {
    /// Its address, which will be the Director's (DIP).
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 89, 0, 10 + self.0)
    }

    /// The addresses of its pods.
    pub fn pods(self) -> String {
        format!("10.244.{}.0/24", self.0)
    }

    /// Its NIC's hardware address.
    pub fn mac(self) -> String {
        format!("52:54:00:89:00:{:02x}", 10 + self.0)
    }

    /// The switch's port that its NIC is plugged into.
    pub fn tap(self) -> String {
        format!("tap-{self}")
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// The hosts beside the nodes.
pub struct Network {
    /// Who asks.
    pub client: Host,
    /// Who answers; their web servers run as long as this lives.
    pub real_servers: Vec<Host>,
    _web: Vec<Process>,
}

impl Network {
    /// Builds the switch and plugs in everything but the nodes' guests, whose taps wait for them.
    pub fn build(lab: &Path, nodes: &[NodeName]) -> Result<Self> {
        let mut lines = vec![
            "link set lo up".to_owned(),
            format!("link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"),
            format!("address add {GATEWAY}/24 dev {BRIDGE}"),
            format!("link set {BRIDGE} up"),
        ];
        for tap in nodes.iter().map(|node| node.tap()) {
            lines.push(format!("tuntap add dev {tap} mode tap"));
            lines.push(format!("link set {tap} master {BRIDGE} up"));
        }
        ip(&lines)?;
        let client = host(CLIENT.0, CLIENT.1)?;
        let (mut real_servers, mut web) = (Vec::new(), Vec::new());
        for (name, address) in REAL_SERVERS {
            let host = host(name, address)?;
            // Quiet first, then the VIP: otherwise the host announces it for a moment.
            for link in ["all", "lo"] {
                host.set(&format!("net.ipv4.conf.{link}.arp_ignore"), "1")?;
                host.set(&format!("net.ipv4.conf.{link}.arp_announce"), "2")?;
            }
            host.exec(&format!("ip address add {VIP}/32 dev lo"))?;
            web.push(host.spawn(Command::new(lab).args(["guest-web", name]).stdin(Stdio::null()))?);
            real_servers.push(host);
        }
        Ok(Self { client, real_servers, _web: web })
    }
}

/// A host with one NIC on the switch.
fn host(name: &'static str, address: Ipv4Addr) -> Result<Host> {
    ip(&[
        format!("netns add {name}"),
        format!("link add port-{name} type veth peer name eth0 netns {name}"),
        format!("link set port-{name} master {BRIDGE} up"),
    ])?;
    let host = Host::new(name, name.to_owned());
    host.exec(&format!(
        "ip link set lo up && ip address add {address}/24 dev eth0 && ip link set eth0 up && \
         ip route add default via {GATEWAY}"
    ))?;
    Ok(host)
}

fn ip(lines: &[String]) -> Result<()> {
    for line in lines {
        let output = Command::new("ip").args(line.split(' ')).output().context("cannot run ip")?;
        ensure!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
