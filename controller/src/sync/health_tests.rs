//! What checks and drains do to the kernel, the checker, the conditions and the events.

use lvs_plan::health::{Probe, Verdict};
use lvs_plan::object::{Kind, ObjectKey, Spec};
use lvs_plan::step::Step;
use lvs_plan::{Change, Reason};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;

use super::node::{Node, key, object, vip};
use super::*;
use crate::checker::Order;

/// A Director with one virtual service over rs1, which is checked, and the checker's inbox.
struct Checked {
    node: Node,
    orders: UnboundedReceiver<Vec<Order>>,
}

impl Checked {
    fn over(mut node: Node) -> Self {
        let (orders, inbox) = Orders::to_be_read();
        node.driver.health = Health::new(orders);
        Self { node, orders: inbox }
    }

    fn new() -> Self {
        let mut checked = Self::over(Node::new());
        checked.declare("web", 80, &json!({}));
        checked.serve(&json!({}));
        checked.node.settle();
        checked
    }

    fn declare(&mut self, name: &str, port: u16, fields: &Value) {
        let mut spec = json!({"vip": vip(), "ports": [{"port": port}], "scheduler": "wrr",
                              "healthCheck": {"tcp": {}, "port": 80},
                              "realServerSelector": {"matchLabels": {"app": "web"}}});
        spec.as_object_mut().expect("a map").extend(fields.as_object().cloned().unwrap_or_default());
        let spec = Spec::VirtualService(Arc::new(serde_json::from_value(spec).expect("a spec")));
        self.node.deliver(vec![Change::upsert(object(Kind::VirtualService, name, spec, None))]);
    }

    fn serve(&mut self, fields: &Value) {
        let mut spec = json!({"address": "192.168.40.12"});
        spec.as_object_mut().expect("a map").extend(fields.as_object().cloned().unwrap_or_default());
        let spec = Spec::RealServer(Arc::new(serde_json::from_value(spec).expect("a spec")));
        self.node.deliver(vec![Change::upsert(object(Kind::RealServer, "rs1", spec, None))]);
    }

    fn told(&mut self, verdict: Verdict) {
        let failure = (verdict == Verdict::Down).then(|| "connection refused by 192.168.40.12:80".into());
        let probe = self.probe();
        self.node.driver.checked(vec![News { probe, verdict, failure }]);
    }

    fn probe(&self) -> Probe {
        let mut probes = self.node.driver.health.probes();
        let probe = probes.next().expect("one is watched").clone();
        assert_eq!(probes.next(), None);
        probe
    }

    /// What was ordered since the last call: how many probes are to be watched, and how many forgotten.
    fn ordered(&mut self) -> (usize, usize) {
        let mut ordered = Vec::new();
        while let Ok(orders) = self.orders.try_recv() {
            ordered.extend(orders);
        }
        let watched = ordered.iter().filter(|order| matches!(order, Order::Watch(_))).count();
        (watched, ordered.len() - watched)
    }

    /// Steps that a pass over the changes takes.
    fn steps(&mut self) -> Vec<String> {
        let before = self.node.driver.kernel.writes.len();
        self.node.pass(Scope::Changes);
        self.node.driver.kernel.writes[before..].iter().map(ToString::to_string).collect()
    }

    fn condition(&self, type_: &str) -> Option<(lvs_crds::ConditionStatus, Reason)> {
        let content = self.node.board.lock();
        let entry = &content.entries[&ObjectKey::new(Kind::RealServer, "default", "rs1")];
        let condition = entry.verdict.conditions.iter().find(|condition| condition.type_ == type_)?;
        Some((condition.status, condition.reason))
    }
}

const DOWN: &str = "change destination TCP 172.16.21.10:80 -> 192.168.40.12:80 to direct weight 0";
const UP: &str = "change destination TCP 172.16.21.10:80 -> 192.168.40.12:80 to direct weight 1";

