//! The status writer: one worker that brings the statuses on the API server to what the board says.
//!
//! It compares with what the server has, as the watches show it, so in steady state it writes nothing, also after
//! a restart. One object at a time, and each at most once a second, less often if it does not come to rest: then the
//! part that is this Director's own and the one that is the active Director's are written, if they are not as they
//! should be. After a failure of the server everything waits, longer each time.

mod pace;
mod wanted;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use lvs_crds::{Director, DirectorRole, DirectorStatus, RealServer, VirtualService};
use lvs_plan::{Kind, ObjectKey};
use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::{debug, info};

use super::complaint::{Complaint, Outage};
use super::connect::{Connection, explain, is_away};
use super::directors::Directors;
use super::events::EventQueue;
use super::guarded::Guarded;
use super::lease::within;
use super::observed::{ServerStatus, Watched, observe};
use super::statuses::Statuses;
use crate::board::{Board, Entry};
use pace::Pace;
use wanted::{Surroundings, Write};

/// How often everything is compared, whatever was said to have changed.
const REPAIR: Duration = Duration::from_mins(5);

/// The writer. It outlives the connection.
pub(super) struct Writer {
    board: Board,
    statuses: Statuses,
    directors: watch::Receiver<Directors>,
    events: EventQueue,
    pace: Pace,
    /// The virtual services that we are active for.
    active: BTreeSet<ObjectKey>,
    next_repair: Instant,
    written: u64,
    complaint: Complaint,
}

impl Writer {
    pub(super) fn new(
        board: Board,
        statuses: Statuses,
        directors: watch::Receiver<Directors>,
        events: EventQueue,
        outage: Outage,
    ) -> Self {
        let next_repair = clock() + REPAIR;
        Self {
            board,
            statuses,
            directors,
            events,
            pace: Pace::default(),
            active: BTreeSet::new(),
            next_repair,
            written: 0,
            complaint: Complaint::new(outage),
        }
    }

    /// Takes in what the board says, and writes what is due if there is a connection. Never ends.
    pub(super) async fn run(&mut self, mut connection: watch::Receiver<Option<Connection>>) {
        loop {
            self.take_in();
            let now = clock();
            let connected = connection.borrow().clone();
            if let Some(connected) = &connected
                && let Some(key) = self.pace.next_due(now)
            {
                self.handle(connected, &key).await;
                // What comes meanwhile is taken in between any two writes.
                continue;
            }
            let wake = if connected.is_some() { self.pace.next_deadline() } else { None };
            let wake = wake.map_or(self.next_repair, |at| at.min(self.next_repair));
            tokio::select! {
                () = self.board.changed() => {}
                () = self.statuses.changed() => {}
                changed = self.directors.changed() => {
                    // Who writes what may have changed for every object.
                    if changed.is_ok() {
                        self.all_due();
                    }
                }
                // Its sender lives as long as this does.
                _ = connection.changed() => {}
                () = sleep_until(wake.into()) => {
                    if clock() >= self.next_repair {
                        self.next_repair = clock() + REPAIR;
                        self.all_due();
                    }
                }
            }
        }
    }

    fn take_in(&mut self) {
        let (dirty, transitions) = {
            let mut content = self.board.lock();
            (std::mem::take(&mut content.dirty), std::mem::take(&mut content.transitions))
        };
        let (news, touched) = {
            let mut statuses = self.statuses.lock();
            let news: Vec<_> =
                transitions.into_iter().filter(|transition| !statuses.was_told(transition)).collect();
            (news, statuses.take_touched())
        };
        self.events.push(news);
        self.forget_what_is_over(&dirty);
        let now = clock();
        let served = self.served_by_changed(&dirty);
        self.pace.due_all(dirty.into_iter().chain(touched).chain(served), now);
    }

    /// What holds again would be news if it failed again.
    fn forget_what_is_over(&self, dirty: &BTreeSet<ObjectKey>) {
        let entries: Vec<Arc<Entry>> = {
            let content = self.board.lock();
            dirty.iter().filter_map(|key| content.entries.get(key).cloned()).collect()
        };
        let mut statuses = self.statuses.lock();
        for entry in entries {
            statuses.now_holds(&entry);
        }
    }

    fn all_due(&mut self) {
        let keys: Vec<ObjectKey> = self.board.lock().entries.keys().cloned().collect();
        self.pace.due_all(keys, clock());
    }

    /// The real servers of those virtual services for which we became active or ceased to be: who writes of them
    /// depends on it. Nothing is searched while no role changes.
    fn served_by_changed(&mut self, dirty: &BTreeSet<ObjectKey>) -> Vec<ObjectKey> {
        let content = self.board.lock();
        let mut changed = BTreeSet::new();
        for key in dirty.iter().filter(|key| key.kind == Kind::VirtualService) {
            let active = content.entries.get(key).is_some_and(|entry| is_active(entry));
            let differs = if active { self.active.insert(key.clone()) } else { self.active.remove(key) };
            if differs {
                changed.insert(key.clone());
            }
        }
        if changed.is_empty() {
            return Vec::new();
        }
        let real_servers = content.entries.iter().filter(|(key, entry)| {
            key.kind == Kind::RealServer
                && entry.verdict.virtual_services.iter().any(|user| changed.contains(user))
        });
        real_servers.map(|(key, _)| key.clone()).collect()
    }

