//! Links, routes and settings as read from a kernel, and the traps of preflight as the kernel springs
//! them.

use std::{os::unix::fs::MetadataExt as _, path::Path};

use lvs_net::{
    Net, identity, interface,
    link::{Link, Route, Snapshot},
    preflight,
    segment::NextHop,
    sysctl,
};

use crate::segment::{D0, Segment, link};

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_snapshot_has_the_links_and_the_unicast_routes_of_the_main_table_only() {
    let segment = Segment::new();
    segment.d("link add x0 type bridge");
    segment.d("route add default via 192.168.40.3 metric 50");
    segment.d("route add 10.1.0.0/16 nexthop via 192.168.40.3 dev d0 nexthop via 192.168.40.4 dev d0");
    segment.d("route add 10.2.0.0/16 via inet6 fd00:40::3 dev d0");
    segment.d("route add blackhole 10.3.0.0/16");
    segment.d("route add 10.4.0.0/16 via 192.168.40.3 table 100");
    segment.on_director(async || {
        let snapshot = snapshot(&Net::connect().unwrap()).await;
        let d0 = snapshot.link_named("d0").unwrap();
        assert_eq!(
            *d0,
            Link {
                index: d0.index,
                name: "d0".to_owned(),
                mac: Some(D0),
                up: true,
                carrier: true,
                loopback: false
            }
        );
        let lo = snapshot.link_named("lo").unwrap();
        assert!(lo.loopback && lo.up && lo.mac.is_none());
        assert!(!snapshot.link_named("x0").unwrap().up);

        let route = |destination: &str, gateway: Option<&str>, metric| Route {
            destination: destination.parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            link: d0.index,
            connected: gateway.is_none(),
            metric,
        };
        let mut v4: Vec<_> =
            snapshot.routes.iter().filter(|route| route.destination.addr().is_ipv4()).cloned().collect();
        v4.sort_by_key(|route| (route.destination, route.gateway));
        let expected = [
            route("0.0.0.0/0", Some("192.168.40.3"), 50),
            route("10.1.0.0/16", Some("192.168.40.3"), 0),
            route("10.1.0.0/16", Some("192.168.40.4"), 0),
            route("10.2.0.0/16", Some("fd00:40::3"), 0),
            route("192.168.40.0/24", None, 0),
        ];
        assert_eq!(v4, expected);
        assert!(snapshot.routes.contains(&route("fd00:40::/64", None, 256)), "{:?}", snapshot.routes);

        let beside = interface::choose(&snapshot, "192.168.40.10".parse().unwrap(), &[], None).unwrap();
        assert_eq!(beside.name, "d0");
    });
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn where_preflight_finds_a_trap_the_kernel_does_not_answer_a_distant_client_and_else_it_does() {
    let segment = Segment::new();
    // A client that the Director has no route to but the default one.
    segment.n("address add 10.9.9.9/32 dev n0");
    segment.d("link add x0 type bridge");
    segment.d("link set x0 up");
    for (default, rp_filter, arp_ignore, answers) in [
        ("", 0, 0, true),
        ("", 1, 0, false),
        ("", 2, 0, false),
        ("via 192.168.40.3", 1, 0, true),
        ("via 192.168.40.3", 2, 1, true),
        ("dev x0", 1, 0, false),
        ("dev x0", 2, 0, true),
        ("via 192.168.40.3", 0, 2, false),
        ("via 192.168.40.3", 0, 8, false),
    ] {
        let case = format!("default {default:?}, rp_filter {rp_filter}, arp_ignore {arp_ignore}");
        segment.d("route flush default");
        if !default.is_empty() {
            segment.d(&format!("route add default {default}"));
        }
        segment.d_sysctl(&format!("net.ipv4.conf.d0.rp_filter={rp_filter}"));
        segment.d_sysctl(&format!("net.ipv4.conf.d0.arp_ignore={arp_ignore}"));
        let found = segment.on_director(async || {
            let net = Net::connect().unwrap();
            let d0 = link(&net, "d0").await;
            // Present from the second round on.
            let _ = net.bind_vip(d0.index, "172.16.21.10".parse().unwrap()).await;
            // /proc/thread-self/net is this thread's namespace; /proc/sys follows the reader by itself.
            let conf = sysctl::ipv4_conf(Path::new(sysctl::ROOT), "d0").unwrap();
            assert_eq!((conf.rp_filter, conf.arp_ignore), (rp_filter, arp_ignore), "{case}");
            preflight::director(&snapshot(&net).await, &d0, conf)
        });
        assert_eq!(found.is_empty(), answers, "{case}: {found:?}");
        assert_eq!(arp_answers(&segment), answers, "{case}");
    }
}

async fn snapshot(net: &Net) -> Snapshot {
    Snapshot {
        links: net.links().await.unwrap(),
        addresses: net.addresses().await.unwrap(),
        routes: net.routes().await.unwrap(),
    }
}

/// Whether the Director answers the client's ARP request for the VIP.
fn arp_answers(segment: &Segment) -> bool {
    segment.n("neigh flush all");
    segment.n("route replace 172.16.21.10/32 dev n0 src 10.9.9.9");
    let _ = std::process::Command::new("ip")
        .args(["netns", "exec", &segment.neighbour, "ping", "-c1", "-W1", "-I", "10.9.9.9", "172.16.21.10"])
        .output()
        .unwrap();
    let entry = segment.n_json("neigh show 172.16.21.10 dev n0");
    entry.first().is_some_and(|entry| entry["lladdr"] == "02:00:00:00:40:02")
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn the_namespace_read_is_the_one_of_the_calling_thread_and_root_has_both_capabilities() {
    let segment = Segment::new();
    let outside = identity::network_namespace().unwrap();
    let expected = std::fs::metadata(format!("/run/netns/{}", segment.director)).unwrap().ino();
    segment.on_director(async || {
        assert_eq!(identity::network_namespace().unwrap(), expected);
        assert_ne!(expected, outside);
        let caps = identity::capabilities().unwrap();
        assert!(caps.net_admin && caps.net_raw);
    });
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn the_next_hop_is_what_the_kernel_would_take_policy_rules_included() {
    let segment = Segment::new();
    segment.d("route add 10.1.0.0/16 via 192.168.40.3");
    segment.d("route add 10.1.2.0/24 dev d0");
    segment.d("route add blackhole 10.3.0.0/16");
    segment.d("route add unreachable fd00:50::/64");
    segment.d("route add 10.4.0.0/16 via 192.168.40.3 table 100");
    segment.d("rule add to 10.4.0.0/16 table 100");
    let neighbour = NextHop::Router("192.168.40.3".parse().unwrap());
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        for (to, expected) in [
            ("192.168.40.2", NextHop::Local),
            ("fd00:40::2", NextHop::Local),
            ("192.168.40.3", NextHop::OnLink),
            ("fd00:40::3", NextHop::OnLink),
            ("10.1.1.1", neighbour),
            ("10.1.2.1", NextHop::OnLink),
            ("10.3.0.1", NextHop::NoRoute),
            ("10.4.0.1", neighbour),
            ("203.0.113.1", NextHop::NoRoute),
            ("fd00:50::1", NextHop::NoRoute),
            ("fd00:99::1", NextHop::NoRoute),
        ] {
            assert_eq!(net.next_hop(to.parse().unwrap()).await.unwrap(), expected, "{to}");
        }
    });
}
