//! `/status` and `/debug/state` as text for people: two tables, then in words what is not as it should be. Pure.

use std::fmt::Write as _;

use lvs_crds::{Condition, ConditionStatus, Director, RealServer, VirtualService};
use serde::Deserialize;

use crate::source::Finding;

/// What a cell says when there is nothing to say.
const NONE: &str = "-";

/// `/status`.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind")]
enum Item {
    VirtualService(Box<VirtualService>),
    RealServer(Box<RealServer>),
    Director(Box<Director>),
}

/// What `/debug/state` says of the agent itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DebugState {
    node: String,
    not_ready: Vec<String>,
    sources: Vec<Finding>,
}

/// All of it.
pub(super) fn render(list: &List, state: &DebugState) -> String {
    let DebugState { node, not_ready, sources } = state;
    let mut text = String::new();
    if not_ready.is_empty() {
        let _ = writeln!(text, "Director {node}: ready");
    } else {
        let _ = writeln!(text, "Director {node}: not ready");
        for reason in not_ready {
            indented(&mut text, reason);
        }
    }
    if !sources.is_empty() {
        let _ = writeln!(text, "\nWrong in the manifests:");
        for finding in sources {
            indented(&mut text, &finding.to_string());
        }
    }
    text.push_str(&tables(list));
    for item in &list.items {
        remarks(&mut text, item);
    }
    text
}

fn tables(list: &List) -> String {
    let virtual_services: Vec<_> = list.items.iter().filter_map(virtual_service_row).collect();
    let real_servers: Vec<_> = list.items.iter().filter_map(real_server_row).collect();
    if virtual_services.is_empty() && real_servers.is_empty() {
        return "\nThere are no VirtualService and no RealServer objects.\n".to_owned();
    }
    let mut text = String::new();
    let heads =
        ["NAMESPACE", "VIRTUALSERVICE", "VIP", "PORTS", "SCHEDULER", "REALSERVERS", "DIRECTOR", "READY"];
    columns(&mut text, heads, &virtual_services);
    columns(&mut text, ["NAMESPACE", "REALSERVER", "ADDRESS", "WEIGHT", "READY", "SERVES"], &real_servers);
    text
}

fn virtual_service_row(item: &Item) -> Option<[String; 8]> {
    let Item::VirtualService(object) = item else { return None };
    let spec = &object.spec;
    let status = object.status.clone().unwrap_or_default();
    let counts = status.real_servers.unwrap_or_default();
    let [namespace, name] = names(&object.metadata);
    Some([
        namespace,
        name,
        spec.vip.clone().unwrap_or_else(|| NONE.to_owned()),
        spec.ports_summary(),
        spec.scheduler.as_str().to_owned(),
        counts.summary(),
        status.active_director.unwrap_or_else(|| NONE.to_owned()),
        ready(&status.conditions),
    ])
}

fn real_server_row(item: &Item) -> Option<[String; 6]> {
    let Item::RealServer(object) = item else { return None };
    let spec = &object.spec;
    let status = object.status.clone().unwrap_or_default();
    let weight =
        if spec.drain { format!("0 (drain, else {})", spec.weight) } else { spec.weight.to_string() };
    let serves =
        if status.virtual_services.is_empty() { NONE.to_owned() } else { status.virtual_services.join(",") };
    let [namespace, name] = names(&object.metadata);
    Some([namespace, name, spec.address.clone(), weight, ready(&status.conditions), serves])
}

fn names(metadata: &kube::core::ObjectMeta) -> [String; 2] {
    [&metadata.namespace, &metadata.name].map(|name| name.clone().unwrap_or_default())
}

fn ready(conditions: &[Condition]) -> String {
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
    ready.map_or_else(|| NONE.to_owned(), |ready| format!("{:?}", ready.status))
}

/// Every condition that does not hold, and every one that holds with something to add. `Ready` only repeats
/// them.
fn remarks(text: &mut String, item: &Item) {
    let (kind, metadata, conditions) = match item {
        Item::VirtualService(object) => {
            ("VirtualService", &object.metadata, object.status.as_ref().map(|status| &status.conditions))
        }
        Item::RealServer(object) => {
            ("RealServer", &object.metadata, object.status.as_ref().map(|status| &status.conditions))
        }
        Item::Director(object) => {
            ("Director", &object.metadata, object.status.as_ref().map(|status| &status.conditions))
        }
    };
    let conditions = conditions.into_iter().flatten().filter(|condition| condition.type_ != "Ready");
    let worth_saying: Vec<&Condition> = conditions
        .filter(|condition| condition.status != ConditionStatus::True || !condition.message.is_empty())
        .collect();
    if worth_saying.is_empty() {
        return;
    }
    let names = names(metadata).into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>();
    let _ = writeln!(text, "\n{kind} {}:", names.join("/"));
    for Condition { type_, status, last_transition_time, reason, message, .. } in worth_saying {
        let line = match status {
            ConditionStatus::True => format!("{type_}: {message}"),
            _ => format!("{type_} is {status:?} since {last_transition_time}, {reason}: {message}"),
        };
        indented(text, &line);
    }
}

fn indented(text: &mut String, line: &str) {
    let _ = writeln!(text, "  {line}");
}

