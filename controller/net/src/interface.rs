//! Which link a VIP belongs on.

use std::{cmp::Reverse, net::IpAddr};

use crate::link::{Family, Link, Route, Snapshot};

/// The link chosen for a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkChoice {
    /// Its index now.
    pub index: u32,
    /// Its name, which outlives a reboot.
    pub name: String,
}

impl From<&Link> for LinkChoice {
    fn from(link: &Link) -> Self {
        Self { index: link.index, name: link.name.clone() }
    }
}

/// Why there is no link for a VIP, in words that say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoInterface {
    /// The link asked for isn't there.
    #[error("there is no interface {name}: correct --vip-interface or create it; there are: {}", present.join(", "))]
    Missing {
        /// The name asked for.
        name: String,
        /// The names that exist.
        present: Vec<String>,
    },
    /// The link asked for is down.
    #[error(
        "interface {name} is down: set it up (ip link set {name} up) or choose another with --vip-interface"
    )]
    Down {
        /// The name asked for.
        name: String,
    },
    /// No route leads to the VIP's neighbourhood or to any real server.
    #[error(
        "no Ethernet interface that is up has a connected route containing {vip}, and no route leads to \
         a real server ({}): give the Director an address in the network of either, or name the interface \
         with --vip-interface",
        real_servers(tried)
    )]
    NoRoute {
        /// The VIP.
        vip: IpAddr,
        /// The real servers of its family that were tried, lowest first.
        tried: Vec<IpAddr>,
    },
}

