//! What the board says, as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use lvs_crds::{GROUP, RealServerStatus, VERSION, VirtualServiceStatus};
use lvs_plan::{Kind, ObjectKey, Spec};
use serde::Serialize;
use serde_json::{Value, json};

use crate::board::{Content, Entry};
use crate::source::SourceState;
use crate::status_value::{real_server_status, virtual_service_status};

/// Why the agent is not ready; empty when it is.
pub(super) fn not_ready(content: &Content) -> Vec<String> {
    if content.not_ready.is_empty() && !content.source.complete {
        // Before the driver's first word.
        return vec!["the objects have not been read yet".to_owned()];
    }
    content.not_ready.clone()
}

/// `/debug/state`.
pub(super) fn debug(content: &Content, node_name: &str) -> serde_json::Result<Vec<u8>> {
    let SourceState { complete, up_to_date, message, findings, held_files } = &content.source;
    let held_files: Vec<&str> = held_files.iter().map(|file| &**file).collect();
    let mut kinds = BTreeMap::from([("RealServer", 0), ("VirtualService", 0)]);
    for key in content.entries.keys() {
        *kinds.entry(key.kind.as_str()).or_default() += 1;
    }
    let not_ready = not_ready(content);
    let mut state = json!({
        "node": node_name,
        "version": env!("CARGO_PKG_VERSION"),
        "ready": not_ready.is_empty(),
        "notReady": not_ready,
        "source": {
            "complete": complete,
            "upToDate": up_to_date,
            "message": message,
            "heldFiles": held_files,
        },
        "sources": findings,
        "objects": kinds,
    });
    if let Value::Object(state) = &mut state {
        for (name, value) in &content.debug {
            state.entry(*name).or_insert_with(|| value.clone());
        }
    }
    serde_json::to_vec_pretty(&state)
}

/// The statuses that were shown last. Their conditions give the next ones the time of their last transition: the
/// first time that `/status` showed it.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    shown: BTreeMap<ObjectKey, Status>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Status {
    VirtualService(VirtualServiceStatus),
    RealServer(RealServerStatus),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<Item<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    api_version: String,
    kind: &'static str,
    metadata: Metadata<'a>,
    spec: ItemSpec<'a>,
    status: &'a Status,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    generation: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_timestamp: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ItemSpec<'a> {
    VirtualService(&'a lvs_crds::VirtualServiceSpec),
    RealServer(&'a lvs_crds::RealServerSpec),
    /// Empty: the condition `Accepted` says what is wrong with the real one.
    Malformed(Value),
}

impl Statuses {
    /// `/status`: the objects in the order of the board, which is by kind, namespace and name.
    pub(super) fn list(
        &mut self,
        entries: &[Arc<Entry>],
        node_name: &str,
        now: Timestamp,
    ) -> serde_json::Result<Vec<u8>> {
        let mut shown = BTreeMap::new();
        for entry in entries {
            let key = &entry.object.key;
            let previous = self.shown.remove(key);
            let status = match key.kind {
                Kind::VirtualService => {
                    let previous = match &previous {
                        Some(Status::VirtualService(status)) => Some(status),
                        _ => None,
                    };
                    Status::VirtualService(virtual_service_status(entry, node_name, previous, now))
                }
                Kind::RealServer => {
                    let previous = match &previous {
                        Some(Status::RealServer(status)) => Some(status),
                        _ => None,
                    };
                    Status::RealServer(real_server_status(entry, previous, now))
                }
            };
            shown.insert(key.clone(), status);
        }
        self.shown = shown;
        let items = entries.iter().filter_map(|entry| Some(item(entry, self.shown.get(&entry.object.key)?)));
        serde_json::to_vec(&List { api_version: "v1", kind: "List", items: items.collect() })
    }
}

fn item<'a>(entry: &'a Entry, status: &'a Status) -> Item<'a> {
    let object = &entry.object;
    Item {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: object.key.kind.as_str(),
        metadata: Metadata {
            name: &object.key.name,
            namespace: &object.key.namespace,
            uid: &object.uid,
            generation: object.generation,
            // Files have no time of creation.
            creation_timestamp: (object.created > 0)
                .then(|| Timestamp::from_second(object.created).ok().map(|time| time.to_string()))
                .flatten(),
            labels: &object.labels,
        },
        spec: match &object.spec {
            Spec::VirtualService(spec) => ItemSpec::VirtualService(spec),
            Spec::RealServer(spec) => ItemSpec::RealServer(spec),
            Spec::Malformed(_) => ItemSpec::Malformed(match object.key.kind {
                Kind::VirtualService => json!({}),
                Kind::RealServer => json!({"address": ""}),
            }),
        },
        status,
    }
}
