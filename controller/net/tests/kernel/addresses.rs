//! Binding a VIP and taking it off, as `ip address` sees it.

use std::{net::IpAddr, time::Duration};

use lvs_net::{
    Error, Net, OUR_PROTOCOL,
    announce::Announcer,
    identity::{self, Caps},
    link::Address,
    probe::vip_holders,
};
use rustix::thread::CapabilitySet;

use crate::segment::{Segment, link};

const VIP: &str = "172.16.21.10";
const VIP6: &str = "fd00:21::10";

fn vip() -> IpAddr {
    VIP.parse().unwrap()
}

fn vip6() -> IpAddr {
    VIP6.parse().unwrap()
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_bound_ipv4_vip_is_a_permanent_host_address_with_our_mark_and_no_route() {
    let segment = Segment::new();
    let routes = segment.d_json("route show");
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let d0 = link(&net, "d0").await;
        net.bind_vip(d0.index, vip()).await.unwrap();
        let read = net.addresses().await.unwrap();
        let expected = Address {
            link: d0.index,
            ip: vip(),
            prefix: 32,
            protocol: Some(OUR_PROTOCOL),
            deprecated: false,
            permanent: true,
        };
        assert!(read.contains(&expected), "{read:?}");
        assert_eq!(read.iter().filter(|address| address.is_ours()).count(), 1, "{read:?}");
    });
    let seen = segment.on_d0(VIP).unwrap();
    assert_eq!(
        (&seen["prefixlen"], &seen["scope"], &seen["noprefixroute"], &seen["valid_life_time"]),
        (&32.into(), &"global".into(), &true.into(), &u32::MAX.into()),
        "{seen}"
    );
    assert_eq!(segment.d_json("route show"), routes);
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_bound_ipv6_vip_is_deprecated_for_ever_usable_at_once_and_never_a_source_address() {
    let segment = Segment::new();
    let routes = segment.d_json("-6 route show");
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let d0 = link(&net, "d0").await;
        // In the network of the neighbour, where it would be a candidate for a source address.
        net.bind_vip(d0.index, "fd00:40::1".parse().unwrap()).await.unwrap();
        net.bind_vip(d0.index, vip6()).await.unwrap();
        let ours: Vec<_> = net.addresses().await.unwrap().into_iter().filter(Address::is_ours).collect();
        assert_eq!(ours.len(), 2, "{ours:?}");
        assert!(ours.iter().all(|address| address.prefix == 128 && address.deprecated && address.permanent));
    });
    let seen = segment.on_d0(VIP6).unwrap();
    for flag in ["nodad", "deprecated", "noprefixroute"] {
        assert_eq!(seen[flag], true, "{flag} of {seen}");
    }
    assert_eq!(seen["tentative"], serde_json::Value::Null, "{seen}");
    assert_eq!((&seen["prefixlen"], &seen["preferred_life_time"]), (&128.into(), &0.into()), "{seen}");
    assert_eq!(seen["valid_life_time"], u32::MAX, "{seen}");
    assert_eq!(segment.d_json("-6 route show"), routes);
    let way = segment.d_json("-6 route get fd00:40::3");
    assert_eq!(way[0]["prefsrc"], "fd00:40::2", "{way:?}");
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn binding_and_unbinding_leave_every_foreign_address_as_it_was() {
    let segment = Segment::new();
    segment.d("address add 10.1.1.1/32 dev d0");
    segment.d("address add 10.1.1.2/24 dev d0 valid_lft 3000 preferred_lft 2000");
    segment.d("address add fd00:99::1/128 dev d0 nodad");
    // Lifetimes run; all else has to stay.
    let listing = || -> Vec<String> {
        let links = segment.d_json("address show");
        let addresses =
            links.iter().flat_map(|link| link["addr_info"].as_array().cloned().unwrap_or_default());
        let mut lines: Vec<_> = addresses
            .filter(|address| address["scope"] != "link")
            .map(|mut address| {
                for lifetime in ["valid_life_time", "preferred_life_time"] {
                    address[lifetime] = (address[lifetime].as_u64() == Some(u32::MAX.into())).into();
                }
                address.to_string()
            })
            .collect();
        lines.sort();
        lines
    };
    let before = listing();
    assert!(before.len() >= 7, "{before:?}");
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let d0 = link(&net, "d0").await.index;
        for vip in [vip(), vip6()] {
            net.bind_vip(d0, vip).await.unwrap();
        }
        assert_eq!(listing().len(), before.len() + 2);
        for vip in [vip(), vip6()] {
            net.unbind_vip(d0, vip).await.unwrap();
        }
    });
    assert_eq!(listing(), before);
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn binding_twice_unbinding_twice_and_a_link_that_is_gone_are_errors_of_their_own() {
    let segment = Segment::new();
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let d0 = link(&net, "d0").await.index;
        for vip in [vip(), vip6()] {
            net.bind_vip(d0, vip).await.unwrap();
            let twice = net.bind_vip(d0, vip).await;
            assert!(
                matches!(twice, Err(Error::AlreadyBound { link, ip }) if (link, ip) == (d0, vip)),
                "{twice:?}"
            );
            net.unbind_vip(d0, vip).await.unwrap();
            let twice = net.unbind_vip(d0, vip).await;
            assert!(
                matches!(twice, Err(Error::NotBound { link, ip }) if (link, ip) == (d0, vip)),
                "{twice:?}"
            );
            let nowhere = net.bind_vip(4711, vip).await;
            assert!(matches!(nowhere, Err(Error::NoSuchLink { link: 4711 })), "{nowhere:?}");
        }
    });
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_foreign_address_of_the_same_value_survives_the_removal_of_the_vip() {
    let segment = Segment::new();
    segment.d(&format!("address add {VIP}/16 dev d0"));
    segment.d(&format!("address add {VIP6}/64 dev d0 nodad"));
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let d0 = link(&net, "d0").await.index;
        let not_ours = net.unbind_vip(d0, vip()).await;
        assert!(matches!(not_ours, Err(Error::NotBound { .. })), "{not_ours:?}");
        net.bind_vip(d0, vip()).await.unwrap();
        net.unbind_vip(d0, vip()).await.unwrap();
        // IPv6 has one address of a value per link, whatever its prefix length.
        let taken = net.bind_vip(d0, vip6()).await;
        assert!(matches!(taken, Err(Error::AlreadyBound { .. })), "{taken:?}");
        let not_ours = net.unbind_vip(d0, vip6()).await;
        assert!(matches!(not_ours, Err(Error::NotBound { .. })), "{not_ours:?}");
    });
    assert_eq!(segment.on_d0(VIP).unwrap()["prefixlen"], 16);
    assert_eq!(segment.on_d0(VIP6).unwrap()["prefixlen"], 64);
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_thousand_vips_are_bound_and_removed_through_one_connection() {
    let segment = Segment::new();
    let vips: Vec<IpAddr> = (0..1000u32).map(|n| IpAddr::from((0xac15_0000 + n).to_be_bytes())).collect();
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let d0 = link(&net, "d0").await.index;
        let bound = futures::future::join_all(vips.iter().map(|vip| net.bind_vip(d0, *vip))).await;
        assert!(bound.iter().all(Result::is_ok), "{bound:?}");
        let ours = net.addresses().await.unwrap().into_iter().filter(Address::is_ours).count();
        assert_eq!(ours, 1000);
        let removed = futures::future::join_all(vips.iter().map(|vip| net.unbind_vip(d0, *vip))).await;
        assert!(removed.iter().all(Result::is_ok), "{removed:?}");
    });
    assert_eq!(segment.d_json("-4 address show dev d0")[0]["addr_info"].as_array().unwrap().len(), 1);
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_link_with_ipv6_switched_off_is_named_as_such() {
    let segment = Segment::new();
    segment.d_sysctl("net.ipv6.conf.d0.disable_ipv6=1");
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let d0 = link(&net, "d0").await.index;
        let refused = net.bind_vip(d0, vip6()).await;
        assert!(matches!(refused, Err(Error::Ipv6Disabled { link }) if link == d0), "{refused:?}");
        net.bind_vip(d0, vip()).await.unwrap();
    });
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn without_capabilities_binding_announcing_and_probing_say_what_is_missing() {
    let segment = Segment::new();
    segment.on_director(async || {
        let d0 = link(&Net::connect().unwrap(), "d0").await;
        // Of this thread only, which ends with the test.
        let mut sets = rustix::thread::capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW);
        rustix::thread::set_capabilities(None, sets).unwrap();
        assert_eq!(identity::capabilities().unwrap(), Caps { net_admin: false, net_raw: false });

        let net = Net::connect().unwrap();
        let refused = net.bind_vip(d0.index, vip()).await.unwrap_err();
        assert!(refused.to_string().ends_with("CAP_NET_ADMIN is missing"), "{refused}");
        let refused = Announcer::open().unwrap_err();
        assert!(refused.to_string().contains("CAP_NET_RAW"), "{refused}");
        let refused = vip_holders(&d0, &[], &[vip()], Duration::ZERO).unwrap_err();
        assert!(refused.to_string().contains("CAP_NET_RAW"), "{refused}");
        // Watching needs neither.
        net.monitor().await.unwrap();
    });
}
