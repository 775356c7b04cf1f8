use std::fs;

use lvs_plan::service::{Family, Protocol};
use lvs_plan::{DestinationKey, DestinationSettings, Forwarding, Kind, ServiceSettings};
use tempfile::TempDir;

use super::*;

pub(super) const BOOT: &str = "boot-1";
pub(super) const NETNS: u64 = 4_026_531_840;

pub(super) fn key(port: u16) -> ServiceKey {
    ServiceKey::Address { vip: "172.16.21.10".parse().unwrap(), protocol: Protocol::Tcp, port }
}

pub(super) fn origin(name: &str) -> Origin {
    Origin { object: ObjectKey::new(Kind::VirtualService, "default", name), file: Some("web.yaml".into()) }
}

pub(super) fn entry(name: &str, state: State) -> Entry {
    Entry { origin: origin(name), state }
}

/// A service of this scheduler with one destination.
pub(super) fn service(scheduler: &'static str) -> Service {
    let settings = ServiceSettings {
        scheduler: scheduler.into(),
        one_packet: false,
        scheduler_flags: 0,
        persistence: None,
    };
    let destination = DestinationKey { address: "192.168.40.12".parse().unwrap(), port: 80 };
    let direct = DestinationSettings {
        weight: 1,
        forwarding: Forwarding::Direct,
        upper_threshold: 0,
        lower_threshold: 0,
    };
    Service { settings, destinations: [(destination, direct)].into() }
}

pub(super) fn open(dir: &TempDir) -> Ledger {
    Ledger::open(dir.path(), BOOT, NETNS).expect("the directory is free")
}

pub(super) fn reopen(ledger: Ledger, dir: &TempDir) -> Ledger {
    drop(ledger);
    open(dir)
}

/// Whether it has an entry of the service.
pub(super) fn is_named(ledger: &Ledger, key: &ServiceKey) -> bool {
    ledger.entry(key).is_some()
}

#[test]
fn what_was_saved_is_there_again_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let mark = ServiceKey::FirewallMark { mark: 7, family: Family::IPv6 };
    let vip: IpAddr = "2001:db8::10".parse().unwrap();
    let mut ledger = open(&dir);
    ledger.record_intent(key(80), origin("web"));
    ledger.record_intent(mark, Origin { file: None, ..origin("mark") });
    ledger.set_vip(vip, &"eth1".into());
    ledger.save().unwrap();
    ledger.confirm(&key(80));
    ledger.save().unwrap();

    let ledger = reopen(ledger, &dir);
    assert_eq!(ledger.entry(&key(80)), Some(&entry("web", State::Confirmed)));
    assert_eq!(
        ledger.entry(&mark).map(|entry| (entry.state.clone(), entry.origin.file.clone())),
        Some((State::Intent, None))
    );
    assert_eq!(ledger.vip_link(vip).as_deref(), Some("eth1"));
    assert_eq!(ledger.objects().len(), 2);
    assert!(ledger.usable() && ledger.previous_count() == 0);
}

#[test]
fn what_was_forgotten_is_gone_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let vip: IpAddr = "172.16.21.10".parse().unwrap();
    let mut ledger = open(&dir);
    ledger.record_intent(key(80), origin("web"));
    ledger.set_vip(vip, &"eth1".into());
    ledger.save().unwrap();
    ledger.forget(&key(80));
    ledger.forget_vip(vip);
    ledger.save().unwrap();
    let ledger = reopen(ledger, &dir);
    assert!(!is_named(&ledger, &key(80)));
    assert_eq!((ledger.services().count(), ledger.vips().count()), (0, 0));
}

#[test]
fn what_was_not_saved_does_not_survive() {
    let dir = TempDir::new().unwrap();
    let mut ledger = open(&dir);
    ledger.record_intent(key(80), origin("web"));
    assert!(!is_named(&reopen(ledger, &dir), &key(80)));
}

