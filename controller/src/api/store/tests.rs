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
    changes.extend(store.end_list(asked));
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
    store.end_list(asked);
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
        let mut store = Store::of_real_servers(true, Some(rips(in_kernel.clone())));
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
fn a_list_that_takes_long_is_confirmed_by_the_next_one_after_a_pause() {
    for takes in [0, 1, 9, 11, 60, 600].map(Duration::from_secs) {
        let mut store = Store::empty();
        let mut now = Instant::now();
        list(&mut store, now, 0..50);
        now += Duration::from_secs(60);
        let mut waits = Vec::new();
        while waits.len() < 4 {
            store.begin_list(now);
            now += takes;
            store.end_list(now);
            let Some(doubt) = store.doubt() else { break };
            let again = doubt.list_again(now);
            waits.push(again - now);
            now = again;
        }
        assert_eq!(waits, [Duration::from_secs(4)], "lists that take {takes:?}");
    }
}

#[test]
fn a_second_list_that_has_the_real_servers_after_all_removes_nothing() {
    let now = Instant::now();
    let mut store = Store::of_real_servers(true, Some(rips(0..50)));
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
    let mut store = Store::of_real_servers(true, Some(rips(0..11)));
    let now = Instant::now();
    store.begin_list(now);
    for number in 0..22 {
        store.listed(address_of(real_server(&format!("rs{number}")), rip(number / 2)));
    }
    store.end_list(now);
    assert!(store.is_listed());
}

#[test]
fn at_start_no_real_servers_at_all_are_believed_at_the_second_list_only() {
    let now = Instant::now();
    let no_destinations = || Some(BTreeSet::new());
    let mut store = Store::of_real_servers(true, no_destinations());
    list(&mut store, now, []);
    assert!(!store.is_listed());
    list(&mut store, now + Duration::from_secs(3), []);
    assert!(store.is_listed());
    let mut store = Store::of_real_servers(true, no_destinations());
    list(&mut store, now, [1]);
    assert!(store.is_listed());
}

#[test]
fn at_start_over_a_kernel_that_cannot_be_read_no_first_list_of_real_servers_is_believed() {
    let now = Instant::now();
    for count in [0, 1, 50] {
        let mut store = Store::of_real_servers(true, None);
        list(&mut store, now, 0..count);
        assert!(!store.is_listed(), "{count} listed, of nobody knows how many");
        list(&mut store, now + Duration::from_secs(4), 0..count);
        assert!(store.is_listed(), "the second list agrees");
        list(&mut store, now + Duration::from_secs(5), 0..count);
        assert!(store.doubt().is_none(), "from then on the objects count");
    }
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
                        prop_assert!(mirror.insert(object.key.clone()));
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
