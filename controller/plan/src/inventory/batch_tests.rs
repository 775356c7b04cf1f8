use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixtures::{object_key, real_server, virtual_service};

/// Few names, labels and ports, so that objects meet, part and come back.
fn change() -> impl Strategy<Value = Change> {
    let app = || prop::sample::select(vec!["web", "db"]);
    prop_oneof![
        3 => (0..3u8, 0..2u16, app()).prop_map(|(name, port, app)| {
            let spec = json!({"vip": "172.16.21.10", "ports": [{"port": 80 + port}],
                              "realServerSelector": {"matchLabels": {"app": app}}});
            Change::upsert(virtual_service(&format!("vs{name}"), i64::from(name), &spec))
        }),
        5 => (0..4u8, 11..14u8, app()).prop_map(|(name, last, app)| {
            // Now and then one that is not valid.
            let address = if last == 13 { "0.0.0.0".to_owned() } else { format!("192.168.40.{last}") };
            Change::upsert(real_server(&format!("rs{name}"), 0, app, &json!({"address": address})))
        }),
        1 => (0..3u8).prop_map(|name| {
            Change::Removed(object_key(Kind::VirtualService, &format!("vs{name}")))
        }),
        2 => (0..4u8).prop_map(|name| {
            Change::Removed(object_key(Kind::RealServer, &format!("rs{name}")))
        }),
    ]
}

proptest! {
    #[test]
    fn changes_that_come_together_end_where_they_end_one_by_one(
        before in prop::collection::vec(change(), 0..8),
        together in prop::collection::vec(change(), 0..8),
    ) {
        let (mut one_by_one, mut at_once) = (Inventory::default(), Inventory::default());
        one_by_one.change_all(before.clone());
        at_once.change_all(before);
        one_by_one.take_dirty();
        at_once.take_dirty();
        let services = |inventory: &Inventory| -> BTreeMap<ServiceKey, DesiredService> {
            inventory.desired_services().map(|(key, service)| (*key, service.clone())).collect()
        };
        let was = services(&at_once);

        for change in together.clone() {
            one_by_one.change(change);
        }
        at_once.change_all(together);

        for (key, record) in at_once.virtual_services() {
            let other = one_by_one.virtual_service(key).expect("it is there either way");
            prop_assert_eq!(record.desired(), other.desired(), "{}", key);
        }
        for (key, record) in at_once.real_servers() {
            let other = one_by_one.real_server(key).expect("it is there either way");
            prop_assert_eq!(&record.selected_by, &other.selected_by, "{}", key);
        }
        prop_assert_eq!(at_once.virtual_services().count(), one_by_one.virtual_services().count());
        prop_assert_eq!(at_once.real_servers().count(), one_by_one.real_servers().count());
        let (is, dirty) = (services(&at_once), at_once.take_dirty().services);
        for key in was.keys().chain(is.keys()) {
            prop_assert!(was.get(key) == is.get(key) || dirty.contains(key), "{} changed unnoticed", key);
        }
    }
}
