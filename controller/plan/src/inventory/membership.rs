//! Which virtual service selects which real server, without asking each of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::object::{Object, ObjectKey, ValidVirtualService};
use crate::selector::Selector;

/// Selectors and labels, indexed by one label that must match.
#[derive(Debug, Default)]
pub(super) struct Membership {
    selectors: HashMap<ObjectKey, Arc<ValidVirtualService>>,
    selectors_by_label: ByLabel,
    /// Selectors that no single label decides, by namespace.
    selectors_without_label: HashMap<Arc<str>, BTreeSet<ObjectKey>>,
    /// Real servers as they were when their labels were set.
    labelled: HashMap<ObjectKey, Arc<Object>>,
    members_by_label: ByLabel,
    members_by_namespace: HashMap<Arc<str>, BTreeSet<ObjectKey>>,
}

/// Objects by namespace, and a label's name and value in it. Nested, so that looking up makes no new strings.
#[derive(Debug, Default)]
struct ByLabel(HashMap<Arc<str>, HashMap<Box<str>, ByValue>>);

type ByValue = HashMap<Box<str>, BTreeSet<ObjectKey>>;

impl ByLabel {
    fn get(&self, namespace: &str, (name, value): (&str, &str)) -> Option<&BTreeSet<ObjectKey>> {
        self.0.get(namespace)?.get(name)?.get(value)
    }

    fn insert(&mut self, (name, value): (&str, &str), key: &ObjectKey) {
        let labels = self.0.entry(Arc::clone(&key.namespace)).or_default();
        if !labels.contains_key(name) {
            labels.insert(name.into(), HashMap::new());
        }
        let Some(values) = labels.get_mut(name) else { return };
        if let Some(keys) = values.get_mut(value) {
            keys.insert(key.clone());
        } else {
            values.insert(value.into(), BTreeSet::from([key.clone()]));
        }
    }

    fn remove(&mut self, (name, value): (&str, &str), key: &ObjectKey) {
        let Some(labels) = self.0.get_mut(&key.namespace) else { return };
        let Some(values) = labels.get_mut(name) else { return };
        let Some(keys) = values.get_mut(value) else { return };
        keys.remove(key);
        if keys.is_empty() {
            values.remove(value);
        }
        if values.is_empty() {
            labels.remove(name);
        }
        if labels.is_empty() {
            self.0.remove(&key.namespace);
        }
    }
}

impl Membership {
    /// Sets the selector of a virtual service to that of a version.
    pub(super) fn set_selector(&mut self, key: &ObjectKey, version: &Arc<ValidVirtualService>) {
        self.remove_selector(key);
        if let Some(label) = version.selector.anchor() {
            self.selectors_by_label.insert(label, key);
        } else {
            let namespace = Arc::clone(&key.namespace);
            self.selectors_without_label.entry(namespace).or_default().insert(key.clone());
        }
        self.selectors.insert(key.clone(), Arc::clone(version));
    }

    /// Forgets a virtual service.
    pub(super) fn remove_selector(&mut self, key: &ObjectKey) {
        let Some(version) = self.selectors.remove(key) else { return };
        match version.selector.anchor() {
            Some(label) => self.selectors_by_label.remove(label, key),
            None => remove_from(&mut self.selectors_without_label, key),
        }
    }

    /// Sets the labels of a real server.
    pub(super) fn set_labels(&mut self, object: &Arc<Object>) {
        let key = &object.key;
        if let Some(known) = self.labelled.get_mut(key)
            && known.labels == object.labels
        {
            *known = Arc::clone(object);
            return;
        }
        self.remove_labels(key);
        for (name, value) in &object.labels {
            self.members_by_label.insert((name, value), key);
        }
        self.members_by_namespace.entry(Arc::clone(&key.namespace)).or_default().insert(key.clone());
        self.labelled.insert(key.clone(), Arc::clone(object));
    }

    /// Forgets a real server.
    pub(super) fn remove_labels(&mut self, key: &ObjectKey) {
        let Some(object) = self.labelled.remove(key) else { return };
        for (name, value) in &object.labels {
            self.members_by_label.remove((name, value), key);
        }
        remove_from(&mut self.members_by_namespace, key);
    }

    /// The virtual services that select a real server.
    pub(super) fn selectors_of_member(&self, member: &ObjectKey) -> impl Iterator<Item = &ObjectKey> {
        let object = self.labelled.get(member).into_iter();
        object.flat_map(|object| self.selectors_of(&object.key.namespace, &object.labels))
    }

    /// The virtual services of a namespace that select these labels.
    pub(super) fn selectors_of<'a>(
        &'a self,
        namespace: &'a Arc<str>,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a ObjectKey> {
        let by_label =
            labels.iter().filter_map(|(name, value)| self.selectors_by_label.get(namespace, (name, value)));
        let candidates = by_label.chain(self.selectors_without_label.get(namespace)).flatten();
        candidates
            .filter(|key| self.selectors.get(*key).is_some_and(|version| version.selector.matches(labels)))
    }

    /// The real servers that a virtual service selects, in order.
    pub(super) fn members_of<'a>(
        &'a self,
        key: &ObjectKey,
        selector: &'a Selector,
    ) -> impl Iterator<Item = &'a ObjectKey> {
        let candidates = match selector.anchor() {
            Some(label) => self.members_by_label.get(&key.namespace, label),
            None => self.members_by_namespace.get(&key.namespace),
        };
        let all = selector.is_its_anchor();
        candidates.into_iter().flatten().filter(move |member| {
            all || self.labelled.get(*member).is_some_and(|object| selector.matches(&object.labels))
        })
    }
}

fn remove_from(index: &mut HashMap<Arc<str>, BTreeSet<ObjectKey>>, key: &ObjectKey) {
    if let Some(keys) = index.get_mut(&key.namespace) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(&key.namespace);
        }
    }
}
