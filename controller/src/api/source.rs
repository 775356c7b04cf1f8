//! The watches as the source of objects: what they say becomes changes for the driver.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures::FutureExt as _;
use lvs_crds::{Director, RealServer, VirtualService};
use lvs_plan::validate::Violation;
use lvs_plan::{Change, Kind, ObjectKey, Spec};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::Previous;
use super::complaint::Outage;
use super::connect::{Connection, is_silent};
use super::feed::{Event, Feed};
use super::observed::Observed;
use super::statuses::Statuses;
use super::store::Store;
use crate::source::{Finding, SourceState, Update};

/// Events that share an update, if they come that fast.
const BATCH: usize = 512;

/// The source. It outlives the connection: a new one goes on where the last one was.
pub(super) struct Source {
    me: String,
    kinds: BTreeMap<Kind, Watching>,
    findings: BTreeMap<ObjectKey, Finding>,
    statuses: Statuses,
    sink: mpsc::Sender<Update>,
    contact: watch::Receiver<Contact>,
    /// Whether it is known that our Director object is not there.
    director_missing: watch::Sender<bool>,
    /// Why it cannot be read, so that it is told once.
    director_problem: Option<Problem>,
    outage: Outage,
    changes: Vec<Change>,
    told: Option<SourceState>,
}

/// What the Leases tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contact {
    /// Whether it is decided who holds VIPs: before that nothing is complete, so nothing is bound or removed.
    pub(super) role_decided: bool,
    /// Why the API server does not answer. A watch that is open notices much later.
    pub(super) away: Option<Problem>,
}

/// One kind.
struct Watching {
    store: Store,
    /// Why it is not up to date; `None` while it is.
    problem: Option<Problem>,
}

/// Why something is not up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) grade: Grade,
}

/// How bad it is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    /// Merely the beginning.
    Unread,
    Trouble,
    /// The API server does not answer: what else there is to say can wait until it does.
    Silent,
}

impl Grade {
    /// How bad it is that a request failed.
    pub(super) fn of(error: &kube::Error) -> Self {
        if is_silent(error) { Self::Silent } else { Self::Trouble }
    }
}

/// The credentials have to be read again.
pub(super) struct Unauthorized;

impl Source {
    /// `me`: this Director's name.
    pub(super) fn new(
        me: String,
        previous: Previous,
        statuses: Statuses,
        sink: mpsc::Sender<Update>,
        contact: watch::Receiver<Contact>,
        outage: Outage,
        director_missing: watch::Sender<bool>,
    ) -> Self {
        let rules_in_force = previous.rules_in_force();
        let Previous { virtual_services, destinations } = previous;
        let watching = |store| Watching {
            store,
            problem: Some(Problem {
                message: "the objects have not been read yet".to_owned(),
                grade: Grade::Unread,
            }),
        };
        Self {
            kinds: BTreeMap::from([
                (Kind::VirtualService, watching(Store::of_virtual_services(virtual_services))),
                (Kind::RealServer, watching(Store::of_real_servers(rules_in_force, destinations))),
                (Kind::Director, watching(Store::of_directors())),
            ]),
            me,
            findings: BTreeMap::new(),
            statuses,
            sink,
            contact,
            director_missing,
            director_problem: None,
            outage,
            changes: Vec::new(),
            told: None,
        }
    }

    /// There is no connection, or it cannot be used.
    pub(super) async fn unreachable(&mut self, message: &str) {
        for watching in self.kinds.values_mut() {
            watching.problem = Some(Problem { message: message.to_owned(), grade: Grade::Trouble });
        }
        self.flush().await;
    }

    /// Delivers what the API server says until the credentials fail. Ends never if the receiver is gone: whoever
    /// spawned this ends it.
    pub(super) async fn run(&mut self, connection: &Connection) -> Unauthorized {
        let mut feeds = BTreeMap::from([
            (Kind::VirtualService, Feed::new::<VirtualService>(connection.clone())),
            (Kind::RealServer, Feed::new::<RealServer>(connection.clone())),
            (Kind::Director, Feed::of_one::<Director>(connection.clone(), &self.me)),
        ]);
        let mut contact = self.contact.clone();
        loop {
            let first = tokio::select! {
                event = next(&mut feeds) => Some(event),
                // Its sender lives as long as this does.
                _ = contact.changed() => None,
            };
            let mut events = first;
            let mut taken = 0;
            while let Some((kind, event)) = events {
                if matches!(&event, Event::Broken(broken) if broken.unauthorized) {
                    self.take(kind, event, &mut feeds);
                    self.flush().await;
                    return Unauthorized;
                }
                self.take(kind, event, &mut feeds);
                taken += 1;
                events = if taken < BATCH { next(&mut feeds).now_or_never() } else { None };
            }
            self.flush().await;
        }
    }

