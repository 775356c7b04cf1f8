//! Which kernel entries are ours: IPVS has no owner field, so it is written down before the kernel is touched.
//!
//! A snapshot (`ledger.json`) and a journal of what changed since (`ledger.journal`, one JSON record per line):
//! a change costs one short line and one `fdatasync`, however many services there are. Entries count only in the
//! boot and the network namespace in which they were made; in any other the kernel's table began empty, so they
//! say nothing about it.
//!
//! Before the kernel is touched an entry becomes weaker than "ours", and afterwards it says what came of that: an
//! intent before a service is made, a leaving one before it is removed. A crash or a failed write in between leaves the
//! weak entry, by which a service is found again and nobody else's is taken for ours.
//!
//! What [`Ledger::save`] could not write is taken back: in memory nothing is ours that the disk does not know. Only
//! what is so in the kernel already stays known, and is written when that works again.

mod memory;
mod record;
mod store;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lvs_plan::diff::Claim;
use lvs_plan::{ObjectKey, Service, ServiceKey};

use crate::chain::chain;
use memory::{Memory, Undo};
use record::{Record, Text};
use store::Store;

/// Why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The state directory is missing and cannot be made, or is no directory.
    #[error("cannot use the state directory {}: make it a writable directory, or name another one with --state-dir", path.display())]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the state directory.
    #[error(
        "another agent is using the state directory {}: stop it first, or give this one another --state-dir",
        path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// What is there cannot be understood. It is left as it is.
    #[error(
        "the ledger {} is corrupt ({what}): restore it, or move it away to begin an empty one, and rules that equal \
         what is declared are adopted",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        what: String,
    },
    /// It was written by a later version of this program.
    #[error(
        "the ledger {} has version {version}, this program knows up to {}: run the later version, or move the file \
         away",
        path.display(),
        record::VERSION
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// A file cannot be read.
    #[error("cannot read the ledger {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write the ledger {}, free or repair its file system", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The boot and the network namespace in which kernel entries live.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Life {
    /// `/proc/sys/kernel/random/boot_id`.
    boot_id: String,
    /// The inode of `/proc/thread-self/ns/net`.
    netns: u64,
}

/// Where a service comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The `VirtualService` that asked for it.
    pub object: ObjectKey,
    /// The manifest file of that, if it came from one.
    pub file: Option<Arc<str>>,
}

/// A service of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who asked for it.
    pub origin: Origin,
    /// What of it is known to be in the kernel.
    pub state: State,
}

/// What is known to be in the kernel of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing yet: it is about to be made.
    Intent,
    /// All of it: the kernel was seen to have it.
    Confirmed,
    /// Perhaps nothing any more: it is about to be removed.
    Leaving {
        /// All of it as it was when that was decided, in words.
        was: Arc<str>,
    },
}

/// The ledger of this node.
#[derive(Debug)]
pub struct Ledger {
    memory: Memory,
    /// None: kept in memory only.
    store: Option<Store>,
    /// Records that no save has written yet, with the way back.
    pending: Vec<(Record, Undo)>,
    problem: Option<LedgerError>,
    previous: usize,
}

impl Ledger {
    /// Takes the state directory for this process, making it if need be, and reads what is in it. `boot_id` and
    /// `netns` (an inode number) say which kernel tables are meant.
    ///
    /// A corrupt, unreadable or unwritable ledger is not an error here: the ledger is then not
    /// [`usable`](Self::usable), and each [`save`](Self::save) tries again.
    ///
    /// # Errors
    /// [`LedgerError::StateDir`] and [`LedgerError::Locked`]: both end the process.
    pub fn open(dir: &Path, boot_id: &str, netns: u64) -> Result<Self, LedgerError> {
        let life = Life { boot_id: boot_id.to_owned(), netns };
        let mut ledger = Self { store: Some(Store::lock(dir, life)?), ..Self::in_memory() };
        ledger.load();
        Ok(ledger)
    }

