//! Who asks for which service, and who has it.

use std::collections::{BTreeSet, HashMap};

use super::Age;
use crate::object::ObjectKey;
use crate::service::ServiceKey;

/// Claims on services. Who has a service also asks for it.
#[derive(Debug, Default)]
pub(super) struct Claims {
    services: HashMap<ServiceKey, Claim>,
    asks: HashMap<Age, Box<[ServiceKey]>>,
}

/// A service that somebody asks for.
#[derive(Debug)]
struct Claim {
    /// Hardly ever more than one.
    asked_by: Vec<Age>,
    holder: Option<ObjectKey>,
}

impl Claims {
    /// Who has the service.
    pub(super) fn holder(&self, key: &ServiceKey) -> Option<&ObjectKey> {
        self.services.get(key)?.holder.as_ref()
    }

    /// Replaces what one virtual service asks for; each service stands once, in order.
    pub(super) fn ask(&mut self, age: &Age, keys: Box<[ServiceKey]>) {
        let old = self.asks.get_mut(age).map(std::mem::take).unwrap_or_default();
        let only_in = |one: &[ServiceKey], other: &[ServiceKey]| -> Vec<ServiceKey> {
            one.iter().filter(|key| other.binary_search(key).is_err()).copied().collect()
        };
        for key in only_in(&old, &keys) {
            self.withdraw(age, &key);
        }
        for key in only_in(&keys, &old) {
            let claim = self.services.entry(key);
            let claim = claim.or_insert_with(|| Claim { asked_by: Vec::with_capacity(1), holder: None });
            claim.asked_by.push(age.clone());
        }
        self.asks.insert(age.clone(), keys);
    }

    /// Withdraws everything that one virtual service asks for and has; says who else asked for some of it.
    pub(super) fn remove(&mut self, age: &Age) -> BTreeSet<Age> {
        let others = self.neighbours(age);
        for key in self.asks.remove(age).into_iter().flatten() {
            self.withdraw(age, &key);
        }
        others
    }

    /// Who else asks for a service that this one asks for.
    pub(super) fn neighbours(&self, age: &Age) -> BTreeSet<Age> {
        let keys = self.asks.get(age).into_iter().flatten();
        let askers = keys.filter_map(|key| self.services.get(key)).flat_map(|claim| &claim.asked_by);
        askers.filter(|other| *other != age).cloned().collect()
    }

    /// All that depend on each other with the touched ones, by services that they share.
    pub(super) fn connected(&self, touched: BTreeSet<Age>) -> BTreeSet<Age> {
        let mut group = BTreeSet::new();
        let mut next: Vec<Age> = touched.into_iter().collect();
        while let Some(age) = next.pop() {
            next.extend(self.neighbours(&age).into_iter().filter(|other| !group.contains(other)));
            group.insert(age);
        }
        group
    }

    /// Takes from a group all that it has.
    pub(super) fn release(&mut self, group: &BTreeSet<Age>) {
        for age in group {
            for key in self.asks.get(age).into_iter().flatten() {
                if let Some(claim) = self.services.get_mut(key) {
                    claim.holder.take_if(|holder| *holder == age.key);
                }
            }
        }
    }

    /// The first of these services that somebody has.
    pub(super) fn first_taken(&self, keys: &[ServiceKey]) -> Option<(ServiceKey, ObjectKey)> {
        keys.iter().find_map(|key| Some((*key, self.holder(key)?.clone())))
    }

    /// Gives these services, for which it asks, to a virtual service.
    pub(super) fn take(&mut self, owner: &ObjectKey, keys: &[ServiceKey]) {
        for key in keys {
            if let Some(claim) = self.services.get_mut(key) {
                claim.holder = Some(owner.clone());
            }
        }
    }

    /// It neither asks for the service any more nor has it.
    fn withdraw(&mut self, age: &Age, key: &ServiceKey) {
        let Some(claim) = self.services.get_mut(key) else { return };
        claim.asked_by.retain(|asker| asker != age);
        claim.holder.take_if(|holder| *holder == age.key);
        if claim.asked_by.is_empty() {
            self.services.remove(key);
        }
    }
}
