use std::hash::{BuildHasher as _, RandomState};

use serde_json::{Value, json};

use super::*;
use crate::validate;

fn virtual_service(spec: &Value) -> ValidVirtualService {
    validate::virtual_service(&serde_json::from_value(spec.clone()).expect("a test's spec"))
        .expect("it is valid")
}

fn real_server(changes: &Value) -> ValidRealServer {
    let mut spec = json!({"address": "192.168.40.12"});
    for (name, value) in changes.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    validate::real_server(&serde_json::from_value(spec).expect("a test's spec")).expect("it is valid")
}

/// Of ports such as `80`, `53/UDP`.
fn at(ports: &[&str], check: &Value) -> ValidVirtualService {
    let port = |text: &&str| {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
        json!({"port": port.parse::<u16>().expect("a test's port"), "protocol": protocol})
    };
    let mut spec = json!({"vip": "172.16.21.10", "ports": ports.iter().map(port).collect::<Vec<_>>()});
    if !check.is_null() {
        spec["healthCheck"] = check.clone();
    }
    virtual_service(&spec)
}

fn marked(check: &Value) -> ValidVirtualService {
    virtual_service(&json!({"firewallMark": 7, "family": "IPv4", "healthCheck": check}))
}

/// Service, kind and port of each probe, as `TCP 80: tcp 80`.
fn probes(virtual_service: &ValidVirtualService, real_server: &ValidRealServer) -> Vec<String> {
    let tell = |key: &ServiceKey| {
        let name = match key {
            ServiceKey::Address { protocol, port, .. } => format!("{} {port}", protocol.as_str()),
            ServiceKey::FirewallMark { mark, .. } => format!("FWM {mark}"),
        };
        match probe(virtual_service, real_server, key) {
            Ok(None) => format!("{name}: none"),
            Ok(Some(Probe { port: None, terms, .. })) => format!("{name}: {}", terms.kind.as_str()),
            Ok(Some(Probe { port: Some(port), terms, .. })) => {
                format!("{name}: {} {port}", terms.kind.as_str())
            }
            Err(error) => format!("{name}: needs a port for {}", error.kind),
        }
    };
    virtual_service.services.iter().map(tell).collect()
}

#[test]
fn nothing_said_is_tcp_at_each_tcp_port() {
    let any = real_server(&json!({}));
    assert_eq!(probes(&at(&["80", "443"], &Value::Null), &any), ["TCP 80: tcp 80", "TCP 443: tcp 443"]);
}

#[test]
fn a_port_of_another_protocol_follows_the_tcp_port_of_its_number_or_the_lowest() {
    let ports = at(&["443", "80", "443/UDP", "53/UDP", "90/SCTP"], &Value::Null);
    let expected =
        ["TCP 80: tcp 80", "TCP 443: tcp 443", "UDP 53: tcp 80", "UDP 443: tcp 443", "SCTP 90: tcp 80"];
    assert_eq!(probes(&ports, &real_server(&json!({}))), expected);
    let only = real_server(&json!({"port": 53}));
    assert!(probes(&ports, &only).contains(&"UDP 53: ping".to_owned()), "it serves no TCP port");
}

#[test]
fn without_a_tcp_port_it_is_ping() {
    let any = real_server(&json!({}));
    assert_eq!(probes(&at(&["53/UDP"], &Value::Null), &any), ["UDP 53: ping"]);
    assert_eq!(probes(&marked(&json!({})), &any), ["FWM 7: ping"]);
}

#[test]
fn a_kind_asks_each_destinations_own_port_and_a_port_asks_that_one_for_all() {
    let any = real_server(&json!({}));
    let own = at(&["80", "53/UDP"], &json!({"dns": {"name": "a"}}));
    assert_eq!(probes(&own, &any), ["TCP 80: dns 80", "UDP 53: dns 53"]);
    let one = at(&["80", "53/UDP"], &json!({"http": {}, "port": 8080}));
    assert_eq!(probes(&one, &any), ["TCP 80: http 8080", "UDP 53: http 8080"]);
    assert_eq!(probes(&at(&["53/UDP"], &json!({"port": 8080})), &any), ["UDP 53: tcp 8080"]);
    assert_eq!(probes(&at(&["80"], &json!({"ping": {}, "port": 8080})), &any), ["TCP 80: ping"]);
    assert_eq!(probes(&at(&["80"], &json!({"none": {}})), &any), ["TCP 80: none"]);
    assert_eq!(probes(&marked(&json!({"tcp": {}, "port": 22})), &any), ["FWM 7: tcp 22"]);
    assert_eq!(probes(&marked(&json!({"port": 22})), &any), ["FWM 7: tcp 22"]);
}

