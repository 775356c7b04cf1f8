//! Every object the source delivered, and what follows from them together.
//!
//! The inventory is an index that is kept between passes: a change costs what it touches, not what there is.
//! It says which services and which objects a change made dirty; a pass handles only these.

mod claims;
mod membership;
mod record;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::desired::{self, Desired, DesiredService, Member};
use crate::object::{Kind, Object, ObjectKey, Spec, ValidRealServer, ValidVirtualService};
use crate::service::ServiceKey;
use crate::validate::{self, Violation};

use claims::Claims;
use membership::Membership;
use record::{Age, age, asked_keys};
pub use record::{RealServerRecord, VirtualServiceRecord};

/// A change that a source delivers.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The object is new or differs.
    Upsert(Arc<Object>),
    /// The object is gone, on explicit evidence.
    Removed(ObjectKey),
}

impl Change {
    /// The object is new or differs.
    pub fn upsert(object: impl Into<Arc<Object>>) -> Self {
        Self::Upsert(object.into())
    }
}

/// What changed since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Services whose rules may have to change.
    pub services: BTreeSet<ServiceKey>,
    /// Objects whose status may have to change, gone ones too.
    pub objects: HashSet<ObjectKey>,
}

/// All objects. What is only looked up is hashed: comparing names on the way down a tree is most of what taking in a
/// thousand objects would cost.
#[derive(Debug, Default)]
pub struct Inventory {
    virtual_services: HashMap<ObjectKey, Box<VirtualServiceRecord>>,
    real_servers: HashMap<ObjectKey, RealServerRecord>,
    claims: Claims,
    membership: Membership,
    /// Real servers without a version that was ever accepted.
    unsettled: BTreeSet<ObjectKey>,
    /// Virtual services whose pairs are to be judged again, each once.
    stale: Vec<ObjectKey>,
    dirty: Dirty,
}

impl Inventory {
    /// Takes in one change.
    pub fn change(&mut self, change: Change) {
        self.change_all([change]);
    }

