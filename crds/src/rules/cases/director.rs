//! Cases of `Director`.

use serde_json::{Value, json};

use super::{Breach, Case, Expected};
use crate::rules::DirectorRule as Rule;

const KIND: &str = "Director";

pub(super) fn cases() -> Vec<Case> {
    let case = |name, spec, expected| Case { name, kind: KIND, spec, expected };
    let accepted = accepted().into_iter().map(|(name, spec)| case(name, spec, Expected::Accepted));
    let broken = broken().into_iter().map(|(name, spec, rule, field)| {
        let breach = Breach { rule: rule.rule(), field: field.to_owned() };
        case(name, spec, Expected::Broken(vec![breach]))
    });
    let wrong_type = wrong_type()
        .into_iter()
        .map(|(name, spec, field, words)| case(name, spec, Expected::WrongType { field, words }));
    accepted.chain(broken).chain(wrong_type).collect()
}

fn timeouts(timeouts: &Value) -> Value {
    json!({"timeouts": timeouts})
}

fn accepted() -> Vec<(&'static str, Value)> {
    vec![
        ("an empty spec", json!({})),
        ("timeouts of nothing", timeouts(&json!({}))),
        ("one timeout", timeouts(&json!({"udp": 30}))),
        ("the shortest timeouts", timeouts(&json!({"tcp": 1, "tcpFin": 1, "udp": 1}))),
        ("the longest timeouts", timeouts(&json!({"tcp": 2_147_483, "tcpFin": 2_147_483, "udp": 2_147_483}))),
    ]
}

fn broken() -> Vec<(&'static str, Value, Rule, &'static str)> {
    vec![
        ("tcp 0", timeouts(&json!({"tcp": 0})), Rule::TcpInRange, "spec.timeouts.tcp"),
        ("tcp too long", timeouts(&json!({"tcp": 2_147_484})), Rule::TcpInRange, "spec.timeouts.tcp"),
        ("tcpFin 0", timeouts(&json!({"tcpFin": 0})), Rule::TcpFinInRange, "spec.timeouts.tcpFin"),
        (
            "tcpFin too long",
            timeouts(&json!({"tcpFin": 2_147_484})),
            Rule::TcpFinInRange,
            "spec.timeouts.tcpFin",
        ),
        ("udp below 0", timeouts(&json!({"udp": -1})), Rule::UdpInRange, "spec.timeouts.udp"),
        ("udp too long", timeouts(&json!({"udp": 2_147_484})), Rule::UdpInRange, "spec.timeouts.udp"),
    ]
}

fn wrong_type() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    vec![
        (
            "a timeout in quotes",
            timeouts(&json!({"tcp": "900"})),
            "spec.timeouts.tcp",
            "must be of type integer",
        ),
        (
            "a timeout with a fraction",
            timeouts(&json!({"udp": 1.5})),
            "spec.timeouts.udp",
            "must be of type int",
        ),
    ]
}
