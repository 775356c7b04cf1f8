use serde_json::Value;

use super::cases::{self, Breach, Case, Expected, verdict};
use super::*;
use crate::{RealServerSpec, VirtualServiceSpec};

/// All rules, of both kinds.
fn rules() -> Vec<Rule> {
    let virtual_service = VirtualServiceRule::ALL.iter().map(|rule| rule.rule());
    virtual_service.chain(RealServerRule::ALL.iter().map(|rule| rule.rule())).collect()
}

fn is_read(kind: &str, spec: &Value) -> bool {
    match kind {
        "RealServer" => serde_json::from_value::<RealServerSpec>(spec.clone()).is_ok(),
        _ => serde_json::from_value::<VirtualServiceSpec>(spec.clone()).is_ok(),
    }
}

#[test]
fn the_schema_says_of_each_case_what_the_table_says() {
    for Case { name, kind, spec, expected } in cases::all() {
        let mut expected = match expected {
            Expected::Accepted => Vec::new(),
            Expected::Broken(breaches) => breaches,
            Expected::WrongType { .. } => continue,
        };
        expected.sort_by(|a, b| (&a.field, a.rule.message).cmp(&(&b.field, b.rule.message)));
        assert_eq!(verdict(kind, &spec), expected, "{kind}: {name}");
    }
}

#[test]
fn a_case_of_a_wrong_type_is_not_read_and_every_other_one_is() {
    for Case { name, kind, spec, expected } in cases::all() {
        let wrong = matches!(expected, Expected::WrongType { .. });
        assert_eq!(is_read(kind, &spec), !wrong, "{kind}: {name}");
    }
}

#[test]
fn every_rule_is_broken_by_a_case_that_breaks_nothing_else() {
    let alone: Vec<Rule> = cases::all()
        .into_iter()
        .filter_map(|case| match case.expected {
            Expected::Broken(breaches) => Some(breaches),
            Expected::Accepted | Expected::WrongType { .. } => None,
        })
        .filter_map(|breaches| <[Breach; 1]>::try_from(breaches).ok())
        .map(|[breach]| breach.rule)
        .collect();
    for rule in rules() {
        assert!(alone.contains(&rule), "no case breaks only this: {}", rule.message);
    }
}

#[test]
fn names_of_cases_are_unique() {
    let mut names: Vec<_> = cases::all().iter().map(|case| (case.kind, case.name)).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}

/// People quote a message without the path that the API server puts in front of it.
#[test]
fn a_message_begins_with_its_field_and_says_what_must_be() {
    for rule in rules() {
        let field = rule.field.trim_end_matches("[]").rsplit('.').next().unwrap_or_default();
        let rest = rule.message.strip_prefix(field);
        assert!(rest.is_some_and(|rest| rest.starts_with(" must ")), "{}: {}", rule.field, rule.message);
    }
}

/// An API server refuses a CRD if the cost of a CEL rule over the longest possible list is beyond its budget.
#[test]
fn every_list_that_a_rule_looks_at_has_a_limit() {
    for crd in crate::yaml::crds() {
        let schema =
            crd.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let schema = serde_json::to_value(schema).expect("a schema is JSON");
        for list in [
            "/properties/ports",
            "/properties/schedulerFlags",
            "/properties/realServerSelector/properties/matchExpressions",
        ] {
            if let Some(list) = schema.pointer(&format!("/properties/spec{list}")) {
                assert!(list["maxItems"].is_u64(), "{list}");
            }
        }
    }
}