#[test]
fn a_change_costs_one_short_line_however_many_services_there_are() {
    let dir = TempDir::new().unwrap();
    let mut ledger = open(&dir);
    for port in 1..=10_000 {
        ledger.record_intent(key(port), origin("web"));
    }
    ledger.save().unwrap();
    ledger = reopen(ledger, &dir);
    let sizes = |name: &str| fs::metadata(dir.path().join(name)).unwrap().len();
    let (snapshot, journal) = (sizes("ledger.json"), sizes("ledger.journal"));
    ledger.confirm(&key(80));
    ledger.save().unwrap();
    assert_eq!(sizes("ledger.json"), snapshot);
    assert!((1..200).contains(&(sizes("ledger.journal") - journal)));
}

#[test]
fn saving_without_a_change_writes_nothing() {
    let dir = TempDir::new().unwrap();
    let mut ledger = open(&dir);
    ledger.record_intent(key(80), origin("web"));
    ledger.save().unwrap();
    let before = fs::read(dir.path().join("ledger.journal")).unwrap();
    ledger.record_intent(key(80), origin("web"));
    ledger.save().unwrap();
    ledger.forget(&key(81));
    ledger.confirm(&key(81));
    ledger.save().unwrap();
    assert_eq!(fs::read(dir.path().join("ledger.journal")).unwrap(), before);
}

#[test]
fn the_journal_is_folded_into_the_snapshot_before_it_grows_without_bound() {
    let dir = TempDir::new().unwrap();
    let mut ledger = open(&dir);
    for round in 0..6_000 {
        ledger.record_intent(key(80), origin(if round % 2 == 0 { "even" } else { "odd" }));
        // Without the disk's part of `save`, which is not what is tested here.
        if round % 1_000 == 0 {
            ledger.save().unwrap();
        }
    }
    ledger.save().unwrap();
    ledger.confirm(&key(80));
    ledger.save().unwrap();
    let journal = fs::read_to_string(dir.path().join("ledger.journal")).unwrap();
    assert!(journal.lines().count() < 10, "6,000 records went through it");
    assert_eq!(reopen(ledger, &dir).origin(&key(80)), Some(&origin("odd")));
}

#[test]
fn a_new_origin_keeps_what_the_kernel_confirmed() {
    let dir = TempDir::new().unwrap();
    let mut ledger = open(&dir);
    ledger.record_intent(key(80), origin("web"));
    ledger.confirm(&key(80));
    ledger.record_origin(key(80), origin("other"));
    ledger.save().unwrap();
    let ledger = reopen(ledger, &dir);
    assert_eq!(ledger.entry(&key(80)), Some(&entry("other", State::Confirmed)));
}

#[test]
fn what_is_to_be_made_again_is_not_ours_until_the_kernel_has_it() {
    let dir = TempDir::new().unwrap();
    let mut ledger = open(&dir);
    ledger.record_intent(key(80), origin("web"));
    ledger.confirm(&key(80));
    ledger.save().unwrap();
    ledger.record_intent(key(80), origin("web"));
    ledger.save().unwrap();
    let ledger = reopen(ledger, &dir);
    assert_eq!(ledger.entry(&key(80)), Some(&entry("web", State::Intent)));
}

#[test]
fn what_was_about_to_be_removed_is_ours_only_as_it_was_then() {
    let dir = TempDir::new().unwrap();
    let mut ledger = open(&dir);
    ledger.record_intent(key(80), origin("web"));
    ledger.confirm(&key(80));
    ledger.record_leaving(&key(80), &service("wrr"));
    ledger.record_leaving(&key(81), &service("wrr"));
    ledger.save().unwrap();
    // From the journal, then from a snapshot.
    for _ in 0..2 {
        ledger = reopen(ledger, &dir);
        assert!(!ledger.is_confirmed(&key(80)));
        let mut heavier = service("wrr");
        heavier.destinations.values_mut().for_each(|destination| destination.weight = 2);
        for (there, unchanged) in [
            (None, false),
            (Some(service("wrr")), true),
            (Some(service("rr")), false),
            (Some(heavier), false),
            (Some(Service { destinations: [].into(), ..service("wrr") }), false),
        ] {
            let claim = ledger.claim(&key(80), there.as_ref());
            assert_eq!(claim, Claim::Leaving { unchanged }, "{there:?}");
        }
        assert_eq!(ledger.claim(&key(81), Some(&service("wrr"))), Claim::None, "it was never ours");
        ledger.forget_journal();
        ledger.set_vip("172.16.21.10".parse().unwrap(), &"eth1".into());
        ledger.save().unwrap();
    }
}

