use serde_json::json;

use super::*;
use crate::desired::Pair;
use crate::fixtures::{object_key, real_server, tcp, virtual_service};
use crate::reason::Reason;

const WEB: &str = "172.16.21.10";

fn web(name: &str, created: i64) -> Object {
    virtual_service(name, created, &web_spec(80, "wrr"))
}

fn web_spec(port: u16, scheduler: &str) -> serde_json::Value {
    json!({"vip": WEB, "ports": [{"port": port}], "scheduler": scheduler,
           "realServerSelector": {"matchLabels": {"app": "web"}}})
}

fn rs(name: &str, last: u8) -> Object {
    real_server(name, 0, "web", &json!({"address": format!("192.168.40.{last}")}))
}

fn filled(objects: impl IntoIterator<Item = Object>) -> Inventory {
    let mut inventory = Inventory::default();
    objects.into_iter().for_each(|object| inventory.change(Change::upsert(object)));
    inventory
}

fn destinations(inventory: &Inventory, port: u16) -> Vec<String> {
    let desired = inventory.desired(&tcp(WEB, port));
    desired.into_iter().flat_map(|service| service.destinations.keys().map(ToString::to_string)).collect()
}

fn pair(inventory: &Inventory, virtual_service: &str, real_server: &str) -> Option<Reason> {
    let record =
        inventory.virtual_service(&object_key(Kind::VirtualService, virtual_service)).expect("it is there");
    match record.desired().pairs.get(&object_key(Kind::RealServer, real_server)) {
        Some(Pair::Refused { reason, .. }) => Some(*reason),
        Some(Pair::Accepted { .. }) => Some(Reason::Accepted),
        None => None,
    }
}

#[test]
fn objects_meet_whatever_comes_first() {
    let expected = ["192.168.40.12:80", "192.168.40.13:80"];
    let orders = [
        vec![web("web", 0), rs("rs1", 12), rs("rs2", 13)],
        vec![rs("rs2", 13), web("web", 0), rs("rs1", 12)],
        vec![rs("rs1", 12), rs("rs2", 13), web("web", 0)],
    ];
    for order in orders {
        assert_eq!(destinations(&filled(order), 80), expected);
    }
}

#[test]
fn an_object_that_breaks_a_rule_keeps_its_last_accepted_version_in_force() {
    let mut inventory = filled([web("web", 0), rs("rs1", 12)]);
    inventory.change(Change::upsert(virtual_service("web", 0, &web_spec(0, "wrr"))));
    inventory.change(Change::upsert(real_server("rs1", 0, "web", &json!({"address": "127.0.0.1"}))));
    assert_eq!(destinations(&inventory, 80), ["192.168.40.12:80"]);
    let record = inventory.virtual_service(&object_key(Kind::VirtualService, "web")).expect("it is there");
    assert!(!record.accepted() && record.violations[0].field.contains("ports"), "{:?}", record.violations);
}

#[test]
fn the_older_of_two_virtual_services_wins_and_the_other_follows_when_it_goes() {
    let mut inventory = filled([web("young", 20), web("old", 10)]);
    let holder = |inventory: &Inventory| {
        inventory.desired(&tcp(WEB, 80)).map(|service| service.owner.name.to_string())
    };
    assert_eq!(holder(&inventory).as_deref(), Some("old"));
    let young = object_key(Kind::VirtualService, "young");
    assert_eq!(
        inventory.virtual_service(&young).expect("it is there").conflict.as_deref(),
        Some(&(tcp(WEB, 80), object_key(Kind::VirtualService, "old")))
    );
    inventory.take_dirty();
    inventory.change(Change::Removed(object_key(Kind::VirtualService, "old")));
    assert_eq!(holder(&inventory).as_deref(), Some("young"));
    let dirty = inventory.take_dirty();
    assert!(dirty.services.contains(&tcp(WEB, 80)) && dirty.objects.contains(&young));
}

#[test]
fn a_refused_virtual_service_is_refused_whole_and_takes_nothing_from_a_third() {
    let both = json!({"vip": WEB, "ports": [{"port": 80}, {"port": 443}]});
    let third = json!({"vip": WEB, "ports": [{"port": 443}]});
    let inventory = filled([
        virtual_service("first", 1, &web_spec(80, "wrr")),
        virtual_service("second", 2, &both),
        virtual_service("third", 3, &third),
    ]);
    let holder = |port| inventory.desired(&tcp(WEB, port)).map(|service| &*service.owner.name);
    assert_eq!((holder(80), holder(443)), (Some("first"), Some("third")));
}

