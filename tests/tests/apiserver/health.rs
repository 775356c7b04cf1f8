//! Real servers that fail and drain, as `kubectl` sees them.

use lvs_lab::eventually::eventually;

use crate::kubectl::condition;
use crate::stage::{Stage, TUTORIAL};

/// The tutorial with checks a second apart.
fn checked_often() -> String {
    let check = "  scheduler: wrr\n  healthCheck: {http: {}, intervalSeconds: 1, fall: 2, rise: 2}\n";
    TUTORIAL.replacen("  scheduler: wrr\n", check, 1)
}

fn has_weight(rules: &[String], server: &str, weight: &str) -> bool {
    rules.iter().any(|line| line.contains(server) && line.ends_with(weight))
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn without_the_api_server_a_failed_server_loses_its_weight_and_the_status_catches_up() {
    let mut stage = Stage::new();
    let seat = stage.seat("director", "director");
    let agent = seat.start_ready();
    stage.kubectl.apply(&checked_often());
    stage.kubectl.await_ready("virtualservices.lvs-operator.dev", "web");

    seat.line.cut();
    agent.await_page("/readyz", "the API server is away", |page| page.contains("not up to date"));
    stage.network.stop_web("rs1").unwrap();
    stage.await_rules("rs1 gets no new connections", |rules| has_weight(rules, "192.168.40.12", "-w 0"));

    seat.line.mend();
    let rs1 = stage.kubectl.eventually("realservers.lvs-operator.dev", "rs1", "it has failed", |object| {
        condition(object, "Healthy")["reason"] == "CheckFailed"
    });
    let words = condition(&rs1, "Healthy")["message"].as_str().unwrap().to_owned();
    assert!(words.contains("connection refused by 192.168.40.12:80"), "{words}");
    stage.kubectl.eventually("virtualservices.lvs-operator.dev", "web", "it counts one", |object| {
        object["status"]["realServersSummary"] == "1/2"
    });
    eventually("an event tells it", || {
        let events = stage.kubectl.list("events.events.k8s.io");
        let told = events
            .iter()
            .any(|event| event["regarding"]["name"] == "rs1" && event["reason"] == "CheckFailed");
        if told { Ok(()) } else { Err(agent.log()) }
    });
    drop(agent);
    stage.end();
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn a_rolling_upgrade_waits_for_the_drain_with_kubectl() {
    let stage = Stage::new();
    let seat = stage.seat("director", "director");
    let agent = seat.start_ready();
    stage.kubectl.apply(&checked_often());
    stage.kubectl.await_ready("virtualservices.lvs-operator.dev", "web");
    stage.kubectl.run(r#"patch realservers.lvs-operator.dev rs1 --type merge -p {"spec":{"drain":true}}"#);
    stage.kubectl.run("wait realservers.lvs-operator.dev rs1 --for=condition=Drained --timeout=60s");
    assert!(has_weight(&stage.rules(), "192.168.40.12", "-w 0"));
    stage.kubectl.run(r#"patch realservers.lvs-operator.dev rs1 --type merge -p {"spec":{"drain":false}}"#);
    stage.await_rules("rs1 is back", |rules| has_weight(rules, "192.168.40.12", "-w 1"));
    drop(agent);
    stage.end();
}
