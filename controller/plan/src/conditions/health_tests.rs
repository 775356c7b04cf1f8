//! What is said of real servers that fail, wait, and drain.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::fixtures::{address, object_key, real_server, tcp, virtual_service};
use crate::health::{Declared, Standing, in_force};
use crate::inventory::Change;
use crate::object::Kind;

const VIP: &str = "172.16.21.10";

/// A virtual service with two checked real servers, and what their probes say.
struct Scene {
    inventory: Inventory,
    verdicts: HashMap<IpAddr, (Verdict, Option<&'static str>)>,
    in_force: Option<InForce>,
    drain: Option<Drain>,
}

impl Checks for Scene {
    fn in_force(&self, _: &ServiceKey) -> Option<&InForce> {
        self.in_force.as_ref()
    }

    fn verdict(&self, probe: &Probe) -> (Verdict, Option<&str>) {
        self.verdicts.get(&probe.address).copied().unwrap_or_default()
    }

    fn drain(&self, _: &ObjectKey) -> Option<&Drain> {
        self.drain.as_ref()
    }

    fn overloaded(&self, _: &ObjectKey) -> Option<&BTreeSet<ServiceKey>> {
        None
    }
}

impl Scene {
    fn new(fields: &Value, of_rs1: &Value) -> Self {
        let mut spec = json!({"vip": VIP, "ports": [{"port": 80}], "scheduler": "wrr",
                              "realServerSelector": {"matchLabels": {"app": "web"}}});
        spec.as_object_mut().expect("a map").extend(fields.as_object().cloned().unwrap_or_default());
        let mut rs1 = json!({"address": "192.168.40.12"});
        rs1.as_object_mut().expect("a map").extend(of_rs1.as_object().cloned().unwrap_or_default());
        let mut inventory = Inventory::default();
        inventory.change(Change::upsert(virtual_service("web", 0, &spec)));
        inventory.change(Change::upsert(real_server("rs1", 0, "web", &rs1)));
        inventory.change(Change::upsert(real_server("rs2", 0, "web", &json!({"address": "192.168.40.13"}))));
        Self { inventory, verdicts: HashMap::new(), in_force: None, drain: None }
    }

    /// What the probes of rs1 and rs2 say.
    fn with(mut self, rs1: Verdict, rs2: Verdict) -> Self {
        let words = |verdict| (verdict == Verdict::Down).then_some("connection refused by 192.168.40.12:80");
        self.verdicts = [("192.168.40.12", rs1), ("192.168.40.13", rs2)]
            .map(|(server, verdict)| (address(server), (verdict, words(verdict))))
            .into();
        let service = self.inventory.desired(&tcp(VIP, 80)).expect("it is declared");
        let declared: Vec<_> = service
            .destinations
            .iter()
            .map(|(key, wanted)| {
                let declared = Declared {
                    weight: wanted.settings.weight as u16,
                    upper_threshold: 0,
                    lower_threshold: 0,
                    drain: wanted.drain,
                    maintenance: wanted.maintenance,
                    verdict: Some(self.verdicts[&key.address].0),
                };
                (*key, declared)
            })
            .collect();
        let policy = service.virtual_service.policy();
        let memory = &mut Standing::default();
        self.in_force = Some(in_force(&tcp(VIP, 80), policy, &declared, None, memory, Instant::now()));
        self
    }

    fn web(&self) -> VirtualServiceReport {
        let record = self.inventory.virtual_service(&object_key(Kind::VirtualService, "web")).expect("there");
        let services = [(tcp(VIP, 80), ServiceOutcome::programmed())].into();
        let vips = [(address(VIP), Announcing::Announced(String::new()))].into();
        super::virtual_service(
            record,
            Findings { services: &services, vips: &vips, unreadable: None, checks: self },
        )
    }

