//! Which virtual service selects which real server, without asking each of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use crate::object::{ObjectKey, ValidVirtualService};
use crate::selector::Selector;

/// A label in a namespace.
type Label = (Arc<str>, String, String);

/// Selectors and labels, indexed by one label that must match.
#[derive(Debug, Default)]
pub(super) struct Membership {
    selectors: HashMap<ObjectKey, Arc<ValidVirtualService>>,
    selectors_by_label: HashMap<Label, BTreeSet<ObjectKey>>,
    /// Selectors that no single label decides, by namespace.
    selectors_without_label: HashMap<Arc<str>, BTreeSet<ObjectKey>>,
    labels: HashMap<ObjectKey, BTreeMap<String, String>>,
    members_by_label: HashMap<Label, BTreeSet<ObjectKey>>,
    members_by_namespace: HashMap<Arc<str>, BTreeSet<ObjectKey>>,
}

impl Membership {
    /// Sets the selector of a virtual service to that of a version.
    pub(super) fn set_selector(&mut self, key: &ObjectKey, version: &Arc<ValidVirtualService>) {
        self.remove_selector(key);
        match anchor(key, &version.selector) {
            Some(label) => self.selectors_by_label.entry(label).or_default().insert(key.clone()),
            None => {
                self.selectors_without_label.entry(key.namespace.clone()).or_default().insert(key.clone())
            }
        };
        self.selectors.insert(key.clone(), Arc::clone(version));
    }

    /// Forgets a virtual service.
    pub(super) fn remove_selector(&mut self, key: &ObjectKey) {
        let Some(version) = self.selectors.remove(key) else { return };
        match anchor(key, &version.selector) {
            Some(label) => remove_from(&mut self.selectors_by_label, &label, key),
            None => remove_from(&mut self.selectors_without_label, &key.namespace, key),
        }
    }

    /// Sets the labels of a real server.
    pub(super) fn set_labels(&mut self, key: &ObjectKey, labels: &BTreeMap<String, String>) {
        if self.labels.get(key) == Some(labels) {
            return;
        }
        self.remove_labels(key);
        for (name, value) in labels {
            let label = (key.namespace.clone(), name.clone(), value.clone());
            self.members_by_label.entry(label).or_default().insert(key.clone());
        }
        self.members_by_namespace.entry(key.namespace.clone()).or_default().insert(key.clone());
        self.labels.insert(key.clone(), labels.clone());
    }

    /// Forgets a real server.
    pub(super) fn remove_labels(&mut self, key: &ObjectKey) {
        let Some(labels) = self.labels.remove(key) else { return };
        for (name, value) in labels {
            remove_from(&mut self.members_by_label, &(key.namespace.clone(), name, value), key);
        }
        remove_from(&mut self.members_by_namespace, &key.namespace, key);
    }

    /// The virtual services that select a real server.
    pub(super) fn selectors_of_member<'a>(
        &'a self,
        member: &'a ObjectKey,
    ) -> impl Iterator<Item = &'a ObjectKey> {
        let labels = self.labels.get(member).into_iter();
        labels.flat_map(|labels| self.selectors_of(&member.namespace, labels))
    }

    /// The virtual services of a namespace that select these labels.
    pub(super) fn selectors_of<'a>(
        &'a self,
        namespace: &'a Arc<str>,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a ObjectKey> {
        let by_label = labels.iter().filter_map(|(name, value)| {
            self.selectors_by_label.get(&(Arc::clone(namespace), name.clone(), value.clone()))
        });
        let candidates = by_label.chain(self.selectors_without_label.get(namespace)).flatten();
        candidates
            .filter(|key| self.selectors.get(*key).is_some_and(|version| version.selector.matches(labels)))
    }

    /// The real servers that a virtual service selects.
    pub(super) fn members_of<'a>(
        &'a self,
        key: &ObjectKey,
        selector: &'a Selector,
    ) -> impl Iterator<Item = &'a ObjectKey> {
        let candidates = match anchor(key, selector) {
            Some(label) => self.members_by_label.get(&label),
            None => self.members_by_namespace.get(&key.namespace),
        };
        candidates
            .into_iter()
            .flatten()
            .filter(|member| self.labels.get(*member).is_some_and(|labels| selector.matches(labels)))
    }
}

/// One label without which the selector cannot match.
fn anchor(key: &ObjectKey, selector: &Selector) -> Option<Label> {
    let (name, value) = selector.anchor()?;
    Some((key.namespace.clone(), name.to_owned(), value.to_owned()))
}

fn remove_from<K: Eq + Hash>(index: &mut HashMap<K, BTreeSet<ObjectKey>>, at: &K, key: &ObjectKey) {
    if let Some(keys) = index.get_mut(at) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(at);
        }
    }
}
