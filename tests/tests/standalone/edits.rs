//! Edits of manifests, while the agent runs.

use lvs_lab::eventually::{eventually, eventually_is};
use lvs_lab::topology::tutorial;

use crate::TUTORIAL;
use crate::director::Director;

/// The weights of both destinations, in the order of their addresses.
fn weights(director: &Director) -> Vec<u32> {
    let table = director.our_table();
    table
        .0
        .values()
        .flat_map(|service| service.destinations.values().map(|destination| destination.weight))
        .collect()
}

/// rs1's weight in the tutorial's file, replaced.
fn with_weight(weight: u32) -> String {
    let (before, after) = TUTORIAL.rsplit_once("  weight: 1\n---\n").expect("rs1 is not the last document");
    format!("{before}  weight: {weight}\n---\n{after}")
}

/// Waits until the agent has made some more passes, so that whatever it would still do is done.
fn more_passes(director: &Director) {
    let before = director.metric("lvs_passes_total");
    eventually("some more passes", || {
        let now = director.metric("lvs_passes_total");
        if now > before + 3 { Ok(()) } else { Err(format!("{now}, before {before}")) }
    });
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_changed_weight_is_exactly_one_write_and_the_same_file_again_is_none() {
    let director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    let before = director.writes();
    director.write("tutorial.yaml", &with_weight(2));
    eventually_is("the weight is in force", &vec![2, 1], || weights(&director));
    more_passes(&director);
    assert_eq!(director.writes(), before + 1);
    director.write("tutorial.yaml", &with_weight(2));
    more_passes(&director);
    assert_eq!(director.writes(), before + 1);
    let rs1 = director.object("RealServer", "rs1").unwrap();
    assert_eq!(
        (&rs1["metadata"]["generation"], &rs1["status"]["observedGeneration"]),
        (&2.into(), &2.into())
    );
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_drained_server_stays_with_weight_0_and_a_deleted_file_takes_its_rules_and_vip_with_it() {
    let director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    director.write("tutorial.yaml", &with_weight(1).replacen("  weight: 1\n---", "  drain: true\n---", 1));
    eventually_is("rs1 is drained", &vec![0, 1], || weights(&director));

    director.remove("tutorial.yaml");
    eventually_is("the rules are gone", &lvs_lab::table::Table::default(), || director.our_table());
    eventually_is("the VIP is gone", &false, || director.holds(tutorial::VIP));
    eventually_is("nobody speaks of the object any more", &true, || {
        director.object("VirtualService", "web").is_none()
    });
    assert_eq!(director.metric("lvs_vips_held"), 0);
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_file_with_an_error_keeps_its_last_good_version_and_the_error_has_a_place() {
    let director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    let (table, writes) = (director.our_table(), director.writes());
    director.write("tutorial.yaml", &TUTORIAL.replace("scheduler: wrr", "schedular: rr"));
    let finding = eventually("the error is found", || {
        let state = director.debug_state();
        state["sources"].get(0).cloned().ok_or(state.to_string())
    });
    assert_eq!(finding["file"], "tutorial.yaml");
    assert_eq!(finding["field"], "spec.schedular");
    let line = 1 + TUTORIAL.lines().position(|line| line.trim() == "scheduler: wrr").unwrap();
    assert_eq!((&finding["line"], &finding["column"]), (&line.into(), &3.into()));
    assert!(finding["message"].as_str().unwrap().contains("unknown field"), "{finding}");
    more_passes(&director);
    assert_eq!((director.our_table(), director.writes()), (table, writes));
    assert!(director.logged().contains("spec.schedular"), "{}", director.logged());

    director.write("tutorial.yaml", &TUTORIAL.replace("scheduler: wrr", "scheduler: wlc"));
    eventually_is("the repaired file is in force", &"wlc".to_owned(), || {
        director.our_table().0["-t 172.16.21.10:80"].scheduler.clone()
    });
    assert_eq!(director.writes(), writes + 1, "a scheduler is changed in place");
    assert_eq!(director.debug_state()["sources"], serde_json::json!([]));
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_mapped_port_is_refused_with_the_reason_and_leaves_the_other_server_alone() {
    let director = Director::tutorial();
    let mapped = TUTORIAL.replace("address: 192.168.40.13\n", "address: 192.168.40.13\n  port: 8080\n");
    director.write("tutorial.yaml", &mapped);
    director.await_served("web");
    let message = director.await_condition("RealServer", "rs2", "Accepted", "False", "PortMapping");
    assert!(message.contains("spec.port") && message.contains("cannot be mapped"), "{message}");
    let destinations = director.our_table().0["-t 172.16.21.10:80"].destinations.clone();
    assert_eq!(destinations.keys().collect::<Vec<_>>(), ["192.168.40.12:80"]);
    let [_, _, message] = director.condition("VirtualService", "web", "RealServersReady");
    assert!(message.contains("default/rs2 (PortMapping)"), "{message}");
    let refused = "lvs_conditions_false{kind=\"RealServer\",condition=\"Accepted\",reason=\"PortMapping\"}";
    assert_eq!(director.metric(refused), 1);
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_directory_that_is_gone_removes_nothing() {
    let director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    let (table, writes) = (director.our_table(), director.writes());
    let away = director.manifests().with_extension("away");
    std::fs::rename(director.manifests(), &away).unwrap();
    let message = eventually("the agent is not ready", || match director.get("/readyz") {
        Some((503, message)) => Ok(message),
        other => Err(format!("{other:?}")),
    });
    assert!(message.contains("cannot be read") && message.contains("stays"), "{message}");
    assert_eq!(director.get("/healthz").map(|(code, _)| code), Some(200));
    more_passes(&director);
    assert_eq!((director.our_table(), director.writes()), (table.clone(), writes));
    std::fs::rename(&away, director.manifests()).unwrap();
    director.await_ready();
    more_passes(&director);
    assert_eq!((director.our_table(), director.writes()), (table, writes));
    director.finish();
}
