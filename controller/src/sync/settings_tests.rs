use lvs_plan::settings::Setting;
use serde_json::{Value, json};

use super::super::node::{Node, foreign, key};
use super::super::observe::BELIEVED;
use super::*;
use crate::kernel::fake::FakeKernel;
use crate::source::{SourceState, Update};

/// A Director `d1`, whose object is from files unless it is awaited.
fn director(kernel: FakeKernel, awaited: bool) -> Node {
    of_node(Node::over(kernel, tempfile::tempdir().unwrap()), awaited)
}

fn of_node(node: Node, awaited: bool) -> Node {
    let Node { directory, driver, board, now } = node;
    Node { directory, driver: driver.with_settings_of("d1", awaited), board, now }
}

fn deliver(node: &mut Node, changes: Vec<Change>) {
    let state = SourceState { complete: true, up_to_date: true, ..SourceState::default() };
    node.driver.ingest(Update { changes, state });
}

fn declare(node: &mut Node, name: &str, generation: i64, spec: Value) {
    let spec = Spec::Director(Arc::new(serde_json::from_value(spec).unwrap()));
    let object = Object {
        key: ObjectKey::new(Kind::Director, "", name),
        uid: "u1".to_owned(),
        generation,
        created: 0,
        labels: BTreeMap::new(),
        file: None,
        spec,
    };
    deliver(node, vec![Change::upsert(object)]);
}

/// `KernelReady` of the only Director on the board; `None` while nothing is said of it.
fn kernel_ready(node: &Node) -> Option<(Reason, String)> {
    let content = node.board.lock();
    let mut directors = content.entries.iter().filter(|(key, _)| key.kind == Kind::Director);
    let (key, entry) = directors.next()?;
    assert_eq!((&*key.name, directors.next()), ("d1", None));
    let [kernel_ready, ready] = &entry.verdict.conditions[..] else { panic!("two conditions") };
    assert_eq!((kernel_ready.type_, ready.type_), ("KernelReady", "Ready"));
    assert_eq!(kernel_ready.holds(), kernel_ready.reason == Reason::Ready);
    assert_eq!(content.not_ready, Vec::<String>::new(), "it serves all the same");
    Some((kernel_ready.reason, kernel_ready.message.clone()))
}

fn reason(node: &Node) -> Option<Reason> {
    kernel_ready(node).map(|(reason, _)| reason)
}

fn written(node: &mut Node) -> Vec<(Setting, i64)> {
    let written = std::mem::take(&mut node.driver.kernel.settings_written);
    written.into_iter().map(|Difference { setting, to, .. }| (setting, to)).collect()
}

const AT_FIRST: [(Setting, i64); 2] = [(Setting::ExpireNodestConn, 1), (Setting::ExpireQuiescentTemplate, 1)];

#[test]
fn a_fresh_kernel_is_set_at_start_and_a_restart_writes_nothing() {
    let mut node = director(FakeKernel::new(), false);
    node.declare("web", 80);
    node.settle();
    assert_eq!(written(&mut node), AT_FIRST);
    assert_eq!(kernel_ready(&node), Some((Reason::Ready, String::new())));
    let mut node = of_node(node.restart(), false);
    node.declare("web", 80);
    node.settle();
    assert_eq!((written(&mut node), reason(&node)), (vec![], Some(Reason::Ready)));
}

#[test]
fn beside_a_service_of_somebody_else_nothing_is_written_until_it_is_gone() {
    let mut kernel = FakeKernel::new();
    kernel.table.insert(key(99), foreign());
    let mut node = director(kernel, false);
    node.declare("web", 80);
    node.settle();
    assert_eq!(written(&mut node), []);
    let (why, message) = kernel_ready(&node).unwrap();
    assert_eq!(why, Reason::ForeignIPVS);
    assert!(message.contains(&key(99).to_string()) && message.contains("expire_nodest_conn"), "{message}");
    assert!(node.holds_vip(), "its services are served");
    assert!(node.events().contains(&Reason::ForeignIPVS));
    node.pass(Scope::Full);
    assert_eq!(node.events(), [], "told once");

    node.driver.kernel.table.remove(&key(99));
    node.pass(Scope::Rolling);
    assert_eq!(written(&mut node), [], "only a full pass looks");
    node.pass(Scope::Full);
    assert_eq!((written(&mut node), reason(&node)), (AT_FIRST.to_vec(), Some(Reason::Ready)));
}