/// Rows under their heads, each column as wide as its widest cell; nothing without rows.
fn columns<const N: usize>(text: &mut String, heads: [&str; N], rows: &[[String; N]]) {
    if rows.is_empty() {
        return;
    }
    let mut widths = heads.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    text.push('\n');
    for row in std::iter::once(&heads.map(str::to_owned)).chain(rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rendered(items: &[Value], state: &Value) -> String {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        render(&serde_json::from_value(list).unwrap(), &serde_json::from_value(state.clone()).unwrap())
    }

    fn ready_state() -> Value {
        json!({"node": "d1", "notReady": [], "sources": []})
    }

    fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": type_, "status": status, "reason": reason, "message": message,
               "observedGeneration": 1, "lastTransitionTime": "2026-11-24T13:00:00Z"})
    }

    fn web(conditions: &[Value]) -> Value {
        json!({
            "apiVersion": "lvs-operator.dev/v1alpha1", "kind": "VirtualService",
            "metadata": {"name": "web", "namespace": "default", "generation": 1},
            "spec": {"vip": "172.16.21.10", "ports": [{"port": 80, "protocol": "TCP"}, {"port": 443, "protocol": "TCP"}],
                     "scheduler": "wrr"},
            "status": {"conditions": conditions, "activeDirector": "d1",
                       "realServers": {"total": 2, "healthy": 2, "inService": 1}},
        })
    }

    fn rs1(drain: bool) -> Value {
        json!({
            "apiVersion": "lvs-operator.dev/v1alpha1", "kind": "RealServer",
            "metadata": {"name": "rs1", "namespace": "default", "generation": 1},
            "spec": {"address": "192.168.40.12", "weight": 2, "drain": drain},
            "status": {"conditions": [condition("Ready", "True", "Ready", "")], "virtualServices": ["default/web"]},
        })
    }

    #[test]
    fn what_is_as_declared_is_two_tables_and_no_words() {
        let text = rendered(&[rs1(false), web(&[condition("Ready", "True", "Ready", "")])], &ready_state());
        assert_eq!(
            text,
            "\
Director d1: ready

NAMESPACE  VIRTUALSERVICE  VIP           PORTS           SCHEDULER  REALSERVERS  DIRECTOR  READY
default    web             172.16.21.10  80/TCP,443/TCP  wrr        1/2          d1        True

NAMESPACE  REALSERVER  ADDRESS        WEIGHT  READY  SERVES
default    rs1         192.168.40.12  2       True   default/web
"
        );
    }

    #[test]
    fn what_is_not_as_it_should_be_is_said_in_words() {
        let conditions = [
            condition("Accepted", "True", "Accepted", "WeightsIgnored: scheduler rr ignores weights"),
            condition("Announced", "False", "VIPConflict", "172.16.21.10 is not bound"),
            condition("Ready", "False", "VIPConflict", "Announced: 172.16.21.10 is not bound"),
        ];
        let text = rendered(&[web(&conditions)], &ready_state());
        let (_, words) = text.split_once("VirtualService default/web:\n").unwrap();
        assert_eq!(
            words,
            "  Accepted: WeightsIgnored: scheduler rr ignores weights\n  \
             Announced is False since 2026-11-24T13:00:00Z, VIPConflict: 172.16.21.10 is not bound\n"
        );
    }

    #[test]
    fn a_director_is_shown_only_if_something_is_wrong_with_it() {
        let director = |status, reason, message| {
            json!({
                "apiVersion": "lvs-operator.dev/v1alpha1", "kind": "Director", "metadata": {"name": "d1"}, "spec": {},
                "status": {"conditions": [condition("KernelReady", status, reason, message)]},
            })
        };
        assert!(!rendered(&[director("True", "Ready", "")], &ready_state()).contains("Director d1:\n"));
        let text = rendered(&[director("False", "ForeignIPVS", "words")], &ready_state());
        let expected =
            "Director d1:\n  KernelReady is False since 2026-11-24T13:00:00Z, ForeignIPVS: words\n";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn an_agent_that_is_not_ready_and_bad_manifests_come_first() {
        let state = json!({
            "node": "d1", "notReady": ["IPVS is not usable"],
            "sources": [{"file": "web.yaml", "line": 4, "column": 8, "field": "spec.vpi", "message": "unknown field"}],
        });
        let text = rendered(&[], &state);
        assert_eq!(
            text,
            "\
Director d1: not ready
  IPVS is not usable

Wrong in the manifests:
  web.yaml:4:8: spec.vpi: unknown field

There are no VirtualService and no RealServer objects.
"
        );
    }

    #[test]
    fn a_firewall_mark_and_a_drained_server_are_shown_as_such() {
        let mark = json!({
            "apiVersion": "lvs-operator.dev/v1alpha1", "kind": "VirtualService",
            "metadata": {"name": "mark", "namespace": "default"},
            "spec": {"firewallMark": 7, "family": "IPv4"},
        });
        let text = rendered(&[rs1(true), mark], &ready_state());
        assert!(
            text.contains("default    mark            -    FWM 7  wlc        0/0          -         -\n"),
            "{text}"
        );
        assert!(text.contains("0 (drain, else 2)"), "{text}");
    }
}
