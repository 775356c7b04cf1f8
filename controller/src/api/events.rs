//! Kubernetes events (`events.k8s.io/v1`): what happened, told once; the same again only counts.
//!
//! kube's recorder counts events together whose text differs, and would then show the oldest text; these differ by
//! the text most of all.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use lvs_crds::{GROUP, VERSION};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tracing::info;

use super::backoff::Backoff;
use super::complaint::{Complaint, Outage};
use super::connect::{Connection, explain, is_away};
use super::lease::within;
use crate::board::{Board, Transition};

/// Where events about what has no namespace are.
const NO_NAMESPACE: &str = "default";
/// `reportingController`.
const CONTROLLER: &str = "lvs-operator.dev/director";
/// Events that wait to be sent. While the API server is away for long, further ones are dropped and counted.
const QUEUE: usize = 256;
/// Events that are not worth sending any more: older than this.
const STALE: Duration = Duration::from_mins(15);
/// The same event within this time counts up the first one.
const SERIES: Duration = Duration::from_mins(6);
/// The server's limits (`pkg/apis/core/validation/events.go`).
const NOTE_BYTES: usize = 1024;
const INSTANCE_BYTES: usize = 128;
/// Between two events: what a bad day may cost the API server.
const INTERVAL: Duration = Duration::from_millis(100);

/// Where the status writer puts what it finds on the board. Never waits.
#[derive(Clone, Debug)]
pub(super) struct EventQueue {
    board: Board,
    sender: mpsc::Sender<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    transition: Transition,
    at: Timestamp,
    since: Instant,
}

/// A queue and its other end.
pub(super) fn queue(board: Board, outage: Outage) -> (EventQueue, Recorder) {
    let (sender, waiting) = mpsc::channel(QUEUE);
    let recorder = Recorder {
        waiting,
        held: None,
        series: BTreeMap::new(),
        complaint: Complaint::new(outage),
        board: board.clone(),
    };
    (EventQueue { board, sender }, recorder)
}

impl EventQueue {
    pub(super) fn push(&self, transitions: impl IntoIterator<Item = Transition>) {
        let (now, since) = (Timestamp::now(), Instant::now());
        for (n, transition) in (0_i64..).zip(transitions) {
            // The time is part of an event's name.
            let at = now.checked_add(SignedDuration::from_nanos(n)).unwrap_or(now);
            if self.sender.try_send(Waiting { transition, at, since }).is_err() {
                count_dropped(&self.board);
            }
        }
    }
}

fn count_dropped(board: &Board) {
    let mut content = board.lock();
    let dropped = content.debug.entry("eventsDropped").or_insert_with(|| json!(0));
    *dropped = json!(dropped.as_u64().unwrap_or_default() + 1);
}

/// Sends events, one at a time. It outlives the connection.
pub(super) struct Recorder {
    waiting: mpsc::Receiver<Waiting>,
    /// Taken from the queue and not sent yet.
    held: Option<Waiting>,
    series: BTreeMap<Same, Series>,
    complaint: Complaint,
    board: Board,
}

/// Events that differ in nothing but their time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Same {
    uid: String,
    reason: &'static str,
    action: &'static str,
    note: String,
}

#[derive(Debug)]
struct Series {
    name: String,
    count: i32,
    last: Instant,
}

impl Recorder {
    /// Sends what comes, once there is a connection. Ends never, or when nobody can send any more.
    pub(super) async fn run(&mut self, node_name: &str, mut connection: watch::Receiver<Option<Connection>>) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        loop {
            let waiting = match self.held.take() {
                Some(waiting) => waiting,
                None => match self.waiting.recv().await {
                    Some(waiting) => waiting,
                    None => return,
                },
            };
            if waiting.since.elapsed() > STALE {
                count_dropped(&self.board);
                continue;
            }
            let Some(connected) = connection.borrow_and_update().clone() else {
                self.held = Some(waiting);
                if connection.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match self.send(&connected, node_name, &waiting).await {
                Ok(()) => {
                    backoff.reset();
                    if self.complaint.succeeded() {
                        info!("events can be recorded again");
                    }
                    tokio::time::sleep(INTERVAL).await;
                }
                Err(error) => {
                    let message = explain(&error, "record events", &connected.address);
                    self.complaint.failed(&error, message, None);
                    if is_away(&error) {
                        self.held = Some(waiting);
                        tokio::time::sleep(backoff.wait()).await;
                    } else {
                        count_dropped(&self.board);
                    }
                }
            }
        }
    }