#[test]
fn values_that_are_right_are_ready_whoever_has_services_there() {
    let mut kernel = FakeKernel::new();
    kernel.table.insert(key(99), foreign());
    kernel.settings.extend(AT_FIRST);
    let mut node = director(kernel, false);
    node.pass(Scope::Full);
    assert_eq!((written(&mut node), reason(&node)), (vec![], Some(Reason::Ready)));
}

#[test]
fn a_service_that_is_adopted_is_not_somebody_elses() {
    let mut made = Node::new();
    made.declare("web", 80);
    made.settle();
    let mut kernel = FakeKernel::new();
    kernel.table = std::mem::take(&mut made.driver.kernel.table);
    let mut node = director(kernel, false);
    node.declare("web", 80);
    node.pass(Scope::Full);
    assert_eq!((written(&mut node), reason(&node)), (AT_FIRST.to_vec(), Some(Reason::Ready)));
    node.withdraw("web");
    node.settle();
    node.driver.kernel.settings.insert(Setting::Conntrack, 1);
    node.pass(Scope::Full);
    assert_eq!(written(&mut node), [(Setting::Conntrack, 0)]);
}

#[test]
fn a_service_of_ours_that_differs_and_is_refused_is_somebody_elses() {
    let mut kernel = FakeKernel::new();
    kernel.table.insert(key(80), foreign());
    let mut node = director(kernel, false);
    node.declare("web", 80);
    node.settle();
    assert_eq!((written(&mut node), reason(&node)), (vec![], Some(Reason::ForeignIPVS)));
}

#[test]
fn a_setting_that_somebody_changed_is_put_right_and_told() {
    let mut node = director(FakeKernel::new(), false);
    node.pass(Scope::Full);
    assert_eq!(node.events(), [], "the first time is no repair");
    written(&mut node);
    node.driver.kernel.settings.insert(Setting::Conntrack, 1);
    node.pass(Scope::Full);
    assert_eq!(
        (written(&mut node), node.events()),
        (vec![(Setting::Conntrack, 0)], vec![Reason::DriftRepaired])
    );
}

#[test]
fn what_may_not_be_written_is_said_with_the_command() {
    let mut kernel = FakeKernel::new();
    kernel.settings_locked = Some(WriteError::NotAllowed("read-only file system".to_owned()));
    let mut node = director(kernel, false);
    node.pass(Scope::Full);
    let (why, message) = kernel_ready(&node).unwrap();
    assert_eq!(why, Reason::SettingsNotWritable);
    assert!(message.contains("sysctl -w net.ipv4.vs.expire_nodest_conn=1"), "{message}");
    node.driver.kernel.settings_locked = None;
    node.pass(Scope::Full);
    assert_eq!(reason(&node), Some(Reason::Ready));
}

#[test]
fn timeouts_are_in_force_in_the_next_pass_and_stay_when_nobody_asks_for_them_any_more() {
    let mut node = director(FakeKernel::new(), false);
    node.pass(Scope::Full);
    written(&mut node);
    declare(&mut node, "d1", 1, json!({"timeouts": {"udp": 30, "tcp": 900}}));
    node.pass(Scope::Changes);
    assert_eq!((written(&mut node), node.events()), (vec![(Setting::UdpTimeout, 30)], vec![]));
    declare(&mut node, "d1", 2, json!({}));
    node.driver.kernel.settings.insert(Setting::TcpTimeout, 7);
    node.pass(Scope::Full);
    assert_eq!(written(&mut node), [], "both are left alone");
    let generation = || {
        let content = node.board.lock();
        content.entries[&ObjectKey::new(Kind::Director, "", "d1")].verdict.observed_generation
    };
    assert_eq!(generation(), 2);
    deliver(&mut node, vec![Change::Removed(ObjectKey::new(Kind::Director, "", "d1"))]);
    node.pass(Scope::Changes);
    let content = node.board.lock();
    let entry = &content.entries[&ObjectKey::new(Kind::Director, "", "d1")];
    assert_eq!(entry.object.spec, Spec::Director(Arc::default()), "an empty one stands for it");
}

