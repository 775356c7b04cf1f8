//! Real servers with thresholds: what the kernel does for their sake, and what is said of it.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::Duration;

use lvs_lab::eventually::eventually;
use lvs_lab::load::{self, Load};
use lvs_lab::objects::{manifest, real_server, selects, virtual_service};
use lvs_lab::topology::tutorial::{REAL_SERVERS, VIP};
use serde_json::json;

use crate::director::Director;

/// rs1 with thresholds and rs2 without.
fn declared() -> Director {
    let director = Director::tutorial();
    // An entry of a connection that was closed stays for a second instead of two minutes.
    director.host().exec("ipvsadm --set 0 1 0").unwrap();
    let spec = json!({
        "vip": VIP, "ports": [{"port": 80}], "scheduler": "wrr", "realServerSelector": selects("web"),
        "healthCheck": {"http": {}, "intervalSeconds": 1},
    });
    let rs1 = json!({"address": REAL_SERVERS[0], "upperThreshold": 3, "lowerThreshold": 2});
    let rs2 = json!({"address": REAL_SERVERS[1]});
    let servers = [real_server("rs1", "web", &rs1), real_server("rs2", "web", &rs2)];
    director.write("web.yaml", &manifest(&[&[virtual_service("web", &spec)], &servers[..]].concat()));
    director.await_served("web");
    director
}

/// A destination's line of an `ipvsadm` listing, without its address.
fn columns(director: &Director, listing: &str, server: &str) -> Vec<String> {
    let listing = director.host().exec(&format!("ipvsadm --list --numeric {listing}")).unwrap();
    let line = listing.lines().find(|line| line.contains(&format!("-> {server}:80 ")));
    let words = line.unwrap_or_else(|| panic!("{server} is not in\n{listing}")).split_whitespace();
    words.skip(2).map(str::to_owned).collect()
}

/// Entries that the kernel counts for rs1, of every state.
fn counted(director: &Director) -> u32 {
    let columns = columns(director, "", REAL_SERVERS[0]);
    columns.iter().rev().take(2).map(|count| count.parse::<u32>().unwrap()).sum()
}

/// How many of these connections go to rs1: the first ones when sorted by that.
fn sorted(director: &Director, connections: &mut [TcpStream]) -> usize {
    let listing = director.host().exec("ipvsadm --list --numeric --connection").unwrap();
    let goes_to_rs1 = |connection: &TcpStream| {
        let source = connection.local_addr().unwrap().to_string();
        let mut lines = listing.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.any(|words| {
            words.contains(&source.as_str())
                && words.last().is_some_and(|server| server.starts_with(REAL_SERVERS[0]))
        })
    };
    connections.sort_by_key(|connection| !goes_to_rs1(connection));
    connections.iter().filter(|connection| goes_to_rs1(connection)).count()
}

/// Who answers so many requests.
fn answers(director: &Director, count: u32) -> BTreeMap<String, u32> {
    let target = format!("http://{VIP}/").parse().unwrap();
    let load = Load { target, rate: 20.0, count, timeout: Duration::from_secs(20) };
    let report = director.network["client"].within(|| load::run(&load)).unwrap().unwrap();
    assert_eq!(report.answered(), count, "{report:?}");
    report.answers
}

fn await_counted(director: &Director, count: u32) {
    eventually(&format!("rs1 has {count} connections"), || match counted(director) {
        now if now == count => Ok(()),
        now => Err(now.to_string()),
    });
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_server_at_its_upper_threshold_gets_no_new_connections_until_it_is_below_the_lower_one() {
    let director = declared();
    assert_eq!(columns(&director, "--thresholds", REAL_SERVERS[0])[..2], ["3", "2"]);
    assert_eq!(columns(&director, "--thresholds", REAL_SERVERS[1])[..2], ["0", "0"]);
    let overloaded =
        |status, reason| director.await_condition("RealServer", "rs1", "Overloaded", status, reason);
    overloaded("False", "BelowThreshold");

    // Of six connections three are its own.
    let connect = || (0..6).map(|_| TcpStream::connect((VIP, 80)).unwrap()).collect::<Vec<_>>();
    let mut connections = director.network["client"].within(connect).unwrap();
    assert_eq!(sorted(&director, &mut connections), 3);
    let words = overloaded("True", "AboveThreshold");
    assert_eq!(words, format!("gets no new connections: it has reached upperThreshold (3) in TCP {VIP}:80"));
    assert_eq!(answers(&director, 6), [("rs2".to_owned(), 6)].into());
    assert_eq!(director.condition("RealServer", "rs1", "Ready")[0], "True", "it works all the same");

    // Two are not fewer than the lower threshold.
    drop(connections.remove(0));
    await_counted(&director, 2);
    assert_eq!(answers(&director, 6), [("rs2".to_owned(), 6)].into());
    assert_eq!(director.condition("RealServer", "rs1", "Overloaded")[0], "True");

    drop(connections.remove(0));
    await_counted(&director, 1);
    overloaded("False", "BelowThreshold");
    assert!(answers(&director, 6).contains_key("rs1"));
    for words in ["gets no new connections: it has reached", "gets new connections again"] {
        assert_eq!(director.logged().matches(words).count(), 1, "told once: {words}");
    }
    director.finish();
}
