use serde_json::json;

use super::*;
use crate::diff::Holder;
use crate::fixtures::{address, object_key, real_server, tcp, virtual_service};
use crate::inventory::Change;
use crate::object::{Kind, Object};

const VIP: &str = "172.16.21.10";

/// Nothing is checked.
struct AsDeclared;

impl Checks for AsDeclared {
    fn in_force(&self, _: &ServiceKey) -> Option<&InForce> {
        None
    }

    fn verdict(&self, probe: &Probe) -> (Verdict, Option<&str>) {
        unreachable!("{probe:?} is not checked")
    }

    fn drain(&self, _: &ObjectKey) -> Option<&Drain> {
        None
    }

    fn overloaded(&self, _: &ObjectKey) -> Option<&BTreeSet<ServiceKey>> {
        None
    }
}

fn inventory(scheduler: &str, weights: &[i32]) -> Inventory {
    let spec = json!({"vip": VIP, "ports": [{"port": 80}], "scheduler": scheduler, "healthCheck": {"none": {}},
                      "realServerSelector": {"matchLabels": {"app": "web"}}});
    let mut inventory = Inventory::default();
    inventory.change(Change::upsert(virtual_service("web", 0, &spec)));
    for (index, weight) in weights.iter().enumerate() {
        inventory.change(Change::upsert(rs(index, *weight)));
    }
    inventory
}

fn rs(index: usize, weight: i32) -> Object {
    let spec = json!({"address": format!("192.168.40.{}", 12 + index), "weight": weight});
    real_server(&format!("rs{}", 1 + index), 0, "web", &spec)
}

fn report(
    inventory: &Inventory,
    programming: Option<Programming>,
    vip: Option<Announcing>,
) -> VirtualServiceReport {
    let outcome = |programming| ServiceOutcome { programming, missing: std::collections::BTreeSet::new() };
    let services = programming.map(|programming| (tcp(VIP, 80), outcome(programming))).into_iter().collect();
    let vips = vip.map(|announcing| (address(VIP), announcing)).into_iter().collect();
    let record = inventory.virtual_service(&object_key(Kind::VirtualService, "web")).expect("it is there");
    virtual_service_report(record, &services, &vips)
}

fn virtual_service_report(
    record: &VirtualServiceRecord,
    services: &BTreeMap<ServiceKey, ServiceOutcome>,
    vips: &BTreeMap<IpAddr, Announcing>,
) -> VirtualServiceReport {
    super::virtual_service(record, Findings { services, vips, unreadable: None, checks: &AsDeclared })
}

fn reason(report: &VirtualServiceReport, type_: &str) -> (bool, &'static str) {
    let condition =
        report.conditions.iter().find(|condition| condition.type_ == type_).expect("it is always there");
    (condition.holds(), condition.reason.as_str())
}

#[test]
fn everything_in_place_is_ready() {
    let report = report(
        &inventory("wrr", &[2, 1]),
        Some(Programming::Programmed),
        Some(Announcing::Announced(String::new())),
    );
    assert!(report.conditions.iter().all(ConditionValue::holds), "{:?}", report.conditions);
    let types: Vec<_> = report.conditions.iter().map(|condition| condition.type_).collect();
    assert_eq!(types, ["Accepted", "Programmed", "Announced", "RealServersReady", "Ready"]);
    assert_eq!(report.real_servers, RealServerCounts { total: 2, healthy: 2, in_service: 2 });
}

#[test]
fn weights_that_the_scheduler_ignores_are_named_but_accepted() {
    let told = |scheduler, weights: &[i32]| {
        let report = report(&inventory(scheduler, weights), None, None);
        assert_eq!(reason(&report, "Accepted"), (true, "Accepted"));
        report.conditions[0].message.starts_with("WeightsIgnored:")
    };
    assert!(told("rr", &[2, 1]), "the tutorial's own mistake");
    assert!(told("lc", &[2, 1]) && told("dh", &[2, 1]));
    assert!(!told("rr", &[2, 2]), "equal weights are equal shares");
    assert!(!told("rr", &[1, 0]), "weight 0 is respected by every scheduler");
    assert!(!told("wrr", &[2, 1]));
}

