//! What the board says, as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use lvs_crds::{
    Condition, ConditionStatus, DirectorReport, DirectorRole, DirectorStatus, GROUP, RealServerStatus,
    VERSION, VirtualServiceStatus,
};
use lvs_plan::{Kind, ObjectKey, Spec};
use serde::Serialize;
use serde_json::{Value, json};

use crate::board::{Content, Entry};
use crate::source::SourceState;
use crate::status_value::{director_report, real_server_status, virtual_service_status};

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

/// What the next statuses need of those that were shown last: the time of a condition's last transition is the first
/// time that `/status` showed it. The statuses themselves, ten times as large, are not kept.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    shown: BTreeMap<ObjectKey, Shown>,
}

/// What was shown of one object.
#[derive(Debug, Default)]
struct Shown {
    conditions: Box<[Since]>,
    /// The generation that this Director programmed.
    programmed: Option<i64>,
}

/// The status of a condition.
#[derive(Debug)]
struct Since {
    type_: &'static str,
    status: ConditionStatus,
    /// Since when, in seconds since 1970.
    since: i64,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Status {
    Director(DirectorReport),
    VirtualService(VirtualServiceStatus),
    RealServer(RealServerStatus),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    api_version: String,
    kind: &'static str,
    metadata: Metadata<'a>,
    spec: ItemSpec<'a>,
    status: Status,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
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
    Director(&'a lvs_crds::DirectorSpec),
    VirtualService(&'a lvs_crds::VirtualServiceSpec),
    RealServer(&'a lvs_crds::RealServerSpec),
    /// Empty: the condition `Accepted` says what is wrong with the real one.
    Malformed(Value),
}

impl Statuses {
    /// `/status`, a `List`: the objects in the order of the board, which is by kind, namespace and name.
    pub(super) fn list(
        &mut self,
        entries: &[Arc<Entry>],
        node_name: &str,
        now: Timestamp,
    ) -> serde_json::Result<Vec<u8>> {
        let mut before = std::mem::take(&mut self.shown);
        let mut text = br#"{"apiVersion":"v1","kind":"List","items":["#.to_vec();
        for (number, entry) in entries.iter().enumerate() {
            let key = &entry.object.key;
            let before = before.remove(key).unwrap_or_default();
            let status = match key.kind {
                Kind::VirtualService => {
                    let previous = before.virtual_service(node_name);
                    Status::VirtualService(virtual_service_status(entry, node_name, Some(&previous), now))
                }
                Kind::Director => Status::Director(director_report(entry, Some(&before.director()), now)),
                Kind::RealServer => {
                    Status::RealServer(real_server_status(entry, Some(&before.real_server()), now))
                }
            };
            self.shown.insert(key.clone(), Shown::of(entry, &status));
            if number > 0 {
                text.push(b',');
            }
            serde_json::to_writer(&mut text, &item(entry, status))?;
        }
        text.extend_from_slice(b"]}");
        Ok(text)
    }
}

impl Shown {
    fn of(entry: &Entry, status: &Status) -> Self {
        let (conditions, directors) = match status {
            Status::VirtualService(status) => (&status.conditions, status.directors.as_slice()),
            Status::RealServer(status) => (&status.conditions, &[][..]),
            Status::Director(status) => (&status.conditions, &[][..]),
        };
        let conditions = entry.verdict.conditions.iter().zip(conditions);
        let conditions = conditions.filter_map(|(value, condition)| {
            let since = condition.last_transition_time.parse::<Timestamp>().ok()?.as_second();
            Some(Since { type_: value.type_, status: value.status, since })
        });
        Self {
            conditions: conditions.collect(),
            programmed: directors.first().and_then(|own| own.observed_generation),
        }
    }

    /// As much of the status as the next one is made from.
    fn virtual_service(&self, node_name: &str) -> VirtualServiceStatus {
        let own = DirectorStatus {
            name: node_name.to_owned(),
            role: DirectorRole::Unknown,
            programmed: false,
            observed_generation: self.programmed,
            message: String::new(),
        };
        VirtualServiceStatus {
            conditions: self.conditions(),
            directors: vec![own],
            ..VirtualServiceStatus::default()
        }
    }

    fn real_server(&self) -> RealServerStatus {
        RealServerStatus { conditions: self.conditions(), ..RealServerStatus::default() }
    }

    fn director(&self) -> DirectorReport {
        DirectorReport { conditions: self.conditions(), ..DirectorReport::default() }
    }

    fn conditions(&self) -> Vec<Condition> {
        let conditions = self.conditions.iter().filter_map(|Since { type_, status, since }| {
            Some(Condition {
                type_: (*type_).to_owned(),
                status: *status,
                observed_generation: None,
                last_transition_time: Timestamp::from_second(*since).ok()?.to_string(),
                reason: String::new(),
                message: String::new(),
            })
        });
        conditions.collect()
    }
}

fn item(entry: &Entry, status: Status) -> Item<'_> {
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
            Spec::Director(spec) => ItemSpec::Director(spec),
            Spec::Malformed(_) => ItemSpec::Malformed(match object.key.kind {
                Kind::Director | Kind::VirtualService => json!({}),
                Kind::RealServer => json!({"address": ""}),
            }),
        },
        status,
    }
}
