//! The object of the Director itself.

use std::thread;
use std::time::Duration;

use lvs_lab::eventually::eventually;
use serde_json::{Value, json};

use crate::kubectl::condition;
use crate::stage::Stage;

const KIND: &str = "directors.lvs-operator.dev";

fn is_settled(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
        && condition(object, "KernelReady")["reason"] == "ForeignIPVS"
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn an_agent_makes_its_director_says_how_its_kernel_stands_and_writes_no_more_than_that() {
    let stage = Stage::new();
    stage.kubectl.run(&format!("delete {KIND} --all"));
    let seat = stage.seat("director", "director");
    let agent = seat.start_ready();
    let settled = |wish: &str, holds: &dyn Fn(&Value) -> bool| {
        stage.kubectl.eventually(KIND, "director", wish, |object| is_settled(object) && holds(object))
    };
    let made = settled("its status is there", &|_| true);
    assert_eq!(made["spec"], json!({}));
    assert_eq!(made["metadata"]["ownerReferences"], Value::Null, "it is no node of a cluster");
    let told = || {
        let events = stage.kubectl.list("events.events.k8s.io");
        events.iter().filter(|event| event["reason"] == "ForeignIPVS").count()
    };
    eventually("an event tells it", || if told() == 1 { Ok(()) } else { Err(agent.log()) });

    agent.kill();
    let agent = seat.start_ready();
    thread::sleep(Duration::from_secs(5));
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    assert_eq!(version(&stage.kubectl.get(KIND, "director")), version(&made), "{}", agent.log());
    assert_eq!(told(), 1, "{}", agent.log());

    stage
        .kubectl
        .run(&format!(r#"patch {KIND} director --type merge -p {{"spec":{{"timeouts":{{"udp":77}}}}}}"#));
    settled("the new spec is what is spoken of", &|object| {
        condition(object, "KernelReady")["message"].to_string().contains("ipvsadm --set 0 0 77")
    });

    stage.kubectl.run(&format!("delete {KIND} director"));
    let uid = made["metadata"]["uid"].clone();
    settled("it is made anew", &|object| object["metadata"]["uid"] != uid);
    drop(agent);
    stage.end();
}