    async fn send(
        &mut self,
        connection: &Connection,
        node_name: &str,
        waiting: &Waiting,
    ) -> Result<(), kube::Error> {
        self.series.retain(|_, series| series.last.elapsed() < SERIES);
        let transition = &waiting.transition;
        let api: Api<Event> = Api::namespaced(connection.client.clone(), namespace(transition));
        let same = Same {
            uid: transition.uid.clone(),
            reason: transition.reason.as_str(),
            action: transition.action,
            note: transition.note.clone(),
        };
        if let Some(series) = self.series.get_mut(&same) {
            let count = series.count + 1;
            let patch = json!({"series": EventSeries { count, last_observed_time: MicroTime(waiting.at) }});
            match within(api.patch(&series.name, &PatchParams::default(), &Patch::Merge(patch))).await {
                Ok(_) => {
                    series.count = count;
                    series.last = Instant::now();
                    return Ok(());
                }
                // The server's own memory of events is short; begin a new one.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let event = event(transition, waiting.at, node_name);
        let name = event.metadata.name.clone().unwrap_or_default();
        match within(api.create(&PostParams::default(), &event)).await {
            Ok(_) => {}
            // The answer to an earlier try was lost.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error),
        }
        self.series.insert(same, Series { name, count: 1, last: Instant::now() });
        Ok(())
    }
}

fn event(transition: &Transition, at: Timestamp, node_name: &str) -> Event {
    let key = &transition.object;
    Event {
        metadata: ObjectMeta {
            // As client-go names them: the object's name and the time, cut to what a name may have.
            name: Some(format!(
                "{}.{:x}",
                cut(&key.name, 230).trim_end_matches(['.', '-']),
                at.as_nanosecond()
            )),
            namespace: Some(namespace(transition).to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(at)),
        regarding: Some(ObjectReference {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some(key.kind.as_str().to_owned()),
            name: Some(key.name.to_string()),
            namespace: Some(key.namespace.to_string()).filter(|namespace| !namespace.is_empty()),
            uid: (!transition.uid.is_empty()).then(|| transition.uid.clone()),
            ..ObjectReference::default()
        }),
        reason: Some(transition.reason.as_str().to_owned()),
        action: Some(transition.action.to_owned()),
        note: Some(cut(&transition.note, NOTE_BYTES).to_owned()),
        type_: Some(if transition.warning { "Warning" } else { "Normal" }.to_owned()),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(cut(node_name, INSTANCE_BYTES).to_owned()),
        ..Event::default()
    }
}

fn namespace(transition: &Transition) -> &str {
    let namespace = &*transition.object.namespace;
    if namespace.is_empty() { NO_NAMESPACE } else { namespace }
}

/// At most so many bytes, and no half characters.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use lvs_plan::{Kind, ObjectKey, Reason};

    use super::*;

    fn transition(note: &str) -> Transition {
        Transition {
            object: ObjectKey::new(Kind::VirtualService, "shop", "web"),
            uid: "u1".to_owned(),
            reason: Reason::DriftRepaired,
            warning: true,
            action: "Repair",
            note: note.to_owned(),
            condition: None,
        }
    }

    #[test]
    fn an_event_says_who_what_and_why() {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let event = event(&transition("repaired"), at, "d1");
        assert_eq!(event.metadata.namespace.as_deref(), Some("shop"));
        assert!(event.metadata.name.unwrap().starts_with("web."));
        let regarding = event.regarding.unwrap();
        assert_eq!(
            (regarding.kind.as_deref(), regarding.uid.as_deref()),
            (Some("VirtualService"), Some("u1"))
        );
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert_eq!(
            (event.reason.as_deref(), event.action.as_deref()),
            (Some("DriftRepaired"), Some("Repair"))
        );
        assert_eq!(event.reporting_controller.as_deref(), Some("lvs-operator.dev/director"));
        assert_eq!(event.reporting_instance.as_deref(), Some("d1"));
    }

    #[test]
    fn an_event_about_what_has_no_namespace_is_in_the_default_one() {
        let object = ObjectKey::new(Kind::Director, "", "d1");
        let event = event(&Transition { object, ..transition("repaired") }, Timestamp::UNIX_EPOCH, "d1");
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(event.regarding.unwrap().namespace, None);
    }

    #[test]
    fn a_note_is_cut_to_the_servers_limit_between_characters() {
        let event = event(&transition(&"ä".repeat(1_000)), Timestamp::UNIX_EPOCH, "d1");
        assert_eq!(event.note.unwrap().len(), 1024);
        assert_eq!(cut("aä", 2), "a");
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts_and_never_waits() {
        let board = Board::default();
        let (queue, _recorder) = queue(board.clone(), Outage::default());
        queue.push((0..QUEUE + 10).map(|n| transition(&n.to_string())));
        assert_eq!(board.lock().debug["eventsDropped"], json!(10));
    }
}
