//! The board: what the driver last knew of each object and of itself. The driver is its only writer; the HTTP
//! server, the status writer and the event recorder read it.

#[cfg(test)]
pub(crate) mod fixtures;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lvs_crds::{DirectorRole, RealServerCounts};
use lvs_plan::conditions::ConditionValue;
use lvs_plan::{Object, ObjectKey, Reason};
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::source::SourceState;

/// What a pass says of one object. Without times: those belong to whoever writes the status.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The conditions, in the order in which they are shown.
    pub conditions: Vec<ConditionValue>,
    /// The generation they are about.
    pub observed_generation: i64,
    /// Of a `VirtualService`: what this Director says of itself.
    pub director: Option<DirectorVerdict>,
    /// Of a `VirtualService`: its real servers.
    pub real_servers: Option<RealServerCounts>,
    /// Of a `RealServer`: the virtual services that use it, sorted.
    pub virtual_services: Vec<ObjectKey>,
}

/// This Director's own entry in `status.directors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectorVerdict {
    /// Its role for the VIP.
    pub role: DirectorRole,
    /// Whether its kernel holds the rules as declared.
    pub programmed: bool,
    /// Why not, in words; empty if programmed.
    pub message: String,
}

/// An object with what is said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The object.
    pub object: Arc<Object>,
    /// What the last pass says of it.
    pub verdict: Verdict,
}

/// A condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Its type.
    pub type_: &'static str,
    /// Why it does not hold.
    pub reason: Reason,
    /// The generation of the object that it is about.
    pub generation: i64,
}

/// Something that happened once: a transition, never a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The object it is about.
    pub object: ObjectKey,
    /// `metadata.uid` of it, empty from files.
    pub uid: String,
    /// The event's reason.
    pub reason: Reason,
    /// Whether it is good news (`Normal`) or not (`Warning`).
    pub warning: bool,
    /// What the controller did, in one CamelCase verb (`Bind`, `Program`, `Refuse`, …).
    pub action: &'static str,
    /// A sentence.
    pub note: String,
    /// The condition that says the same for as long as it lasts; none for what was done and is over.
    pub condition: Option<Failing>,
}

/// Transitions that wait to be recorded: more are not kept, the oldest go first.
const TRANSITIONS: usize = 4096;

/// What is on the board.
#[derive(Debug, Default)]
pub struct Content {
    /// Every object the source delivered, refused ones too.
    pub entries: BTreeMap<ObjectKey, Arc<Entry>>,
    /// Objects whose entry changed or went away since the status writer last looked.
    pub dirty: BTreeSet<ObjectKey>,
    /// Events not yet recorded.
    pub transitions: VecDeque<Transition>,
    /// The source.
    pub source: SourceState,
    /// Why `/readyz` is 503; empty when ready.
    pub not_ready: Vec<String>,
    /// Further facts for `/debug/state`, by name.
    pub debug: BTreeMap<&'static str, serde_json::Value>,
}

impl Content {
    /// Something happened: it is logged here and now, and recorded as an event where there is somebody to do so.
    pub fn happened(&mut self, transition: Transition) {
        transition.log();
        self.record(transition);
    }

    /// The same without a line in the log.
    pub fn record(&mut self, transition: Transition) {
        if self.transitions.len() >= TRANSITIONS {
            self.transitions.pop_front();
        }
        self.transitions.push_back(transition);
    }
}

impl Transition {
    fn log(&self) {
        let Self { object, reason, warning, note, .. } = self;
        let kind = object.kind.as_str();
        if *warning {
            warn!(kind, %object, %reason, "{note}");
        } else {
            info!(kind, %object, %reason, "{note}");
        }
    }
}

/// A handle to the board; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Board {
    content: Arc<Mutex<Content>>,
    changed: Arc<Notify>,
}

impl Board {
    /// Locks the content. Held for copies only, never across an await or a system call.
    pub fn lock(&self) -> MutexGuard<'_, Content> {
        // A reader that panicked left nothing half-written that matters: every write is a whole value.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the readers that the content changed.
    pub fn announce_change(&self) {
        self.changed.notify_one();
    }

    /// Waits for the next change. One waiter at a time: the status writer.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes the place of a status writer where there is none: without an API server nobody wants to hear what
    /// changed since the last look, and it must not pile up.
    pub async fn discard_changes(self) {
        loop {
            self.changed().await;
            let mut content = self.lock();
            content.dirty.clear();
            content.transitions = VecDeque::new();
        }
    }
}
