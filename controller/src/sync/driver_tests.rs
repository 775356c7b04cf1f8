//! Single situations that the driver has to get right, over the kernel in memory.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::FutureExt as _;
use lvs_plan::step::Step;
use lvs_plan::{DestinationKey, Reason};

use super::node::{Node, foreign, key, vip};
use super::observe::{READ_WAIT_MAX, READ_WAIT_MIN};
use super::*;
use crate::kernel::HostAddress;

#[test]
fn a_stranger_that_keeps_the_vip_is_asked_every_ten_seconds_and_told_of_once() {
    let mut node = Node::new();
    node.driver.kernel.strangers.insert(vip(), [2, 0, 0, 0, 0, 9]);
    node.declare("web", 80);
    node.settle();
    assert_eq!(node.condition("web", "Announced").1, Reason::VIPConflict);
    assert_eq!(node.events().iter().filter(|reason| **reason == Reason::VIPConflict).count(), 1);
    let entries = node.board.lock().entries.clone();
    let mut questions = 0;
    for _ in 0..60 {
        node.now += Duration::from_secs(1);
        if node.driver.wants_pass(node.now) {
            node.driver.pass(Scope::Changes, node.now);
        }
        assert_eq!(node.board.lock().entries, entries, "the condition does not flap");
        let answers = node.driver.kernel.answer_probes();
        questions += answers.len();
        node.driver.probed(answers, node.now);
    }
    assert!((5..=6).contains(&questions), "{questions} questions in a minute");
    assert_eq!(node.events(), []);
    node.driver.kernel.strangers.clear();
    node.now += Duration::from_secs(10);
    node.settle();
    assert!(node.holds_vip() && node.condition("web", "Ready").0);
}

#[test]
fn what_is_delivered_one_by_one_is_judged_together_by_the_next_pass() {
    let mut node = Node::new();
    node.declare("web", 80);
    node.declare("mail", 25);
    assert_eq!(node.driver.inventory.virtual_services().count(), 0, "nothing is judged twice");
    node.settle();
    assert_eq!(node.driver.kernel.table.len(), 2);
    node.withdraw("web");
    node.declare("web", 81);
    node.withdraw("mail");
    node.settle();
    assert_eq!(
        node.driver.kernel.table.keys().collect::<Vec<_>>(),
        [&key(81)],
        "in the order in which it came"
    );
}

#[test]
fn nobody_is_woken_for_the_vip_of_an_object_that_is_gone() {
    let mut node = Node::new();
    node.driver.kernel.strangers.insert(vip(), [2, 0, 0, 0, 0, 9]);
    node.declare("web", 80);
    node.settle();
    node.withdraw("web");
    node.settle();
    assert_eq!(node.driver.next_deadline(), None);
}

#[test]
fn a_vip_that_somebody_removes_is_bound_again_without_asking_and_is_drift() {
    let mut node = Node::new();
    node.declare("web", 80);
    node.settle();
    assert_eq!(node.events(), [Reason::Programmed, Reason::TookOver]);
    node.driver.kernel.addresses.clear();
    node.network_changed();
    node.pass(Scope::Changes);
    assert!(node.holds_vip());
    assert_eq!(node.events(), [Reason::DriftRepaired]);
    let metrics = node.driver.metrics.plain_text(&node.board);
    assert!(metrics.contains("lvs_drift_repaired_total{kind=\"address_missing\"} 1"), "{metrics}");
}

#[test]
fn a_service_that_goes_over_to_another_object_belongs_to_that_ones_file_from_then_on() {
    let mut node = Node::new();
    node.declare("a", 80);
    node.settle();
    node.declare("b", 80);
    node.settle();
    node.withdraw("a");
    let report = node.pass(Scope::Changes);
    assert!(report.applied.is_empty(), "the rules are the same");
    let origin = node.driver.ledger.origin(&key(80)).cloned().expect("it is ours");
    assert_eq!((&*origin.object.name, origin.file.as_deref()), ("b", Some("b.yaml")));

    // After a restart over a broken b.yaml its rules are kept.
    let mut node = node.restart();
    let state = SourceState {
        complete: true,
        up_to_date: true,
        held_files: BTreeSet::from(["b.yaml".into()]),
        ..SourceState::default()
    };
    node.driver.ingest(Update { changes: Vec::new(), state });
    assert!(node.pass(Scope::Full).applied.is_empty());
    assert!(node.driver.kernel.table.contains_key(&key(80)) && node.holds_vip());
}

#[test]
fn a_vip_of_ours_stays_although_its_service_is_somebody_elses_by_now() {
    let mut node = Node::new();
    node.declare("web", 80);
    node.settle();
    // The ledger is lost, and what is in the kernel is no longer what is declared.
    let mut kernel = std::mem::take(&mut node.driver.kernel);
    kernel.table.insert(key(80), foreign());
    let mut node = Node::over(kernel, tempfile::tempdir().expect("a directory"));
    node.declare("web", 80);
    node.settle();
    assert_eq!(node.condition("web", "Programmed").1, Reason::ForeignService);
    assert!(node.holds_vip() && node.driver.kernel.writes.len() == 3, "nothing was written since the start");
}

