//! From `kubectl apply` to rules, status and events, and back.

use lvs_lab::eventually::eventually;

use crate::kubectl::condition;
use crate::stage::{Stage, TUTORIAL};

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn applied_objects_become_rules_and_say_so_and_go_when_they_are_deleted() {
    let stage = Stage::new();
    let seat = stage.seat("director", "director");
    let agent = seat.start_ready();
    let kubectl = &stage.kubectl;

    kubectl.apply(TUTORIAL);
    let web = kubectl.await_ready("virtualservices.lvs-operator.dev", "web");
    for type_ in ["Accepted", "Programmed", "Announced", "RealServersReady", "Ready"] {
        assert_eq!(condition(&web, type_)["status"], "True", "{type_} of {}", web["status"]);
    }
    assert_eq!(web["status"]["activeDirector"], "director");
    assert_eq!(web["status"]["realServers"]["inService"], 2);
    let own = &web["status"]["directors"][0];
    assert_eq!(
        (&own["name"], &own["role"], &own["programmed"]),
        (&"director".into(), &"Active".into(), &true.into())
    );
    for name in ["rs1", "rs2"] {
        let server = kubectl.await_ready("realservers.lvs-operator.dev", name);
        assert_eq!(server["status"]["virtualServices"][0], "default/web");
    }
    assert!(stage.rules().iter().any(|line| line.contains("-A -t 172.16.21.10:80")), "{:?}", stage.rules());
    assert!(stage.holds_vip("director"));
    stage.network["client"].exec("curl -sS --max-time 60 http://172.16.21.10/").unwrap();

    kubectl.run(r#"patch realservers.lvs-operator.dev rs1 --type merge -p {"spec":{"weight":5}}"#);
    stage.await_rules("the new weight is in the kernel", |rules| {
        rules.iter().any(|line| line.contains("192.168.40.12") && line.ends_with("-w 5"))
    });

    kubectl.run("delete realservers.lvs-operator.dev rs2");
    stage.await_rules("one destination is left", |rules| rules.len() == 2);
    kubectl.run("delete virtualservices.lvs-operator.dev web");
    stage.await_rules("the service is gone", <[String]>::is_empty);
    eventually("the VIP is gone", || if stage.holds_vip("director") { Err(agent.log()) } else { Ok(()) });
    drop(agent);
    stage.end();
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn events_tell_of_transitions_and_of_drift_that_was_repaired() {
    let stage = Stage::new();
    let seat = stage.seat("director", "director");
    let agent = seat.start_ready();
    stage.kubectl.apply(TUTORIAL);
    stage.kubectl.await_ready("virtualservices.lvs-operator.dev", "web");

    let before = stage.rules();
    stage.director().exec("ipvsadm -d -t 172.16.21.10:80 -r 192.168.40.13:80").unwrap();
    stage.await_rules("the deleted rule is back", |rules| *rules == before[..]);
    let drift = eventually("an event tells of the repair", || {
        let events = stage.kubectl.list("events.events.k8s.io");
        let told = events.iter().find(|event| event["reason"] == "DriftRepaired");
        told.cloned().ok_or_else(|| format!("{} events\n{}", events.len(), agent.log()))
    });
    assert_eq!(drift["type"], "Warning");
    assert_eq!(drift["reportingController"], "lvs-operator.dev/director");
    assert_eq!(drift["reportingInstance"], "director");
    assert_eq!(
        (&drift["regarding"]["kind"], &drift["regarding"]["name"]),
        (&"VirtualService".into(), &"web".into())
    );
    assert!(drift["note"].as_str().unwrap().contains("192.168.40.13"), "{drift}");
    let events = stage.kubectl.list("events.events.k8s.io");
    for reason in ["Programmed", "TookOver"] {
        assert!(events.iter().any(|event| event["reason"] == reason), "{reason} is missing");
    }
    drop(agent);
    stage.end();
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn an_object_that_is_refused_says_why_and_harms_no_other() {
    let stage = Stage::new();
    let seat = stage.seat("director", "director");
    let agent = seat.start_ready();
    stage.kubectl.apply(TUTORIAL);
    stage.kubectl.await_ready("virtualservices.lvs-operator.dev", "web");
    let rules = stage.rules();
    stage.kubectl.apply(
        "apiVersion: lvs-operator.dev/v1alpha1\nkind: VirtualService\nmetadata: {name: younger}\n\
         spec: {vip: 172.16.21.10, ports: [{port: 80}]}\n",
    );
    let refused = stage.kubectl.eventually(
        "virtualservices.lvs-operator.dev",
        "younger",
        "the younger one is refused",
        |object| condition(object, "Accepted")["status"] == "False",
    );
    assert_eq!(condition(&refused, "Accepted")["reason"], "Conflict");
    assert!(condition(&refused, "Accepted")["message"].as_str().unwrap().contains("default/web"));
    assert_eq!(stage.rules(), rules);
    drop(agent);
    stage.end();
}
