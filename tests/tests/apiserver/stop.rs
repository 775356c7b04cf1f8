//! Why it is stopped decides what stays. There is no kubelet here: pod and node are objects and nothing more.

use crate::agent::{Agent, Seat};
use crate::stage::{Stage, TUTORIAL};

/// A DaemonSet that selects the node of the agent, and its pod there.
const DAEMON_SET: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: default}
---
apiVersion: v1
kind: Node
metadata: {name: director, labels: {lvs-operator.dev/director: "true"}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: lvs-director}
spec:
  selector: {matchLabels: {app: lvs-director}}
  template:
    metadata: {labels: {app: lvs-director}}
    spec:
      nodeSelector: {lvs-operator.dev/director: "true"}
      containers: [{name: agent, image: agent}]
"#;

const POD: [(&str, &str); 2] = [("POD_NAMESPACE", "default"), ("POD_NAME", "lvs-director-abcde")];

fn put_pod(stage: &Stage) {
    stage.kubectl.apply(DAEMON_SET);
    let daemon_set = stage.kubectl.get("daemonsets.apps", "lvs-director");
    let uid = daemon_set["metadata"]["uid"].as_str().unwrap();
    stage.kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: lvs-director-abcde\n  ownerReferences:\n  - {{apiVersion: apps/v1, \
         kind: DaemonSet, name: lvs-director, uid: {uid}, controller: true}}\nspec:\n  nodeName: director\n  containers: \
         [{{name: agent, image: agent}}]\n"
    ));
}

fn take_away(stage: &Stage) {
    for (kind, name) in
        [("daemonsets.apps", "lvs-director"), ("nodes", "director"), ("pods", "lvs-director-abcde")]
    {
        stage
            .kubectl
            .run(&format!("delete {kind} {name} --ignore-not-found --force --grace-period=0 --wait=false"));
    }
}

/// An agent of the DaemonSet that serves the tutorial.
fn serving() -> (Stage, Seat, Agent) {
    let stage = Stage::new();
    put_pod(&stage);
    let seat = stage.seat("director", "director");
    let agent = seat.start_with(&POD);
    agent.await_ready();
    stage.kubectl.apply(TUTORIAL);
    stage.kubectl.await_ready("virtualservices.lvs-operator.dev", "web");
    (stage, seat, agent)
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn a_restart_keeps_everything_and_an_uninstall_removes_what_is_ours() {
    let (stage, seat, agent) = serving();
    let rules = stage.rules();
    assert!(agent.terminate().success());
    assert_eq!(stage.rules(), rules);
    assert!(stage.holds_vip("director"));

    let agent = seat.start_with(&POD);
    agent.await_ready();
    agent.await_log("it watches its DaemonSet", "this pod belongs to the DaemonSet lvs-director");
    stage.kubectl.run("delete daemonsets.apps lvs-director");
    // As if the role had been deleted with it: it cannot ask any more, but it has seen it go.
    std::thread::sleep(std::time::Duration::from_secs(5));
    seat.line.cut();
    assert!(agent.terminate().success());
    assert_eq!(stage.rules(), Vec::<String>::new());
    assert!(!stage.holds_vip("director"));
    take_away(&stage);
    stage.end();
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn a_node_that_is_no_director_any_more_hands_over() {
    let (stage, _seat, agent) = serving();
    stage.kubectl.run("label nodes director lvs-operator.dev/director-");
    assert!(agent.terminate().success());
    assert_eq!(stage.rules(), Vec::<String>::new());
    assert!(!stage.holds_vip("director"));
    let leases = stage.kubectl.list("leases.coordination.k8s.io");
    assert!(!leases.iter().any(|lease| lease["metadata"]["name"] == "lvs-director-director"));
    take_away(&stage);
    stage.end();
}