#[test]
fn a_new_destination_gets_its_weight_with_the_first_success_and_flapping_is_one_write_each_time() {
    let mut checked = Checked::new();
    let weight = checked.node.driver.kernel.table[&key(80)].destinations.values().map(|it| it.weight).next();
    assert_eq!(weight, Some(0), "it waits");
    checked.told(Verdict::Up);
    assert_eq!(checked.steps(), [UP]);
    checked.node.events();
    for _ in 0..20 {
        checked.told(Verdict::Down);
        assert_eq!(checked.steps(), [DOWN]);
        checked.told(Verdict::Up);
        assert_eq!(checked.steps(), [UP]);
    }
    let new_or_gone =
        |step: &&Step| matches!(step, Step::NewDestination { .. } | Step::DelDestination { .. });
    assert_eq!(checked.node.driver.kernel.writes.iter().filter(new_or_gone).count(), 1);
    let events = checked.node.events();
    let count = |reason| events.iter().filter(|event| **event == reason).count();
    assert_eq!((count(Reason::CheckFailed), count(Reason::CheckPassed)), (20, 20));
    assert_eq!(count(Reason::DriftRepaired), 0, "nobody else changed anything");
}

#[test]
fn ten_services_share_one_probe_and_it_is_forgotten_with_the_last() {
    let mut checked = Checked::new();
    for port in 81..90 {
        checked.declare(&format!("web{port}"), port, &json!({}));
    }
    checked.node.settle();
    assert_eq!(checked.ordered(), (1, 0));
    checked.told(Verdict::Up);
    assert_eq!(checked.steps().len(), 10, "it decides for all of them");
    for port in 81..90 {
        checked.node.withdraw(&format!("web{port}"));
    }
    checked.node.settle();
    assert_eq!(checked.ordered(), (0, 0));
    checked.node.withdraw("web");
    checked.node.settle();
    assert_eq!(checked.ordered(), (0, 1));
}

#[test]
fn another_check_is_another_probe_and_the_destination_goes_on_as_it_was() {
    let mut checked = Checked::new();
    checked.told(Verdict::Up);
    checked.steps();
    checked.ordered();
    checked.declare("web", 80, &json!({"healthCheck": {"ping": {}}}));
    assert_eq!(checked.steps(), [""; 0]);
    assert_eq!(checked.ordered(), (1, 1));
}

#[test]
fn a_restart_over_working_and_failing_servers_writes_nothing() {
    for verdict in [Verdict::Up, Verdict::Down] {
        let mut checked = Checked::new();
        checked.told(verdict);
        checked.steps();
        let mut again = Checked::over(checked.node.restart());
        again.declare("web", 80, &json!({}));
        again.serve(&json!({}));
        assert_eq!(again.steps(), [""; 0], "{verdict:?}");
        again.told(verdict);
        assert_eq!(again.steps(), [""; 0], "{verdict:?}");
    }
}

#[test]
fn a_drain_ends_with_the_last_connection_and_is_told_once() {
    let mut checked = Checked::new();
    checked.told(Verdict::Up);
    checked.steps();
    let at = *checked.node.driver.kernel.table[&key(80)].destinations.keys().next().expect("rs1");
    checked.node.driver.kernel.active.insert(at, 2);
    checked.serve(&json!({"drain": true}));
    assert_eq!(checked.steps(), [DOWN]);
    assert_eq!(checked.condition("Drained"), Some((lvs_crds::ConditionStatus::False, Reason::Draining)));
    checked.node.events();
    assert!(checked.node.driver.next_deadline().is_some(), "somebody has to count");
    assert_eq!(checked.steps(), [""; 0]);
    assert_eq!(checked.condition("Drained"), Some((lvs_crds::ConditionStatus::False, Reason::Draining)));
    checked.node.driver.kernel.active.clear();
    checked.steps();
    assert_eq!(checked.condition("Drained"), Some((lvs_crds::ConditionStatus::True, Reason::Drained)));
    assert_eq!(checked.node.events(), [Reason::Drained]);
    checked.serve(&json!({}));
    assert_eq!(checked.steps(), [UP]);
    assert_eq!(checked.condition("Drained"), None);
}

