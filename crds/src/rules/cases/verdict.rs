//! What an API server would say, without one: CEL by `kube-cel`, the few `OpenAPI` words that rules use by hand.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kube::core::cel::{CompiledSchema, Validator, apply_defaults, compile_schema};
use serde_json::{Value, json};

use super::Breach;
use crate::rules::{self, Check, Rule};
use crate::{Director, RealServer, VirtualService};

/// The rules that a spec breaks by the schema and the CEL expressions of its CRD, sorted by field and message.
///
/// It is stricter than an API server in one point: that one asks no CEL rule once a list or a text is too
/// long. Of rules that are ours alone it says nothing.
///
/// # Panics
/// If the kind is none of ours, or if an expression does not compile.
pub fn verdict(kind: &str, spec: &Value) -> Vec<Breach> {
    thread_local! {
        static VIRTUAL_SERVICE: Schema = Schema::of(&VirtualService::crd());
        static REAL_SERVER: Schema = Schema::of(&RealServer::crd());
        static DIRECTOR: Schema = Schema::of(&Director::crd());
        static VALIDATOR: Validator = Validator::new();
    }
    let (schema, rules): (_, Vec<Rule>) = match kind {
        "VirtualService" => (&VIRTUAL_SERVICE, rules::of_virtual_service().collect()),
        "RealServer" => (&REAL_SERVER, rules::of_real_server().collect()),
        "Director" => (&DIRECTOR, rules::of_director().collect()),
        _ => panic!("no kind {kind}"),
    };
    schema.with(|schema| VALIDATOR.with(|validator| judge(schema, validator, &rules, spec)))
}

/// A CRD's schema, and its CEL expressions compiled.
struct Schema {
    open_api: Value,
    cel: CompiledSchema,
}

impl Schema {
    fn of(crd: &CustomResourceDefinition) -> Self {
        let schema =
            crd.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let open_api =
            serde_json::to_value(schema.expect("a derived CRD has a schema")).expect("a schema is JSON");
        let cel = compile_schema(&open_api);
        Self { open_api, cel }
    }
}

fn judge(schema: &Schema, validator: &Validator, rules: &[Rule], spec: &Value) -> Vec<Breach> {
    let object = apply_defaults(&schema.open_api, &json!({"spec": spec}));
    let mut breaches = Vec::new();
    look(&schema.open_api, &object, "", &mut |path, keyword| {
        let node = without_indexes(path);
        let rule = rules.iter().find(|rule| {
            let place = if matches!(keyword, Keyword::Repeated) { rule.field } else { rule.at };
            place == node && keyword.is(rule.check)
        });
        let rule = *rule.unwrap_or_else(|| panic!("the schema has a limit at {path} that is no rule"));
        breaches.push(Breach { rule, field: path.to_owned() });
    });
    if let Err(errors) = validator.validate_compiled(&schema.cel, &object, None) {
        for error in errors.into_vec() {
            let rule = rules.iter().find(|rule| {
                rule.message == error.message && rule.field == without_indexes(&error.field_path)
            });
            let rule =
                *rule.unwrap_or_else(|| panic!("CEL failed at {}: {}", error.field_path, error.message));
            breaches.push(Breach { rule, field: error.field_path });
        }
    }
    breaches.sort_by(|a, b| (&a.field, a.rule.message).cmp(&(&b.field, b.rule.message)));
    // Text that is too long may break the rule's expression too.
    breaches.dedup();
    breaches
}

#[derive(Clone, Copy)]
enum Keyword {
    OutOfRange,
    TooMany,
    TooLong,
    Repeated,
}

impl Keyword {
    fn is(self, check: Check) -> bool {
        match self {
            Self::OutOfRange => matches!(check, Check::Range(..)),
            Self::TooMany => matches!(check, Check::MaxItems(_)),
            Self::TooLong => matches!(check, Check::MaxLength(_) | Check::Text(..)),
            Self::Repeated => matches!(check, Check::UniqueBy(_) | Check::UniqueOf(_)),
        }
    }
}

/// Walks schema and value together and reports what is beyond a limit.
fn look(schema: &Value, value: &Value, path: &str, report: &mut dyn FnMut(&str, Keyword)) {
    if let Some(number) = value.as_f64() {
        let below = schema["minimum"].as_f64().is_some_and(|minimum| number < minimum);
        let above = schema["maximum"].as_f64().is_some_and(|maximum| number > maximum);
        if below || above {
            report(path, Keyword::OutOfRange);
        }
    }
    if let (Some(text), Some(most)) = (value.as_str(), schema["maxLength"].as_u64())
        && text.chars().count() as u64 > most
    {
        report(path, Keyword::TooLong);
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        look(&schema["properties"][name], field, &path, report);
    }
    let Some(items) = value.as_array() else { return };
    let keys = schema["x-kubernetes-list-map-keys"].as_array();
    let identity = |item: &Value| match keys {
        Some(keys) => keys.iter().map(|key| item[key.as_str().unwrap_or_default()].clone()).collect(),
        None => item.clone(),
    };
    // A set's limit only bounds the cost of CEL: whoever is beyond it repeats something.
    let is_set = schema["x-kubernetes-list-type"] == "set";
    if !is_set && schema["maxItems"].as_u64().is_some_and(|most| items.len() as u64 > most) {
        report(path, Keyword::TooMany);
    }
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if (is_set || keys.is_some())
            && items[..index].iter().any(|earlier| identity(earlier) == identity(item))
        {
            report(&path, Keyword::Repeated);
        }
        look(&schema["items"], item, &path, report);
    }
}

/// `spec.ports[1].port` as the table writes it: `spec.ports[].port`.
fn without_indexes(path: &str) -> String {
    let mut inside = false;
    let keep = |letter: &char| {
        if *letter == ']' {
            inside = false;
        }
        let keep = !inside;
        if *letter == '[' {
            inside = true;
        }
        keep
    };
    path.chars().filter(keep).collect()
}
