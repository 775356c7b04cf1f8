//! A ledger that cannot be read or written, wholly or in part.

use std::fs;

use tempfile::TempDir;

use super::tests::{BOOT, NETNS, entry, is_named, key, open, origin, reopen, service};
use super::*;

/// Makes every write fail, for root too: the name of the new file is taken by a directory.
fn block_writes(dir: &TempDir, ledger: &mut Ledger) {
    for name in ["ledger.json.new", "ledger.journal.new"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    // Without its journal at hand the next write is a snapshot.
    ledger.forget_journal();
}

/// A service of ours is about to be removed, and that is on the disk.
fn leaving(dir: &TempDir) -> Ledger {
    let mut ledger = open(dir);
    ledger.record_intent(key(80), origin("web"));
    ledger.confirm(&key(80));
    ledger.record_leaving(&key(80), &service("wrr"));
    ledger.save().unwrap();
    ledger
}

fn allow_writes(dir: &TempDir) {
    for name in ["ledger.json.new", "ledger.journal.new"] {
        fs::remove_dir(dir.path().join(name)).unwrap();
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
        assert!(ledger.is_confirmed(&key(80)), "cut at byte {length}");
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
    assert!(ledger.save().is_err() && !ledger.usable());
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
    fs::write(dir.path().join("ledger.json"), "{\"version\":3,\"something\":\"else\"}").unwrap();
    let problem = open(&dir).problem().unwrap();
    assert!(problem.contains("version 3"), "{problem}");
}

#[test]
fn a_failed_write_takes_back_what_was_to_happen_and_recovers_by_itself() {
    let dir = TempDir::new().unwrap();
    let mut ledger = open(&dir);
    for port in [80, 82] {
        ledger.record_intent(key(port), origin("web"));
    }
    ledger.confirm(&key(82));
    ledger.save().unwrap();
    block_writes(&dir, &mut ledger);
    ledger.record_intent(key(81), origin("web"));
    ledger.confirm(&key(80));
    ledger.record_leaving(&key(82), &service("wrr"));
    ledger.set_vip("172.16.21.10".parse().unwrap(), &"eth1".into());
    assert!(matches!(ledger.save(), Err(LedgerError::Write { .. })));
    assert!(!ledger.usable());
    assert!(ledger.problem().unwrap().contains("ledger.json"), "{:?}", ledger.problem());
    assert!(!is_named(&ledger, &key(81)));
    assert!(ledger.is_confirmed(&key(80)), "what the kernel has stays known");
    assert!(ledger.is_confirmed(&key(82)), "it will not be removed");
    assert_eq!(ledger.vips().count(), 0);
    assert!(ledger.save().is_err(), "it still cannot be written");
    allow_writes(&dir);
    ledger.save().unwrap();
    assert!(ledger.usable());
    ledger.record_intent(key(81), origin("web"));
    ledger.save().unwrap();
    let ledger = reopen(ledger, &dir);
    assert!(ledger.is_confirmed(&key(80)), "and is written in the end");
    assert!(is_named(&ledger, &key(81)));
}

#[test]
fn what_is_gone_stays_forgotten_although_that_could_not_be_written() {
    let dir = TempDir::new().unwrap();
    let mut ledger = leaving(&dir);
    block_writes(&dir, &mut ledger);
    ledger.forget(&key(80));
    assert!(ledger.save().is_err());
    assert!(!is_named(&ledger, &key(80)), "somebody may make an equal one");
    assert!(ledger.save().is_err() && !is_named(&ledger, &key(80)));
    // As if the process had died now.
    let reader = Ledger::read(dir.path(), BOOT, NETNS).unwrap();
    assert_eq!(reader.claim(&key(80), Some(&service("rr"))), Claim::Leaving { unchanged: false });
    // It is asked for again, and that is all the disk hears of it.
    ledger.record_intent(key(80), origin("next"));
    assert!(ledger.save().is_err() && !is_named(&ledger, &key(80)), "but not while it cannot be written");
    ledger.record_intent(key(80), origin("next"));
    allow_writes(&dir);
    ledger.save().unwrap();
    assert_eq!(reopen(ledger, &dir).entry(&key(80)), Some(&entry("next", State::Intent)));
}

#[test]
fn what_was_adopted_while_leaving_is_not_ours_when_that_could_not_be_written() {
    let dir = TempDir::new().unwrap();
    let mut ledger = leaving(&dir);
    block_writes(&dir, &mut ledger);
    // Somebody made it anew, just as another object declares it.
    ledger.record_origin(key(80), origin("next"));
    ledger.confirm(&key(80));
    assert!(ledger.is_confirmed(&key(80)) && ledger.save().is_err());
    let leaving = Claim::Leaving { unchanged: false };
    assert_eq!(ledger.claim(&key(80), Some(&service("rr"))), leaving, "as on the disk");
    allow_writes(&dir);
    ledger.save().unwrap();
    assert_eq!(reopen(ledger, &dir).claim(&key(80), Some(&service("rr"))), leaving);
}

/// Written by the last build before services were written down as leaving.
#[test]
fn a_ledger_of_version_1_is_read_and_not_written_on_as_such() {
    let dir = TempDir::new().unwrap();
    let service = |port| {
        format!(
            r#""service":{{"vip":"172.16.21.10","protocol":"TCP","port":{port}}},"object":{{"namespace":"default","name":"web"}},"file":"web.yaml""#
        )
    };
    let snapshot = format!(
        r#"{{"version":1,"bootId":"{BOOT}","netns":{NETNS},"number":7,"services":[{{{},"confirmed":true}},{{{},"confirmed":false}}],"vips":[{{"address":"172.16.21.10","link":"eth1"}}]}}"#,
        service(80),
        service(81)
    );
    let confirmed = r#"{"do":"confirm","service":{"vip":"172.16.21.10","protocol":"TCP","port":82}}"#;
    let journal =
        format!("{}\n{{\"do\":\"intent\",{}}}\n{confirmed}\n", r#"{"version":1,"follows":7}"#, service(82));
    fs::write(dir.path().join("ledger.json"), snapshot).unwrap();
    fs::write(dir.path().join("ledger.journal"), journal).unwrap();
    let ledger = open(&dir);
    assert!(ledger.usable(), "{:?}", ledger.problem());
    let states = [80, 81, 82].map(|port| ledger.entry(&key(port)).cloned());
    let expected = [State::Confirmed, State::Intent, State::Confirmed];
    assert_eq!(states, expected.map(|state| Some(entry("web", state))));
    assert_eq!(ledger.vips().count(), 1);
    for file in ["ledger.json", "ledger.journal"] {
        let text = fs::read_to_string(dir.path().join(file)).unwrap();
        assert!(
            text.starts_with(r#"{"version":2"#),
            "an older program would not know what is written next: {text}"
        );
    }
}

#[test]
fn a_ledger_that_cannot_be_written_is_known_at_the_start() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("ledger.json.new")).unwrap();
    assert!(!open(&dir).usable());
}

#[test]
fn reading_alone_says_what_is_corrupt() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("ledger.json"), "{").unwrap();
    assert!(matches!(Ledger::read(dir.path(), BOOT, NETNS), Err(LedgerError::Corrupt { .. })));
}
