use std::fs;

use lvs_plan::Kind;
use lvs_plan::service::{Family, Protocol};
use tempfile::TempDir;

use super::*;

const BOOT: &str = "boot-1";
const NETNS: u64 = 4_026_531_840;

pub(super) fn key(port: u16) -> ServiceKey {
    ServiceKey::Address { vip: "172.16.21.10".parse().unwrap(), protocol: Protocol::Tcp, port }
}

pub(super) fn origin(name: &str) -> Origin {
    Origin { object: ObjectKey::new(Kind::VirtualService, "default", name), file: Some("web.yaml".into()) }
}

pub(super) fn open(dir: &TempDir) -> Ledger {
    Ledger::open(dir.path(), BOOT, NETNS).expect("the directory is free")
}

pub(super) fn reopen(ledger: Ledger, dir: &TempDir) -> Ledger {
    drop(ledger);
    open(dir)
}

/// Whether it has an entry of the service.
fn is_named(ledger: &Ledger, key: &ServiceKey) -> bool {
    ledger.entry(key).is_some()
}

/// Makes every write fail, for root too: the name of the new file is taken by a directory.
fn block_writes(dir: &TempDir, ledger: &mut Ledger) {
    for name in ["ledger.json.new", "ledger.journal.new"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    // Without its journal at hand the next write is a snapshot.
    ledger.forget_journal();
}

fn allow_writes(dir: &TempDir) {
    for name in ["ledger.json.new", "ledger.journal.new"] {
        fs::remove_dir(dir.path().join(name)).unwrap();
    }
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
    assert_eq!(ledger.entry(&key(80)), Some(&Entry { origin: origin("web"), confirmed: true }));
    assert_eq!(
        ledger.entry(&mark).map(|entry| (entry.confirmed, entry.origin.file.clone())),
        Some((false, None))
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
    ledger.record_intent(key(80), origin("other"));
    ledger.save().unwrap();
    let ledger = reopen(ledger, &dir);
    assert_eq!(ledger.entry(&key(80)), Some(&Entry { origin: origin("other"), confirmed: true }));
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
fn garbage_at_the_end_of_another_boots_journal_is_no_fault() {
    let dir = TempDir::new().unwrap();
    let mut ledger = open(&dir);
    ledger.record_intent(key(80), origin("web"));
    ledger.save().unwrap();
    drop(ledger);
    let journal = dir.path().join("ledger.journal");
    let mut bytes = fs::read(&journal).unwrap();
    bytes.extend([0, 0, 0, b'\n', 0]);
    fs::write(&journal, bytes).unwrap();
    assert!(Ledger::open(dir.path(), "boot-2", NETNS).unwrap().usable());
}

#[test]
fn a_write_cut_off_at_any_byte_never_loses_what_was_saved_before() {
    let dir = TempDir::new().unwrap();
    let mut ledger = open(&dir);
    ledger.record_intent(key(80), origin("web"));
    ledger.save().unwrap();
    ledger.confirm(&key(80));
    ledger.save().unwrap();
    let journal = dir.path().join("ledger.journal");
    let saved = fs::read(&journal).unwrap().len();
    ledger.record_intent(key(81), origin("next"));
    ledger.confirm(&key(81));
    ledger.save().unwrap();
    drop(ledger);
    let whole = fs::read(&journal).unwrap();
    let snapshot = fs::read(dir.path().join("ledger.json")).unwrap();
    for length in saved..=whole.len() {
        fs::write(&journal, &whole[..length]).unwrap();
        fs::write(dir.path().join("ledger.json"), &snapshot).unwrap();
        let mut ledger = open(&dir);
        assert!(ledger.usable(), "cut at byte {length}: {:?}", ledger.problem());
        assert_eq!(ledger.entry(&key(80)).map(|entry| entry.confirmed), Some(true), "cut at byte {length}");
        ledger.record_intent(key(82), origin("after"));
        ledger.save().unwrap();
        let ledger = reopen(ledger, &dir);
        assert!(
            is_named(&ledger, &key(80)) && is_named(&ledger, &key(82)),
            "cut at byte {length}, then written on"
        );
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
fn a_corrupt_ledger_is_named_and_left_as_it_is_and_nothing_is_ours() {
    for (file, content) in [
        ("ledger.json", "{\"version\":1,"),
        ("ledger.json", "not json"),
        ("ledger.json", ""),
        ("ledger.json", "{\"version\":1,\"bootId\":5}"),
        ("ledger.journal", "{\"version\":1,\"follows\":1}\nnonsense\n"),
        ("ledger.journal", ""),
    ] {
        let dir = TempDir::new().unwrap();
        let mut ledger = open(&dir);
        ledger.record_intent(key(80), origin("web"));
        ledger.save().unwrap();
        drop(ledger);
        let path = dir.path().join(file);
        fs::write(&path, content).unwrap();
        let mut ledger = open(&dir);
        assert!(!ledger.usable() && !is_named(&ledger, &key(80)), "{file} = {content:?}");
        let problem = ledger.problem().unwrap();
        assert!(
            problem.contains(file) && problem.contains("corrupt") && problem.contains("move it away"),
            "{problem}"
        );
        ledger.record_intent(key(81), origin("web"));
        assert!(matches!(ledger.save(), Err(LedgerError::Corrupt { .. })), "{file} = {content:?}");
        assert!(!is_named(&ledger, &key(81)), "what could not be written down is not ours");
        assert_eq!(fs::read_to_string(&path).unwrap(), content, "it is left as it is");
    }
}

#[test]
fn a_corrupt_ledger_that_is_moved_away_is_replaced_without_a_restart() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("ledger.json"), "{").unwrap();
    let mut ledger = open(&dir);
    assert!(ledger.save().is_ok() && !ledger.usable());
    fs::rename(dir.path().join("ledger.json"), dir.path().join("ledger.bad")).unwrap();
    ledger.save().unwrap();
    assert!(ledger.usable());
    ledger.record_intent(key(80), origin("web"));
    ledger.save().unwrap();
    assert!(is_named(&reopen(ledger, &dir), &key(80)));
}

#[test]
fn a_later_version_is_refused_by_its_number() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("ledger.json"), "{\"version\":2,\"something\":\"else\"}").unwrap();
    let problem = open(&dir).problem().unwrap();
    assert!(problem.contains("version 2"), "{problem}");
}

#[test]
fn a_failed_write_takes_back_what_it_was_to_save_and_recovers_by_itself() {
    let dir = TempDir::new().unwrap();
    let mut ledger = open(&dir);
    ledger.record_intent(key(80), origin("web"));
    ledger.save().unwrap();
    block_writes(&dir, &mut ledger);
    ledger.record_intent(key(81), origin("web"));
    ledger.confirm(&key(80));
    ledger.forget(&key(80));
    ledger.set_vip("172.16.21.10".parse().unwrap(), &"eth1".into());
    assert!(matches!(ledger.save(), Err(LedgerError::Write { .. })));
    assert!(!ledger.usable());
    assert!(ledger.problem().unwrap().contains("ledger.json"), "{:?}", ledger.problem());
    assert!(!is_named(&ledger, &key(81)));
    let confirmed = Entry { origin: origin("web"), confirmed: true };
    assert_eq!(ledger.entry(&key(80)), Some(&confirmed), "what the kernel has stays known");
    assert_eq!(ledger.vips().count(), 0);
    assert!(ledger.save().is_ok() && !ledger.usable(), "nothing was lost, and it still cannot be written");
    allow_writes(&dir);
    ledger.save().unwrap();
    assert!(ledger.usable());
    ledger.record_intent(key(81), origin("web"));
    ledger.save().unwrap();
    let ledger = reopen(ledger, &dir);
    assert_eq!(ledger.entry(&key(80)), Some(&confirmed), "and is written in the end");
    assert!(is_named(&ledger, &key(81)));
}

#[test]
fn a_ledger_that_cannot_be_written_is_known_at_the_start() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("ledger.json.new")).unwrap();
    assert!(!open(&dir).usable());
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

#[test]
fn reading_alone_says_what_is_corrupt() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("ledger.json"), "{").unwrap();
    assert!(matches!(Ledger::read(dir.path(), BOOT, NETNS), Err(LedgerError::Corrupt { .. })));
}
