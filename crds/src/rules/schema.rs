//! Writing rules into an `OpenAPI` schema.

use schemars::Schema;
use serde_json::{Map, Value, json};

use super::{Check, Rule};

/// Adds a rule to the schema of a spec.
///
/// # Panics
/// If the schema has no such field: the table and the types disagree, which every test sees.
pub(super) fn add(spec: &mut Schema, rule: Rule) {
    let spec = spec.as_object_mut().expect("a struct's schema is an object");
    let node = descend(spec, rule.at);
    match rule.check {
        Check::Cel(expression) => add_cel(node, rule, expression),
        Check::Range(min, max) => {
            node.insert("minimum".to_owned(), min.into());
            node.insert("maximum".to_owned(), max.into());
        }
        Check::MaxItems(most) => {
            node.insert("maxItems".to_owned(), most.into());
        }
        Check::UniqueBy(keys) => {
            node.insert("x-kubernetes-list-type".to_owned(), "map".into());
            node.insert("x-kubernetes-list-map-keys".to_owned(), json!(keys));
        }
        Check::UniqueOf(most) => {
            node.insert("x-kubernetes-list-type".to_owned(), "set".into());
            node.insert("maxItems".to_owned(), most.into());
        }
        Check::MaxLength(most) => {
            node.insert("maxLength".to_owned(), most.into());
        }
        Check::Text(most, expression) => {
            node.insert("maxLength".to_owned(), most.into());
            add_cel(node, rule, expression);
        }
        Check::Ours => {}
    }
}

fn add_cel(node: &mut Map<String, Value>, rule: Rule, expression: &str) {
    let mut validation = json!({"rule": expression, "message": rule.message});
    let below = rule.field.strip_prefix(rule.at).expect("the field is the node or below it");
    if !below.is_empty() {
        validation["fieldPath"] = below.into();
    }
    let list = node.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
    list.as_array_mut().expect("it is made as a list").push(validation);
}

/// The node at a path like `spec.ports[].port`, seen from the spec.
fn descend<'a>(spec: &'a mut Map<String, Value>, path: &str) -> &'a mut Map<String, Value> {
    path.split('.').skip(1).fold(spec, |node, segment| {
        let name = segment.trim_end_matches("[]");
        let field = node.get_mut("properties").and_then(|properties| properties.get_mut(name));
        let node = if segment.ends_with("[]") { field.and_then(|list| list.get_mut("items")) } else { field };
        node.and_then(Value::as_object_mut).unwrap_or_else(|| panic!("no field {path} in the schema"))
    })
}
