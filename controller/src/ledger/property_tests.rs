//! Whatever is recorded, saved and cut off in between.

use std::fs;
use std::net::IpAddr;

use proptest::prelude::*;
use tempfile::TempDir;

use super::tests::{key, open, origin, reopen, service};
use super::*;

#[derive(Clone, Debug)]
enum Act {
    Intend(u16, &'static str),
    Origin(u16, &'static str),
    Confirm(u16),
    Leave(u16, &'static str),
    Forget(u16),
    SetVip(u8, &'static str),
    ForgetVip(u8),
    Save,
    Restart,
    /// Dies after writing only so much of the pending records.
    Die(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let name = || prop_oneof![Just("a"), Just("b")];
    prop_oneof![
        4 => (1u16..6, name()).prop_map(|(port, name)| Act::Intend(port, name)),
        2 => (1u16..6, name()).prop_map(|(port, name)| Act::Origin(port, name)),
        4 => (1u16..6).prop_map(Act::Confirm),
        2 => (1u16..6, prop_oneof![Just("rr"), Just("wrr")]).prop_map(|(port, was)| Act::Leave(port, was)),
        2 => (1u16..6).prop_map(Act::Forget),
        1 => (0u8..3, name()).prop_map(|(vip, link)| Act::SetVip(vip, link)),
        1 => (0u8..3).prop_map(Act::ForgetVip),
        4 => Just(Act::Save),
        1 => Just(Act::Restart),
        1 => (0usize..400).prop_map(Act::Die),
    ]
}

fn vip(number: u8) -> IpAddr {
    IpAddr::from([172, 16, 21, number])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_disk_never_says_less_than_was_saved_nor_anything_that_was_never_recorded(
        acts in proptest::collection::vec(act(), 1..40)
    ) {
        let dir = TempDir::new().unwrap();
        let journal = dir.path().join("ledger.journal");
        let mut ledger = open(&dir);
        let mut saved = Memory::default();
        for act in acts {
            match act {
                Act::Intend(port, name) => ledger.record_intent(key(port), origin(name)),
                Act::Origin(port, name) => ledger.record_origin(key(port), origin(name)),
                Act::Confirm(port) => ledger.confirm(&key(port)),
                Act::Leave(port, was) => ledger.record_leaving(&key(port), &service(was)),
                Act::Forget(port) => ledger.forget(&key(port)),
                Act::SetVip(number, link) => ledger.set_vip(vip(number), &link.into()),
                Act::ForgetVip(number) => ledger.forget_vip(vip(number)),
                Act::Save => {
                    ledger.save().unwrap();
                    saved = ledger.memory.clone();
                }
                Act::Restart => {
                    ledger = reopen(ledger, &dir);
                    prop_assert_eq!(&ledger.memory, &saved);
                }
                Act::Die(cut) => {
                    // Every state between the last save and the present one may be on disk, nothing else.
                    let mut between = saved.clone();
                    let mut possible = vec![between.clone()];
                    for (record, _) in &ledger.pending {
                        between.apply(record);
                        possible.push(between.clone());
                    }
                    let before = fs::metadata(&journal).unwrap().len() as usize;
                    ledger.save().unwrap();
                    drop(ledger);
                    let bytes = fs::read(&journal).unwrap();
                    if bytes.len() > before {
                        fs::write(&journal, &bytes[..bytes.len().min(before + cut)]).unwrap();
                    }
                    ledger = open(&dir);
                    prop_assert!(ledger.usable());
                    prop_assert!(possible.contains(&ledger.memory));
                    saved = ledger.memory.clone();
                }
            }
        }
    }
}
