use serde_json::Value;

use super::cases::{self, Breach, Case, Expected, verdict};
use super::*;
use crate::{DirectorSpec, RealServerSpec, VirtualServiceSpec};

/// All rules, of all kinds.
fn rules() -> Vec<Rule> {
    let of_real_servers = RealServerRule::ALL.iter().map(|rule| rule.rule());
    of_virtual_service().chain(of_real_servers).chain(of_director()).collect()
}

fn is_read(kind: &str, spec: &Value) -> bool {
    match kind {
        "RealServer" => serde_json::from_value::<RealServerSpec>(spec.clone()).is_ok(),
        "Director" => serde_json::from_value::<DirectorSpec>(spec.clone()).is_ok(),
        _ => serde_json::from_value::<VirtualServiceSpec>(spec.clone()).is_ok(),
    }
}

#[test]
fn the_schema_says_of_each_case_what_the_table_says() {
    for case in cases::all() {
        let mut expected = match case.expected_of_an_api_server() {
            Expected::Accepted => Vec::new(),
            Expected::Broken(breaches) => breaches,
            Expected::WrongType { .. } => continue,
        };
        expected.sort_by(|a, b| (&a.field, a.rule.message).cmp(&(&b.field, b.rule.message)));
        assert_eq!(verdict(case.kind, &case.spec), expected, "{}: {}", case.kind, case.name);
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

/// An API server refuses a CRD if the cost of a CEL rule over the longest possible value is beyond its
/// budget.
#[test]
fn every_list_and_every_text_that_a_rule_looks_into_has_a_limit() {
    fn look(schema: &Value, path: &str) {
        let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
        let expressions: Vec<&str> = rules.filter_map(|rule| rule["rule"].as_str()).collect();
        if expressions.iter().any(|rule| rule.contains("self.matches(") || rule.contains("bytes(self)")) {
            assert!(schema["maxLength"].is_u64(), "{path}");
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            look(field, &format!("{path}.{name}"));
        }
        let items = &schema["items"];
        if items.to_string().contains("x-kubernetes-validations") {
            assert!(schema["maxItems"].is_u64(), "{path}");
        }
        if items.is_object() {
            look(items, &format!("{path}[]"));
        }
    }
    for crd in crate::yaml::crds() {
        let schema =
            crd.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let schema = serde_json::to_value(schema).expect("a schema is JSON");
        look(&schema["properties"]["spec"], "spec");
        for list in ["ports", "schedulerFlags"] {
            if let Some(list) = schema["properties"]["spec"]["properties"].get(list) {
                assert!(list["maxItems"].is_u64(), "{list}: rules of the spec go through it");
            }
        }
    }
}

/// An API server refuses a CRD with a default that breaks a rule of the same node.
#[test]
fn no_object_is_a_default_because_its_rules_would_judge_it_too() {
    fn look(schema: &Value, path: &str) {
        assert!(!schema["default"].is_object(), "{path}");
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            look(field, &format!("{path}.{name}"));
        }
    }
    for crd in crate::yaml::crds() {
        let schema =
            crd.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let schema = serde_json::to_value(schema).expect("a schema is JSON");
        look(&schema["properties"]["spec"], "spec");
    }
}
