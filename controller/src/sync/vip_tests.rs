//! What the driver does about its VIPs, over the kernel in memory.

use std::sync::Arc;
use std::time::Duration;

use lvs_net::preflight::Finding;
use lvs_plan::Reason;
use lvs_plan::diff::{Probe, Role};
use lvs_plan::step::Step;

use super::node::{Node, vip};
use super::*;
use crate::kernel::Answer;

mod rivals;

const RIVAL: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn served() -> Node {
    let mut node = Node::new();
    node.declare("web", 80);
    node.settle();
    assert!(node.condition("web", "Announced").0);
    node
}

#[test]
fn what_is_held_is_listened_for_and_nothing_else() {
    let mut node = served();
    assert!(node.driver.kernel.listening.contains(&vip()));
    node.withdraw("web");
    node.settle();
    assert!(node.driver.kernel.listening.is_empty());
}

#[test]
fn every_announcement_asks_too_who_else_has_the_vip() {
    let mut node = served();
    node.driver.announce(node.now);
    assert_eq!(node.driver.kernel.asked, node.driver.kernel.announced);
    assert!(!node.driver.kernel.asked.is_empty());
}

#[test]
fn a_link_without_carrier_is_told_and_its_return_is_announced_like_a_takeover() {
    let mut node = served();
    node.driver.announce(node.now);
    node.driver.kernel.no_carrier.insert("eth0".into());
    node.network_changed();
    node.pass(Scope::Changes);
    let (holds, reason, message) = node.condition("web", "Announced");
    assert!(!holds && reason == Reason::NoActiveDirector && message.contains("no carrier"), "{message}");
    assert!(node.holds_vip() && node.condition("web", "Programmed").0);
    node.driver.kernel.announced.clear();
    node.now += Duration::from_secs(120);
    node.driver.announce(node.now);
    assert!(node.driver.kernel.announced.is_empty(), "nobody would hear it");

    node.driver.kernel.no_carrier.clear();
    node.network_changed();
    node.pass(Scope::Changes);
    assert!(!node.condition("web", "Announced").0, "the network is being asked");
    node.pass(Scope::Changes);
    assert!(node.condition("web", "Announced").0);
    for _ in 0..5 {
        node.driver.announce(node.now);
        node.now += Duration::from_millis(100);
    }
    assert_eq!(node.driver.kernel.announced.len(), 5, "a burst");
}

#[test]
fn on_a_link_without_carrier_nothing_is_asked_or_bound() {
    let mut node = Node::new();
    node.driver.kernel.no_carrier.insert("eth0".into());
    node.declare("web", 80);
    node.settle();
    assert!(!node.holds_vip() && node.driver.kernel.probes.is_empty());
    assert_eq!(node.condition("web", "Announced").1, Reason::NoActiveDirector);
    node.driver.kernel.no_carrier.clear();
    node.network_changed();
    node.settle();
    assert!(node.holds_vip() && node.condition("web", "Announced").0);
}

#[test]
fn what_keeps_clients_away_is_said_beside_an_announced_vip_until_it_is_put_right() {
    let mut node = served();
    node.driver.kernel.findings = vec![Finding::NoRouteToClients { link: "eth0".to_owned(), rp_filter: 1 }];
    node.now += Duration::from_secs(5);
    node.pass(Scope::Full);
    let (holds, _, message) = node.condition("web", "Announced");
    assert!(holds && message.contains("rp_filter is 1 on eth0"), "{message}");
    let metrics = node.driver.metrics.plain_text(&node.board);
    let line = "lvs_preflight_findings{link=\"eth0\",finding=\"NoRouteToClients\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(node.board.lock().debug["preflight"][0]["finding"], "NoRouteToClients");
    node.driver.kernel.findings.clear();
    node.now += Duration::from_secs(5);
    node.pass(Scope::Full);
    assert_eq!(node.condition("web", "Announced").2, "");
    assert_eq!(node.board.lock().debug["preflight"], serde_json::json!([]));
}

/// Restarts the agent with a link named, whatever the ledger says.
fn name_link(mut node: Node, link: &str) -> Node {
    node.driver.kernel.named_link = Some(link.into());
    let mut node = node.restart();
    node.driver.kernel.writes.clear();
    node.declare("web", 80);
    node
}