    async fn handle(&mut self, connection: &Connection, key: &ObjectKey) {
        let Some(entry) = self.board.lock().entries.get(key).cloned() else {
            self.pace.forget(key);
            return;
        };
        let writes = self.writes(key, &entry);
        if writes.is_empty() {
            self.pace.settled(key);
            return;
        }
        for write in writes {
            match apply(connection, key, &write).await {
                Ok(status) => {
                    debug!(%key, manager = write.manager, "status written");
                    self.statuses.wrote(key, status);
                    self.written += 1;
                    if self.complaint.succeeded() {
                        info!("the status of objects can be written again");
                    }
                }
                Err(error) => {
                    self.failed(connection, key, &error);
                    return;
                }
            }
        }
        // From the answer on: the server may have taken its time before it wrote.
        self.pace.wrote(key, clock());
        self.tell();
    }

    fn writes(&self, key: &ObjectKey, entry: &Entry) -> Vec<Write> {
        let (entries, active_here) = match key.kind {
            Kind::VirtualService | Kind::Director => (Vec::new(), false),
            Kind::RealServer => self.served(entry),
        };
        let status = self.statuses.lock().get(key);
        let directors = self.directors.borrow().clone();
        let around = Surroundings {
            directors: &directors,
            status: status.as_deref(),
            entries: &entries,
            active_here,
            now: Timestamp::now(),
        };
        wanted::writes(entry, around)
    }

    /// What Directors say of the virtual services of a real server, and whether we are active for one.
    fn served(&self, entry: &Entry) -> (Vec<DirectorStatus>, bool) {
        let services = wanted::services_of(entry);
        let active_here = {
            let content = self.board.lock();
            services.iter().filter_map(|service| content.entries.get(service)).any(|entry| is_active(entry))
        };
        let statuses: Vec<Arc<ServerStatus>> = {
            let content = self.statuses.lock();
            services.iter().filter_map(|service| content.get(service)).collect()
        };
        let entries = statuses.iter().filter_map(|status| status.as_virtual_service());
        (entries.flat_map(|status| status.directors.iter().cloned()).collect(), active_here)
    }

    fn failed(&mut self, connection: &Connection, key: &ObjectKey, error: &kube::Error) {
        let now = clock();
        match error {
            // Deleted, or deleted and made anew: the watch says the same soon.
            kube::Error::Api(status) if matches!(status.code, 404 | 409) => self.pace.failed(key, now),
            error => {
                let message = explain(error, "write the status of our objects", &connection.address);
                self.complaint.failed(error, message, Some(key));
                if is_away(error) {
                    self.pace.pause(key, now);
                } else {
                    self.pace.failed(key, now);
                }
            }
        }
        self.tell();
    }

    /// For `/debug/state`.
    fn tell(&self) {
        let value = serde_json::json!({"written": self.written, "problem": self.complaint.message()});
        self.board.lock().debug.insert("statusWriter", value);
    }
}

/// The time on the runtime's clock, which tests can stop.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn is_active(entry: &Entry) -> bool {
    entry.verdict.director.as_ref().is_some_and(|director| director.role == DirectorRole::Active)
}

async fn apply(
    connection: &Connection,
    key: &ObjectKey,
    write: &Write,
) -> Result<Option<ServerStatus>, kube::Error> {
    match key.kind {
        Kind::VirtualService => apply_to(namespaced::<VirtualService>(connection, key), key, write).await,
        Kind::RealServer => apply_to(namespaced::<RealServer>(connection, key), key, write).await,
        Kind::Director => {
            apply_to(Api::<Guarded<Director>>::all(connection.client.clone()), key, write).await
        }
    }
}

fn namespaced<K>(connection: &Connection, key: &ObjectKey) -> Api<Guarded<K>>
where
    K: Watched + kube::Resource<Scope = kube::core::NamespaceResourceScope>,
{
    Api::namespaced(connection.client.clone(), &key.namespace)
}

async fn apply_to<K: Watched>(
    api: Api<Guarded<K>>,
    key: &ObjectKey,
    write: &Write,
) -> Result<Option<ServerStatus>, kube::Error> {
    // The fields are ours alone; whoever else wrote them is overruled.
    let params = PatchParams::apply(&write.manager).force();
    let written = within(api.patch_status(&key.name, &params, &Patch::Apply(&write.body))).await?;
    Ok(observe(written).status)
}

#[cfg(test)]
mod storm_tests;
