//! Finding a stranger that holds a VIP.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use lvs_net::{
    Net,
    link::Link,
    probe::{ProbeVerdict, back_off, vip_holders},
};

use crate::segment::{D0, N0, Segment, link};

const TIMEOUT: Duration = Duration::from_millis(400);

async fn d0() -> Link {
    link(&Net::connect().unwrap(), "d0").await
}

fn vip_holder(link: &Link, vip: IpAddr, timeout: Duration) -> ProbeVerdict {
    vip_holders(link, &[], &[vip], timeout).unwrap()[&vip]
}

fn vip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_stranger_that_holds_the_vip_is_found_with_its_mac_at_once() {
    let segment = Segment::new();
    segment.n("address add 172.16.21.10/32 dev n0");
    segment.n("address add fd00:21::10/128 dev n0 nodad");
    for held in ["172.16.21.10", "fd00:21::10"] {
        segment.on_director(async || {
            let d0 = d0().await;
            let start = Instant::now();
            let verdict = vip_holder(&d0, vip(held), Duration::from_secs(20));
            assert_eq!(verdict, ProbeVerdict::Taken { mac: N0 }, "{held}");
            assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        });
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_vip_that_nobody_answers_for_is_free_after_the_whole_timeout_and_three_questions() {
    let segment = Segment::new();
    for free in ["172.16.21.10", "fd00:21::10"] {
        segment.on_director(async || {
            let d0 = d0().await;
            let before = received(&segment);
            let start = Instant::now();
            assert_eq!(vip_holder(&d0, vip(free), TIMEOUT), ProbeVerdict::Free, "{free}");
            let took = start.elapsed();
            assert!(took >= TIMEOUT && took < TIMEOUT * 10, "{took:?}");
            let heard = received(&segment) - before;
            assert!(heard >= 3, "{heard} packets");
        });
    }
}

/// Packets that the neighbour's link has received.
fn received(segment: &Segment) -> u64 {
    segment.n_json("-s link show dev n0")[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_prepared_real_server_with_the_vip_on_lo_is_no_stranger_and_a_leaking_one_is() {
    let segment = Segment::new();
    segment.n("address add 172.16.21.10/32 dev lo");
    segment.n("address add fd00:21::10/128 dev lo nodad");
    let sysctl = |value: u8| {
        let setting = format!("net.ipv4.conf.all.arp_ignore={value}");
        crate::segment::ip(&format!("netns exec {} sysctl -qw {setting}", segment.neighbour));
    };
    for (arp_ignore, expected) in [(1, ProbeVerdict::Free), (0, ProbeVerdict::Taken { mac: N0 })] {
        sysctl(arp_ignore);
        segment.on_director(async || {
            let verdict = vip_holder(&d0().await, vip("172.16.21.10"), TIMEOUT);
            assert_eq!(verdict, expected, "arp_ignore {arp_ignore}");
            // IPv6 answers for the addresses of the link asked on, whatever the settings.
            let verdict = vip_holder(&d0().await, vip("fd00:21::10"), TIMEOUT);
            assert_eq!(verdict, ProbeVerdict::Free);
        });
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn probing_changes_no_cache_of_a_neighbour() {
    let segment = Segment::new();
    for held in ["172.16.21.10", "fd00:21::10"] {
        segment.n(&format!("neigh replace {held} lladdr 02:de:ad:00:00:01 dev n0 nud stale"));
        segment.on_director(async || {
            let _ = vip_holder(&d0().await, vip(held), TIMEOUT);
        });
        let entry = segment.n_json(&format!("neigh show {held} dev n0"));
        assert_eq!(entry[0]["lladdr"], "02:de:ad:00:00:01", "{entry:?}");
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_thousand_vips_share_one_timeout_and_each_gets_its_own_verdict() {
    let segment = Segment::new();
    let v4 = (0..500u32).map(|n| IpAddr::from((0xac15_0000 + n).to_be_bytes()));
    let v6 = (0..500u16).map(|n| IpAddr::from([0xfd00, 0x21, 0, 0, 0, 0, 0, n + 1]));
    let vips: Vec<IpAddr> = v4.chain(v6).collect();
    let held: Vec<IpAddr> = vips.iter().copied().step_by(7).collect();
    crate::segment::run_in(&segment.neighbour, async || {
        let net = Net::connect().unwrap();
        let n0 = link(&net, "n0").await.index;
        for vip in &held {
            net.bind_vip(n0, *vip).await.unwrap();
        }
    });
    segment.on_director(async || {
        let d0 = d0().await;
        let start = Instant::now();
        let verdicts = vip_holders(&d0, &[], &vips, Duration::from_secs(2)).unwrap();
        let took = start.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(verdicts.len(), 1000);
        for (vip, verdict) in &verdicts {
            let expected =
                if held.contains(vip) { ProbeVerdict::Taken { mac: N0 } } else { ProbeVerdict::Free };
            assert_eq!(*verdict, expected, "{vip}");
        }
    });
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn an_echo_of_our_own_announcement_is_no_stranger() {
    let segment = Segment::new();
    segment.on_director(async || {
        let d0 = d0().await;
        // The neighbour plays a switch that sends our own frames back to us.
        let namespace = segment.neighbour.clone();
        let echo = std::thread::spawn(move || {
            crate::segment::run_in(&namespace, async || {
                let net = Net::connect().unwrap();
                let n0 = link(&net, "n0").await.index;
                let announcer = lvs_net::announce::Announcer::open().unwrap();
                for _ in 0..10 {
                    announcer.send(n0, D0, vip("172.16.21.10")).unwrap();
                    announcer.send(n0, D0, vip("fd00:21::10")).unwrap();
                    tokio::time::sleep(TIMEOUT / 10).await;
                }
            });
        });
        let verdicts = vip_holders(&d0, &[], &[vip("172.16.21.10"), vip("fd00:21::10")], TIMEOUT).unwrap();
        assert!(verdicts.values().all(|verdict| *verdict == ProbeVerdict::Free), "{verdicts:?}");
        echo.join().unwrap();
    });
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn of_two_that_ask_at_once_at_most_one_finds_the_vip_free_and_in_the_end_one_does() {
    let segment = Segment::new();
    for wanted in ["172.16.21.10", "fd00:21::10"] {
        let mut waits = [Duration::ZERO; 2];
        let mut met = false;
        let winners = (0..10).find_map(|attempt| {
            let start = std::sync::Barrier::new(2);
            let ask = |namespace: &str, name: &str, wait: Duration| {
                crate::segment::run_in(namespace, async || {
                    let link = link(&Net::connect().unwrap(), name).await;
                    start.wait();
                    // Only the difference matters.
                    std::thread::sleep(wait);
                    vip_holder(&link, vip(wanted), TIMEOUT)
                })
            };
            let verdicts = std::thread::scope(|scope| {
                let d = scope.spawn(|| ask(&segment.director, "d0", waits[0]));
                let n = scope.spawn(|| ask(&segment.neighbour, "n0", waits[1]));
                [d.join().unwrap(), n.join().unwrap()]
            });
            // One that began a moment later may not have heard the other's first question, after which that one was silent.
            met |= verdicts.iter().any(|verdict| matches!(verdict, ProbeVerdict::Contended { mac: N0 | D0 }));
            let free = verdicts.iter().filter(|verdict| **verdict == ProbeVerdict::Free).count();
            // Asked wholly one after the other, both are right.
            let overlap = waits[0].abs_diff(waits[1]) < TIMEOUT;
            assert!(free < 2 || !overlap, "{wanted}: {verdicts:?} after waiting {waits:?}");
            waits = [D0, N0].map(|mac| back_off(mac, vip(wanted), attempt));
            (free > 0).then_some(free)
        });
        assert!(met, "{wanted}: neither heard the other");
        assert!(winners.is_some(), "{wanted}: nobody ever gets it");
    }
}