    fn rs1(&self) -> Vec<ConditionValue> {
        let key = object_key(Kind::RealServer, "rs1");
        super::real_server(&key, self.inventory.real_server(&key).expect("there"), &self.inventory, self)
    }
}

fn told(conditions: &[ConditionValue], type_: &str) -> (ConditionStatus, Reason, String) {
    let condition = conditions.iter().find(|condition| condition.type_ == type_).expect("it is there");
    (condition.status, condition.reason, condition.message.clone())
}

fn counts(total: i32, healthy: i32, in_service: i32) -> RealServerCounts {
    RealServerCounts { total, healthy, in_service }
}

#[test]
fn a_failed_real_server_says_why_and_its_virtual_service_goes_on_without_it() {
    let scene = Scene::new(&json!({}), &json!({})).with(Verdict::Down, Verdict::Up);
    let (status, reason, words) = told(&scene.rs1(), "Healthy");
    assert_eq!((status, reason), (ConditionStatus::False, Reason::CheckFailed));
    assert_eq!(words, "connection refused by 192.168.40.12:80");
    assert_eq!(told(&scene.rs1(), "Ready").0, ConditionStatus::False);

    let web = scene.web();
    assert_eq!(web.real_servers, counts(2, 1, 1));
    let (status, _, words) = told(&web.conditions, "RealServersReady");
    assert_eq!((status, words.as_str()), (ConditionStatus::True, "failing: default/rs1"));
}

#[test]
fn what_was_never_checked_is_neither_healthy_nor_failed() {
    let scene = Scene::new(&json!({}), &json!({})).with(Verdict::Unknown, Verdict::Unknown);
    let (status, reason, _) = told(&scene.rs1(), "Healthy");
    assert_eq!((status, reason), (ConditionStatus::Unknown, Reason::CheckPending));
    let web = scene.web();
    assert_eq!(web.real_servers, counts(2, 0, 0));
    let (_, _, words) = told(&web.conditions, "RealServersReady");
    assert!(words.contains("first health check has not ended"), "{words}");
}

#[test]
fn when_all_fail_the_virtual_service_names_them() {
    let scene = Scene::new(&json!({}), &json!({})).with(Verdict::Down, Verdict::Down);
    let (status, reason, words) = told(&scene.web().conditions, "RealServersReady");
    assert_eq!((status, reason), (ConditionStatus::False, Reason::NoneInService));
    assert!(words.contains("default/rs1, default/rs2"), "{words}");
}

#[test]
fn panic_and_the_sorry_server_are_told_as_what_they_are() {
    let panic =
        Scene::new(&json!({"panicThresholdPercent": 60}), &json!({})).with(Verdict::Down, Verdict::Up);
    assert_eq!(told(&panic.web().conditions, "RealServersReady").1, Reason::Panic);
    assert_eq!(panic.web().real_servers, counts(2, 1, 2), "both take connections, one works");

    let sorry = json!({"sorryServer": {"address": "192.168.40.99"}});
    let sorry = Scene::new(&sorry, &json!({})).with(Verdict::Down, Verdict::Down);
    assert_eq!(told(&sorry.web().conditions, "RealServersReady").1, Reason::SorryServer);
}

#[test]
fn a_drain_is_told_from_its_declaration_to_its_end_and_does_not_make_the_real_server_unready() {
    let mut scene = Scene::new(&json!({}), &json!({"drain": true})).with(Verdict::Up, Verdict::Up);
    let now = Instant::now();
    assert_eq!(told(&scene.rs1(), "Drained").1, Reason::Draining, "nothing is counted yet");
    let mut drain = Drain::begin(now);
    drain.count(3, Duration::from_secs(10), now + Duration::from_secs(10));
    scene.drain = Some(drain);
    let (status, reason, words) = told(&scene.rs1(), "Drained");
    assert_eq!((status, reason), (ConditionStatus::True, Reason::DrainTimeout));
    assert!(words.contains("3 active connections"), "{words}");
    drain.count(0, Duration::from_secs(10), now + Duration::from_secs(20));
    scene.drain = Some(drain);
    assert_eq!(told(&scene.rs1(), "Drained").1, Reason::Drained);
    assert_eq!(told(&scene.rs1(), "Ready").0, ConditionStatus::True);

    let idle = Scene::new(&json!({}), &json!({})).with(Verdict::Up, Verdict::Up);
    assert!(idle.rs1().iter().all(|condition| condition.type_ != "Drained"));
}

#[test]
fn one_that_nobody_checks_counts_as_working_and_says_so() {
    let scene = Scene::new(&json!({"healthCheck": {"none": {}}}), &json!({}));
    let (status, reason, _) = told(&scene.rs1(), "Healthy");
    assert_eq!((status, reason), (ConditionStatus::True, Reason::NotChecked));
    assert_eq!(scene.web().real_servers, counts(2, 2, 2));
}

#[test]
fn one_that_was_in_service_before_this_agent_came_counts_as_working_until_its_first_check() {
    let mut scene = Scene::new(&json!({}), &json!({})).with(Verdict::Up, Verdict::Up);
    for (verdict, _) in scene.verdicts.values_mut() {
        *verdict = Verdict::Unknown;
    }
    let (status, reason, words) = told(&scene.rs1(), "Healthy");
    assert_eq!((status, reason, words.as_str()), (ConditionStatus::True, Reason::CheckPassed, ""));
    assert_eq!(scene.web().real_servers, counts(2, 2, 2));
}