#[test]
fn a_move_onto_a_taken_port_keeps_the_old_port_in_force() {
    let mut inventory = filled([
        virtual_service("a", 1, &web_spec(80, "wrr")),
        virtual_service("b", 2, &web_spec(443, "wrr")),
    ]);
    inventory.change(Change::upsert(virtual_service("b", 2, &web_spec(80, "wrr"))));
    let holder = |port| inventory.desired(&tcp(WEB, port)).map(|service| &*service.owner.name);
    assert_eq!((holder(80), holder(443)), (Some("a"), Some("b")));
}

#[test]
fn a_pair_that_cannot_work_is_refused_and_leaves_the_others_alone() {
    let inventory = filled([
        web("web", 0),
        rs("good", 12),
        real_server("mapped", 0, "web", &json!({"address": "192.168.40.13", "port": 8080})),
        real_server("six", 0, "web", &json!({"address": "2001:db8::13"})),
        real_server("twin", 9, "web", &json!({"address": "192.168.40.12"})),
        real_server("other", 0, "db", &json!({"address": "192.168.40.14"})),
    ]);
    assert_eq!(destinations(&inventory, 80), ["192.168.40.12:80"]);
    assert_eq!(pair(&inventory, "web", "good"), Some(Reason::Accepted));
    assert_eq!(pair(&inventory, "web", "mapped"), Some(Reason::PortMapping));
    assert_eq!(pair(&inventory, "web", "six"), Some(Reason::FamilyMismatch));
    assert_eq!(pair(&inventory, "web", "twin"), Some(Reason::DuplicateAddress));
    assert_eq!(pair(&inventory, "web", "other"), None);
}

#[test]
fn a_port_restricts_a_real_server_to_that_port() {
    let two = json!({"vip": WEB, "ports": [{"port": 80}, {"port": 443}],
                     "realServerSelector": {"matchLabels": {"app": "web"}}});
    let only = real_server("rs2", 0, "web", &json!({"address": "192.168.40.13", "port": 443}));
    let inventory = filled([virtual_service("web", 0, &two), rs("rs1", 12), only]);
    assert_eq!(destinations(&inventory, 80), ["192.168.40.12:80"]);
    assert_eq!(destinations(&inventory, 443), ["192.168.40.12:443", "192.168.40.13:443"]);
}

#[test]
fn a_drained_real_server_stays_with_its_weight_and_the_drain_beside_it() {
    let drained =
        real_server("rs1", 0, "web", &json!({"address": "192.168.40.12", "weight": 3, "drain": true}));
    let inventory = filled([web("web", 0), drained]);
    let service = inventory.desired(&tcp(WEB, 80)).expect("it is desired");
    let wanted: Vec<_> =
        service.destinations.values().map(|wanted| (wanted.settings.weight, wanted.drain)).collect();
    assert_eq!(wanted, [(3, true)]);
}

#[test]
fn only_what_a_change_touches_becomes_dirty() {
    let other = json!({"vip": "172.16.21.11", "ports": [{"port": 80}],
                       "realServerSelector": {"matchLabels": {"app": "db"}}});
    let mut inventory = filled([web("web", 0), virtual_service("db", 0, &other), rs("rs1", 12)]);
    inventory.take_dirty();
    inventory.change(Change::upsert(real_server(
        "rs1",
        0,
        "web",
        &json!({"address": "192.168.40.12", "weight": 5}),
    )));
    let dirty = inventory.take_dirty();
    assert_eq!(dirty.services, BTreeSet::from([tcp(WEB, 80)]));
    let names: BTreeSet<&str> = dirty.objects.iter().map(|key| &*key.name).collect();
    assert_eq!(names, BTreeSet::from(["rs1", "web"]));

    inventory.change(Change::upsert(real_server(
        "rs1",
        0,
        "web",
        &json!({"address": "192.168.40.12", "weight": 5}),
    )));
    assert!(inventory.take_dirty().services.is_empty(), "nothing changed");
}

#[test]
fn a_label_change_moves_a_real_server() {
    let mut inventory = filled([web("web", 0), rs("rs1", 12)]);
    inventory.change(Change::upsert(real_server("rs1", 0, "db", &json!({"address": "192.168.40.12"}))));
    assert!(destinations(&inventory, 80).is_empty());
    assert_eq!(
        inventory.real_server(&object_key(Kind::RealServer, "rs1")).expect("there").selected_by,
        HashSet::new()
    );
    inventory.change(Change::upsert(rs("rs1", 12)));
    assert_eq!(destinations(&inventory, 80), ["192.168.40.12:80"]);
}