#[test]
fn a_vip_moves_to_another_named_link_make_before_break() {
    for marks_addresses in [true, false] {
        let mut node = Node::new();
        node.driver.kernel.marks_addresses = marks_addresses;
        node.declare("web", 80);
        node.settle();
        let mut node = name_link(node, "eth1");
        for _ in 0..6 {
            node.pass(Scope::Changes);
            assert!(node.holds_vip() && node.condition("web", "Announced").0, "at every moment");
            node.driver.announce(node.now);
        }
        let link: Arc<str> = "eth1".into();
        assert_eq!(
            node.driver.kernel.writes,
            [
                Step::BindVip { vip: vip(), link: Arc::clone(&link) },
                Step::UnbindVip { vip: vip(), link: "eth0".into() },
            ]
        );
        assert_eq!(node.driver.ledger.vip_link(vip()), Some(link));
        assert!(!node.driver.kernel.announced.is_empty());
        assert!(node.pass(Scope::Full).applied.is_empty());
    }
}

#[test]
fn a_vip_does_not_move_onto_a_link_where_a_stranger_holds_it() {
    let mut node = served();
    node.driver.kernel.strangers.insert(vip(), RIVAL);
    let mut node = name_link(node, "eth1");
    node.settle();
    let (holds, _, message) = node.condition("web", "Announced");
    assert!(holds && message.contains("stays on eth0"), "{message}");
    assert!(node.driver.kernel.writes.is_empty());
}

#[test]
fn two_that_ask_at_once_both_wait_and_bind_nothing() {
    let mut node = Node::new();
    node.declare("web", 80);
    node.driver.pass(Scope::Changes, node.now);
    let asked = std::mem::take(&mut node.driver.kernel.probes);
    let [(question, _, _)] = asked[..] else { panic!("{asked:?}") };
    let probe = Probe::Contended { mac: RIVAL };
    node.driver.probed(vec![Answer { question, vip: vip(), probe }], node.now);
    node.driver.pass(Scope::Changes, node.now);
    assert!(!node.holds_vip());
    let (_, reason, message) = node.condition("web", "Announced");
    assert!(reason == Reason::NoActiveDirector && message.contains("02:00:00:00:00:09"), "{message}");
    let wait = node.driver.next_deadline().expect("it asks again") - node.now;
    assert!((Duration::from_secs(1)..=Duration::from_secs(7)).contains(&wait), "{wait:?}");
    node.now += wait;
    node.settle();
    assert!(node.holds_vip());
}

#[test]
fn a_blocked_director_lets_its_vip_go_although_the_ledger_cannot_be_written() {
    let mut node = served();
    for name in ["ledger.json.new", "ledger.journal.new"] {
        // Its writes fail for root too: their names are taken.
        std::fs::create_dir(node.directory.path().join(name)).expect("the test's own directory");
    }
    node.driver.ledger.forget_journal();
    node.driver.set_role(Role::Blocked { peer: "d0".to_owned() });
    node.settle();
    assert!(!node.holds_vip(), "at most one Director announces it (I4)");
    assert!(node.driver.kernel.table.contains_key(&node::key(80)), "rules stay");
}

#[test]
fn a_vip_whose_link_carries_again_is_not_announced_before_the_network_was_asked() {
    let mut node = served();
    node.driver.kernel.no_carrier.insert("eth0".into());
    node.network_changed();
    node.pass(Scope::Changes);
    node.driver.kernel.announced.clear();
    node.driver.kernel.writes.clear();

    node.driver.kernel.strangers.insert(vip(), RIVAL);
    node.driver.kernel.no_carrier.clear();
    node.network_changed();
    for _ in 0..2 {
        node.pass(Scope::Changes);
        node.driver.announce(node.now);
        assert!(node.driver.kernel.announced.is_empty(), "somebody else may have taken it meanwhile");
    }
    node.pass(Scope::Changes);
    node.driver.announce(node.now);
    let (holds, reason, message) = node.condition("web", "Announced");
    assert!(!holds && reason == Reason::VIPConflict && message.contains("02:00:00:00:00:09"), "{message}");
    assert!(node.driver.kernel.writes.is_empty() && node.driver.kernel.listening.contains(&vip()));
    assert!(node.driver.kernel.announced.is_empty(), "no burst");
    // From here on it is a second holder like any other.
    node.now += Duration::from_secs(25);
    node.pass(Scope::Changes);
    assert!(node.condition("web", "Announced").0);
}

