//! What a network is to look like, and the lines for `ip -batch` that make it so.

use std::net::{IpAddr, Ipv4Addr};

/// A network that could be built.
pub(super) struct Blueprint {
    /// Names of the bridges, at most 15 bytes.
    pub(super) switches: Vec<&'static str>,
    pub(super) hosts: Vec<HostPlan>,
}

/// A host, with its links named `eth0`, `eth1`, … in the order of its cables.
#[derive(Default)]
pub(super) struct HostPlan {
    pub(super) name: &'static str,
    pub(super) cables: Vec<Cable>,
    /// What follows `ip route add`.
    pub(super) routes: Vec<&'static str>,
    /// Sysctls, set before anything else.
    pub(super) settings: Vec<(&'static str, &'static str)>,
    /// VIPs to hold on `lo`, as a real server does.
    pub(super) quiet_vips: Vec<IpAddr>,
    /// Whether it has a web server.
    pub(super) serves: bool,
    /// Whether it has a link into the management network.
    pub(super) managed: bool,
}

/// A link of a host into a switch.
pub(super) struct Cable {
    pub(super) switch: &'static str,
    /// Addresses with their prefix length.
    pub(super) addresses: Vec<&'static str>,
}

/// Quiet in ARP: answer only for addresses of the link that was asked on, and never put the VIP into an own request as
/// the sender. `all` is enough: the kernel uses the greater of it and the link's own setting.
pub(super) const QUIET: [(&str, &str); 2] =
    [("net.ipv4.conf.all.arp_ignore", "1"), ("net.ipv4.conf.all.arp_announce", "2")];

impl Cable {
    pub(super) fn new(switch: &'static str, addresses: &[&'static str]) -> Self {
        Self { switch, addresses: addresses.to_vec() }
    }
}

/// How namespaces are named.
pub(super) struct Naming(String);

impl Naming {
    /// As the hosts are.
    pub(super) fn plain() -> Self {
        Self(String::new())
    }

    pub(super) fn with_prefix(prefix: String) -> Self {
        Self(prefix)
    }

    pub(super) fn namespace(&self, host: &str) -> String {
        format!("{}{host}", self.0)
    }
}

impl Blueprint {
    /// To be run in the switch's namespace: the bridges, and the cables into every host's namespace.
    pub(super) fn switch_lines(&self, naming: &Naming) -> Vec<String> {
        let mut lines: Vec<String> = self
            .switches
            .iter()
            .flat_map(|switch| {
                [
                    // No spanning tree and no listening phase: a port forwards at once, as on a small switch. Multicast
                    // goes to every port, else neighbour discovery waits for listener reports.
                    format!("link add {switch} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"),
                    format!("link set {switch} up"),
                ]
            })
            .collect();
        let cables = self.hosts.iter().flat_map(|host| {
            host.cables.iter().enumerate().map(move |(number, cable)| (host, format!("eth{number}"), cable))
        });
        for (port, (host, link, cable)) in cables.enumerate() {
            let namespace = naming.namespace(host.name);
            let mac = cable.mac();
            lines.push(format!(
                "link add port{port} type veth peer name {link} address {mac} netns {namespace}"
            ));
            lines.push(format!("link set port{port} master {} up", cable.switch));
        }
        lines
    }
}

impl HostPlan {
    /// To be run in the host's namespace, after the cables.
    pub(super) fn host_lines(&self) -> Vec<String> {
        let mut lines = vec!["link set lo up".to_owned()];
        for (number, cable) in self.cables.iter().enumerate() {
            lines.push(format!("link set eth{number} up"));
            for address in &cable.addresses {
                // Without duplicate address detection an IPv6 address can be used at once.
                let nodad = if address.contains(':') { " nodad" } else { "" };
                lines.push(format!("address add {address} dev eth{number}{nodad}"));
            }
        }
        for vip in &self.quiet_vips {
            lines.push(match vip {
                IpAddr::V4(vip) => format!("address add {vip}/32 dev lo"),
                // Deprecated, else the host would use it as a source address.
                IpAddr::V6(vip) => format!("address add {vip}/128 dev lo nodad preferred_lft 0"),
            });
        }
        lines.extend(self.routes.iter().map(|route| format!("route add {route}")));
        lines
    }
}

impl Cable {
    /// An Ethernet address in which people find the IPv4 address: `02:00` and its four bytes.
    fn mac(&self) -> String {
        let first =
            self.addresses.iter().find_map(|address| address.split('/').next()?.parse::<Ipv4Addr>().ok());
        let [a, b, c, d] = first.unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
        format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Blueprint {
        let server = HostPlan {
            name: "rs1",
            cables: vec![Cable::new("lan", &["192.168.40.12/24", "fd00:40::12/64"])],
            routes: vec!["default via 192.168.40.254"],
            quiet_vips: vec!["172.16.21.10".parse().unwrap(), "fd00:21::10".parse().unwrap()],
            ..HostPlan::default()
        };
        let router = HostPlan {
            name: "router",
            cables: vec![Cable::new("lan", &["192.168.40.254/24"]), Cable::new("far", &["10.50.0.254/24"])],
            ..HostPlan::default()
        };
        Blueprint { switches: vec!["lan", "far"], hosts: vec![server, router] }
    }

    #[test]
    fn each_cable_gets_a_port_of_its_own_and_a_telling_ethernet_address() {
        let lines = small().switch_lines(&Naming::with_prefix("7-".to_owned()));
        let cables: Vec<_> = lines.iter().filter(|line| line.contains("port")).map(String::as_str).collect();
        assert_eq!(
            cables,
            [
                "link add port0 type veth peer name eth0 address 02:00:c0:a8:28:0c netns 7-rs1",
                "link set port0 master lan up",
                "link add port1 type veth peer name eth0 address 02:00:c0:a8:28:fe netns 7-router",
                "link set port1 master lan up",
                "link add port2 type veth peer name eth1 address 02:00:0a:32:00:fe netns 7-router",
                "link set port2 master far up",
            ]
        );
    }

    #[test]
    fn a_real_server_holds_its_vips_on_lo_and_the_ipv6_one_deprecated() {
        assert_eq!(
            small().hosts[0].host_lines(),
            [
                "link set lo up",
                "link set eth0 up",
                "address add 192.168.40.12/24 dev eth0",
                "address add fd00:40::12/64 dev eth0 nodad",
                "address add 172.16.21.10/32 dev lo",
                "address add fd00:21::10/128 dev lo nodad preferred_lft 0",
                "route add default via 192.168.40.254",
            ]
        );
    }
}