    fn take(&mut self, kind: Kind, event: Event, feeds: &mut BTreeMap<Kind, Feed>) {
        let Some(watching) = self.kinds.get_mut(&kind) else { return };
        match event {
            Event::ListBegins => watching.store.begin_list(Instant::now()),
            Event::Listed(observed) => {
                if !watching.store.is_listed() {
                    self.statuses.inherit(&observed.object.key, observed.status.as_ref(), &self.me);
                }
                let object = self.look_at(*observed);
                self.with_store(kind, |store| store.listed(object));
            }
            Event::Present(observed) => {
                let object = self.look_at(*observed);
                self.with_store(kind, |store| store.present(object));
            }
            Event::Deleted(key) => {
                self.forget(&key);
                self.with_store(kind, |store| store.deleted(&key));
            }
            Event::ListEnds => {
                let now = Instant::now();
                let removals = watching.store.end_list(now);
                watching.problem = watching.store.doubt().map(|doubt| {
                    let why = match doubt.missing.len() {
                        0 => "cannot be compared with the rules in force".to_owned(),
                        missing => format!("lacks {missing} of the {} in force", doubt.in_force),
                    };
                    let message = format!(
                        "the API server's list of {}s {why}: nothing is removed unless a second list agrees, which \
                         follows in a few seconds",
                        kind.as_str()
                    );
                    Problem { message, grade: Grade::Trouble }
                });
                if let (Some(doubt), Some(feed)) = (watching.store.doubt(), feeds.get_mut(&kind)) {
                    feed.list_again(doubt.list_again(now));
                }
                for change in removals {
                    if let Change::Removed(key) = &change {
                        self.forget(key);
                    }
                    self.changes.push(change);
                }
            }
            Event::Broken(broken) => {
                watching.problem = Some(Problem { message: broken.message, grade: broken.grade });
            }
        }
        if kind == Kind::Director {
            self.look_for_director();
        }
    }

    /// Says whether our Director object has to be made, and once why it cannot be read. Rules do not wait for it: they
    /// are served without it, too.
    fn look_for_director(&mut self) {
        let Some(Watching { store, problem }) = self.kinds.get(&Kind::Director) else { return };
        let missing = store.is_listed() && store.is_empty();
        self.director_missing.send_if_modified(|before| std::mem::replace(before, missing) != missing);
        // That the API server is silent concerns more than this object, and is told with the rest.
        let problem = problem.as_ref().filter(|problem| problem.grade == Grade::Trouble);
        if problem != self.director_problem.as_ref() {
            if let Some(Problem { message, .. }) = problem {
                warn!("the settings of this Director are not known: {message}");
            }
            self.director_problem = problem.cloned();
        }
    }

    /// The kinds that rules come from.
    fn of_rules(&self) -> impl Iterator<Item = &Watching> {
        self.kinds.iter().filter(|(kind, _)| **kind != Kind::Director).map(|(_, watching)| watching)
    }

    fn with_store(&mut self, kind: Kind, change: impl FnOnce(&mut Store) -> Option<Change>) {
        self.changes.extend(self.kinds.get_mut(&kind).and_then(|watching| change(&mut watching.store)));
    }

    /// Keeps what others need of an object, and gives back what the driver needs.
    fn look_at(&mut self, observed: Observed) -> lvs_plan::Object {
        let Observed { object, status } = observed;
        self.statuses.saw(&object.key, status);
        // The driver says it too, in the object's conditions, once the source is complete.
        match &object.spec {
            Spec::Malformed(violation) => {
                self.findings.insert(object.key.clone(), finding(&object.key, violation));
            }
            Spec::VirtualService(_) | Spec::RealServer(_) | Spec::Director(_) => {
                self.findings.remove(&object.key);
            }
        }
        object
    }

    fn forget(&mut self, key: &ObjectKey) {
        self.findings.remove(key);
        self.statuses.forget(key);
    }

    /// Hands over what there is to tell, if there is anything.
    async fn flush(&mut self) {
        let (state, grade) = self.state();
        if grade == Some(Grade::Silent) {
            self.outage.log(&state.message);
        }
        let changes = std::mem::take(&mut self.changes);
        if changes.is_empty() && self.told.as_ref() == Some(&state) {
            return;
        }
        let before = self.told.as_ref().map_or("", |told| told.message.as_str());
        if state.message != before {
            match grade {
                None if state.message.is_empty() => {
                    self.outage.heard();
                    info!("the objects of the API server are up to date");
                }
                None | Some(Grade::Unread) => info!("{}", state.message),
                Some(Grade::Trouble) => warn!("{}", state.message),
                Some(Grade::Silent) => {}
            }
        }
        self.told = Some(state.clone());
        // Without a receiver the agent is about to end.
        let _ = self.sink.send(Update { changes, state }).await;
    }

    /// Why the rules may not be up to date. Of a silent API server every watch says the same in its own words: one
    /// of them is enough.
    fn problems(&self) -> Vec<Problem> {
        let of_rules: Vec<Problem> =
            self.of_rules().filter_map(|watching| watching.problem.clone()).collect();
        if let Some(silent) = of_rules.iter().find(|problem| problem.grade == Grade::Silent) {
            return vec![silent.clone()];
        }
        if of_rules.is_empty() { self.contact.borrow().away.iter().cloned().collect() } else { of_rules }
    }

    /// The state, and how bad the worst of its problems is.
    fn state(&self) -> (SourceState, Option<Grade>) {
        let problems = self.problems();
        let mut messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        messages.sort_unstable();
        messages.dedup();
        let contact = self.contact.borrow();
        if messages.is_empty() && !contact.role_decided {
            messages.push("waiting to see whether another Director lives");
        }
        let state = SourceState {
            complete: contact.role_decided && self.of_rules().all(|watching| watching.store.is_listed()),
            up_to_date: messages.is_empty(),
            message: messages.join("; "),
            findings: self.findings.values().cloned().collect(),
            held_files: BTreeSet::new(),
        };
        (state, problems.iter().map(|problem| problem.grade).max())
    }
}

async fn next(feeds: &mut BTreeMap<Kind, Feed>) -> (Kind, Event) {
    let waits = feeds.iter_mut().map(|(kind, feed)| Box::pin(feed.next().map(|event| (*kind, event))));
    futures::future::select_all(waits).await.0
}

fn finding(key: &ObjectKey, Violation { field, message }: &Violation) -> Finding {
    Finding {
        file: format!("{} {key}", key.kind.as_str()),
        line: 0,
        column: 0,
        field: field.clone(),
        message: message.clone(),
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