#[test]
fn a_failed_server_is_removed_when_its_time_is_over_and_the_driver_wakes_for_it() {
    let mut checked = Checked::new();
    checked.told(Verdict::Up);
    checked.steps();
    checked.told(Verdict::Down);
    assert_eq!(checked.steps(), [DOWN]);
    let at = checked.node.driver.health.next().expect("its time ends");
    checked.node.now = at;
    assert_eq!(checked.steps(), ["remove destination TCP 172.16.21.10:80 -> 192.168.40.12:80"]);
    assert_eq!(checked.node.driver.health.next(), None);
    checked.told(Verdict::Up);
    assert_eq!(checked.steps(), ["add destination TCP 172.16.21.10:80 -> 192.168.40.12:80 direct weight 1"]);
}

/// Ten services with a thousand real servers each, all of them up.
struct TenThousand {
    checked: Checked,
    probes: Vec<Probe>,
}

impl TenThousand {
    const SERVERS: usize = 10_000;
    const SERVICES: usize = 10;

    fn new(panic_threshold_percent: u8) -> Self {
        let mut checked = Checked::over(Node::new());
        let group = |number: usize| format!("group{}", number % Self::SERVICES);
        for number in 0..Self::SERVICES {
            let selector = json!({"matchLabels": {"app": group(number)}});
            let fields =
                json!({"panicThresholdPercent": panic_threshold_percent, "realServerSelector": selector});
            checked.declare(&format!("web{number}"), 80 + number as u16, &fields);
        }
        let server = |number: usize| {
            let address = IpAddr::from([10, 1, (number / 250) as u8, 1 + (number % 250) as u8]);
            let spec = serde_json::from_value(json!({"address": address})).expect("a spec");
            let spec = Spec::RealServer(Arc::new(spec));
            let mut object = object(Kind::RealServer, &format!("rs{number}"), spec, None);
            object.labels = BTreeMap::from([("app".to_owned(), group(number))]);
            Change::upsert(object)
        };
        checked.node.deliver((0..Self::SERVERS).map(server).collect());
        checked.node.settle();
        let probes: Vec<Probe> = checked.node.driver.health.probes().cloned().collect();
        assert_eq!(probes.len(), Self::SERVERS);
        let mut all = Self { checked, probes };
        assert_eq!(all.tell(0..Self::SERVERS, Verdict::Up), Self::SERVERS, "their weights");
        all
    }

    /// Tells of these checks, and how often the kernel is written to for it.
    fn tell(&mut self, some: std::ops::Range<usize>, verdict: Verdict) -> usize {
        let news = |probe: &Probe| News { probe: probe.clone(), verdict, failure: None };
        self.checked.node.driver.checked(self.probes[some].iter().map(news).collect());
        self.checked.steps().len()
    }

    fn without_weight(&self) -> usize {
        let services = self.checked.node.driver.kernel.table.values();
        services.flat_map(|service| service.destinations.values()).filter(|it| it.weight == 0).count()
    }

    fn is_panic(&self, number: usize) -> bool {
        self.checked.node.condition(&format!("web{number}"), "RealServersReady").1 == Reason::Panic
    }
}

#[test]
fn ten_thousand_servers_that_fail_at_once_are_a_write_each_and_another_when_they_return() {
    const ALL: usize = TenThousand::SERVERS;
    let mut servers = TenThousand::new(0);
    assert_eq!(servers.tell(0..ALL, Verdict::Down), ALL);
    assert_eq!(servers.without_weight(), ALL);
    assert_eq!(servers.tell(0..ALL, Verdict::Down), 0, "they fail still");
    assert_eq!(servers.checked.steps().len(), 0);
    assert_eq!(servers.tell(0..ALL, Verdict::Up), ALL);
    assert_eq!(servers.without_weight(), 0);
}

