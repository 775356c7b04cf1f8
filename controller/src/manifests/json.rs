//! What does not fit in an object that came as JSON, by field and in the words that a file's fault would have.

use lvs_plan::validate::Violation;
use serde::de::DeserializeOwned;

use super::tree::{Entry, Node, Position, Value};
use super::typed::{Path, read};

/// Why the JSON is no `T`; none if it is one, apart from fields that `T` does not know.
pub(crate) fn violation<T: DeserializeOwned>(json: &serde_json::Value) -> Option<Violation> {
    let mut faults = Vec::new();
    if read::<T>(&node(json), &Path::Root, &mut faults).is_some() {
        return None;
    }
    // What ended the reading comes last, after the fields that were passed over.
    faults.pop().map(|fault| Violation { field: fault.field, message: fault.message })
}

fn node(json: &serde_json::Value) -> Node {
    let value = match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Value::Unsigned(number),
            (None, Some(number)) => Value::Signed(number),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::Text(text.clone()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(node).collect()),
        serde_json::Value::Object(fields) => {
            let entry = |(key, value): (&String, &serde_json::Value)| Entry {
                key: key.clone(),
                key_at: Position::default(),
                node: node(value),
            };
            Value::Map(fields.iter().map(entry).collect())
        }
    };
    Node { at: Position::default(), value }
}

#[cfg(test)]
mod tests {
    use lvs_crds::VirtualService;
    use serde_json::json;

    use super::*;

    fn web(spec: &serde_json::Value) -> serde_json::Value {
        json!({"apiVersion": "lvs-operator.dev/v1alpha1", "kind": "VirtualService",
               "metadata": {"name": "web", "creationTimestamp": "2026-11-24T13:00:00Z"}, "spec": spec})
    }

    #[test]
    fn the_field_that_does_not_fit_is_named_at_any_depth() {
        for (spec, field, words) in [
            (json!(7), "spec", "this is the number 7, not a mapping"),
            (json!({"vip": 7}), "spec.vip", "expected a string"),
            (json!({"ports": [{"port": 80}, {"port": "81"}]}), "spec.ports[1].port", "expected i32"),
            (json!({"scheduler": "future"}), "spec.scheduler", "unknown variant `future`"),
            (json!({"later": 1, "vip": -7.5}), "spec.vip", "expected a string"),
        ] {
            let violation = violation::<VirtualService>(&web(&spec)).expect("it does not fit");
            assert_eq!(violation.field, field, "{spec}");
            assert!(violation.message.contains(words), "{spec}: {violation}");
        }
    }

    #[test]
    fn an_object_with_fields_of_a_later_version_fits() {
        assert_eq!(violation::<VirtualService>(&web(&json!({"vip": "172.16.21.10", "later": [1]}))), None);
    }
}