#[test]
fn an_invalid_object_without_a_good_version_is_unsettled() {
    let mut inventory = filled([virtual_service("web", 0, &web_spec(0, "wrr"))]);
    let key = object_key(Kind::VirtualService, "web");
    assert!(inventory.is_unsettled(&key));
    inventory.change(Change::upsert(web("web", 0)));
    assert!(!inventory.is_unsettled(&key));
    inventory.change(Change::upsert(real_server("rs9", 0, "web", &json!({"address": "0.0.0.0"}))));
    assert_eq!(inventory.unsettled_real_servers("default").count(), 1);
    inventory.change(Change::Removed(object_key(Kind::RealServer, "rs9")));
    assert_eq!(inventory.unsettled_real_servers("default").count(), 0);
}

#[test]
fn a_refused_version_does_not_come_into_force_once_the_object_says_something_else() {
    let mut inventory = filled([
        virtual_service("a", 1, &web_spec(80, "wrr")),
        virtual_service("b", 2, &web_spec(443, "wrr")),
    ]);
    inventory.change(Change::upsert(virtual_service("b", 2, &web_spec(80, "wrr"))));
    inventory.change(Change::upsert(virtual_service("b", 2, &web_spec(0, "wrr"))));
    inventory.change(Change::Removed(object_key(Kind::VirtualService, "a")));
    let holder = |port| inventory.desired(&tcp(WEB, port)).map(|service| &*service.owner.name);
    assert_eq!((holder(80), holder(443)), (None, Some("b")), "b keeps its last accepted version");
}

#[test]
fn a_version_that_lost_to_an_older_object_comes_back_when_that_one_goes() {
    let mut inventory = filled([web("young", 20)]);
    inventory.change(Change::upsert(virtual_service("young", 20, &web_spec(0, "wrr"))));
    inventory.change(Change::upsert(web("old", 10)));
    let holder = |inventory: &Inventory| {
        inventory.desired(&tcp(WEB, 80)).map(|service| service.owner.name.to_string())
    };
    assert_eq!(holder(&inventory).as_deref(), Some("old"));
    inventory.change(Change::Removed(object_key(Kind::VirtualService, "old")));
    assert_eq!(holder(&inventory).as_deref(), Some("young"));
}

#[test]
fn real_servers_hear_of_it_when_their_weights_begin_or_cease_to_count() {
    let weighted = |name: &str, last: u8, weight: u16| {
        let spec = json!({"address": format!("192.168.40.{last}"), "weight": weight});
        real_server(name, 0, "web", &spec)
    };
    let mut inventory = filled([web("web", 0), weighted("rs1", 12, 1), weighted("rs2", 13, 2)]);
    let dirty = |inventory: &mut Inventory| {
        let mut names: Vec<String> =
            inventory.take_dirty().objects.iter().map(|key| key.name.to_string()).collect();
        names.sort_unstable();
        names
    };
    dirty(&mut inventory);
    inventory.change(Change::upsert(virtual_service("web", 0, &web_spec(80, "rr"))));
    assert_eq!(dirty(&mut inventory), ["rs1", "rs2", "web"], "the scheduler ignores weights now");
    inventory.change(Change::upsert(weighted("rs2", 13, 1)));
    assert_eq!(dirty(&mut inventory), ["rs1", "rs2", "web"], "equal weights are equal shares");
}

#[test]
fn a_service_is_looked_at_again_when_a_real_server_no_longer_holds_its_destinations() {
    let unreadable = || real_server("rs9", 0, "web", &json!({"address": "0.0.0.0"}));
    let mut inventory = filled([web("web", 0), rs("rs1", 12), unreadable()]);
    inventory.take_dirty();
    inventory.change(Change::upsert(real_server("rs9", 0, "db", &json!({"address": "192.168.40.19"}))));
    assert!(inventory.take_dirty().services.contains(&tcp(WEB, 80)), "it is valid and serves somebody else");
    inventory.change(Change::Removed(object_key(Kind::RealServer, "rs9")));
    inventory.change(Change::upsert(unreadable()));
    inventory.take_dirty();
    inventory.change(Change::Removed(object_key(Kind::RealServer, "rs9")));
    assert!(inventory.take_dirty().services.contains(&tcp(WEB, 80)), "it is gone");
}
