//! What the watch reports when `ip` changes something, and what it keeps to itself.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use futures::StreamExt as _;
use lvs_net::{Event, Monitor, Net};

use crate::segment::{Segment, link};

/// The next event.
async fn next(monitor: &mut Monitor) -> Event {
    tokio::time::timeout(Duration::from_secs(5), monitor.next())
        .await
        .expect("an event within 5 s")
        .expect("the watch goes on")
}

/// All events until the appearance of the address `mark`, which the caller adds last.
async fn until(monitor: &mut Monitor, mark: &str) -> Vec<Event> {
    let mark: IpAddr = mark.parse().unwrap();
    let mut events = Vec::new();
    loop {
        match next(monitor).await {
            Event::AddressAdded(address) if address.ip == mark => return events,
            event => events.push(event),
        }
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn an_address_that_somebody_adds_or_deletes_is_reported_with_its_owner() {
    let segment = Segment::new();
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let d0 = link(&net, "d0").await.index;
        net.bind_vip(d0, "172.16.21.10".parse().unwrap()).await.unwrap();
        let mut monitor = net.monitor().await.unwrap();
        segment.d("address del 172.16.21.10/32 dev d0");
        match next(&mut monitor).await {
            Event::AddressRemoved(address) => {
                assert_eq!((address.link, address.ip.to_string()), (d0, "172.16.21.10".to_owned()));
                assert!(address.is_ours(), "{address:?}");
            }
            other => panic!("{other:?}"),
        }
        segment.d("address add fd00:21::9/128 dev d0 nodad");
        let address = loop {
            match next(&mut monitor).await {
                Event::AddressAdded(address) => break address,
                // The /128 comes with a route in the main table.
                Event::RouteChanged => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(address.ip.to_string(), "fd00:21::9");
        assert!(!address.is_ours(), "{address:?}");
    });
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_lifetime_that_is_refreshed_or_made_finite_is_not_reported() {
    let segment = Segment::new();
    segment.d("address add 172.16.21.10/32 dev d0");
    segment.d("address add fd00:21::10/128 dev d0 nodad");
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let mut monitor = net.monitor().await.unwrap();
        for lifetime in
            ["valid_lft 900 preferred_lft 900", "valid_lft 800 preferred_lft 0", "valid_lft forever"]
        {
            segment.d(&format!("address change 172.16.21.10/32 dev d0 {lifetime}"));
            segment.d(&format!("address change fd00:21::10/128 dev d0 {lifetime}"));
        }
        segment.d("address add 172.16.21.99/32 dev d0");
        let events = until(&mut monitor, "172.16.21.99").await;
        // Refreshing an IPv6 address can touch its route, never the address.
        assert!(events.iter().all(|event| *event == Event::RouteChanged), "{events:?}");
    });
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn an_address_that_expires_is_reported_as_removed() {
    let segment = Segment::new();
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let mut monitor = net.monitor().await.unwrap();
        segment.d("address add 172.16.21.10/32 dev d0 valid_lft 1 preferred_lft 1");
        assert!(matches!(next(&mut monitor).await, Event::AddressAdded(_)));
        assert!(matches!(next(&mut monitor).await, Event::AddressRemoved(_)));
    });
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_link_is_reported_when_it_goes_down_is_renamed_or_removed_and_not_for_less() {
    let segment = Segment::new();
    segment.d("link add x0 type bridge");
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let x0 = link(&net, "x0").await;
        let mut monitor = net.monitor().await.unwrap();
        segment.d("link set x0 txqueuelen 77");
        segment.d("link set x0 mtu 1400");
        segment.d("address add 172.16.21.99/32 dev d0");
        assert_eq!(until(&mut monitor, "172.16.21.99").await, []);
        segment.d("link set x0 name x1");
        let mut expected = lvs_net::link::Link { name: "x1".to_owned(), ..x0 };
        assert_eq!(next(&mut monitor).await, Event::LinkChanged(expected.clone()));
        segment.d("link set x1 up");
        let Event::LinkChanged(up) = next(&mut monitor).await else { panic!("it came up") };
        // A bridge without ports loses its carrier a moment later.
        expected = lvs_net::link::Link { up: true, carrier: up.carrier, ..expected };
        assert_eq!(up, expected);
        segment.d("link del x1");
        let mut seen = BTreeSet::new();
        loop {
            match next(&mut monitor).await {
                Event::LinkRemoved(index) => {
                    assert_eq!(index, expected.index);
                    break;
                }
                Event::LinkChanged(link) if link.up => assert!(!link.carrier, "{link:?}"),
                Event::LinkChanged(link) => assert!(seen.insert(link.up), "{link:?} twice"),
                // The link-local address that IPv6 gave it.
                Event::AddressAdded(_) | Event::AddressRemoved(_) | Event::RouteChanged => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, BTreeSet::from([false]));
    });
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_port_that_leaves_a_bridge_is_not_reported_as_a_removed_link() {
    let segment = Segment::new();
    segment.d("link add br0 type bridge");
    segment.d("link set d0 master br0");
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let mut monitor = net.monitor().await.unwrap();
        segment.d("link set d0 nomaster");
        segment.d("address add 172.16.21.99/32 dev d0");
        let events = until(&mut monitor, "172.16.21.99").await;
        assert!(!events.iter().any(|event| matches!(event, Event::LinkRemoved(_))), "{events:?}");
    });
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn routes_of_the_main_table_are_reported_and_those_of_other_tables_not() {
    let segment = Segment::new();
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let mut monitor = net.monitor().await.unwrap();
        segment.d("route add 10.9.0.0/16 via 192.168.40.3 table 100");
        segment.d("address add 172.16.21.99/32 dev d0");
        assert_eq!(until(&mut monitor, "172.16.21.99").await, []);
        segment.d("route add default via 192.168.40.3");
        assert_eq!(next(&mut monitor).await, Event::RouteChanged);
        segment.d("route del default");
        assert_eq!(next(&mut monitor).await, Event::RouteChanged);
    });
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_reader_that_falls_behind_gets_one_overrun_and_then_news_again() {
    let segment = Segment::new();
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let d0 = link(&net, "d0").await.index;
        let mut monitor = net.monitor().await.unwrap();
        for _ in 0..3 {
            for chunk in 0..10u32 {
                let vips = (0..100u32).map(|n| IpAddr::from((0xac15_0000 + chunk * 100 + n).to_be_bytes()));
                let work = vips.map(async |vip| {
                    net.bind_vip(d0, vip).await?;
                    net.unbind_vip(d0, vip).await
                });
                for done in futures::future::join_all(work).await {
                    done.unwrap();
                }
            }
        }
        // 6,000 changes, and nothing read: the rest has become one Overrun.
        let mut events = Vec::new();
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(500), monitor.next()).await {
            events.push(event);
        }
        let overruns = events.iter().filter(|event| **event == Event::Overrun).count();
        assert_eq!(overruns, 1, "of {} events", events.len());
        assert!(events.len() < 6000);
        net.bind_vip(d0, "172.16.21.99".parse().unwrap()).await.unwrap();
        assert_eq!(until(&mut monitor, "172.16.21.99").await, []);
    });
}
