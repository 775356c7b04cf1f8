use serde_json::{Value, json};

use super::*;

fn daemon_set(metadata: &Value, pod: &Value) -> DaemonSet {
    let mut meta = json!({"name": "lvs-director", "namespace": "lvs-operator", "uid": "u1"});
    for (name, value) in metadata.as_object().unwrap() {
        meta[name] = value.clone();
    }
    serde_json::from_value(json!({
        "metadata": meta,
        "spec": {"selector": {}, "template": {"spec": pod}},
    }))
    .unwrap()
}

fn on_directors() -> Value {
    json!({"containers": [], "nodeSelector": {"lvs-operator.dev/director": "true"}})
}

fn node(labels: &Value) -> Node {
    serde_json::from_value(json!({"metadata": {"name": "d1", "labels": labels}})).unwrap()
}

fn director() -> Node {
    node(&json!({"lvs-operator.dev/director": "true"}))
}

fn affinity(rule: &Value) -> Value {
    json!({"containers": [], "affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [rule]},
    }}})
}

fn removes(daemon_set: Option<&DaemonSet>, node: Option<&Node>) -> bool {
    match decide("lvs-director", daemon_set, "d1", node) {
        Stop::Keep => false,
        Stop::Remove(why) => {
            assert!(!why.is_empty());
            true
        }
    }
}

#[test]
fn an_upgrade_or_a_restart_keeps_everything() {
    assert!(!removes(Some(&daemon_set(&json!({"generation": 7}), &on_directors())), Some(&director())));
}

#[test]
fn a_daemon_set_that_was_made_anew_still_wants_directors() {
    assert!(!removes(Some(&daemon_set(&json!({"uid": "u2"}), &on_directors())), Some(&director())));
}

#[test]
fn a_daemon_set_that_is_gone_or_going_removes() {
    let going = daemon_set(&json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), &on_directors());
    assert!(removes(None, Some(&director())));
    assert!(removes(Some(&going), Some(&director())));
}

#[test]
fn a_node_that_is_gone_or_not_selected_any_more_removes() {
    let daemon_set = daemon_set(&json!({}), &on_directors());
    assert!(removes(Some(&daemon_set), None));
    assert!(removes(Some(&daemon_set), Some(&node(&json!({})))));
    assert!(removes(Some(&daemon_set), Some(&node(&json!({"lvs-operator.dev/director": "false"})))));
}

#[test]
fn affinity_counts_like_a_selector() {
    let rule = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "rack", "operator": operator, "values": values}]});
    let table = [
        (rule("In", json!(["a", "b"])), json!({"rack": "b"}), false),
        (rule("In", json!(["a"])), json!({"rack": "b"}), true),
        (rule("In", json!(["a"])), json!({}), true),
        (rule("NotIn", json!(["a"])), json!({}), false),
        (rule("NotIn", json!(["a"])), json!({"rack": "a"}), true),
        (rule("Exists", json!([])), json!({"rack": ""}), false),
        (rule("DoesNotExist", json!([])), json!({"rack": ""}), true),
        (rule("Gt", json!(["4"])), json!({"rack": "5"}), false),
        (rule("Gt", json!(["5"])), json!({"rack": "5"}), true),
        (rule("Lt", json!(["5"])), json!({"rack": "4"}), false),
        (rule("Lt", json!(["5"])), json!({"rack": "x"}), true),
        (
            json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["d1"]}]}),
            json!({}),
            false,
        ),
        (
            json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["d2"]}]}),
            json!({}),
            true,
        ),
        (json!({}), json!({}), true),
    ];
    for (rule, labels, removed) in table {
        let daemon_set = daemon_set(&json!({}), &affinity(&rule));
        assert_eq!(removes(Some(&daemon_set), Some(&node(&labels))), removed, "{rule} on {labels}");
    }
}

#[test]
fn a_rule_that_this_version_does_not_know_is_no_evidence() {
    let rule = json!({"matchExpressions": [{"key": "rack", "operator": "Resembles", "values": ["a"]}]});
    assert!(!removes(Some(&daemon_set(&json!({}), &affinity(&rule))), Some(&director())));
}

#[tokio::test]
async fn without_an_api_server_everything_stays_unless_the_daemon_set_was_seen_to_go() {
    let owner = Owner::default();
    let pod = PodName { namespace: "lvs-operator".to_owned(), name: "lvs-director-x".to_owned() };
    assert_eq!(owner.why_stopped(None, &pod, "d1").await, Stop::Keep);
    owner.set(|known| *known = Known { daemon_set: Some("lvs-director".to_owned()), gone: true });
    assert!(matches!(owner.why_stopped(None, &pod, "d1").await, Stop::Remove(_)));
}