    /// Reads the ledger without taking the state directory, for commands that change nothing: what is saved
    /// goes nowhere.
    ///
    /// # Errors
    /// If it cannot be read or understood. A ledger that does not exist is an empty one.
    pub fn read(dir: &Path, boot_id: &str, netns: u64) -> Result<Self, LedgerError> {
        let loaded = store::read(dir, &Life { boot_id: boot_id.to_owned(), netns })?;
        Ok(Self { memory: loaded.memory, previous: loaded.previous, ..Self::in_memory() })
    }

    /// An empty ledger that is nowhere on disk.
    pub fn in_memory() -> Self {
        Self { memory: Memory::default(), store: None, pending: Vec::new(), problem: None, previous: 0 }
    }

    /// Whether ownership can be told and written down: if not, nothing may be added or removed.
    pub fn usable(&self) -> bool {
        self.problem.is_none()
    }

    /// Why it is not usable, and what to do.
    pub fn problem(&self) -> Option<String> {
        self.problem.as_ref().map(|problem| chain(problem))
    }

    /// What the ledger says of a service that stands in the kernel like this, if it does.
    pub fn claim(&self, key: &ServiceKey, there: Option<&Service>) -> Claim {
        match self.entry(key).map(|entry| &entry.state) {
            None => Claim::None,
            Some(State::Intent) => Claim::Intent,
            Some(State::Confirmed) => Claim::Confirmed,
            Some(State::Leaving { was }) => {
                Claim::Leaving { unchanged: there.is_some_and(|there| there.to_string() == **was) }
            }
        }
    }

    /// Whether the kernel was seen to have the service, and nobody was about to remove it.
    pub fn is_confirmed(&self, key: &ServiceKey) -> bool {
        self.entry(key).is_some_and(|entry| entry.state == State::Confirmed)
    }

    /// What is known of a service that is ours or about to be.
    pub fn entry(&self, key: &ServiceKey) -> Option<&Entry> {
        self.memory.services.get(key)
    }

    /// Who asked for such a service.
    pub fn origin(&self, key: &ServiceKey) -> Option<&Origin> {
        self.entry(key).map(|entry| &entry.origin)
    }

    /// All services that are ours, were about to be, or were about to be no more.
    pub fn services(&self) -> impl Iterator<Item = ServiceKey> {
        self.memory.services.keys().copied()
    }

    /// The objects that these services come from.
    pub fn objects(&self) -> BTreeSet<ObjectKey> {
        self.memory.services.values().map(|entry| entry.origin.object.clone()).collect()
    }

