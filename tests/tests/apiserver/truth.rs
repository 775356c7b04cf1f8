//! What was told once is not told again by the next agent, and what cannot be understood is named by its field.

use std::thread;
use std::time::Duration;

use lvs_lab::eventually::eventually;

use crate::kubectl::condition;
use crate::stage::{Stage, TUTORIAL};

const YOUNGER: &str = "\
apiVersion: lvs-operator.dev/v1alpha1
kind: VirtualService
metadata: {name: younger}
spec: {vip: 172.16.21.10, ports: [{port: 80}]}
";

/// How many events there are about an object with this reason, and how often each was told.
fn told(stage: &Stage, name: &str, reason: &str) -> (usize, u64) {
    let events = stage.kubectl.list("events.events.k8s.io");
    let about = events.iter().filter(|event| event["regarding"]["name"] == name && event["reason"] == reason);
    about.fold((0, 0), |(events, times), event| {
        (events + 1, times + event["series"]["count"].as_u64().unwrap_or(1))
    })
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn an_object_in_trouble_is_not_told_of_again_after_a_restart() {
    let stage = Stage::new();
    let seat = stage.seat("director", "director");
    let agent = seat.start_ready();
    stage.kubectl.apply(TUTORIAL);
    stage.kubectl.await_ready("virtualservices.lvs-operator.dev", "web");
    stage.kubectl.apply(YOUNGER);
    stage.kubectl.eventually("virtualservices.lvs-operator.dev", "younger", "it is refused", |object| {
        condition(object, "Accepted")["reason"] == "Conflict"
    });
    eventually("an event tells it", || match told(&stage, "younger", "Refused") {
        (1, 1) => Ok(()),
        other => Err(format!("{other:?}\n{}", agent.log())),
    });
    agent.kill();
    let agent = seat.start_ready();
    // Longer than the events and the status writer wait.
    thread::sleep(Duration::from_secs(5));
    assert_eq!(told(&stage, "younger", "Refused"), (1, 1), "{}", agent.log());

    // When it happens anew it is told anew.
    stage.kubectl.run("delete virtualservices.lvs-operator.dev younger");
    stage.kubectl.apply(YOUNGER);
    eventually("another event tells it", || match told(&stage, "younger", "Refused") {
        (2, 2) => Ok(()),
        other => Err(format!("{other:?}\n{}", agent.log())),
    });
    drop(agent);
    stage.end();
}
