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
    /// The addresses of their destinations, where objects of this kind have addresses. Empty after the first list.
    destinations: BTreeSet<IpAddr>,
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
    /// `destinations`: what these have in the kernel, as far as that could be read.
    pub(super) fn of_real_servers(rules_in_force: bool, destinations: BTreeSet<IpAddr>) -> Self {
        Self { rules_of_unknown_origin: rules_in_force, destinations, ..Self::empty() }
    }

    fn empty() -> Self {
        Self {
            known: BTreeMap::new(),
            unlisted: BTreeSet::new(),
            rules_of_unknown_origin: false,
            destinations: BTreeSet::new(),
            list: None,
            doubt: None,
            listed: false,
        }
    }

    /// Whether a full list was believed.
    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }

    /// The list that waits for a second one.
    pub(super) fn doubt(&self) -> Option<&Doubt> {
        self.doubt.as_ref()
    }

    /// A full list is asked for; one that has not ended says nothing.
    pub(super) fn begin_list(&mut self, now: Instant) {
        let in_force = match self.destinations.len() {
            0 => self.known.len() + self.unlisted.len(),
            // What a list that was not believed had already is not in the kernel yet.
            destinations => destinations,
        };
        let unexplained = self.destinations.clone();
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
    pub(super) fn end_list(&mut self) -> Vec<Change> {
        let Some(Listing { asked, in_force, seen, unexplained }) = self.list.take() else {
            return Vec::new();
        };
        let unseen = self.known.keys().chain(&self.unlisted).filter(|key| !seen.contains(*key));
        let missing: BTreeSet<InForce> = unseen
            .map(|key| InForce::Object(key.clone()))
            .chain(unexplained.into_iter().map(InForce::Destination))
            .collect();
        let list = List {
            asked,
            missing: &missing,
            in_force,
            blank: seen.is_empty() && !self.listed && self.rules_of_unknown_origin,
        };
        match evidence::judge(list, self.doubt.as_ref()) {
            Judgement::Gone(gone) => {
                self.doubt = None;
                self.listed = true;
                self.unlisted.clear();
                self.destinations.clear();
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
        Some(Change::Upsert(object))
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
        Spec::VirtualService(_) | Spec::Malformed(_) => None,
    }
}

impl Version {
    fn of(object: &Object) -> Self {
        let labels = object.labels.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into()));
        Self { uid: object.uid.as_str().into(), generation: object.generation, labels: labels.collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lvs_plan::Kind;
    use proptest::prelude::*;

    use super::*;
    use crate::api::fixtures::{address_of, generation, label, real_server};

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::RealServer, "default", name)
    }

    fn list(store: &mut Store, asked: Instant, names: impl IntoIterator<Item = usize>) -> Vec<Change> {
        store.begin_list(asked);
        let mut changes: Vec<Change> =
            names.into_iter().filter_map(|n| store.listed(real_server(&format!("rs{n}")))).collect();
        changes.extend(store.end_list());
        changes
    }

    #[test]
    fn a_second_list_of_the_same_objects_says_nothing() {
        let mut store = Store::empty();
        let now = Instant::now();
        assert_eq!(list(&mut store, now, 0..3).len(), 3);
        assert!(store.is_listed());
        assert_eq!(list(&mut store, now, 0..3), []);
    }

    #[test]
    fn a_write_to_the_status_alone_is_no_change_and_a_label_is_one() {
        let mut store = Store::empty();
        assert!(store.present(real_server("rs1")).is_some());
        assert_eq!(store.present(real_server("rs1")), None);
        assert!(store.present(label(real_server("rs1"), "app", "other")).is_some());
        assert!(store.present(generation(real_server("rs1"), 2)).is_some());
    }

    #[test]
    fn an_object_that_was_made_anew_under_its_name_is_a_change() {
        let mut store = Store::empty();
        store.present(real_server("rs1"));
        let mut anew = real_server("rs1");
        anew.uid = "another".to_owned();
        assert!(store.present(anew).is_some());
    }

    #[test]
    fn a_list_that_was_cut_short_removes_nothing() {
        let mut store = Store::empty();
        let now = Instant::now();
        list(&mut store, now, 0..3);
        store.begin_list(now);
        store.listed(real_server("rs0"));
        assert_eq!(list(&mut store, now, 0..3), []);
    }

    #[test]
    fn deleted_counts_at_once() {
        let mut store = Store::empty();
        list(&mut store, Instant::now(), 0..100);
        for n in 0..100 {
            let gone = key(&format!("rs{n}"));
            assert_eq!(store.deleted(&gone), Some(Change::Removed(gone.clone())));
            assert_eq!(store.deleted(&gone), None);
        }
    }

    #[test]
    fn what_is_new_in_a_doubtful_list_counts_and_what_it_lacks_stays() {
        let mut store = Store::empty();
        let now = Instant::now();
        list(&mut store, now, 0..50);
        let changes = list(&mut store, now, [100]);
        assert!(matches!(&changes[..], [Change::Upsert(object)] if object.key == key("rs100")));
        let doubt = store.doubt().unwrap();
        assert_eq!((doubt.in_force, doubt.missing.len()), (50, 50));
        let changes = list(&mut store, now + Duration::from_secs(4), [100]);
        assert_eq!(changes.len(), 50);
        assert!(store.doubt().is_none());
    }

    #[test]
    fn an_object_that_the_watch_deletes_meanwhile_is_no_contradiction() {
        let mut store = Store::empty();
        let now = Instant::now();
        list(&mut store, now, 0..50);
        assert_eq!(list(&mut store, now, 0..20), []);
        assert!(store.deleted(&key("rs3")).is_some());
        let names = (0..20).filter(|n| *n != 3);
        assert_eq!(list(&mut store, now + Duration::from_secs(4), names).len(), 30);
    }

    #[test]
    fn at_start_the_ledger_says_what_a_list_may_lack() {
        let ledger: BTreeSet<ObjectKey> = (0..50).map(|n| key(&format!("rs{n}"))).collect();
        let now = Instant::now();
        let mut store = Store::of_virtual_services(ledger.clone());
        list(&mut store, now, 0..10);
        assert!(!store.is_listed(), "40 of 50 are missing");
        list(&mut store, now + Duration::from_secs(3), 0..10);
        assert!(store.is_listed());
        let mut store = Store::of_virtual_services(ledger.clone());
        list(&mut store, now, 0..45);
        assert!(store.is_listed());
        // What is new does not make up for what is missing.
        let mut store = Store::of_virtual_services(ledger);
        list(&mut store, now, 40..400);
        assert!(!store.is_listed(), "40 of 50 are missing");
    }

    /// The addresses of rs0, rs1 and so on.
    fn rips(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<IpAddr> {
        numbers.into_iter().map(rip).collect()
    }

    fn rip(number: usize) -> IpAddr {
        IpAddr::from([10, 0, 0, u8::try_from(number).unwrap()])
    }

    fn list_real_servers(store: &mut Store, asked: Instant, numbers: impl IntoIterator<Item = usize>) {
        store.begin_list(asked);
        for number in numbers {
            store.listed(address_of(real_server(&format!("rs{number}")), rip(number)));
        }
        store.end_list();
    }

    #[test]
    fn at_start_the_kernel_says_which_real_servers_a_list_may_lack() {
        let now = Instant::now();
        for (in_kernel, listed, believed) in [
            (0..50, 0..50, true),
            (0..50, 0..45, true),
            (0..50, 0..40, true),
            (0..50, 0..39, false),
            (0..11, 11..60, false),
            (0..10, 10..60, false),
            (0..10, 9..60, true),
            (0..100, 80..250, false),
            (0..100, 10..250, true),
        ] {
            let mut store = Store::of_real_servers(true, rips(in_kernel.clone()));
            list_real_servers(&mut store, now, listed.clone());
            assert_eq!(store.is_listed(), believed, "{in_kernel:?} in the kernel, {listed:?} listed");
            if !believed {
                let doubt = store.doubt().unwrap();
                assert_eq!(doubt.in_force, in_kernel.len());
                list_real_servers(&mut store, now + Duration::from_secs(4), listed);
                assert!(store.is_listed(), "the second list agrees");
                assert!(store.doubt().is_none());
            }
        }
    }

    #[test]
    fn a_second_list_that_has_the_real_servers_after_all_removes_nothing() {
        let now = Instant::now();
        let mut store = Store::of_real_servers(true, rips(0..50));
        list_real_servers(&mut store, now, 0..5);
        assert!(!store.is_listed());
        list_real_servers(&mut store, now + Duration::from_secs(4), 0..50);
        assert!(store.is_listed() && store.known.len() == 50);
        // From then on the objects count, and the kernel is not asked.
        list_real_servers(&mut store, now + Duration::from_secs(60), 0..5);
        assert_eq!(store.doubt().unwrap().missing.len(), 45);
    }

    #[test]
    fn two_real_servers_of_one_address_explain_it_both() {
        let mut store = Store::of_real_servers(true, rips(0..11));
        store.begin_list(Instant::now());
        for number in 0..22 {
            store.listed(address_of(real_server(&format!("rs{number}")), rip(number / 2)));
        }
        store.end_list();
        assert!(store.is_listed());
    }

    #[test]
    fn at_start_no_real_servers_at_all_are_believed_at_the_second_list_only() {
        let now = Instant::now();
        let mut store = Store::of_real_servers(true, BTreeSet::new());
        list(&mut store, now, []);
        assert!(!store.is_listed());
        list(&mut store, now + Duration::from_secs(3), []);
        assert!(store.is_listed());
        let mut store = Store::of_real_servers(true, BTreeSet::new());
        list(&mut store, now, [1]);
        assert!(store.is_listed());
    }

    proptest! {
        /// Whoever applies the changes has what was listed last, once a list is believed.
        #[test]
        fn changes_add_up_to_the_last_list(
            lists in prop::collection::vec(prop::collection::btree_set(0_usize..30, 0..30), 1..10),
        ) {
            let mut store = Store::empty();
            let mut mirror = BTreeSet::new();
            let mut now = Instant::now();
            for names in lists {
                now += Duration::from_secs(4);
                for change in list(&mut store, now, names.iter().copied()) {
                    match change {
                        Change::Upsert(object) => {
                            prop_assert!(mirror.insert(object.key));
                        }
                        Change::Removed(key) => {
                            prop_assert!(mirror.remove(&key));
                        }
                    }
                }
                let listed: BTreeSet<ObjectKey> = names.iter().map(|n| key(&format!("rs{n}"))).collect();
                prop_assert!(mirror.is_superset(&listed));
                if store.doubt().is_none() {
                    prop_assert_eq!(&mirror, &listed);
                }
            }
        }
    }
}