#[test]
fn what_stands_in_the_way_is_the_reason_of_ready() {
    let fine = || Some(Announcing::Announced(String::new()));
    let web = inventory("wrr", &[1]);
    let words = || "words".to_owned();
    let cases = [
        (None, fine(), "Programmed", "Pending"),
        (Some(Programming::Foreign(words())), fine(), "Programmed", "ForeignService"),
        (Some(Programming::SchedulerMissing(words())), fine(), "Programmed", "SchedulerMissing"),
        (Some(Programming::NoRoute(words())), fine(), "Programmed", "NoRoute"),
        (Some(Programming::Refused(words())), fine(), "Programmed", "KernelRefused"),
        (Some(Programming::LedgerUnusable(words())), fine(), "Programmed", "LedgerUnusable"),
        (
            Some(Programming::Programmed),
            Some(Announcing::NoInterface(words())),
            "Programmed",
            "NoVIPInterface",
        ),
        (
            Some(Programming::Programmed),
            Some(Announcing::Conflict { holder: Holder { mac: [1; 6], real_server: None }, bound: false }),
            "Announced",
            "VIPConflict",
        ),
        (
            Some(Programming::Programmed),
            Some(Announcing::PeerWithoutVrrp { peer: "d2".to_owned() }),
            "Announced",
            "PeerWithoutVRRP",
        ),
        (Some(Programming::Programmed), Some(Announcing::Unheard(words())), "Announced", "NoActiveDirector"),
        (Some(Programming::Programmed), None, "Announced", "NoActiveDirector"),
    ];
    for (programming, vip, type_, expected) in cases {
        let report = report(&web, programming, vip);
        assert_eq!(reason(&report, type_), (false, expected));
        assert_eq!(reason(&report, "Ready"), (false, expected));
    }
}

#[test]
fn a_vip_that_another_claims_too_is_in_conflict_and_active_here_all_the_same() {
    let real_server = Some(address("192.168.40.12"));
    let holder = Holder { mac: [2, 0, 0, 0, 0, 9], real_server };
    let conflict = |bound| {
        let vip = Some(Announcing::Conflict { holder, bound });
        report(&inventory("wrr", &[1]), Some(Programming::Programmed), vip)
    };
    for bound in [true, false] {
        let report = conflict(bound);
        assert_eq!(reason(&report, "Announced"), (false, "VIPConflict"));
        assert_eq!(report.active, bound);
        let message = &report.conditions[2].message;
        assert!(message.contains("192.168.40.12") && message.contains("02:00:00:00:00:09"), "{message}");
        assert!(message.contains("arp_ignore=1"), "the cure: {message}");
    }
}

#[test]
fn a_service_whose_servers_are_all_drained_has_none_in_service() {
    let report = report(&inventory("wrr", &[0, 0]), Some(Programming::Programmed), None);
    assert_eq!(reason(&report, "RealServersReady"), (false, "NoneInService"));
    assert_eq!(report.real_servers, RealServerCounts { total: 2, healthy: 2, in_service: 0 });
}

#[test]
fn rules_that_are_not_in_the_kernel_serve_nobody() {
    let report = report(&inventory("wrr", &[1, 1]), Some(Programming::Foreign("words".to_owned())), None);
    assert_eq!(report.real_servers.in_service, 0);
}

#[test]
fn a_refused_pair_is_told_on_both_sides() {
    let mut inventory = inventory("wrr", &[1]);
    let mapped = json!({"address": "192.168.40.30", "port": 8080});
    inventory.change(Change::upsert(real_server("mapped", 0, "web", &mapped)));
    let report = report(&inventory, Some(Programming::Programmed), None);
    let ready =
        report.conditions.iter().find(|condition| condition.type_ == "RealServersReady").expect("there");
    assert!(ready.holds() && ready.message.contains("default/mapped (PortMapping)"), "{}", ready.message);

    let key = object_key(Kind::RealServer, "mapped");
    let conditions =
        super::real_server(&key, inventory.real_server(&key).expect("there"), &inventory, &AsDeclared);
    assert_eq!((conditions[0].holds(), conditions[0].reason), (false, Reason::PortMapping));
    assert!(conditions[0].message.contains("default/web"), "{}", conditions[0].message);
}

#[test]
fn a_firewall_mark_has_no_vip_to_announce() {
    let mut inventory = Inventory::default();
    let spec = json!({"firewallMark": 7, "family": "IPv4"});
    inventory.change(Change::upsert(virtual_service("web", 0, &spec)));
    let report = report(&inventory, None, None);
    assert_eq!(reason(&report, "Announced"), (true, "NotApplicable"));
}

#[test]
fn an_invalid_object_says_which_rule_it_breaks_and_what_stays_in_force() {
    let mut inventory = inventory("wrr", &[1]);
    let broken = json!({"vip": "127.0.0.1", "ports": [{"port": 80}]});
    inventory.change(Change::upsert(virtual_service("web", 0, &broken)));
    let report =
        report(&inventory, Some(Programming::Programmed), Some(Announcing::Announced(String::new())));
    assert_eq!(reason(&report, "Accepted"), (false, "Invalid"));
    let message = &report.conditions[0].message;
    assert!(message.contains("spec.vip") && message.contains("stays in force"), "{message}");
    assert!(report.programmed, "the last accepted version is in the kernel");
}

