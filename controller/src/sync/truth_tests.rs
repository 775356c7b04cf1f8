//! What the driver says is so, also when it cannot look, and after it died in the middle of its work.

use std::sync::Arc;
use std::time::Duration;

use lvs_crds::ConditionStatus;
use lvs_plan::{Kind, ObjectKey, Reason};

use super::node::{Node, foreign, key, object, vip};
use super::observe::{BELIEVED, READ_WAIT_MAX};
use super::*;
use crate::ledger::Origin;

fn status(node: &Node, type_: &str) -> (ConditionStatus, Reason, String) {
    let content = node.board.lock();
    let web = &content.entries[&ObjectKey::new(lvs_plan::Kind::VirtualService, "default", "web")];
    let condition =
        web.verdict.conditions.iter().find(|condition| condition.type_ == type_).expect("it is there");
    (condition.status, condition.reason, condition.message.clone())
}

/// An agent that wrote down what it was about to make at port 80, and died.
fn after_an_intent(node: Node) -> Node {
    let mut node = node.restart();
    let object = ObjectKey::new(lvs_plan::Kind::VirtualService, "default", "web");
    node.driver.ledger.record_intent(key(80), Origin { object, file: Some("web.yaml".into()) });
    node.driver.ledger.save().expect("it can be written");
    node.restart()
}

#[test]
fn while_the_kernel_cannot_be_read_an_object_is_not_called_programmed_for_long() {
    let mut node = Node::new();
    node.declare("web", 80);
    node.settle();
    node.events();
    node.driver.kernel.short_reads = usize::MAX;
    node.pass(Scope::Full);
    assert_eq!(status(&node, "Programmed").0, ConditionStatus::True, "one lost answer is no reason to doubt");
    node.now += BELIEVED;
    node.pass(Scope::Rolling);
    for type_ in ["Programmed", "Ready"] {
        let (status, reason, message) = status(&node, type_);
        assert_eq!((status, reason), (ConditionStatus::Unknown, Reason::Pending), "{type_}");
        assert!(message.contains("cut short") && message.contains("not read since 20"), "{message}");
    }
    assert!(
        !node
            .board
            .lock()
            .entries
            .values()
            .any(|entry| { entry.verdict.director.as_ref().is_some_and(|director| director.programmed) })
    );
    assert_eq!(node.events(), [Reason::Pending], "told once");
    let entries = node.board.lock().entries.clone();
    for _ in 0..5 {
        node.now += READ_WAIT_MAX;
        node.pass(Scope::Full);
    }
    assert_eq!((node.events(), node.board.lock().entries == entries), (vec![], true), "and not again");

    node.driver.kernel.short_reads = 0;
    node.now += READ_WAIT_MAX;
    let report = node.pass(Scope::Changes);
    assert!(report.applied.is_empty());
    assert_eq!(status(&node, "Ready").0, ConditionStatus::True);
}

#[test]
fn an_object_that_was_never_looked_at_says_at_once_why() {
    let mut node = Node::new();
    node.driver.kernel.short_reads = usize::MAX;
    node.declare("web", 80);
    node.pass(Scope::Changes);
    for (type_, words) in [("Programmed", "cut short"), ("RealServersReady", "see Programmed")] {
        let (status, _, message) = status(&node, type_);
        assert!(status == ConditionStatus::False && message.contains(words), "{type_}: {message}");
    }
    assert_eq!(node.events().iter().filter(|reason| **reason == Reason::Pending).count(), 0);
}

#[test]
fn what_stands_under_an_intent_and_is_not_of_our_making_stays_as_it_is() {
    let mut node = after_an_intent(Node::new());
    node.driver.kernel.table.insert(key(80), foreign());
    node.declare("web", 80);
    node.settle();
    assert_eq!(status(&node, "Programmed").1, Reason::ForeignService);
    node.withdraw("web");
    node.settle();
    assert_eq!(node.driver.kernel.table[&key(80)], foreign());
    assert_eq!(node.driver.ledger.entry(&key(80)), None);
}