    /// Takes in changes that came together. Each virtual service that they touch is judged once, so that the real
    /// servers of one service do not cost the square of their number when they come at once.
    pub fn change_all(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.take_in(change);
        }
        for virtual_service in std::mem::take(&mut self.stale) {
            self.rebuild(&virtual_service);
        }
    }

    fn take_in(&mut self, change: Change) {
        match change {
            Change::Upsert(object) => match (&object.spec, object.key.kind) {
                (Spec::VirtualService(spec), _) => {
                    let verdict = validate::virtual_service(spec);
                    self.upsert_virtual_service(object, verdict);
                }
                (Spec::RealServer(spec), _) => {
                    let verdict = validate::real_server(spec);
                    self.upsert_real_server(object, verdict);
                }
                // About the node, not about rules.
                (Spec::Director(_), _) => {}
                (Spec::Malformed(violation), kind) => {
                    let violations = vec![(**violation).clone()];
                    match kind {
                        Kind::VirtualService => self.upsert_virtual_service(object, Err(violations)),
                        Kind::RealServer => self.upsert_real_server(object, Err(violations)),
                        Kind::Director => {}
                    }
                }
            },
            Change::Removed(key) => match key.kind {
                Kind::VirtualService => self.remove_virtual_service(&key),
                Kind::RealServer => self.remove_real_server(&key),
                Kind::Director => {}
            },
        }
    }

    /// What became dirty since the last call.
    pub fn take_dirty(&mut self) -> Dirty {
        std::mem::take(&mut self.dirty)
    }

    /// What should exist under this key.
    pub fn desired(&self, key: &ServiceKey) -> Option<&DesiredService> {
        self.virtual_services.get(self.claims.holder(key)?)?.desired.services.get(key)
    }

    /// All services that should exist, in no order.
    pub fn desired_services(&self) -> impl Iterator<Item = (&ServiceKey, &DesiredService)> {
        self.virtual_services.values().flat_map(|record| &record.desired.services)
    }

    /// The record of a virtual service.
    pub fn virtual_service(&self, key: &ObjectKey) -> Option<&VirtualServiceRecord> {
        self.virtual_services.get(key).map(|record| &**record)
    }

    /// The record of a real server.
    pub fn real_server(&self, key: &ObjectKey) -> Option<&RealServerRecord> {
        self.real_servers.get(key)
    }

    /// All virtual services, in no order.
    pub fn virtual_services(&self) -> impl Iterator<Item = (&ObjectKey, &VirtualServiceRecord)> {
        self.virtual_services.iter().map(|(key, record)| (key, &**record))
    }

    /// All real servers, in no order.
    pub fn real_servers(&self) -> impl Iterator<Item = (&ObjectKey, &RealServerRecord)> {
        self.real_servers.iter()
    }

    /// Whether the virtual service is there but has no version that is known to be good, as after a restart over
    /// an invalid object. What the kernel holds for it is then the last good version, and is left as it is.
    pub fn is_unsettled(&self, key: &ObjectKey) -> bool {
        self.virtual_services
            .get(key)
            .is_some_and(|record| !record.violations.is_empty() && record.in_force.is_none())
    }

    /// The labels of the real servers in a namespace that are there but have no version known to be good.
    pub fn unsettled_real_servers<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a BTreeMap<String, String>> {
        let here = self.unsettled.iter().filter(move |key| &*key.namespace == namespace);
        here.filter_map(|key| Some(&self.real_servers.get(key)?.object.labels))
    }

    fn upsert_virtual_service(
        &mut self,
        object: Arc<Object>,
        verdict: Result<ValidVirtualService, Vec<Violation>>,
    ) {
        let key = object.key.clone();
        self.dirty.objects.insert(key.clone());
        let previous = self.virtual_services.remove(&key);
        let was = previous.as_ref().map(|record| age(&record.object));
        let (mut candidate, in_force, desired, stale) = match previous {
            Some(record) => (record.candidate, record.in_force, record.desired, record.stale),
            None => (None, None, Desired::default(), false),
        };
        let violations = match verdict {
            Ok(valid) => {
                candidate = Some(Arc::new(valid));
                Vec::new()
            }
            Err(violations) => {
                // What was refused and is not asked for any more must not come into force later.
                if in_force.is_some() {
                    candidate.clone_from(&in_force);
                }
                violations
            }
        };
        let now = age(&object);
        let record =
            VirtualServiceRecord { object, violations, conflict: None, in_force, candidate, desired, stale };
        let mut touched = BTreeSet::new();
        if let Some(was) = was {
            touched = self.claims.neighbours(&was);
            if was != now {
                // Created anew under the old name: its rank is another one now.
                self.claims.remove(&was);
            }
        }
        self.claims.ask(&now, asked_keys(&record));
        self.virtual_services.insert(key, Box::new(record));
        touched.insert(now);
        self.settle(touched);
    }

    fn remove_virtual_service(&mut self, key: &ObjectKey) {
        let Some(record) = self.virtual_services.remove(key) else { return };
        self.dirty.objects.insert(key.clone());
        self.dirty.services.extend(record.desired.services.keys().copied());
        for member in record.desired.pairs.keys() {
            self.deselect(member, key);
        }
        self.membership.remove_selector(key);
        let touched = self.claims.remove(&age(&record.object));
        self.settle(touched);
    }

    fn upsert_real_server(&mut self, object: Arc<Object>, verdict: Result<ValidRealServer, Vec<Violation>>) {
        let key = object.key.clone();
        self.dirty.objects.insert(key.clone());
        self.look_again_at_held_services(&key);
        let (mut in_force, selected_by) = match self.real_servers.remove(&key) {
            Some(record) => {
                for virtual_service in &record.selected_by {
                    self.mark_stale(virtual_service);
                }
                (record.in_force, record.selected_by)
            }
            None => (None, HashSet::new()),
        };
        let violations = match verdict {
            Ok(valid) => {
                // Labels belong to a version: an invalid one changes neither.
                self.membership.set_labels(&object);
                in_force = Some(Arc::new(valid));
                Vec::new()
            }
            Err(violations) => violations,
        };
        let selecting: Vec<ObjectKey> = self.membership.selectors_of_member(&key).cloned().collect();
        for virtual_service in &selecting {
            self.mark_stale(virtual_service);
        }
        if in_force.is_some() {
            self.unsettled.remove(&key);
        } else {
            self.unsettled.insert(key.clone());
        }
        self.real_servers.insert(key, RealServerRecord { object, violations, in_force, selected_by });
    }

    fn remove_real_server(&mut self, key: &ObjectKey) {
        self.look_again_at_held_services(key);
        let Some(record) = self.real_servers.remove(key) else { return };
        self.dirty.objects.insert(key.clone());
        self.membership.remove_labels(key);
        self.unsettled.remove(key);
        for virtual_service in record.selected_by {
            // If it comes again before the others are judged, it is another one.
            if let Some(record) = self.virtual_services.get_mut(&virtual_service) {
                record.desired.pairs.remove(key);
            }
            self.mark_stale(&virtual_service);
        }
    }

    /// A real server without a good version holds the destinations of every service that its labels belong to.
    /// When it changes, what was kept for its sake may have to go.
    fn look_again_at_held_services(&mut self, key: &ObjectKey) {
        if !self.unsettled.contains(key) {
            return;
        }
        let Some(labels) = self.real_servers.get(key).map(|record| &record.object.labels) else { return };
        for virtual_service in self.membership.selectors_of(&key.namespace, labels) {
            let record = self.virtual_services.get(virtual_service);
            self.dirty.services.extend(record.into_iter().flat_map(|record| record.desired.services.keys()));
        }
    }

    /// Decides anew who has which service among the virtual services that share one with a touched one,
    /// oldest first: the older wins, the other is refused whole and keeps what it had if that is still free.
    fn settle(&mut self, touched: BTreeSet<Age>) {
        let group = self.claims.connected(touched);
        self.claims.release(&group);
        for age in group {
            let Some(record) = self.virtual_services.get_mut(&age.key) else { continue };
            record.conflict = None;
            let mut chosen = None;
            for version in [&record.candidate, &record.in_force].into_iter().flatten() {
                match self.claims.first_taken(&version.services) {
                    None => {
                        chosen = Some(Arc::clone(version));
                        break;
                    }
                    Some(taken) if record.conflict.is_none() => record.conflict = Some(Box::new(taken)),
                    Some(_) => {}
                }
            }
            if let Some(version) = &chosen {
                self.claims.take(&age.key, &version.services);
            }
            let same = match (&record.in_force, &chosen) {
                (Some(old), Some(new)) => old == new,
                (None, None) => true,
                _ => false,
            };
            self.dirty.objects.insert(age.key.clone());
            if same {
                continue;
            }
            record.in_force.clone_from(&chosen);
            // A version that went out of force no longer asks for its services.
            self.claims.ask(&age, asked_keys(record));
            match chosen {
                Some(version) => self.membership.set_selector(&age.key, &version),
                None => self.membership.remove_selector(&age.key),
            }
            self.mark_stale(&age.key);
        }
    }

    /// The pairs of this virtual service are to be judged again.
    fn mark_stale(&mut self, key: &ObjectKey) {
        if let Some(record) = self.virtual_services.get_mut(key)
            && !std::mem::replace(&mut record.stale, true)
        {
            self.stale.push(key.clone());
        }
    }

    /// Judges all pairs of one virtual service again.
    fn rebuild(&mut self, key: &ObjectKey) {
        let Self { virtual_services, real_servers, membership, dirty, .. } = self;
        let Some(record) = virtual_services.get_mut(key).filter(|record| record.stale) else { return };
        record.stale = false;
        let desired = match &record.in_force {
            None => Desired::default(),
            Some(version) => {
                let members = membership.members_of(key, &version.selector);
                let mut members: Vec<&RealServerRecord> =
                    members.filter_map(|member| real_servers.get(member)).collect();
                // Of one age the order of the keys stays.
                members.sort_by_key(|record| record.object.created);
                let accepted: Vec<Member<'_>> = members
                    .into_iter()
                    .filter_map(|record| {
                        Some(Member { key: &record.object.key, spec: record.in_force.as_deref()? })
                    })
                    .collect();
                desired::build(key, version, &accepted)
            }
        };
        let old = std::mem::replace(&mut record.desired, desired);
        let new = &record.desired;
        for (service, was) in &old.services {
            let is = new.services.get(service);
            if is != Some(was) {
                dirty.services.insert(*service);
            }
            // What is said of a real server depends on what is asked of it, too.
            let otherwise = is.into_iter().flat_map(|is| &is.destinations);
            let otherwise = otherwise.filter(|(at, wanted)| was.destinations.get(at) != Some(wanted));
            for (_, wanted) in otherwise {
                insert(&mut dirty.objects, &wanted.owner);
            }
        }
        dirty.services.extend(new.services.keys().filter(|service| !old.services.contains_key(service)));
        insert(&mut dirty.objects, key);
        for (member, pair) in &new.pairs {
            if old.pairs.get(member) != Some(pair) || old.weights_ignored != new.weights_ignored {
                insert(&mut dirty.objects, member);
                if let Some(real_server) = real_servers.get_mut(member) {
                    real_server.selected_by.insert(key.clone());
                }
            }
        }
        let deselected: Vec<&ObjectKey> =
            old.pairs.keys().filter(|member| !new.pairs.contains_key(member)).collect();
        for member in deselected {
            self.deselect(member, key);
        }
    }

    fn deselect(&mut self, member: &ObjectKey, virtual_service: &ObjectKey) {
        if let Some(real_server) = self.real_servers.get_mut(member) {
            real_server.selected_by.remove(virtual_service);
            self.dirty.objects.insert(member.clone());
        }
    }
}

/// Mostly it is in there already.
fn insert(keys: &mut HashSet<ObjectKey>, key: &ObjectKey) {
    if !keys.contains(key) {
        keys.insert(key.clone());
    }
}

#[cfg(test)]
mod batch_tests;
#[cfg(test)]
mod tests;