#[test]
fn ten_thousand_servers_that_fail_at_once_under_a_panic_threshold_are_no_write_at_all() {
    const ALL: usize = TenThousand::SERVERS;
    let mut servers = TenThousand::new(50);
    assert_eq!(servers.tell(0..ALL, Verdict::Down), 0);
    assert_eq!(servers.without_weight(), 0);
    assert!((0..TenThousand::SERVICES).all(|number| servers.is_panic(number)));
    assert_eq!(servers.tell(0..ALL, Verdict::Up), 0);
    assert!(!(0..TenThousand::SERVICES).any(|number| servers.is_panic(number)));
}

#[test]
fn ten_thousand_servers_that_fail_one_after_the_other_lose_their_weight_and_get_it_back_below_the_threshold()
{
    const ALL: usize = TenThousand::SERVERS;
    let mut servers = TenThousand::new(50);
    // Probes come in no order, so they pass the half of their services at different times.
    let (mut writes, mut most_without) = (0, 0);
    for first in (0..ALL).step_by(500) {
        writes += servers.tell(first..first + 500, Verdict::Down);
        most_without = most_without.max(servers.without_weight());
    }
    assert_eq!(servers.without_weight(), 0);
    assert!((ALL * 2 / 5..=ALL / 2).contains(&most_without), "{most_without}");
    assert!(writes <= ALL, "{writes}: half of them are written twice, the others never");
    assert!((0..TenThousand::SERVICES).all(|number| servers.is_panic(number)));
}

#[test]
fn a_drain_that_was_asked_for_while_the_kernel_could_not_be_read_begins_when_it_can() {
    let mut checked = Checked::new();
    checked.told(Verdict::Up);
    checked.steps();
    checked.node.driver.kernel.short_reads = 1;
    checked.serve(&json!({"drain": true}));
    assert_eq!(checked.steps(), [""; 0]);
    assert_eq!(checked.steps(), [DOWN]);
    checked.steps();
    assert_eq!(checked.condition("Drained"), Some((lvs_crds::ConditionStatus::True, Reason::Drained)));
}

#[test]
fn a_real_server_is_told_of_at_once_when_its_check_is_taken_away() {
    let mut checked = Checked::new();
    checked.told(Verdict::Down);
    checked.steps();
    assert_eq!(checked.condition("Healthy"), Some((lvs_crds::ConditionStatus::False, Reason::CheckFailed)));
    checked.declare("web", 80, &json!({"healthCheck": {"none": {}}}));
    assert_eq!(checked.steps(), [UP]);
    assert_eq!(checked.condition("Healthy"), Some((lvs_crds::ConditionStatus::True, Reason::NotChecked)));
}

#[test]
fn what_is_known_of_a_server_goes_over_to_another_service_that_asks_the_same() {
    for port in [79, 81] {
        let mut checked = Checked::new();
        checked.told(Verdict::Up);
        checked.steps();
        checked.ordered();
        checked.declare("web", port, &json!({}));
        let added = checked.steps().into_iter().find(|step| step.starts_with("add destination"));
        assert!(added.as_ref().is_some_and(|step| step.ends_with("weight 1")), "{added:?}");
        assert_eq!(checked.ordered(), (0, 0));
    }
}

#[test]
fn a_weight_that_somebody_takes_away_before_the_first_check_is_put_back() {
    let mut checked = Checked::new();
    checked.told(Verdict::Up);
    checked.steps();
    let mut again = Checked::over(checked.node.restart());
    again.declare("web", 80, &json!({}));
    again.serve(&json!({}));
    again.node.pass(Scope::Full);
    let table = &mut again.node.driver.kernel.table;
    let service = table.get_mut(&key(80)).expect("it is there");
    service.destinations.values_mut().for_each(|destination| destination.weight = 0);
    again.node.pass(Scope::Full);
    let service = &again.node.driver.kernel.table[&key(80)];
    assert!(service.destinations.values().all(|destination| destination.weight == 1));
}
