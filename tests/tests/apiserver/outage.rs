//! While the API server is away what is in force stays in force, is repaired, and comes up to date afterwards.

use lvs_lab::eventually::eventually;

use crate::stage::{Stage, TUTORIAL};

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn without_the_api_server_rules_stay_and_drift_is_repaired_and_then_it_catches_up() {
    let stage = Stage::new();
    let seat = stage.seat("director", "director");
    let agent = seat.start_ready();
    stage.kubectl.apply(TUTORIAL);
    stage.kubectl.await_ready("virtualservices.lvs-operator.dev", "web");

    let started = agent.log().len();
    seat.line.cut();
    let told = agent
        .await_page("/readyz", "it says that the API server is away", |page| page.contains("not up to date"));
    assert!(told.contains("does not answer"), "{told}");
    assert_eq!(agent.page("/healthz"), "ok\n");
    let before = stage.rules();
    stage.director().exec("ipvsadm -d -t 172.16.21.10:80 -r 192.168.40.13:80").unwrap();
    stage.await_rules("drift is repaired meanwhile", |rules| *rules == before[..]);
    stage.kubectl.run("delete realservers.lvs-operator.dev rs2");
    stage.kubectl.run(r#"patch realservers.lvs-operator.dev rs1 --type merge -p {"spec":{"weight":7}}"#);
    assert_eq!(stage.rules(), before);

    let complaints = complaints(&agent.log()[started..]);
    assert_eq!(complaints.len(), 1, "told once, by all the tasks and at every try:\n{}", agent.log());
    assert!(!complaints[0].contains("settings of this Director"), "{complaints:?}");

    seat.line.mend();
    agent.await_ready();
    stage.await_rules("what changed meanwhile is in force", |rules| {
        rules.len() == 2 && rules.iter().any(|line| line.contains("192.168.40.12") && line.ends_with("-w 7"))
    });
    let mended = agent.log().len();
    seat.line.cut();
    agent.await_page("/readyz", "the next outage is noticed", |page| page.contains("does not answer"));
    eventually("and told", || {
        if agent.log()[mended..].contains("WARN the API server") { Ok(()) } else { Err(agent.log()) }
    });
    drop(agent);
    stage.end();
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn started_without_the_api_server_it_keeps_what_is_there_and_goes_on_when_it_is_back() {
    let stage = Stage::new();
    let seat = stage.seat("director", "director");
    stage.kubectl.apply(TUTORIAL);
    let agent = seat.start_ready();
    stage.kubectl.await_ready("virtualservices.lvs-operator.dev", "web");
    let rules = stage.rules();
    agent.kill();

    seat.line.cut();
    let agent = seat.start();
    agent.await_page("/readyz", "it says why it is not ready", |page| page.contains("does not answer"));
    assert_eq!(agent.page("/healthz"), "ok\n");
    assert_eq!(stage.rules(), rules);
    assert!(stage.holds_vip("director"));
    assert_eq!(complaints(&agent.log()).len(), 1, "{}", agent.log());
    seat.line.mend();
    agent.await_ready();
    assert_eq!(stage.rules(), rules);
    assert_eq!(agent.metric("lvs_kernel_writes_total"), 0);
    drop(agent);
    stage.end();
}

fn complaints(log: &str) -> Vec<String> {
    log.lines().filter(|line| line.contains("does not answer")).map(str::to_owned).collect()
}
