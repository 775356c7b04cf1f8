//! Announcements as a neighbour takes them and as tcpdump reads them.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::IpAddr,
    process::{Command, Stdio},
};

use lvs_net::{
    Net,
    announce::{Announcer, Error},
};

use crate::segment::{D0, Segment, eventually, link};

/// What the neighbour's cache has for `ip`.
fn cached(segment: &Segment, ip: &str) -> Option<String> {
    let entries = segment.n_json(&format!("neigh show {ip} dev n0"));
    entries.first().and_then(|entry| entry["lladdr"].as_str().map(str::to_owned))
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_neighbour_that_knows_the_old_director_learns_the_new_one_for_ipv4_and_ipv6() {
    let segment = Segment::new();
    for vip in ["192.168.40.10", "fd00:40::10"] {
        for state in ["stale", "reachable"] {
            segment.n(&format!("neigh replace {vip} lladdr 02:de:ad:00:00:01 dev n0 nud {state}"));
            assert_eq!(cached(&segment, vip).as_deref(), Some("02:de:ad:00:00:01"));
            segment.on_director(async || {
                let net = Net::connect().unwrap();
                let d0 = link(&net, "d0").await;
                let announcer = Announcer::open().unwrap();
                announcer.send(d0.index, d0.mac.unwrap(), vip.parse().unwrap()).unwrap();
            });
            eventually(&format!("{vip} at d0, was {state}"), || {
                cached(&segment, vip).filter(|mac| mac == "02:00:00:00:40:02")
            });
        }
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn tcpdump_reads_both_arp_forms_and_an_advertisement_with_a_right_checksum() {
    let segment = Segment::new();
    let mut dump = Command::new("ip")
        .args(["netns", "exec", &segment.neighbour, "tcpdump", "-lnevv", "-i", "n0", "-c", "3"])
        .arg("arp or (icmp6 and ip6[40] == 136)")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(dump.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        assert_ne!(errors.read_line(&mut line).unwrap(), 0, "tcpdump ended");
    }
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let d0 = link(&net, "d0").await;
        assert_eq!(d0.mac, Some(D0));
        let announcer = Announcer::open().unwrap();
        for vip in ["172.16.21.10", "fd00:21::10"] {
            announcer.send(d0.index, D0, vip.parse().unwrap()).unwrap();
        }
    });
    let mut text = String::new();
    dump.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(dump.wait().unwrap().success());
    for expected in [
        "02:00:00:00:40:02 > ff:ff:ff:ff:ff:ff, ethertype ARP",
        "Request who-has 172.16.21.10 tell 172.16.21.10",
        "Reply 172.16.21.10 is-at 02:00:00:00:40:02",
        "02:00:00:00:40:02 > 33:33:00:00:00:01, ethertype IPv6",
        "fd00:21::10 > ff02::1: [icmp6 sum ok] ICMP6, neighbor advertisement",
        "tgt is fd00:21::10, Flags [override]",
        "destination link-address option (2), length 8 (1): 02:00:00:00:40:02",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn announcing_on_a_link_that_is_down_or_gone_is_an_error() {
    let segment = Segment::new();
    segment.d("link set d0 down");
    segment.on_director(async || {
        let net = Net::connect().unwrap();
        let d0 = link(&net, "d0").await;
        let announcer = Announcer::open().unwrap();
        for vip in ["172.16.21.10", "fd00:21::10"] {
            let vip: IpAddr = vip.parse().unwrap();
            for (index, errno) in [(d0.index, "Network is down"), (4711, "No such device or address")] {
                match announcer.send(index, D0, vip) {
                    Err(Error::Send { link, vip: of, source }) => {
                        assert_eq!((link, of), (index, vip));
                        assert!(source.to_string().contains(errno), "{source}");
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    });
}
