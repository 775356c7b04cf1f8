//! Settings and routes that keep a Director from serving a VIP, found before a client does. Pure.

use crate::{
    link::{Link, Snapshot},
    sysctl::Ipv4Conf,
};

/// What stands in the way, in words that say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// Source validation, and no route back to most clients.
    #[error(
        "rp_filter is {rp_filter} on {link} and there is no default route: the kernel ignores ARP requests \
         and packets from clients it has no route to; add a default route, or set rp_filter to 0 for all \
         and for {link}"
    )]
    NoRouteToClients {
        /// The VIP's link.
        link: String,
        /// The value in effect.
        rp_filter: i64,
    },
    /// Strict source validation, and the route back leaves by another link.
    #[error(
        "rp_filter is 1 (strict) on {link} but the default route leaves by {by}: packets from clients that \
         arrive on {link} are dropped; set rp_filter to 2 or 0 for {link}"
    )]
    RouteToClientsElsewhere {
        /// The VIP's link.
        link: String,
        /// The default route's link.
        by: String,
    },
    /// ARP requests for the VIP are not answered at all.
    #[error(
        "arp_ignore is {arp_ignore} on {link}: the kernel does not answer ARP requests for a /32 there; set \
         it to 0 or 1 for all and for {link}"
    )]
    SilentInArp {
        /// The VIP's link.
        link: String,
        /// The value in effect.
        arp_ignore: i64,
    },
}

impl Finding {
    /// A word for it that does not change, for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoRouteToClients { .. } => "NoRouteToClients",
            Self::RouteToClientsElsewhere { .. } => "RouteToClientsElsewhere",
            Self::SilentInArp { .. } => "SilentInArp",
        }
    }
}

/// Checks the link that is to hold IPv4 VIPs. `conf` are the settings in effect on it.
pub fn director(snapshot: &Snapshot, link: &Link, conf: Ipv4Conf) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = || link.name.clone();
    let defaults: Vec<_> = snapshot
        .routes
        .iter()
        .filter(|route| route.destination.prefix_len() == 0 && route.destination.addr().is_ipv4())
        .collect();
    let best = defaults.iter().min_by_key(|route| route.metric);
    match (conf.rp_filter, best) {
        (1.., None) => {
            findings.push(Finding::NoRouteToClients { link: name(), rp_filter: conf.rp_filter });
        }
        // Several next hops of one metric are all looked at (fib_info_nh_uses_dev).
        (1, Some(best))
            if !defaults.iter().any(|route| route.link == link.index && route.metric == best.metric) =>
        {
            let by =
                snapshot.link(best.link).map_or_else(|| format!("link {}", best.link), |by| by.name.clone());
            findings.push(Finding::RouteToClientsElsewhere { link: name(), by });
        }
        _ => {}
    }
    // 2 answers only a sender in the address's own subnet, and a /32 has no other member; 8 answers none.
    if matches!(conf.arp_ignore, 2 | 8) {
        findings.push(Finding::SilentInArp { link: name(), arp_ignore: conf.arp_ignore });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Route;

    fn link(index: u32, name: &str) -> Link {
        Link { index, name: name.to_owned(), mac: Some([2; 6]), up: true, carrier: true, loopback: false }
    }

    fn snapshot(default_routes: &[(u32, u32)]) -> Snapshot {
        let route = |destination: &str, link, metric| Route {
            destination: destination.parse().unwrap(),
            gateway: Some("192.0.2.1".parse().unwrap()),
            link,
            connected: false,
            metric,
        };
        let mut routes = vec![route("10.0.0.0/8", 2, 0)];
        routes.extend(default_routes.iter().map(|(link, metric)| route("0.0.0.0/0", *link, *metric)));
        Snapshot { links: vec![link(2, "eth0"), link(3, "eth1")], addresses: Vec::new(), routes }
    }

    fn found(default_routes: &[(u32, u32)], rp_filter: i64) -> Vec<Finding> {
        let conf = Ipv4Conf { rp_filter, ..Ipv4Conf::default() };
        director(&snapshot(default_routes), &link(2, "eth0"), conf)
    }

    #[test]
    fn source_validation_without_a_default_route_is_found_in_both_modes() {
        for rp_filter in [1, 2] {
            let expected = Finding::NoRouteToClients { link: "eth0".to_owned(), rp_filter };
            assert_eq!(found(&[], rp_filter), [expected]);
        }
        assert_eq!(found(&[], 0), []);
    }

    #[test]
    fn a_default_route_by_another_link_is_a_trap_for_the_strict_mode_only() {
        let expected = Finding::RouteToClientsElsewhere { link: "eth0".to_owned(), by: "eth1".to_owned() };
        assert_eq!(found(&[(3, 0)], 1), [expected]);
        assert_eq!(found(&[(3, 0)], 2), []);
        assert_eq!(found(&[(2, 0)], 1), []);
    }

    #[test]
    fn only_default_routes_of_the_lowest_metric_count() {
        assert_eq!(found(&[(2, 100), (3, 50)], 1).len(), 1);
        assert_eq!(found(&[(2, 50), (3, 100)], 1), []);
        assert_eq!(found(&[(3, 50), (2, 50)], 1), []);
    }

    #[test]
    fn the_values_of_arp_ignore_that_silence_a_host_address_are_found() {
        for arp_ignore in 0..=8 {
            let conf = Ipv4Conf { arp_ignore, ..Ipv4Conf::default() };
            let silent = !director(&snapshot(&[]), &link(2, "eth0"), conf).is_empty();
            assert_eq!(silent, [2, 8].contains(&arp_ignore), "arp_ignore {arp_ignore}");
        }
    }
}