#[test]
fn a_real_servers_own_check_stands_in_as_a_whole() {
    let ports = at(&["80", "443"], &json!({"http": {}, "port": 8080, "intervalSeconds": 60}));
    let own = real_server(&json!({"healthCheck": {"udp": {}}}));
    assert_eq!(probes(&ports, &own), ["TCP 80: udp 80", "TCP 443: udp 443"]);
    let own = real_server(&json!({"healthCheck": {}}));
    assert_eq!(probes(&ports, &own), ["TCP 80: tcp 80", "TCP 443: tcp 443"]);
    let found = probe(&ports, &own, &ports.services[0]).expect("it has a port").expect("it is checked");
    assert_eq!(found.terms.interval, Duration::from_secs(5), "no term is taken from the virtual service");
}

#[test]
fn an_own_check_that_needs_a_port_does_not_go_with_a_firewall_mark() {
    let own = real_server(&json!({"healthCheck": {"grpc": {}}}));
    let virtual_service = marked(&json!({"tcp": {}, "port": 22}));
    assert_eq!(probes(&virtual_service, &own), ["FWM 7: needs a port for grpc"]);
    let words =
        probe(&virtual_service, &own, &virtual_service.services[0]).expect_err("it needs one").to_string();
    assert!(words.starts_with("spec.healthCheck.port: a check of kind grpc needs a port"), "{words}");
}

#[test]
fn terms_have_the_defaults_of_the_design() {
    let terms = |check: Value| {
        let virtual_service = at(&["80"], &check);
        let found = probe(&virtual_service, &real_server(&json!({})), &virtual_service.services[0]);
        found.expect("it has a port").expect("it is checked").terms
    };
    let seconds = Duration::from_secs;
    let nothing_said = terms(Value::Null);
    assert_eq!((nothing_said.interval, nothing_said.timeout), (seconds(5), seconds(2)));
    assert_eq!((nothing_said.fall, nothing_said.rise), (3, 2));
    assert_eq!((nothing_said.source, nothing_said.mark), (None, None));
    assert_eq!(terms(json!({"intervalSeconds": 1})).timeout, seconds(1));
    assert_eq!(terms(json!({"timeoutSeconds": 4})).timeout, seconds(4));
    assert_eq!(terms(json!({"sourceAddress": "172.16.21.2"})).source, Some("172.16.21.2".parse().unwrap()));
    assert_eq!(terms(json!({"firewallMark": 4_294_967_295_i64})).mark, Some(u32::MAX));
}

#[test]
fn equal_probes_of_two_specs_are_one_and_those_of_one_spec_share_their_terms() {
    let found = |ports: &[&str], check: &Value, index: usize| {
        let virtual_service = at(ports, check);
        let found = probe(&virtual_service, &real_server(&json!({})), &virtual_service.services[index]);
        found.expect("it has a port").expect("it is checked")
    };
    let (http, other) = (json!({"http": {"path": "/a"}}), json!({"http": {"path": "/b"}}));
    let hashes = RandomState::new();
    assert_eq!(found(&["80"], &http, 0), found(&["80", "81"], &http, 0));
    assert_eq!(hashes.hash_one(found(&["80"], &http, 0)), hashes.hash_one(found(&["80", "81"], &http, 0)));
    assert_ne!(found(&["80"], &http, 0), found(&["80"], &other, 0));
    assert_ne!(found(&["80", "81"], &http, 0), found(&["80", "81"], &http, 1));
    let unsaid = [found(&["80"], &Value::Null, 0), found(&["443"], &Value::Null, 0)];
    assert!(Arc::ptr_eq(&unsaid[0].terms, &unsaid[1].terms), "ten thousand that say nothing share them too");
}
