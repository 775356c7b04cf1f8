//! What the ledger says, in memory, and how each record changes it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use lvs_plan::ServiceKey;

use super::record::{Record, Text};
use super::{Entry, State};

/// The ledger's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) services: BTreeMap<ServiceKey, Entry>,
    pub(super) vips: BTreeMap<IpAddr, Arc<str>>,
}

/// What a record replaced.
#[derive(Debug)]
pub(super) enum Undo {
    Service(ServiceKey, Option<Entry>),
    Vip(IpAddr, Option<Arc<str>>),
}

impl Memory {
    /// Makes the change that a record says. Any order of records is good: one about an entry that is not there
    /// changes nothing.
    pub(super) fn apply(&mut self, record: &Record) -> Undo {
        match record {
            Record::Intent { service, object, file } => {
                let key = ServiceKey::from(*service);
                let entry = Entry { origin: object.origin(file.as_ref()), state: State::Intent };
                Undo::Service(key, self.services.insert(key, entry))
            }
            // Only what was intended: if the intent was lost with a failed write, nothing follows from what came of it.
            Record::Confirm { service } => {
                self.change((*service).into(), State::Confirmed, |state| *state == State::Intent)
            }
            Record::Leave { service, was: Text(was) } => {
                self.change((*service).into(), State::Leaving { was: Arc::clone(was) }, |_| true)
            }
            Record::Forget { service } => {
                let key = ServiceKey::from(*service);
                Undo::Service(key, self.services.remove(&key))
            }
            Record::Vip { address, link: Text(link) } => {
                Undo::Vip(*address, self.vips.insert(*address, Arc::clone(link)))
            }
            Record::ForgetVip { address } => Undo::Vip(*address, self.vips.remove(address)),
        }
    }

    fn change(&mut self, key: ServiceKey, state: State, may: impl Fn(&State) -> bool) -> Undo {
        let entry = self.services.get_mut(&key);
        let old = entry.as_deref().cloned();
        if let Some(entry) = entry.filter(|entry| may(&entry.state)) {
            entry.state = state;
        }
        Undo::Service(key, old)
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Service(key, Some(entry)) => {
                self.services.insert(key, entry);
            }
            Undo::Service(key, None) => {
                self.services.remove(&key);
            }
            Undo::Vip(address, Some(link)) => {
                self.vips.insert(address, link);
            }
            Undo::Vip(address, None) => {
                self.vips.remove(&address);
            }
        }
    }
}