    /// The VIPs that we bound.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> {
        self.memory.vips.keys().copied()
    }

    /// The link that was chosen for a VIP.
    pub fn vip_link(&self, vip: IpAddr) -> Option<Arc<str>> {
        self.memory.vips.get(&vip).cloned()
    }

    /// How many services were ours before a reboot or in another network namespace. They say nothing about today's
    /// kernel.
    pub fn previous_count(&self) -> usize {
        self.previous
    }

    /// The service is not in the kernel and is about to be made by us, for this origin. If it was ours it is so no
    /// more: somebody removed it, and may make another before we do.
    pub fn record_intent(&mut self, key: ServiceKey, origin: Origin) {
        let entry = Entry { origin, state: State::Intent };
        if self.entry(&key) != Some(&entry) {
            self.change(Record::intent(key, entry.origin));
        }
    }

    /// The service is in the kernel and stands there for this origin. If it was not ours, it may be from now on.
    pub fn record_origin(&mut self, key: ServiceKey, origin: Origin) {
        match self.entry(&key) {
            Some(Entry { origin: known, state: State::Intent | State::Confirmed }) if *known == origin => {}
            Some(Entry { state: State::Confirmed, .. }) => {
                self.change(Record::intent(key, origin));
                self.change(Record::confirm(key));
            }
            _ => self.change(Record::intent(key, origin)),
        }
    }

    /// The service, which stands in the kernel like this, is about to be removed by us.
    pub fn record_leaving(&mut self, key: &ServiceKey, there: &Service) {
        if self.entry(key).is_some() && self.claim(key, Some(there)) != (Claim::Leaving { unchanged: true }) {
            self.change(Record::leave(*key, there.to_string().into()));
        }
    }

    /// The kernel has the service that we intended.
    pub fn confirm(&mut self, key: &ServiceKey) {
        if self.entry(key).is_some_and(|entry| entry.state == State::Intent) {
            self.change(Record::confirm(*key));
        }
    }

    /// The service is gone, or was never made.
    pub fn forget(&mut self, key: &ServiceKey) {
        if self.entry(key).is_some() {
            self.change(Record::forget(*key));
        }
    }

    /// The VIP is about to be bound to this link.
    pub fn set_vip(&mut self, vip: IpAddr, link: &Arc<str>) {
        if self.memory.vips.get(&vip) != Some(link) {
            self.change(Record::Vip { address: vip, link: Text(Arc::clone(link)) });
        }
    }

    /// The VIP is not bound by us any more.
    pub fn forget_vip(&mut self, vip: IpAddr) {
        if self.memory.vips.contains_key(&vip) {
            self.change(Record::ForgetVip { address: vip });
        }
    }

    fn change(&mut self, record: Record) {
        let undo = self.memory.apply(&record);
        self.pending.push((record, undo));
    }

    /// Brings to disk what changed since the last save, and returns when it is there. With nothing to write it
    /// does nothing, unless the ledger is not usable: then it tries whether it is again.
    ///
    /// # Errors
    /// If it could not be written. What was about to happen in the kernel is then taken back; what has happened there
    /// stays known, and is written by a later save.
    pub fn save(&mut self) -> Result<(), LedgerError> {
        let Some(store) = &mut self.store else {
            self.pending = Vec::new();
            return Ok(());
        };
        match &self.problem {
            None if self.pending.is_empty() => return Ok(()),
            // Not ours to overwrite. What was recorded meanwhile rests on nothing.
            Some(LedgerError::Corrupt { .. } | LedgerError::Version { .. } | LedgerError::Read { .. }) => {
                self.take_back();
                self.load();
            }
            _ => match store.append(&self.memory, self.pending.iter().map(|(record, _)| record)) {
                Ok(()) => {
                    self.pending = Vec::new();
                    self.problem = None;
                }
                Err(error) => {
                    self.problem = Some(error);
                    for fact in self.take_back() {
                        self.change(fact);
                    }
                }
            },
        }
        self.problem.as_ref().map_or(Ok(()), |problem| Err(problem.again()))
    }

    /// The next write is a whole snapshot.
    #[cfg(test)]
    pub(crate) fn forget_journal(&mut self) {
        if let Some(store) = &mut self.store {
            store.forget_journal();
        }
    }

    /// Takes back what is not on disk. Gives what of that is so in the kernel already, in the order in which it was
    /// recorded.
    fn take_back(&mut self) -> Vec<Record> {
        let mut facts = Vec::new();
        while let Some((record, undo)) = self.pending.pop() {
            self.memory.undo(undo);
            if record.is_fact() {
                facts.push(record);
            }
        }
        facts.reverse();
        facts
    }

    fn load(&mut self) {
        let Some(store) = &mut self.store else { return };
        self.problem = None;
        match store.load() {
            Ok(loaded) => {
                self.memory = loaded.memory;
                self.previous = loaded.previous;
                // Shows now, not at the first change, whether it can be written.
                if let Err(error) = store.append(&self.memory, std::iter::empty()) {
                    self.problem = Some(error);
                }
            }
            Err(error) => self.problem = Some(error),
        }
    }
}

impl LedgerError {
    /// The same error once more; system errors keep their number only.
    fn again(&self) -> Self {
        let same = |source: &io::Error| {
            source.raw_os_error().map_or_else(|| io::Error::from(source.kind()), io::Error::from_raw_os_error)
        };
        match self {
            Self::StateDir { path, source } => Self::StateDir { path: path.clone(), source: same(source) },
            Self::Locked { path } => Self::Locked { path: path.clone() },
            Self::Corrupt { path, what } => Self::Corrupt { path: path.clone(), what: what.clone() },
            Self::Version { path, version } => Self::Version { path: path.clone(), version: *version },
            Self::Read { path, source } => Self::Read { path: path.clone(), source: same(source) },
            Self::Write { path, source } => Self::Write { path: path.clone(), source: same(source) },
        }
    }
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