#[test]
fn what_was_about_to_be_removed_is_an_intent_when_it_is_to_be_made_again() {
    let mut ledger = Ledger::in_memory();
    ledger.record_intent(key(80), origin("web"));
    ledger.confirm(&key(80));
    ledger.record_leaving(&key(80), &service("wrr"));
    ledger.record_intent(key(80), origin("web"));
    assert_eq!(ledger.entry(&key(80)), Some(&entry("web", State::Intent)));
    ledger.confirm(&key(80));
    assert!(ledger.is_confirmed(&key(80)));
}

#[test]
fn another_boot_or_network_namespace_makes_every_entry_void() {
    for (boot, netns) in [("boot-2", NETNS), (BOOT, NETNS + 1)] {
        let dir = TempDir::new().unwrap();
        let mut ledger = open(&dir);
        ledger.record_intent(key(80), origin("web"));
        ledger.confirm(&key(80));
        ledger.set_vip("172.16.21.10".parse().unwrap(), &"eth1".into());
        ledger.save().unwrap();
        drop(ledger);
        let mut ledger = Ledger::open(dir.path(), boot, netns).unwrap();
        assert!(!is_named(&ledger, &key(80)) && ledger.vips().count() == 0 && ledger.usable());
        assert_eq!(ledger.previous_count(), 1);
        ledger.record_intent(key(81), origin("new"));
        ledger.save().unwrap();
        drop(ledger);
        // And it does not come back when the old life seems to.
        let ledger = open(&dir);
        assert!(!is_named(&ledger, &key(80)) && !is_named(&ledger, &key(81)));
    }
}

#[test]
fn a_journal_of_an_older_snapshot_is_not_applied_to_a_newer_one() {
    let dir = TempDir::new().unwrap();
    let mut ledger = open(&dir);
    ledger.record_intent(key(80), origin("web"));
    ledger.save().unwrap();
    let journal = dir.path().join("ledger.journal");
    let old = fs::read(&journal).unwrap();
    ledger.forget(&key(80));
    ledger.forget_journal();
    ledger.save().unwrap();
    drop(ledger);
    // As if the process had died between the new snapshot and its journal.
    fs::write(&journal, old).unwrap();
    assert!(!is_named(&open(&dir), &key(80)));
}

#[test]
fn a_second_agent_is_turned_away_with_the_cure() {
    let dir = TempDir::new().unwrap();
    let first = open(&dir);
    let error = Ledger::open(dir.path(), BOOT, NETNS).expect_err("the first one lives");
    assert!(matches!(error, LedgerError::Locked { .. }));
    assert!(error.to_string().contains("stop it first"), "{error}");
    drop(first);
    assert!(Ledger::open(dir.path(), BOOT, NETNS).is_ok());
}

#[test]
fn a_state_directory_that_cannot_be_made_is_an_error() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Ledger::open(&file.join("state"), BOOT, NETNS).expect_err("a file is in the way");
    assert!(matches!(error, LedgerError::StateDir { .. }), "{error}");
    assert!(Ledger::open(&dir.path().join("a/b"), BOOT, NETNS).is_ok(), "parents are made");
}

#[test]
fn reading_alone_needs_no_lock_and_writes_nothing() {
    let dir = TempDir::new().unwrap();
    assert_eq!(Ledger::read(dir.path(), BOOT, NETNS).unwrap().services().count(), 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let mut ledger = open(&dir);
    ledger.record_intent(key(80), origin("web"));
    ledger.save().unwrap();
    let mut reader = Ledger::read(dir.path(), BOOT, NETNS).unwrap();
    assert!(is_named(&reader, &key(80)));
    reader.forget(&key(80));
    reader.save().unwrap();
    assert!(is_named(&reopen(ledger, &dir), &key(80)));
}