fn message<'a>(conditions: &'a [ConditionValue], type_: &str) -> &'a str {
    &conditions.iter().find(|condition| condition.type_ == type_).expect("it is always there").message
}

#[test]
fn ignored_weights_are_those_of_the_version_in_force() {
    let mut inventory = inventory("rr", &[2, 1]);
    let broken = json!({"vip": VIP, "ports": [{"port": 0}], "scheduler": "wrr",
                        "realServerSelector": {"matchLabels": {"app": "web"}}});
    inventory.change(Change::upsert(virtual_service("web", 0, &broken)));
    let key = object_key(Kind::RealServer, "rs1");
    let conditions =
        super::real_server(&key, inventory.real_server(&key).expect("there"), &inventory, &AsDeclared);
    assert!(
        message(&conditions, "Accepted").starts_with("WeightsIgnored:"),
        "rr is in the kernel: {conditions:?}"
    );
}

#[test]
fn the_advice_on_ignored_weights_names_schedulers_that_there_are() {
    for (scheduler, advice) in [("rr", "use wrr"), ("lc", "use wlc"), ("dh", "use wlc or wrr")] {
        let report = report(&inventory(scheduler, &[2, 1]), None, None);
        assert!(report.conditions[0].message.contains(advice), "{}", report.conditions[0].message);
    }
}

#[test]
fn a_service_without_real_servers_says_what_is_missing() {
    let words = |spec: &serde_json::Value, members: Vec<Object>| {
        let mut inventory = Inventory::default();
        inventory.change(Change::upsert(virtual_service("web", 0, spec)));
        for member in members {
            inventory.change(Change::upsert(member));
        }
        let report = report(&inventory, Some(Programming::Programmed), None);
        assert_eq!(reason(&report, "RealServersReady"), (false, "NoneInService"));
        message(&report.conditions, "RealServersReady").to_owned()
    };
    let selecting =
        json!({"vip": VIP, "ports": [{"port": 80}], "realServerSelector": {"matchLabels": {"app": "web"}}});
    let mapped = real_server("rs1", 0, "web", &json!({"address": "192.168.40.12", "port": 8080}));
    assert!(
        words(&json!({"vip": VIP, "ports": [{"port": 80}]}), vec![]).contains("left out, which selects none")
    );
    assert!(words(&selecting, vec![]).contains("no RealServer in this namespace matches"));
    assert!(
        words(&selecting, vec![mapped])
            .contains("every selected real server is refused: default/rs1 (PortMapping)")
    );
    assert!(words(&json!({"vip": "127.0.0.1"}), vec![]).contains("no version of it was accepted"));
}

#[test]
fn while_the_kernel_cannot_be_read_nobody_says_that_rules_are_as_declared() {
    let inventory = inventory("wrr", &[1]);
    let record = inventory.virtual_service(&object_key(Kind::VirtualService, "web")).expect("it is there");
    let told = |programming: Option<Programming>| {
        let outcome =
            |programming| ServiceOutcome { programming, missing: std::collections::BTreeSet::new() };
        let services =
            programming.map(|programming| (tcp(VIP, 80), outcome(programming))).into_iter().collect();
        let vips = [(address(VIP), Announcing::Announced(String::new()))].into();
        let unreadable = Some("the kernel cannot be read since noon");
        super::virtual_service(
            record,
            Findings { services: &services, vips: &vips, unreadable, checks: &AsDeclared },
        )
    };
    let lapsed = told(Some(Programming::Programmed));
    for type_ in ["Programmed", "Ready"] {
        let condition = lapsed.conditions.iter().find(|condition| condition.type_ == type_).expect("there");
        assert_eq!((condition.status, condition.reason), (ConditionStatus::Unknown, Reason::Pending));
        assert!(condition.message.contains("since noon") && condition.message.contains("goes on forwarding"));
    }
    assert!(!lapsed.programmed && lapsed.active);
    assert_eq!(lapsed.real_servers.in_service, 1, "as last seen");

    // What was wrong before is still what is wrong.
    let foreign = told(Some(Programming::Foreign("words".to_owned())));
    assert_eq!(reason(&foreign, "Ready"), (false, "ForeignService"));
    let never = told(None);
    assert_eq!(reason(&never, "Programmed"), (false, "Pending"));
    for (type_, words) in [("Programmed", "since noon"), ("RealServersReady", "see Programmed (Pending)")] {
        assert!(message(&never.conditions, type_).contains(words), "{:?}", never.conditions);
    }
}