#[test]
fn an_object_about_another_node_is_no_concern_of_ours() {
    let mut node = director(FakeKernel::new(), false);
    declare(&mut node, "d2", 1, json!({"timeouts": {"udp": 30}}));
    deliver(&mut node, vec![Change::Removed(ObjectKey::new(Kind::Director, "", "d2"))]);
    node.pass(Scope::Full);
    assert_eq!((written(&mut node), reason(&node)), (AT_FIRST.to_vec(), Some(Reason::Ready)));
}

#[test]
fn a_spec_that_breaks_a_rule_leaves_the_last_good_one_in_force() {
    let mut node = director(FakeKernel::new(), false);
    declare(&mut node, "d1", 1, json!({"timeouts": {"udp": 30}}));
    node.pass(Scope::Full);
    written(&mut node);
    declare(&mut node, "d1", 2, json!({"timeouts": {"udp": 0, "tcp": 5}}));
    node.pass(Scope::Changes);
    let (why, message) = kernel_ready(&node).unwrap();
    assert_eq!((why, written(&mut node)), (Reason::Invalid, vec![]));
    assert!(message.starts_with("spec.timeouts.udp: udp must be 1..2147483"), "{message}");
    node.driver.kernel.settings.insert(Setting::UdpTimeout, 300);
    node.pass(Scope::Full);
    assert_eq!(written(&mut node), [(Setting::UdpTimeout, 30)], "as before");
}

#[test]
fn a_kernel_that_cannot_be_read_is_said_at_start_and_later_only_when_it_lasts() {
    let mut node = director(FakeKernel::new(), false);
    let said = |node: &Node| {
        let content = node.board.lock();
        let entry = &content.entries[&ObjectKey::new(Kind::Director, "", "d1")];
        entry.verdict.conditions[0].reason
    };
    node.driver.kernel.short_reads = usize::MAX;
    node.pass(Scope::Full);
    assert_eq!(said(&node), Reason::KernelUnreadable);
    node.driver.kernel.short_reads = 0;
    node.pass(Scope::Changes);
    assert_eq!(said(&node), Reason::Ready);
    node.driver.kernel.short_reads = usize::MAX;
    node.pass(Scope::Full);
    assert_eq!(said(&node), Reason::Ready, "one lost answer is no reason for doubt");
    node.now += BELIEVED;
    node.pass(Scope::Full);
    assert_eq!(said(&node), Reason::KernelUnreadable);
}

#[test]
fn nothing_is_said_of_an_object_that_an_api_server_has_before_it_has_come() {
    let mut kernel = FakeKernel::new();
    kernel.table.insert(key(99), foreign());
    let mut node = director(kernel, true);
    node.pass(Scope::Full);
    assert_eq!((kernel_ready(&node), node.events()), (None, vec![]));
    declare(&mut node, "d1", 1, json!({}));
    node.pass(Scope::Changes);
    assert_eq!((reason(&node), node.events()), (Some(Reason::ForeignIPVS), vec![Reason::ForeignIPVS]));
}

#[test]
fn a_plan_says_what_would_be_written_and_writes_nothing() {
    let mut made = Node::new();
    made.declare("web", 80);
    made.settle();
    let mut kernel = FakeKernel::new();
    kernel.table = std::mem::take(&mut made.driver.kernel.table);
    let mut node = director(kernel, false);
    node.declare("web", 80);
    declare(&mut node, "d1", 1, json!({"timeouts": {"udp": 30}}));
    let (_, settings) = node.driver.plan(node.now).unwrap();
    let Some(Decision::Write(writes)) = settings else { panic!("{settings:?}") };
    let writes: Vec<_> = writes.into_iter().map(|Difference { setting, to, .. }| (setting, to)).collect();
    assert_eq!(writes, [AT_FIRST[0], AT_FIRST[1], (Setting::UdpTimeout, 30)], "it would adopt web");
    assert_eq!(written(&mut node), []);
    assert_eq!(node.driver.refusals().count(), 0);

    node.driver.kernel.table.insert(key(99), foreign());
    declare(&mut node, "d1", 2, json!({"timeouts": {"udp": 0}}));
    let (_, settings) = node.driver.plan(node.now).unwrap();
    assert!(matches!(settings, Some(Decision::Leave(Standing::Foreign(foreign, _))) if foreign == key(99)));
    let refusals: Vec<String> = node.driver.refusals().collect();
    assert!(refusals[0].starts_with("Director d1: Invalid: spec.timeouts.udp: udp must"), "{refusals:?}");
}
