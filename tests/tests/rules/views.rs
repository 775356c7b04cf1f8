//! What people see: names, columns, selectors, explanations.

use lvs_lab::objects::{real_server, selects, virtual_service};
use serde_json::json;

use super::kubectl::Kubectl;

/// Two virtual services and the first one's real servers.
fn objects() -> String {
    let web = json!({
        "vip": "172.16.21.10", "ports": [{"port": 80}], "scheduler": "wrr",
        "realServerSelector": selects("web"),
    });
    let other = json!({"vip": "172.16.21.11", "ports": [{"port": 53, "protocol": "UDP"}]});
    // A stream of JSON, as kubectl reads it.
    [
        virtual_service("web", &web),
        virtual_service("other", &other),
        real_server("rs1", "web", &json!({"address": "192.168.40.12", "weight": 2})),
        real_server("rs2", "web", &json!({"address": "192.168.40.13"})),
    ]
    .map(|object| object.to_string())
    .concat()
}

fn with_objects(test: &str) -> Kubectl {
    let kubectl = Kubectl::with_definitions(test);
    kubectl.succeeds_with(&["create", "--warnings-as-errors", "-f", "-"], &objects());
    kubectl
}

/// The columns of a table's header, and the words of each row by its first word.
fn row<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
    let row =
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|row| row[0] == name);
    row.unwrap_or_else(|| panic!("no row {name} in\n{table}"))
}

#[test]
#[ignore = "needs an API server: cargo lab test"]
fn virtual_services_show_what_they_serve_where_and_whether_they_do() {
    let kubectl = with_objects("virtual-service-columns");
    // As an agent would write it.
    let status = json!({"status": {
        "portsSummary": "80/TCP", "realServersSummary": "2/2", "activeDirector": "d1",
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Ready", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
        }],
    }});
    let patch = ["patch", "lvsvs", "web", "--subresource=status", "--type=merge", "-p", &status.to_string()];
    kubectl.succeeds(&patch);
    let table = kubectl.succeeds(&["get", "lvsvs"]);
    let header = ["NAME", "VIP", "PORTS", "SCHEDULER", "REALSERVERS", "DIRECTOR", "READY", "AGE"];
    assert_eq!(row(&table, "NAME"), header);
    assert_eq!(row(&table, "web")[..7], ["web", "172.16.21.10", "80/TCP", "wrr", "2/2", "d1", "True"]);
}

#[test]
#[ignore = "needs an API server: cargo lab test"]
fn real_servers_show_address_and_weight() {
    let kubectl = with_objects("real-server-columns");
    let table = kubectl.succeeds(&["get", "lvsrs"]);
    assert_eq!(row(&table, "NAME"), ["NAME", "ADDRESS", "WEIGHT", "READY", "AGE"]);
    assert_eq!(row(&table, "rs1")[..3], ["rs1", "192.168.40.12", "2"]);
    // A weight that nobody wrote is there, because a default is.
    assert_eq!(row(&table, "rs2")[..3], ["rs2", "192.168.40.13", "1"]);
}

#[test]
#[ignore = "needs an API server: cargo lab test"]
fn the_category_and_every_name_lead_to_the_objects() {
    let kubectl = with_objects("names-of-kinds");
    let all = kubectl.succeeds(&["get", "lvs", "-o", "name"]);
    for name in ["virtualservice.lvs-operator.dev/web", "realserver.lvs-operator.dev/rs1"] {
        assert!(all.lines().any(|line| line == name), "{name} is not in\n{all}");
    }
    for kind in ["lvsvs", "virtualservices.lvs-operator.dev", "virtualservice.lvs-operator.dev"] {
        assert_eq!(
            kubectl.succeeds(&["get", kind, "web", "-o", "name"]),
            "virtualservice.lvs-operator.dev/web\n"
        );
    }
    for kind in ["lvsrs", "realservers.lvs-operator.dev", "realserver.lvs-operator.dev"] {
        assert_eq!(
            kubectl.succeeds(&["get", kind, "rs1", "-o", "name"]),
            "realserver.lvs-operator.dev/rs1\n"
        );
    }
}

#[test]
#[ignore = "needs an API server: cargo lab test"]
fn vips_and_addresses_select() {
    let kubectl = with_objects("selectors");
    for (kind, selector, found) in [
        ("lvsvs", "spec.vip=172.16.21.10", "virtualservice.lvs-operator.dev/web\n"),
        ("lvsvs", "spec.vip!=172.16.21.10", "virtualservice.lvs-operator.dev/other\n"),
        ("lvsvs", "spec.vip=172.16.21.12", ""),
        ("lvsrs", "spec.address=192.168.40.13", "realserver.lvs-operator.dev/rs2\n"),
    ] {
        assert_eq!(
            kubectl.succeeds(&["get", kind, "--field-selector", selector, "-o", "name"]),
            found,
            "{selector}"
        );
    }
}

#[test]
#[ignore = "needs an API server: cargo lab test"]
fn every_field_is_explained() {
    let kubectl = Kubectl::with_definitions("explanations");
    for (kind, part) in [("lvsvs", "spec"), ("lvsvs", "status"), ("lvsrs", "spec"), ("lvsrs", "status")] {
        let all = kubectl.succeeds(&["explain", &format!("{kind}.{part}"), "--recursive"]);
        let (_, fields) = all.split_once("FIELDS:\n").unwrap();
        let mut path: Vec<&str> = Vec::new();
        for line in fields.lines().filter(|line| line.contains('<')) {
            let depth = (line.len() - line.trim_start().len()) / 2 - 1;
            path.truncate(depth);
            path.push(line.trim_start().split('\t').next().unwrap());
            let field = format!("{kind}.{part}.{}", path.join("."));
            let explained = kubectl.succeeds(&["explain", &field]);
            assert!(!explained.contains("<empty>"), "{field} has no description");
        }
        assert!(!path.is_empty(), "{all}");
    }
}

#[test]
#[ignore = "needs an API server: cargo lab test"]
fn an_unknown_field_is_refused_by_name() {
    let kubectl = Kubectl::with_definitions("unknown-fields");
    let object = real_server("rs1", "web", &json!({"address": "192.168.40.12", "wieght": 2}));
    let refusal = kubectl.verdict(&object).unwrap_err();
    assert!(refusal.contains(r#"unknown field "spec.wieght""#), "{refusal}");
}
