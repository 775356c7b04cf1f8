mod specs;

use lvs_crds::rules::cases::{self, Case, Expected, verdict};
use lvs_crds::rules::of_health_check;
use proptest::prelude::*;
use serde_json::{Value, json};

use specs::{any_real_server, any_virtual_service};

use super::*;
use crate::selector::{Requirement, Selector};
use crate::service::{Family, ServiceKey};

/// Field and message of each rule that a spec breaks, sorted; `None` if the type does not read it.
fn told(kind: &str, spec: &Value) -> Option<Vec<(String, String)>> {
    let broken = match kind {
        "RealServer" => real_server(&serde_json::from_value(spec.clone()).ok()?).err(),
        "Director" => director(&serde_json::from_value(spec.clone()).ok()?).err(),
        _ => virtual_service(&serde_json::from_value(spec.clone()).ok()?).err(),
    };
    let broken = broken.into_iter().flatten().map(|violation| (violation.field, violation.message));
    let mut broken: Vec<_> = broken.collect();
    broken.sort();
    Some(broken)
}

fn words(breaches: Vec<cases::Breach>) -> Vec<(String, String)> {
    let mut words: Vec<_> =
        breaches.into_iter().map(|breach| (breach.field, breach.rule.message.to_owned())).collect();
    words.sort();
    words
}

fn valid(spec: &Value) -> ValidVirtualService {
    let spec: VirtualServiceSpec = serde_json::from_value(spec.clone()).expect("a test's spec");
    virtual_service(&spec).expect("a test's valid spec")
}

#[test]
fn the_rust_twin_says_of_each_case_what_the_table_says() {
    for Case { name, kind, spec, expected } in cases::all() {
        let expected = match expected {
            Expected::Accepted => Some(Vec::new()),
            Expected::Broken(breaches) => Some(words(breaches)),
            Expected::WrongType { .. } => None,
        };
        assert_eq!(told(kind, &spec), expected, "{kind}: {name}");
    }
}

#[test]
fn a_violation_reads_as_a_sentence_behind_its_path() {
    let spec = json!({"vip": "172.16.21.10", "ports": [{"port": 80}, {"port": 0}]});
    let spec: VirtualServiceSpec = serde_json::from_value(spec).expect("a test's spec");
    let violations = virtual_service(&spec).expect_err("port 0 is none");
    let text = violations[0].to_string();
    assert!(text.starts_with("spec.ports[1].port: port must be 1..65535"), "{text}");
}

#[test]
fn unknown_fields_are_no_concern_of_the_types() {
    let spec = json!({"vip": "172.16.21.10", "ports": [{"port": 80, "later": 1}], "later": {"more": true}});
    assert_eq!(told("VirtualService", &spec), Some(Vec::new()));
    assert_eq!(told("RealServer", &json!({"address": "192.168.40.12", "later": []})), Some(Vec::new()));
}

#[test]
fn what_is_left_out_has_the_default_of_the_design() {
    let parsed = valid(&json!({"vip": "172.16.21.10", "ports": [{"port": 80}], "persistence": {}}));
    assert_eq!(parsed.settings.scheduler, "wlc");
    assert_eq!((parsed.settings.one_packet, parsed.settings.scheduler_flags), (false, 0));
    let persistence = parsed.settings.persistence.expect("it is declared");
    assert_eq!((persistence.timeout_seconds, persistence.prefix_length, persistence.engine), (300, 32, None));
    assert_eq!(parsed.selector, Selector { requirements: None }, "an absent selector selects none");
    let spec: RealServerSpec =
        serde_json::from_value(json!({"address": "192.168.40.12"})).expect("a test's spec");
    let parsed = real_server(&spec).expect("a valid spec");
    assert_eq!((parsed.weight, parsed.drain, parsed.port), (1, false, None));
    assert_eq!((parsed.upper_threshold, parsed.lower_threshold), (0, 0));
    assert_eq!((parsed.maintenance, parsed.check), (false, None));
}

#[test]
fn what_says_nothing_of_health_keeps_nothing_of_it() {
    let web = |changes: Value| {
        let mut spec = json!({"vip": "172.16.21.10", "ports": [{"port": 80}]});
        for (name, value) in changes.as_object().into_iter().flatten() {
            spec[name] = value.clone();
        }
        valid(&spec)
    };
    let said = json!({"onFailure": "Quiesce", "drainTimeoutSeconds": 300, "panicThresholdPercent": 0, "slowStartSeconds": 0});
    for nothing in [web(json!({})), web(said)] {
        assert_eq!(nothing.policy, None);
        assert_eq!(nothing.policy().drain_timeout.as_secs(), 300);
    }
    let policy = web(json!({"onFailure": "Remove", "drainTimeoutSeconds": 30, "panicThresholdPercent": 40,
        "slowStartSeconds": 60, "sorryServer": {"address": "192.168.40.99"}, "healthCheck": {"port": 8080}}));
    let policy = policy.policy();
    assert_eq!((policy.on_failure, policy.drain_timeout.as_secs()), (lvs_crds::OnFailure::Remove, 30));
    assert_eq!((policy.panic_threshold_percent, policy.slow_start.as_secs()), (40, 60));
    assert_eq!(policy.sorry_server, Some("192.168.40.99".parse().unwrap()));
    assert_eq!(policy.check.as_ref().and_then(|check| check.port), Some(8080));
}

