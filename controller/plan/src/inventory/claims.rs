//! Who asks for which service, and who has it.

use std::collections::{BTreeSet, HashMap};

use super::Age;
use crate::object::ObjectKey;
use crate::service::ServiceKey;

/// Claims on services. Who has a service also asks for it.
#[derive(Debug, Default)]
pub(super) struct Claims {
    asked_by: HashMap<ServiceKey, Vec<Age>>,
    asks: HashMap<Age, Vec<ServiceKey>>,
    holder: HashMap<ServiceKey, ObjectKey>,
}

impl Claims {
    /// Who has the service.
    pub(super) fn holder(&self, key: &ServiceKey) -> Option<&ObjectKey> {
        self.holder.get(key)
    }

    /// Replaces what one virtual service asks for; each service stands once.
    pub(super) fn ask(&mut self, age: &Age, keys: Vec<ServiceKey>) {
        self.withdraw(age);
        for key in &keys {
            // Hardly ever is a service asked for by two.
            self.asked_by.entry(*key).or_insert_with(|| Vec::with_capacity(1)).push(age.clone());
        }
        self.asks.insert(age.clone(), keys);
    }

    /// Withdraws everything that one virtual service asks for and has; says who else asked for some of it.
    pub(super) fn remove(&mut self, age: &Age) -> BTreeSet<Age> {
        let others = self.neighbours(age);
        self.release(&BTreeSet::from([age.clone()]));
        self.withdraw(age);
        others
    }

    /// Who else asks for a service that this one asks for.
    pub(super) fn neighbours(&self, age: &Age) -> BTreeSet<Age> {
        let keys = self.asks.get(age).into_iter().flatten();
        keys.filter_map(|key| self.asked_by.get(key))
            .flatten()
            .filter(|other| *other != age)
            .cloned()
            .collect()
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
                if self.holder.get(key) == Some(&age.key) {
                    self.holder.remove(key);
                }
            }
        }
    }

    /// The first of these services that somebody has.
    pub(super) fn first_taken(&self, keys: &[ServiceKey]) -> Option<(ServiceKey, ObjectKey)> {
        keys.iter().find_map(|key| Some((*key, self.holder.get(key)?.clone())))
    }

    /// Gives these services to a virtual service.
    pub(super) fn take(&mut self, owner: &ObjectKey, keys: &[ServiceKey]) {
        for key in keys {
            self.holder.insert(*key, owner.clone());
        }
    }

    fn withdraw(&mut self, age: &Age) {
        for key in self.asks.remove(age).into_iter().flatten() {
            if let Some(askers) = self.asked_by.get_mut(&key) {
                askers.retain(|asker| asker != age);
                if askers.is_empty() {
                    self.asked_by.remove(&key);
                }
            }
        }
    }
}
