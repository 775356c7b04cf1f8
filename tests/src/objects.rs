//! Objects of the API, for tests that need others than the tutorial's.

use serde_json::{Value, json};

const API_VERSION: &str = "lvs-operator.dev/v1alpha1";

/// A virtual service.
pub fn virtual_service(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": "VirtualService", "metadata": {"name": name}, "spec": spec})
}

/// A real server with the label `app`.
pub fn real_server(name: &str, app: &str, spec: &Value) -> Value {
    let metadata = json!({"name": name, "labels": {"app": app}});
    json!({"apiVersion": API_VERSION, "kind": "RealServer", "metadata": metadata, "spec": spec})
}

/// What selects real servers by that label.
pub fn selects(app: &str) -> Value {
    json!({"matchLabels": {"app": app}})
}

/// One file that holds them all. JSON is YAML.
pub fn manifest(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}