#[test]
fn each_port_is_a_service_of_its_own_in_order() {
    let spec = json!({"vip": "2001:db8::10", "persistence": {},
        "ports": [{"port": 443}, {"port": 53, "protocol": "UDP"}, {"port": 53}]});
    let parsed = valid(&spec);
    let keys: Vec<String> = parsed.services.iter().map(ToString::to_string).collect();
    assert_eq!(keys, ["TCP [2001:db8::10]:53", "TCP [2001:db8::10]:443", "UDP [2001:db8::10]:53"]);
    assert_eq!(parsed.settings.persistence.expect("it is declared").prefix_length, 128);
}

#[test]
fn a_firewall_mark_is_one_service_without_a_vip() {
    let parsed = valid(&json!({"firewallMark": 4_294_967_295_i64, "family": "IPv6"}));
    assert_eq!(parsed.services, [ServiceKey::FirewallMark { mark: u32::MAX, family: Family::IPv6 }]);
    assert_eq!(parsed.family, Family::IPv6);
}

#[test]
fn flags_become_the_bits_that_sh_and_mh_share() {
    let bits = |scheduler: &str, flags: Value| {
        let spec = json!({"vip": "172.16.21.10", "ports": [{"port": 80}], "scheduler": scheduler, "schedulerFlags": flags});
        valid(&spec).settings.scheduler_flags
    };
    assert_eq!(bits("sh", json!(["sh-fallback"])), 1);
    assert_eq!(bits("mh", json!(["mh-port"])), 2);
    assert_eq!(bits("sh", json!(["sh-port", "sh-fallback"])), 3);
}

#[test]
fn a_selector_keeps_labels_and_expressions() {
    let spec = json!({"vip": "172.16.21.10", "ports": [{"port": 80}], "realServerSelector": {
        "matchLabels": {"app": "web"}, "matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["b"]}]}});
    let expected = vec![
        Requirement::In("app".to_owned(), vec!["web".to_owned()]),
        Requirement::NotIn("zone".to_owned(), vec!["b".to_owned()]),
    ];
    assert_eq!(valid(&spec).selector.requirements, Some(expected));
    let all = json!({"vip": "172.16.21.10", "ports": [{"port": 80}], "realServerSelector": {}});
    assert_eq!(valid(&all).selector.requirements, Some(Vec::new()), "an empty selector selects all");
}

/// The same without the rules that no API server knows.
fn told_by_both(kind: &str, spec: &Value) -> Option<Vec<(String, String)>> {
    let ours = of_health_check().filter(|rule| rule.check == Check::Ours);
    let ours: Vec<&str> = ours.map(|rule| rule.message).collect();
    let mut told = told(kind, spec)?;
    told.retain(|(_, message)| !ours.contains(&message.as_str()));
    Some(told)
}

proptest! {
    #[test]
    fn cel_and_rust_say_the_same_of_any_virtual_service(spec in any_virtual_service()) {
        prop_assert_eq!(told_by_both("VirtualService", &spec), Some(words(verdict("VirtualService", &spec))));
    }

    #[test]
    fn cel_and_rust_say_the_same_of_any_real_server(spec in any_real_server()) {
        prop_assert_eq!(told_by_both("RealServer", &spec), Some(words(verdict("RealServer", &spec))));
    }

    #[test]
    fn a_valid_virtual_service_agrees_with_itself(spec in any_virtual_service()) {
        let spec: VirtualServiceSpec = serde_json::from_value(spec).expect("the types read it");
        match virtual_service(&spec) {
            Err(violations) => prop_assert!(!violations.is_empty()),
            Ok(valid) => {
                prop_assert!(valid.services.is_sorted_by(|a, b| a < b), "sorted, no service twice");
                prop_assert_eq!(valid.services.len(), spec.ports.len().max(1));
                prop_assert!(valid.services.iter().all(|key| key.family() == valid.family));
                prop_assert!(valid.services.iter().all(|key| key.vip() == valid.services[0].vip()));
                prop_assert_eq!(valid.selector.requirements.is_some(), spec.real_server_selector.is_some());
                let bits = if valid.family == Family::IPv4 { 1..=32 } else { 1..=128 };
                prop_assert!(valid.settings.persistence.is_none_or(|it| bits.contains(&it.prefix_length)));
            }
        }
    }
}
