//! `docs/fields.md` and the code name the same fields, limits, conditions and reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lvs_crds::yaml;
use lvs_plan::conditions::{self, Checks, Findings};
use lvs_plan::health::{Drain, InForce, Probe, Verdict};
use lvs_plan::object::Spec;
use lvs_plan::settings::{self, Standing};
use lvs_plan::{Change, Inventory, Kind, Object, ObjectKey, Reason, ServiceKey};
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("../../../docs/fields.md");

const KINDS: [&str; 3] = ["VirtualService", "RealServer", "Director"];

/// The rows of all tables below a heading, by the code in their first cell.
fn rows(heading: &str) -> BTreeMap<&'static str, &'static str> {
    let (_, after) = DOCUMENT.split_once(&format!("\n## {heading}\n")).expect("the heading is there");
    let section = after.split("\n## ").next().unwrap_or_default();
    section.lines().filter_map(|line| Some((line.strip_prefix("| `")?.split_once('`')?.0, line))).collect()
}

/// The rows of a kind. Those of its health check are in a table that two kinds share.
fn rows_of(kind: &str) -> BTreeMap<&'static str, &'static str> {
    if kind == "Director" {
        return rows(kind);
    }
    rows(kind).into_iter().chain(rows("Health check")).collect()
}

/// Every field of a CRD's spec and status, `spec.ports[].port`, with its schema.
fn fields(kind: &str) -> BTreeMap<String, Value> {
    fn look(schema: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            look(field, &path, found);
            look(&field["items"], &format!("{path}[]"), found);
            found.insert(path, field.clone());
        }
    }
    let crds = yaml::crds();
    let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).expect("the kind has a CRD");
    let schema = crd.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    let mut found = BTreeMap::new();
    look(&serde_json::to_value(schema).expect("a schema is JSON"), "", &mut found);
    found.retain(|path, _| path != "spec" && path != "status");
    found
}

/// What a reader has to find in the row of a field.
fn facts(field: &Value) -> Vec<String> {
    let mut facts = Vec::new();
    for limit in [&field["minimum"], &field["maximum"], &field["maxItems"]] {
        facts.extend(limit.as_f64().map(|limit| limit.to_string()));
    }
    if !field["default"].is_null() {
        facts.push(format!(
            "| `{}` |",
            field["default"].as_str().map_or_else(|| field["default"].to_string(), str::to_owned)
        ));
    }
    let values = field["enum"].as_array().or_else(|| field["items"]["enum"].as_array());
    facts.extend(values.into_iter().flatten().filter_map(Value::as_str).map(|value| format!("`{value}`")));
    facts
}

#[test]
fn every_field_is_in_the_document_with_its_limits_and_default() {
    for kind in KINDS {
        let rows = rows_of(kind);
        for (path, field) in fields(kind) {
            let row = rows.get(path.as_str()).unwrap_or_else(|| panic!("docs/fields.md lacks {kind} {path}"));
            for fact in facts(&field) {
                assert!(row.contains(&fact), "docs/fields.md does not say {fact} of {kind} {path}");
            }
        }
    }
}

#[test]
fn the_document_names_no_field_that_is_not_there() {
    for kind in KINDS {
        let fields = fields(kind);
        let named =
            rows_of(kind).into_keys().filter(|name| name.starts_with("spec.") || name.starts_with("status."));
        let unknown: Vec<_> = named.filter(|name| !fields.contains_key(*name)).collect();
        assert!(unknown.is_empty(), "docs/fields.md names fields of {kind} that are not there: {unknown:?}");
    }
}

#[test]
fn the_document_explains_every_reason_and_no_other() {
    let explained: BTreeSet<&str> = rows("Reasons").into_keys().collect();
    let known: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(explained, known);
}

struct NothingKnown;

impl Checks for NothingKnown {
    fn in_force(&self, _: &ServiceKey) -> Option<&InForce> {
        None
    }

    fn verdict(&self, _: &Probe) -> (Verdict, Option<&str>) {
        (Verdict::Unknown, None)
    }

    fn drain(&self, _: &ObjectKey) -> Option<&Drain> {
        None
    }

    fn overloaded(&self, _: &ObjectKey) -> Option<&BTreeSet<ServiceKey>> {
        None
    }
}

#[test]
fn the_document_explains_every_condition_and_no_other() {
    let key = |kind| ObjectKey::new(kind, "default", "web");
    let spec = |value: Value| serde_json::from_value(value).expect("a test's spec");
    let virtual_service =
        Spec::VirtualService(Arc::new(spec(json!({"vip": "172.16.21.10", "ports": [{"port": 80}]}))));
    let spec = |value: Value| serde_json::from_value(value).expect("a test's spec");
    let real_server = Spec::RealServer(Arc::new(spec(
        json!({"address": "192.168.40.12", "drain": true, "upperThreshold": 9}),
    )));
    let mut inventory = Inventory::default();
    for (kind, spec) in [(Kind::VirtualService, virtual_service), (Kind::RealServer, real_server)] {
        let labels = BTreeMap::new();
        let object = Object {
            key: key(kind),
            uid: String::new(),
            generation: 1,
            created: 0,
            labels,
            file: None,
            spec,
        };
        inventory.change(Change::upsert(object));
    }
    let (services, vips) = (BTreeMap::new(), BTreeMap::new());
    let record = inventory.virtual_service(&key(Kind::VirtualService)).expect("it is there");
    let findings = Findings { services: &services, vips: &vips, unreadable: None, checks: &NothingKnown };
    let report = conditions::virtual_service(record, findings);
    let record = inventory.real_server(&key(Kind::RealServer)).expect("it is there");
    let of_real_server = conditions::real_server(&key(Kind::RealServer), record, &inventory, &NothingKnown);
    let of_director = settings::conditions(&Standing::InForce, &[]);
    let known: BTreeSet<&str> = report
        .conditions
        .iter()
        .chain(&of_real_server)
        .chain(&of_director)
        .map(|condition| condition.type_)
        .collect();
    assert_eq!(rows("Conditions").into_keys().collect::<BTreeSet<_>>(), known);
}
