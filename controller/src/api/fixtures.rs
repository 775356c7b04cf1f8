//! Test builders.

use std::path::PathBuf;
use std::sync::Arc;

use lvs_crds::RealServerSpec;
use lvs_plan::{Kind, Object, ObjectKey, Spec};

use crate::args::{LogFormat, Node};

pub(super) fn node(name: &str, kubeconfig: Option<&str>) -> Node {
    Node {
        node_name: name.to_owned(),
        manifests: None,
        kubeconfig: kubeconfig.map(PathBuf::from),
        state_dir: PathBuf::from("/nowhere"),
        vip_interface: None,
        log_format: LogFormat::Text,
    }
}

pub(super) fn real_server(name: &str) -> Object {
    let spec: RealServerSpec =
        serde_json::from_value(serde_json::json!({"address": "192.168.40.12"})).expect("a test's spec");
    Object {
        key: ObjectKey::new(Kind::RealServer, "default", name),
        uid: format!("uid-of-{name}"),
        generation: 1,
        created: 0,
        labels: [("app".to_owned(), "web".to_owned())].into(),
        file: None,
        spec: Spec::RealServer(Arc::new(spec)),
    }
}

pub(super) fn address_of(mut object: Object, address: std::net::IpAddr) -> Object {
    let spec = serde_json::from_value(serde_json::json!({"address": address.to_string()}));
    object.spec = Spec::RealServer(Arc::new(spec.expect("a test's spec")));
    object
}

pub(super) fn label(mut object: Object, name: &str, value: &str) -> Object {
    object.labels.insert(name.to_owned(), value.to_owned());
    object
}

pub(super) fn generation(mut object: Object, generation: i64) -> Object {
    object.generation = generation;
    object
}
