//! From objects to pages.

use std::time::Duration;

use lvs_lab::load::{self, Load, Report};
use lvs_lab::objects::{manifest, real_server, selects, virtual_service};
use lvs_lab::topology::{Host, Topology, one_arm, tutorial};
use serde_json::json;

use crate::TUTORIAL;
use crate::director::{Director, table_by_hand};

/// What the tutorial types.
const BY_HAND: &str = "\
-A -t 172.16.21.10:80 -s wrr
-a -t 172.16.21.10:80 -r 192.168.40.12:80 -g -w 1
-a -t 172.16.21.10:80 -r 192.168.40.13:80 -g -w 1
";

/// Asks from a host, one request at a time and a long time for each.
fn ask(host: &Host, vip: &str, count: u32) -> Report {
    let target = format!("http://{vip}/").parse().unwrap();
    let load = Load { target, rate: 20.0, count, timeout: Duration::from_secs(20) };
    host.within(|| load::run(&load)).unwrap().unwrap()
}

fn shares(report: &Report) -> [u32; 2] {
    assert_eq!(report.failures, [], "every request is answered");
    ["rs1", "rs2"].map(|server| report.answers.get(server).copied().unwrap_or_default())
}

fn seen_as(report: &Report) -> Vec<&str> {
    report.seen_as.keys().map(String::as_str).collect()
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn the_tutorials_objects_give_the_tutorials_table_and_pages_that_show_the_clients_own_address() {
    let director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    assert_eq!(director.our_table(), table_by_hand(BY_HAND));
    assert!(director.holds(tutorial::VIP), "{}", director.addresses());

    for (host, address) in [("client", tutorial::CLIENT), ("far-client", tutorial::FAR_CLIENT)] {
        let report = ask(&director.network[host], tutorial::VIP, 8);
        assert_eq!(shares(&report), [4, 4], "{host}: requests alternate");
        assert_eq!(seen_as(&report), [address], "{host}: the real server sees who asks");
    }

    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn weights_2_and_1_give_two_requests_of_three_to_the_first_server_under_wrr_and_half_under_rr() {
    let director = Director::tutorial();
    let trap = include_str!("../../../deploy/examples/weights-ignored/virtualservice.yaml");
    director.write("trap.yaml", trap);
    director.await_served("trap");
    let said = director.await_condition("VirtualService", "trap", "Accepted", "True", "Accepted");
    assert!(said.starts_with("WeightsIgnored:") && said.contains("use wrr"), "{said}");
    let client = &director.network["client"];
    assert_eq!(shares(&ask(client, tutorial::VIP, 6)), [3, 3]);

    director.write("trap.yaml", &trap.replace("scheduler: rr\n", "scheduler: wrr\n"));
    lvs_lab::eventually::eventually_is("the scheduler is wrr", &"wrr".to_owned(), || {
        director.our_table().0["-t 172.16.21.10:80"].scheduler.clone()
    });
    assert_eq!(shares(&ask(client, tutorial::VIP, 6)), [4, 2]);
    let [_, _, message] = director.condition("VirtualService", "trap", "Accepted");
    assert_eq!(message, "", "the warning went with its cause");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn both_families_are_served_on_one_segment() {
    let mut director = Director::without_agent(Topology::one_arm().unwrap());
    director.start();
    let mut objects = Vec::new();
    for (family, vip, servers) in
        [("four", one_arm::VIP, one_arm::REAL_SERVERS), ("six", one_arm::VIP6, one_arm::REAL_SERVERS6)]
    {
        let ports = json!([{"port": 80}]);
        let spec =
            json!({"vip": vip, "ports": ports, "scheduler": "wrr", "realServerSelector": selects(family)});
        objects.push(virtual_service(family, &spec));
        for (number, address) in servers.iter().enumerate() {
            objects.push(real_server(&format!("{family}-{number}"), family, &json!({"address": address})));
        }
    }
    director.write("one-arm.yaml", &manifest(&objects));
    director.await_served("four");
    director.await_served("six");
    assert_eq!(
        director.our_table(),
        table_by_hand(
            "\
-A -t 192.168.60.10:80 -s wrr
-a -t 192.168.60.10:80 -r 192.168.60.12:80 -g -w 1
-a -t 192.168.60.10:80 -r 192.168.60.13:80 -g -w 1
-A -t [fd00:60::10]:80 -s wrr
-a -t [fd00:60::10]:80 -r [fd00:60::12]:80 -g -w 1
-a -t [fd00:60::10]:80 -r [fd00:60::13]:80 -g -w 1
"
        )
    );
    let addresses = director.addresses();
    let six =
        addresses.lines().find(|line| line.contains(" fd00:60::10/128")).expect("the IPv6 VIP is bound");
    assert!(six.contains("deprecated"), "so that nothing of the host leaves from it: {six}");
    for (host, seen) in [("client", one_arm::CLIENT), ("far-client", one_arm::FAR_CLIENT)] {
        for (vip, seen) in [one_arm::VIP.to_owned(), format!("[{}]", one_arm::VIP6)].iter().zip(seen) {
            let report = ask(&director.network[host], vip, 4);
            assert_eq!(shares(&report), [2, 2], "{host} {vip}");
            assert_eq!(seen_as(&report), [seen], "{host} {vip}");
        }
    }
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn the_status_says_who_serves_what() {
    let director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    let web = director.object("VirtualService", "web").unwrap();
    let status = &web["status"];
    assert_eq!(web["metadata"]["namespace"], "default");
    assert_eq!(web["metadata"]["generation"], 1);
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["activeDirector"], "d1");
    assert_eq!(status["realServers"], json!({"total": 2, "healthy": 2, "inService": 2}));
    assert_eq!(status["directors"][0]["role"], "Active");
    assert_eq!(status["directors"][0]["programmed"], true);
    let types: Vec<_> =
        status["conditions"].as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["Accepted", "Programmed", "Announced", "RealServersReady", "Ready"]);
    let rs1 = director.object("RealServer", "rs1").unwrap();
    assert_eq!(rs1["status"]["virtualServices"], json!(["default/web"]));
    assert_eq!(director.metric("lvs_services"), 1);
    assert_eq!(director.metric("lvs_destinations"), 2);
    assert_eq!(director.metric("lvs_vips_held"), 1);
    let table = director.run_bare(&["status"]);
    let said = crate::director::text(&table.stdout);
    assert_eq!(table.status.code(), Some(0), "{table:?}");
    assert!(said.contains("Director d1: ready") && said.contains("172.16.21.10  80/TCP"), "{said}");
    director.finish();
}