#[test]
fn what_was_half_made_when_the_agent_died_is_finished_and_is_ours() {
    let mut node = Node::new();
    node.declare("web", 80);
    node.settle();
    let mut half_made = node.driver.kernel.table[&key(80)].clone();
    let declared = half_made.clone();
    half_made.destinations.clear();
    node.withdraw("web");
    node.settle();
    let mut node = after_an_intent(node);
    node.driver.kernel.table.insert(key(80), half_made);
    node.declare("web", 80);
    node.settle();
    assert_eq!(node.driver.kernel.table[&key(80)], declared);
    assert!(node.driver.ledger.is_confirmed(&key(80)));
    assert!(!node.events().contains(&Reason::DriftRepaired), "it was our own work");
    node.withdraw("web");
    node.settle();
    assert!(!node.driver.kernel.table.contains_key(&key(80)));
}

#[test]
fn a_service_is_ours_as_soon_as_the_kernel_has_it_although_a_destination_was_refused() {
    let mut node = Node::new();
    node.driver.kernel.failures.extend([None, Some(12)]);
    node.declare("web", 80);
    node.pass(Scope::Changes);
    assert!(node.driver.ledger.is_confirmed(&key(80)));
    node.now += Duration::from_secs(60);
    node.settle();
    assert_eq!(status(&node, "Ready").0, ConditionStatus::True);
}

/// A new agent where the last one was to remove the service at port 80, and died after so many steps of that.
fn died_removing(steps: usize) -> Node {
    let mut node = Node::new();
    node.declare("web", 80);
    node.settle();
    node.withdraw("web");
    node.driver.kernel.dies_after = Some(steps);
    let pass = std::panic::AssertUnwindSafe(|| node.pass(Scope::Changes));
    assert!(std::panic::catch_unwind(pass).is_err(), "it has more steps to take");
    node.driver.kernel.dies_after = None;
    node.restart()
}

#[test]
fn what_somebody_made_after_ours_was_removed_is_theirs_although_nobody_wrote_that_down() {
    let mut node = died_removing(1);
    assert!(node.driver.kernel.table.is_empty(), "ours is gone");
    node.driver.kernel.table.insert(key(80), foreign());
    node.pass(Scope::Full);
    assert_eq!(node.driver.kernel.table[&key(80)], foreign());
}

#[test]
fn a_removal_that_was_cut_off_is_ended_by_the_next_agent() {
    let mut node = died_removing(0);
    assert!(node.driver.kernel.table.contains_key(&key(80)) && !node.driver.ledger.is_confirmed(&key(80)));
    node.pass(Scope::Full);
    assert!(node.driver.kernel.table.is_empty());
    assert_eq!(node.driver.ledger.entry(&key(80)), None);
}

#[test]
fn what_was_to_be_removed_and_is_not_as_it_was_then_is_left_alone() {
    let mut node = died_removing(0);
    let service = node.driver.kernel.table.get_mut(&key(80)).expect("it is there");
    service.destinations.values_mut().for_each(|destination| destination.weight = 7);
    let theirs = service.clone();
    node.pass(Scope::Full);
    assert_eq!(node.driver.kernel.table[&key(80)], theirs);
    assert_eq!(node.driver.ledger.entry(&key(80)), None);
}

#[test]
fn what_was_to_be_removed_and_is_asked_for_again_is_ours_again() {
    let mut node = died_removing(0);
    let declared = node.driver.kernel.table[&key(80)].clone();
    node.declare("web", 80);
    node.settle();
    assert_eq!(node.driver.kernel.table[&key(80)], declared);
    assert!(node.driver.ledger.is_confirmed(&key(80)));
    assert!(node.restart().driver.ledger.is_confirmed(&key(80)), "and that is written down");
}

#[test]
fn an_object_that_is_made_anew_within_one_pass_is_told_of_anew() {
    let mut node = Node::new();
    node.declare("web", 80);
    node.settle();
    let younger = |uid: &str| {
        let spec = serde_json::json!({"vip": vip(), "ports": [{"port": 80}]});
        let spec = lvs_plan::Spec::VirtualService(Arc::new(serde_json::from_value(spec).expect("a spec")));
        let object = object(Kind::VirtualService, "younger", spec, None);
        lvs_plan::Change::upsert(lvs_plan::Object { uid: uid.to_owned(), ..object })
    };
    node.deliver(vec![younger("1")]);
    node.pass(Scope::Changes);
    let refused = |events: Vec<Reason>| events.iter().filter(|reason| **reason == Reason::Refused).count();
    assert_eq!(refused(node.events()), 1);
    let gone = ObjectKey::new(Kind::VirtualService, "default", "younger");
    node.deliver(vec![lvs_plan::Change::Removed(gone), younger("2")]);
    node.pass(Scope::Changes);
    assert_eq!(refused(node.events()), 1);
}
