use lvs_crds::rules::cases::{self, Case, Expected, verdict};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::selector::{Requirement, Selector};
use crate::service::{Family, ServiceKey};

/// Field and message of each rule that a spec breaks, sorted; `None` if the type does not read it.
fn told(kind: &str, spec: &Value) -> Option<Vec<(String, String)>> {
    let broken = match kind {
        "RealServer" => real_server(&serde_json::from_value(spec.clone()).ok()?).err(),
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

/// Values near the edges of every rule, so that random specs break and keep each of them often.
fn edge(values: &'static [i64]) -> impl Strategy<Value = i64> {
    prop_oneof![8 => prop::sample::select(values), 1 => i64::from(i32::MIN)..=i64::from(i32::MAX)]
}

fn text(values: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(values)
}

/// One address for each way to be right or wrong.
const ADDRESSES: &[&str] = &[
    "172.16.21.10",
    "2001:db8::10",
    "2001:DB8::10",
    "::ffff:1.2.3.4",
    "127.0.0.1",
    "fe80::1",
    "fe80::1%1",
    "224.0.0.1",
    "255.255.255.255",
    "0.0.0.0",
    "::",
    "::1",
    "::1.2.3.4",
    "01.2.3.4",
    "1.2.3",
    "",
    "web",
];

fn any_address() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(ADDRESSES).prop_map(str::to_owned),
        2 => any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
        2 => any::<std::net::Ipv6Addr>().prop_map(|address| address.to_string()),
        1 => "[0-9a-f:.%/ ]{0,20}",
    ]
}

/// A field with a value, or without one.
fn maybe<T: Into<Value> + std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Value> {
    prop::option::weighted(0.6, value.prop_map(Into::into)).prop_map(|value| value.unwrap_or(Value::Null))
}

fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let set = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(set.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn any_ports() -> impl Strategy<Value = Value> {
    let protocol = maybe(text(&["TCP", "UDP", "UDP", "UDP", "SCTP"]));
    let entry = (edge(&[0, 1, 53, 80, 65_535, 65_536]), protocol)
        .prop_map(|(port, protocol)| object([("port", port.into()), ("protocol", protocol)]))
        .boxed();
    let lengths = prop_oneof![9 => 0..4_usize, 1 => 63..67_usize];
    lengths.prop_flat_map(move |length| prop::collection::vec(entry.clone(), length)).prop_map(Value::from)
}

fn any_selector() -> impl Strategy<Value = Value> {
    let values = maybe(prop::collection::vec(text(&["a", "b", ""]), 0..3).prop_map(Value::from));
    let expression = (text(&["In", "NotIn", "Exists", "DoesNotExist", "in", ""]), values).prop_map(
        |(operator, values)| object([("key", "k".into()), ("operator", operator.into()), ("values", values)]),
    );
    let labels = maybe(text(&["a", "b"]).prop_map(|value| json!({"app": value})));
    (labels, maybe(prop::collection::vec(expression, 0..4).prop_map(Value::from))).prop_map(
        |(labels, expressions)| object([("matchLabels", labels), ("matchExpressions", expressions)]),
    )
}

fn any_virtual_service() -> impl Strategy<Value = Value> {
    let persistence = (
        maybe(edge(&[0, 1, 300, 2_678_400, 2_678_401])),
        maybe(edge(&[0, 1, 32, 33, 128, 129])),
        maybe(Just("sip")),
    )
        .prop_map(|(timeout, prefix, engine)| {
            object([("timeoutSeconds", timeout), ("prefixLength", prefix), ("engine", engine)])
        });
    let who = (
        maybe(any_address()),
        maybe(any_ports()),
        maybe(edge(&[0, 1, 7, 4_294_967_295, 4_294_967_296])),
        maybe(text(&["IPv4", "IPv6"])),
    );
    let flags = prop::collection::vec(text(&["sh-port", "sh-fallback", "mh-port", "mh-fallback"]), 0..4);
    let how = (
        maybe(text(&["sh", "mh", "wlc"])),
        maybe(flags.prop_map(Value::from)),
        maybe(persistence),
        maybe(any::<bool>()),
        maybe(any_selector()),
    );
    (who, how).prop_map(
        |((vip, ports, mark, family), (scheduler, flags, persistence, one_packet, selector))| {
            object([
                ("vip", vip),
                ("ports", ports),
                ("firewallMark", mark),
                ("family", family),
                ("scheduler", scheduler),
                ("schedulerFlags", flags),
                ("persistence", persistence),
                ("onePacket", one_packet),
                ("realServerSelector", selector),
            ])
        },
    )
}

fn any_real_server() -> impl Strategy<Value = Value> {
    let threshold = || maybe(edge(&[-1, 0, 1, 5, 2_147_483_647, 2_147_483_648]));
    let weight = maybe(edge(&[-1, 0, 1, 65_535, 65_536]));
    let port = maybe(edge(&[0, 1, 80, 65_535, 65_536]));
    (any_address(), weight, maybe(any::<bool>()), threshold(), threshold(), port).prop_map(
        |(address, weight, drain, upper, lower, port)| {
            object([
                ("address", address.into()),
                ("weight", weight),
                ("drain", drain),
                ("upperThreshold", upper),
                ("lowerThreshold", lower),
                ("port", port),
            ])
        },
    )
}

proptest! {
    #[test]
    fn cel_and_rust_say_the_same_of_any_virtual_service(spec in any_virtual_service()) {
        prop_assert_eq!(told("VirtualService", &spec), Some(words(verdict("VirtualService", &spec))));
    }

    #[test]
    fn cel_and_rust_say_the_same_of_any_real_server(spec in any_real_server()) {
        prop_assert_eq!(told("RealServer", &spec), Some(words(verdict("RealServer", &spec))));
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
