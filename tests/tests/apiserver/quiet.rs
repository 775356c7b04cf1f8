//! With nothing to do, nothing is written: not to the kernel, not to the API server.

use std::thread;
use std::time::{Duration, Instant};

use crate::stage::{Stage, TUTORIAL};

/// Longer than every timer that could write by mistake: the rolling check, the Lease, the status writer's pace.
const A_WHILE: Duration = Duration::from_secs(35);

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn in_steady_state_and_across_a_restart_nothing_is_written() {
    let stage = Stage::new();
    let seat = stage.seat("director", "director");
    let agent = seat.start_ready();
    stage.kubectl.apply(TUTORIAL);
    stage.kubectl.await_ready("virtualservices.lvs-operator.dev", "web");
    for name in ["rs1", "rs2"] {
        stage.kubectl.await_ready("realservers.lvs-operator.dev", name);
    }
    // The last write is on its way for a second at most.
    thread::sleep(Duration::from_secs(3));

    let (versions, writes) = (stage.versions(), agent.metric("lvs_kernel_writes_total"));
    let end = Instant::now() + A_WHILE;
    stage.kubectl.apply(TUTORIAL);
    thread::sleep(end - Instant::now());
    assert_eq!(stage.versions(), versions);
    assert_eq!(agent.metric("lvs_kernel_writes_total"), writes);

    let rules = stage.rules();
    agent.kill();
    assert_eq!(stage.rules(), rules, "the kernel goes on without the agent");
    let agent = seat.start_ready();
    thread::sleep(Duration::from_secs(5));
    assert_eq!(agent.metric("lvs_kernel_writes_total"), 0, "{}", agent.log());
    assert_eq!(agent.debug("/statusWriter/written"), serde_json::Value::Null, "{}", agent.log());
    assert_eq!(stage.versions(), versions);
    assert_eq!(stage.rules(), rules);

    assert!(agent.terminate().success());
    assert_eq!(stage.rules(), rules, "a stop leaves everything in place");
    assert!(stage.holds_vip("director"));
    stage.end();
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn a_status_that_somebody_else_changed_is_put_right() {
    let stage = Stage::new();
    let seat = stage.seat("director", "director");
    let agent = seat.start_ready();
    stage.kubectl.apply(TUTORIAL);
    stage.kubectl.await_ready("virtualservices.lvs-operator.dev", "web");
    let patch = r#"{"status":{"activeDirector":"nobody"}}"#;
    stage.kubectl.run(&format!(
        "patch virtualservices.lvs-operator.dev web --subresource status --type merge -p {patch}"
    ));
    stage.kubectl.eventually(
        "virtualservices.lvs-operator.dev",
        "web",
        "the status is right again",
        |object| object["status"]["activeDirector"] == "director",
    );
    drop(agent);
    stage.end();
}
