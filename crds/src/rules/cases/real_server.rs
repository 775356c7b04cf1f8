//! Cases of `RealServer`.

use serde_json::{Value, json};

use super::{Breach, Case, Expected};
use crate::rules::RealServerRule as Rule;

/// A spec that keeps every rule, with some fields changed.
fn rs(changes: &Value) -> Value {
    let mut spec = json!({"address": "192.168.40.12"});
    for (name, value) in changes.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    spec
}

pub(super) fn cases() -> Vec<Case> {
    let kind = "RealServer";
    let mut cases: Vec<Case> = accepted()
        .into_iter()
        .map(|(name, spec)| Case { name, kind, spec, expected: Expected::Accepted })
        .collect();
    cases.extend(broken().into_iter().map(|(name, spec, rule, field)| {
        let breach = Breach { rule: rule.rule(), field: field.to_owned() };
        Case { name, kind, spec, expected: Expected::Broken(vec![breach]) }
    }));
    cases.extend(wrong_type().into_iter().map(|(name, spec, field, words)| Case {
        name,
        kind,
        spec,
        expected: Expected::WrongType { field, words },
    }));
    cases
}

fn accepted() -> Vec<(&'static str, Value)> {
    vec![
        ("the least that works", rs(&json!({}))),
        ("an IPv6 address", rs(&json!({"address": "2001:db8::12"}))),
        ("weight 0", rs(&json!({"weight": 0}))),
        ("the highest weight", rs(&json!({"weight": 65535}))),
        ("drained", rs(&json!({"drain": true}))),
        ("the first port", rs(&json!({"port": 1}))),
        ("the last port", rs(&json!({"port": 65535}))),
        ("an upper threshold", rs(&json!({"upperThreshold": 2_147_483_647}))),
        ("equal thresholds", rs(&json!({"upperThreshold": 5, "lowerThreshold": 5}))),
        ("thresholds that are off", rs(&json!({"upperThreshold": 0, "lowerThreshold": 0}))),
        ("in maintenance", rs(&json!({"maintenance": true}))),
        ("checks from an address", rs(&json!({"healthCheck": {"sourceAddress": "192.168.40.2"}}))),
        (
            "checks from an IPv6 address",
            rs(&json!({"address": "2001:db8::12", "healthCheck": {"sourceAddress": "2001:db8::1"}})),
        ),
        ("a check that needs a port", rs(&json!({"healthCheck": {"http": {}}}))),
        ("a lower threshold that is off", rs(&json!({"lowerThreshold": 0}))),
    ]
}

fn broken() -> Vec<(&'static str, Value, Rule, &'static str)> {
    let at = |address: &str| rs(&json!({"address": address}));
    vec![
        ("a host name for an address", at("rs1.example"), Rule::AddressIsAddress, "spec.address"),
        ("an empty address", at(""), Rule::AddressIsAddress, "spec.address"),
        ("an address with a prefix length", at("192.168.40.12/24"), Rule::AddressIsAddress, "spec.address"),
        ("an address with a zone", at("fe80::12%eth0"), Rule::AddressIsAddress, "spec.address"),
        ("an IPv4-mapped address", at("::ffff:192.168.40.12"), Rule::AddressIsAddress, "spec.address"),
        ("an address in capitals", at("2001:DB8::12"), Rule::AddressIsCanonical, "spec.address"),
        (
            "an address with zeros written out",
            at("2001:db8:0:0::12"),
            Rule::AddressIsCanonical,
            "spec.address",
        ),
        ("a loopback address", at("127.0.0.1"), Rule::AddressIsGlobalUnicast, "spec.address"),
        ("a link-local address", at("fe80::12"), Rule::AddressIsGlobalUnicast, "spec.address"),
        ("a multicast address", at("239.1.2.3"), Rule::AddressIsGlobalUnicast, "spec.address"),
        ("the broadcast address", at("255.255.255.255"), Rule::AddressIsGlobalUnicast, "spec.address"),
        ("an unspecified address", at("0.0.0.0"), Rule::AddressIsGlobalUnicast, "spec.address"),
        ("a negative weight", rs(&json!({"weight": -1})), Rule::WeightInRange, "spec.weight"),
        ("weight 65536", rs(&json!({"weight": 65536})), Rule::WeightInRange, "spec.weight"),
        (
            "a negative upper threshold",
            rs(&json!({"upperThreshold": -1})),
            Rule::UpperThresholdInRange,
            "spec.upperThreshold",
        ),
        (
            "upper threshold 2^31",
            rs(&json!({"upperThreshold": 2_147_483_648_i64})),
            Rule::UpperThresholdInRange,
            "spec.upperThreshold",
        ),
        (
            "a negative lower threshold",
            rs(&json!({"lowerThreshold": -1})),
            Rule::LowerThresholdInRange,
            "spec.lowerThreshold",
        ),
        (
            "thresholds out of order",
            rs(&json!({"upperThreshold": 4, "lowerThreshold": 5})),
            Rule::ThresholdsInOrder,
            "spec.lowerThreshold",
        ),
        (
            "a lower threshold alone",
            rs(&json!({"lowerThreshold": 5})),
            Rule::ThresholdsInOrder,
            "spec.lowerThreshold",
        ),
        ("port 0", rs(&json!({"port": 0})), Rule::PortInRange, "spec.port"),
        ("port 65536", rs(&json!({"port": 65536})), Rule::PortInRange, "spec.port"),
        (
            "checks from another family",
            rs(&json!({"healthCheck": {"sourceAddress": "2001:db8::1"}})),
            Rule::SourceAddressFitsAddress,
            "spec.healthCheck.sourceAddress",
        ),
    ]
}

fn wrong_type() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    vec![
        ("no address", json!({"weight": 1}), "spec.address", "Required value"),
        ("a weight in quotes", rs(&json!({"weight": "2"})), "spec.weight", "must be of type integer"),
        ("a weight with a fraction", rs(&json!({"weight": 1.5})), "spec.weight", "must be of type int"),
        ("drain in words", rs(&json!({"drain": "yes"})), "spec.drain", "must be of type boolean"),
    ]
}