fn real_servers(tried: &[IpAddr]) -> String {
    match tried {
        [] => "none is declared in its address family".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

/// Chooses the link for `vip`.
///
/// A `forced` name must exist and be up. Without one it is the link whose connected route contains the
/// VIP; else the link that leads to the first real server (the lowest address; one without a route is
/// passed over) by the longest prefix, the default route being the shortest. Links that are down,
/// loopback or have no Ethernet address are never chosen unless forced: nobody could ask them by ARP for
/// the VIP.
pub fn choose(
    snapshot: &Snapshot,
    vip: IpAddr,
    real_servers: &[IpAddr],
    forced: Option<&str>,
) -> Result<LinkChoice, NoInterface> {
    if let Some(name) = forced {
        return match snapshot.link_named(name) {
            Some(link) if link.up => Ok(link.into()),
            Some(_) => Err(NoInterface::Down { name: name.to_owned() }),
            None => Err(NoInterface::Missing {
                name: name.to_owned(),
                present: snapshot.links.iter().map(|link| link.name.clone()).collect(),
            }),
        };
    }
    // `default dev tun0` is connected too and contains everything: it says nothing about the VIP.
    let beside = best(snapshot, vip, |route| route.connected && route.destination.prefix_len() > 0);
    if let Some(link) = beside {
        return Ok(link.into());
    }
    let mut tried: Vec<_> =
        real_servers.iter().copied().filter(|ip| Family::of(*ip) == Family::of(vip)).collect();
    tried.sort_unstable();
    tried.dedup();
    tried
        .iter()
        .find_map(|ip| best(snapshot, *ip, |_| true))
        .map(LinkChoice::from)
        .ok_or(NoInterface::NoRoute { vip, tried })
}

/// The kernel's choice among the admitted routes: longest prefix, then lowest metric; a connected one and
/// the lowest index only break ties, so that every reading gives the same answer.
fn best(snapshot: &Snapshot, to: IpAddr, admitted: impl Fn(&Route) -> bool) -> Option<&Link> {
    let usable = |index| snapshot.link(index).filter(|link| link.up && !link.loopback && link.mac.is_some());
    snapshot
        .routes
        .iter()
        .filter(|route| route.destination.contains(&to) && admitted(route))
        .filter_map(|route| Some((route, usable(route.link)?)))
        .min_by_key(|(route, link)| {
            (Reverse(route.destination.prefix_len()), route.metric, !route.connected, link.index)
        })
        .map(|(_, link)| link)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            mac: Some([2, 0, 0, 0, 0, index as u8]),
            up: true,
            carrier: true,
            loopback: false,
        }
    }

    fn route(destination: &str, gateway: Option<&str>, link: u32, metric: u32) -> Route {
        let gateway = gateway.map(ip);
        Route {
            destination: destination.parse().unwrap(),
            gateway,
            link,
            connected: gateway.is_none(),
            metric,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// `lo`, `eth0` towards clients with the default route, `eth1` towards the real servers.
    fn director() -> Snapshot {
        let lo = Link { mac: None, loopback: true, ..link(1, "lo") };
        Snapshot {
            links: vec![lo, link(2, "eth0"), link(3, "eth1")],
            addresses: Vec::new(),
            routes: vec![
                route("0.0.0.0/0", Some("203.0.113.1"), 2, 0),
                route("203.0.113.0/24", None, 2, 0),
                route("192.168.40.0/24", None, 3, 0),
                route("2001:db8:40::/64", None, 3, 256),
            ],
        }
    }

    fn chosen(snapshot: &Snapshot, vip: &str, real_servers: &[&str]) -> Result<String, NoInterface> {
        let real_servers: Vec<_> = real_servers.iter().map(|text| ip(text)).collect();
        choose(snapshot, ip(vip), &real_servers, None).map(|choice| choice.name)
    }

    #[test]
    fn the_link_with_a_connected_route_around_the_vip_wins_over_the_real_servers() {
        assert_eq!(chosen(&director(), "203.0.113.10", &["192.168.40.12"]).unwrap(), "eth0");
    }

    #[test]
    fn a_vip_outside_every_network_goes_where_the_lowest_real_server_is() {
        let mut snapshot = director();
        snapshot.links.push(link(4, "eth2"));
        snapshot.routes.push(route("192.168.9.0/24", None, 4, 0));
        let servers = ["192.168.40.12", "192.168.9.5"];
        assert_eq!(chosen(&snapshot, "172.16.21.10", &servers).unwrap(), "eth2");
    }

    #[test]
    fn a_real_server_behind_the_default_route_leads_to_its_link() {
        assert_eq!(chosen(&director(), "172.16.21.10", &["10.9.9.9"]).unwrap(), "eth0");
    }

    #[test]
    fn real_servers_of_the_other_family_do_not_count() {
        let v6_only = chosen(&director(), "2001:db8:99::1", &["192.168.40.12", "2001:db8:40::7"]);
        assert_eq!(v6_only.unwrap(), "eth1");
        assert_eq!(
            chosen(&director(), "2001:db8:99::1", &["192.168.40.12"]),
            Err(NoInterface::NoRoute { vip: ip("2001:db8:99::1"), tried: Vec::new() })
        );
    }

    #[test]
    fn a_default_route_without_a_gateway_is_no_network_around_the_vip() {
        let mut snapshot = director();
        snapshot.routes[0] = route("0.0.0.0/0", None, 2, 0);
        assert_eq!(chosen(&snapshot, "172.16.21.10", &["192.168.40.12"]).unwrap(), "eth1");
    }

    #[test]
    fn longer_prefix_then_lower_metric_then_lower_index_decides() {
        let mut snapshot = director();
        snapshot.routes.push(route("203.0.113.0/25", None, 3, 100));
        assert_eq!(chosen(&snapshot, "203.0.113.10", &[]).unwrap(), "eth1");
        snapshot.routes.push(route("203.0.113.0/25", None, 2, 50));
        assert_eq!(chosen(&snapshot, "203.0.113.10", &[]).unwrap(), "eth0");
        snapshot.routes.push(route("203.0.113.0/25", None, 3, 50));
        assert_eq!(chosen(&snapshot, "203.0.113.10", &[]).unwrap(), "eth0");
    }

    #[test]
    fn links_that_are_down_or_loopback_or_without_a_mac_are_passed_over() {
        let spoil: [fn(&mut Link); 3] =
            [|link| link.up = false, |link| link.loopback = true, |link| link.mac = None];
        for spoil in spoil {
            let mut snapshot = director();
            spoil(&mut snapshot.links[1]);
            assert_eq!(chosen(&snapshot, "203.0.113.10", &["192.168.40.12"]).unwrap(), "eth1");
            let none = chosen(&snapshot, "203.0.113.10", &["10.9.9.9"]);
            assert!(matches!(none, Err(NoInterface::NoRoute { .. })), "{none:?}");
        }
    }

    #[test]
    fn a_forced_link_is_taken_without_any_route_but_must_exist_and_be_up() {
        let mut snapshot = director();
        let forced = |snapshot: &Snapshot, name| choose(snapshot, ip("203.0.113.10"), &[], Some(name));
        assert_eq!(forced(&snapshot, "eth1"), Ok(LinkChoice { index: 3, name: "eth1".to_owned() }));
        snapshot.links[2].up = false;
        assert_eq!(forced(&snapshot, "eth1"), Err(NoInterface::Down { name: "eth1".to_owned() }));
        let missing = forced(&snapshot, "eth9").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "there is no interface eth9: correct --vip-interface or create it; there are: lo, eth0, eth1"
        );
    }

    #[test]
    fn a_refusal_without_route_names_the_vip_the_real_servers_and_the_ways_out() {
        let mut snapshot = director();
        snapshot.routes.clear();
        let refusal = chosen(&snapshot, "172.16.21.10", &["192.168.40.13", "192.168.40.12"]).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "no Ethernet interface that is up has a connected route containing 172.16.21.10, and no route \
             leads to a real server (192.168.40.12 and 1 more): give the Director an address in the network \
             of either, or name the interface with --vip-interface"
        );
    }
}
