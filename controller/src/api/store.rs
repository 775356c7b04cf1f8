//! What is known of the objects of one kind: turns lists and watch events into changes. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use lvs_plan::{Change, Object, ObjectKey, Spec};

use super::evidence::{self, Doubt, InForce, Judgement, List};

/// All objects of one kind.
#[derive(Debug)]
pub(super) struct Store {
    known: BTreeMap<ObjectKey, Version>,
    /// What is in force without having been listed: after a restart, what the ledger names.
    unlisted: BTreeSet<ObjectKey>,
    /// Rules are in force since before the start, and it is not known which objects of this kind they come from.
    rules_of_unknown_origin: bool,
    /// The addresses of their destinations, where objects of this kind have addresses; `None` if they could not be
    /// read. Empty after the first list.
    destinations: Option<BTreeSet<IpAddr>>,
    list: Option<Listing>,
    /// The last list that was not believed.
    doubt: Option<Doubt>,
    listed: bool,
}

/// What decides whether an object changed: the spec has a generation, labels have none.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    uid: Box<str>,
    generation: i64,
    labels: Box<[(Box<str>, Box<str>)]>,
}

#[derive(Debug)]
struct Listing {
    asked: Instant,
    /// How much was in force then.
    in_force: usize,
    seen: BTreeSet<ObjectKey>,
    /// The destinations in force that no object of the list stands for yet.
    unexplained: BTreeSet<IpAddr>,
}

impl Store {
    /// Virtual services. `in_force`: those that the ledger names.
    pub(super) fn of_virtual_services(in_force: BTreeSet<ObjectKey>) -> Self {
        Self { unlisted: in_force, ..Self::empty() }
    }

    /// Real servers, which the ledger does not record. `rules_in_force`: whether it names any rules at all;
    /// `destinations`: what these have in the kernel, unless that could not be read.
    pub(super) fn of_real_servers(rules_in_force: bool, destinations: Option<BTreeSet<IpAddr>>) -> Self {
        Self { rules_of_unknown_origin: rules_in_force, destinations, ..Self::empty() }
    }

    /// Our own Director object, from which no rules come.
    pub(super) fn of_directors() -> Self {
        Self::empty()
    }

    fn empty() -> Self {
        Self {
            known: BTreeMap::new(),
            unlisted: BTreeSet::new(),
            rules_of_unknown_origin: false,
            destinations: Some(BTreeSet::new()),
            list: None,
            doubt: None,
            listed: false,
        }
    }

    /// Whether a full list was believed.
    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }

    /// Whether there is any object.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The list that waits for a second one.
    pub(super) fn doubt(&self) -> Option<&Doubt> {
        self.doubt.as_ref()
    }

    /// A full list is asked for; one that has not ended says nothing.
    pub(super) fn begin_list(&mut self, now: Instant) {
        let unexplained = self.destinations.clone().unwrap_or_default();
        let in_force = match unexplained.len() {
            0 => self.known.len() + self.unlisted.len(),
            // What a list that was not believed had already is not in the kernel yet.
            destinations => destinations,
        };
        self.list = Some(Listing { asked: now, in_force, seen: BTreeSet::new(), unexplained });
    }

    /// An object of the list.
    pub(super) fn listed(&mut self, object: Object) -> Option<Change> {
        if let Some(list) = &mut self.list {
            list.seen.insert(object.key.clone());
            if let Some(address) = address(&object) {
                list.unexplained.remove(&address);
            }
        }
        self.present(object)
    }

    /// The list is whole. The changes are removals; with a [`doubt`](Self::doubt) there are none.
    pub(super) fn end_list(&mut self, now: Instant) -> Vec<Change> {
        let Some(Listing { asked, in_force, seen, unexplained }) = self.list.take() else {
            return Vec::new();
        };
        let unseen = self.known.keys().chain(&self.unlisted).filter(|key| !seen.contains(*key));
        let missing: BTreeSet<InForce> = unseen
            .map(|key| InForce::Object(key.clone()))
            .chain(unexplained.into_iter().map(InForce::Destination))
            .collect();
        // An address in the kernel is the only trace of a real server; where it was not read, any may be missing.
        let vague = self.rules_of_unknown_origin && (seen.is_empty() || self.destinations.is_none());
        let list = List { asked, ended: now, missing: &missing, in_force, vague };
        match evidence::judge(list, self.doubt.as_ref()) {
            Judgement::Gone(gone) => {
                self.doubt = None;
                self.listed = true;
                self.unlisted.clear();
                self.rules_of_unknown_origin = false;
                self.destinations = Some(BTreeSet::new());
                let removed = gone.into_iter().filter_map(|gone| match gone {
                    InForce::Object(key) => self.deleted(&key),
                    InForce::Destination(_) => None,
                });
                removed.collect()
            }
            Judgement::Doubtful(doubt) => {
                self.doubt = Some(doubt);
                Vec::new()
            }
        }
    }

    /// An object is there: new, changed or as it was.
    pub(super) fn present(&mut self, object: Object) -> Option<Change> {
        self.unlisted.remove(&object.key);
        let version = Version::of(&object);
        match self.known.get_mut(&object.key) {
            Some(known) if *known == version => return None,
            Some(known) => *known = version,
            None => {
                self.known.insert(object.key.clone(), version);
            }
        }
        Some(Change::upsert(object))
    }

    /// An object is gone, on explicit evidence.
    pub(super) fn deleted(&mut self, key: &ObjectKey) -> Option<Change> {
        self.unlisted.remove(key);
        self.known.remove(key).map(|_| Change::Removed(key.clone()))
    }
}

/// Of a real server that has one.
fn address(object: &Object) -> Option<IpAddr> {
    match &object.spec {
        Spec::RealServer(spec) => spec.address.parse().ok(),
        Spec::VirtualService(_) | Spec::Director(_) | Spec::Malformed(_) => None,
    }
}

impl Version {
    fn of(object: &Object) -> Self {
        let labels = object.labels.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into()));
        Self { uid: object.uid.as_str().into(), generation: object.generation, labels: labels.collect() }
    }
}

#[cfg(test)]
mod tests;