#[test]
fn a_service_that_the_kernel_refused_is_not_ours_when_somebody_else_makes_it() {
    let mut node = Node::new();
    node.driver.kernel.missing_schedulers.insert("wrr".to_owned());
    node.declare("web", 80);
    node.settle();
    assert_eq!(node.condition("web", "Programmed").1, Reason::SchedulerMissing);
    node.driver.kernel.table.insert(key(80), foreign());
    node.driver.kernel.missing_schedulers.clear();
    node.now += Duration::from_secs(60);
    node.pass(Scope::Full);
    assert_eq!(node.driver.kernel.table[&key(80)], foreign());
    node.withdraw("web");
    node.pass(Scope::Full);
    assert_eq!(node.driver.kernel.table[&key(80)], foreign());
}

#[test]
fn a_service_that_somebody_removes_and_makes_anew_before_we_do_is_his() {
    let mut node = Node::new();
    node.declare("web", 80);
    node.settle();
    node.driver.kernel.table.clear();
    node.driver.kernel.made_meanwhile.insert(key(80), foreign());
    node.pass(Scope::Full);
    assert_eq!(node.driver.kernel.table[&key(80)], foreign(), "nothing was put into it");
    for _ in 0..60 {
        node.pass(Scope::Full);
    }
    assert_eq!(node.condition("web", "Programmed").1, Reason::ForeignService);
    node.withdraw("web");
    node.pass(Scope::Full);
    assert_eq!(node.driver.kernel.table[&key(80)], foreign());
}

#[test]
fn a_service_of_ours_that_is_made_again_is_written_down_as_not_there_until_it_is() {
    let mut node = Node::new();
    node.declare("web", 80);
    node.settle();
    node.driver.kernel.table.clear();
    node.driver.kernel.dies_after = Some(0);
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| node.pass(Scope::Full)));
    assert!(died.is_err());
    node.driver.kernel.dies_after = None;
    let mut node = node.restart();
    node.driver.kernel.table.insert(key(80), foreign());
    node.declare("web", 80);
    node.settle();
    assert_eq!(node.driver.kernel.table[&key(80)], foreign(), "made while no agent was there");
}

#[test]
fn a_vip_that_went_away_with_its_object_is_forgotten_and_is_not_ours_when_somebody_binds_it() {
    let mut node = Node::new();
    node.driver.kernel.marks_addresses = false;
    node.declare("web", 80);
    node.settle();
    let mut node = node.restart();
    node.driver.kernel.addresses.clear();
    node.pass(Scope::Full);
    assert_eq!(node.driver.ledger.vips().count(), 0);
    let bound = HostAddress { address: vip(), link: "eth0".into(), link_index: 2, tagged: false };
    node.driver.kernel.addresses.push(bound.clone());
    node.network_changed();
    node.pass(Scope::Full);
    assert_eq!(node.driver.kernel.addresses, [bound]);
}

#[test]
fn where_addresses_carry_our_mark_one_without_it_is_not_ours_whatever_the_ledger_says() {
    let mut node = Node::new();
    node.declare("web", 80);
    node.settle();
    // Somebody replaced our address by one of their own on the same link.
    node.driver.kernel.addresses.iter_mut().for_each(|bound| bound.tagged = false);
    node.network_changed();
    node.withdraw("web");
    node.settle();
    assert!(node.holds_vip(), "it is theirs");
}

#[test]
fn a_pass_with_nothing_to_do_tells_nobody() {
    let mut node = Node::new();
    node.declare("web", 80);
    node.settle();
    let mut content = node.board.lock();
    content.dirty.clear();
    content.transitions.clear();
    drop(content);
    while node.board.changed().now_or_never().is_some() {}
    for scope in [Scope::Changes, Scope::Rolling, Scope::Full] {
        node.pass(scope);
        assert!(node.board.changed().now_or_never().is_none(), "{scope:?}");
    }
}