#[test]
fn another_role_does_not_wait_for_a_retry() {
    let mut node = name_link(served(), "eth1");
    for _ in 0..8 {
        node.now += Duration::from_secs(60);
        node.pass(Scope::Changes);
        node.driver.kernel.failures.push_back(Some(12));
        node.pass(Scope::Changes);
    }
    assert!(node.condition("web", "Announced").2.contains("stays where it is"));
    node.driver.set_role(Role::Blocked { peer: "d0".to_owned() });
    node.pass(Scope::Changes);
    assert!(!node.holds_vip(), "at most one Director announces it (I4)");
}

#[test]
fn a_vip_of_an_object_without_a_good_version_is_announced_and_listened_for() {
    let mut node = served().restart();
    node.spoil("web");
    node.settle();
    assert!(node.holds_vip() && node.driver.kernel.listening.contains(&vip()));
    node.now += Duration::from_secs(61);
    node.driver.announce(node.now);
    assert_eq!(node.driver.kernel.announced.last(), Some(&vip()), "refreshed like any other");
    node.driver.set_role(Role::Blocked { peer: "d0".to_owned() });
    node.pass(Scope::Changes);
    assert!(!node.holds_vip() && node.driver.kernel.listening.is_empty());
}

/// Its link loses its carrier, which a pass sees, and has it again.
fn flap(node: &mut Node) {
    node.driver.kernel.no_carrier.insert("eth0".into());
    node.network_changed();
    node.driver.pass(Scope::Changes, node.now);
    node.driver.kernel.no_carrier.clear();
    node.network_changed();
    node.driver.pass(Scope::Changes, node.now);
}

#[test]
fn an_answer_from_before_the_link_flapped_binds_nothing() {
    let mut node = Node::new();
    node.declare("web", 80);
    node.driver.pass(Scope::Changes, node.now);
    let before = node.driver.kernel.answer_probes();
    assert_eq!(before.len(), 1);
    flap(&mut node);
    // Behind the link that carries again a stranger holds it.
    node.driver.kernel.strangers.insert(vip(), RIVAL);
    node.driver.probed(before, node.now);
    node.driver.pass(Scope::Changes, node.now);
    assert!(!node.holds_vip(), "on this link nobody has been asked since");
    node.settle();
    assert!(!node.holds_vip());
    assert_eq!(node.condition("web", "Announced").1, Reason::VIPConflict);
}

#[test]
fn an_answer_of_one_link_is_none_of_another() {
    let mut node = Node::new();
    node.declare("web", 80);
    node.driver.pass(Scope::Changes, node.now);
    let answers = node.driver.kernel.answer_probes();
    node.driver.probed(answers, node.now);
    // eth0 is replaced before its answer is used.
    node.driver.kernel.link = Some("eth1".into());
    node.network_changed();
    node.driver.pass(Scope::Changes, node.now);
    assert!(!node.holds_vip());
    let asked: Vec<_> = node.driver.kernel.probes.iter().map(|(_, link, vip)| (&**link, *vip)).collect();
    assert_eq!(asked, [("eth1", vip())]);
    node.settle();
    assert_eq!(node.driver.kernel.addresses[0].link, "eth1".into());
}

/// The VIP is bound, its link has its carrier back, and no probe can be sent there.
fn back_and_mute() -> Node {
    let mut node = served();
    node.driver.kernel.mute = true;
    flap(&mut node);
    node.driver.kernel.announced.clear();
    assert!(node.holds_vip() && !node.condition("web", "Announced").0);
    node
}

#[test]
fn a_vip_that_cannot_be_asked_for_on_a_link_that_is_back_is_listened_for_and_then_announced() {
    let mut node = back_and_mute();
    let start = node.now;
    while node.driver.kernel.announced.is_empty() {
        assert!(node.driver.kernel.listening.contains(&vip()));
        node.pass(Scope::Changes);
        node.driver.announce(node.now);
        assert!(node.now < start + Duration::from_secs(60), "never");
    }
    assert!(node.now > start + Duration::from_secs(15), "not at the first try that failed");
    assert!(node.condition("web", "Announced").0);
    for _ in 0..4 {
        node.now += Duration::from_millis(100);
        node.driver.announce(node.now);
    }
    assert_eq!(node.driver.kernel.announced.len(), 5, "a burst");
}