#[test]
fn a_kernel_that_cannot_be_read_is_tried_again_ever_more_rarely_and_each_object_says_why() {
    let mut node = Node::new();
    node.driver.kernel.short_reads = usize::MAX;
    node.declare("web", 80);
    assert!(node.driver.pass(Scope::Changes, node.now).failed.is_some());
    let (holds, reason, message) = node.condition("web", "Programmed");
    assert!(!holds && reason == Reason::Pending && message.contains("cut short"), "{reason}: {message}");
    let mut waits = Vec::new();
    for _ in 0..10 {
        let next = node.driver.next_deadline().expect("it is tried again");
        assert!(next > node.now && !node.driver.wants_pass(node.now));
        let reads = node.driver.kernel.short_reads;
        node.driver.pass(Scope::Rolling, node.now);
        assert_eq!(node.driver.kernel.short_reads, reads, "not before its time");
        waits.push(next - node.now);
        node.now = next;
        node.driver.pass(Scope::Changes, node.now);
    }
    assert_eq!(waits[0], READ_WAIT_MIN);
    assert_eq!(waits[9], READ_WAIT_MAX);
    assert!(!node.board.lock().not_ready.is_empty());
    node.driver.kernel.short_reads = 0;
    node.now += READ_WAIT_MAX;
    node.settle();
    assert!(node.condition("web", "Ready").0 && node.board.lock().not_ready.is_empty());
}

#[test]
fn a_vip_that_cannot_be_bound_is_tried_again_with_growing_waits() {
    let mut node = Node::new();
    node.declare("web", 80);
    node.pass(Scope::Changes);
    node.driver.kernel.failures.extend(std::iter::repeat_n(Some(13), 1000));
    let before = node.driver.kernel.writes.len();
    for _ in 0..120 {
        node.pass(Scope::Rolling);
    }
    let tries = node.driver.kernel.writes.len() - before;
    assert!((5..=10).contains(&tries), "{tries} tries in two minutes");
    assert!(!node.condition("web", "Announced").0);
}

#[test]
fn a_missing_scheduler_is_tried_again_with_growing_waits_and_keeps_a_new_agent_from_being_ready() {
    let mut node = Node::new();
    node.driver.kernel.missing_schedulers.insert("wrr".to_owned());
    node.declare("web", 80);
    for _ in 0..120 {
        node.pass(Scope::Rolling);
    }
    let tries =
        node.driver.kernel.writes.iter().filter(|step| matches!(step, Step::NewService { .. })).count();
    assert!((5..=10).contains(&tries), "{tries} tries in two minutes");
    assert!(node.board.lock().not_ready[0].contains("modprobe ip_vs_wrr"));
    node.driver.kernel.missing_schedulers.clear();
    node.now += Duration::from_secs(60);
    node.settle();
    assert!(node.board.lock().not_ready.is_empty());
}

#[test]
fn a_destination_of_another_service_is_never_read_or_written_for_a_change_of_one() {
    let mut node = Node::new();
    node.declare("web", 80);
    node.settle();
    node.declare("other", 81);
    let report = node.pass(Scope::Changes);
    assert!(
        report.applied.results().all(|(step, _)| step.service().is_none_or(|service| *service == key(81)))
    );
    let rs1 = DestinationKey { address: "192.168.40.12".parse().expect("an address"), port: 81 };
    assert!(node.driver.kernel.table[&key(81)].destinations.contains_key(&rs1));
}

#[test]
fn a_real_server_behind_a_router_is_not_added_until_it_is_on_a_link() {
    let mut node = Node::new();
    let real_server: IpAddr = "192.168.40.12".parse().expect("an address");
    node.driver.kernel.unreachable.insert(real_server);
    node.declare("web", 80);
    node.settle();
    let table = &node.driver.kernel.table;
    assert!(table[&key(80)].destinations.is_empty(), "{table:?}");
    let (holds, reason, message) = node.condition("web", "Programmed");
    assert!(!holds && message.contains("192.168.40.12"), "{message}");
    assert_eq!(reason, Reason::NoRoute);

    node.driver.kernel.unreachable.clear();
    node.network_changed();
    node.settle();
    let destination = DestinationKey { address: real_server, port: 80 };
    assert!(node.driver.kernel.table[&key(80)].destinations.contains_key(&destination));
    assert!(node.condition("web", "Programmed").0);

    assert!(!node.events().contains(&Reason::DriftRepaired));

    // Once it is in the table a link that flaps takes nothing away, and is told.
    node.driver.kernel.unreachable.insert(real_server);
    node.network_changed();
    node.pass(Scope::Full);
    assert!(node.driver.kernel.table[&key(80)].destinations.contains_key(&destination));
    assert_eq!(node.condition("web", "Programmed").1, Reason::NoRoute);
}

#[test]
fn drift_in_a_service_with_a_real_server_out_of_reach_is_found_and_told_like_any_other() {
    let mut node = Node::new();
    let real_server: IpAddr = "192.168.40.12".parse().expect("an address");
    node.driver.kernel.unreachable.insert(real_server);
    node.declare("web", 80);
    for _ in 0..8 {
        node.pass(Scope::Changes);
    }
    node.events();
    node.driver.kernel.table.clear();
    for _ in 0..9 {
        node.pass(Scope::Rolling);
    }
    assert!(node.driver.kernel.table.contains_key(&key(80)));
    assert!(node.events().contains(&Reason::DriftRepaired));
}
