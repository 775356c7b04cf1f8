//! Act two: the tutorial through a real API server.

use std::thread;

use anyhow::{Context as _, Result};

use super::director::METRICS;
use super::health::{A_WHILE, FAST_PATCH};
use super::narration::{Narrator, check, say};
use super::requests::Steady;
use super::stage::{Stage, User};
use super::tutorial::{self, CLIENT, FAR_CLIENT, NAMES, PICTURE, REAL_SERVERS, SERVICE, TUTORIAL, VIP};
use super::{director, requests};
use crate::apiserver::ApiServer;
use crate::apiserver::agent::{PREPARATION, SERVICE_ACCOUNT};

const WEB: &str = "virtualservices.lvs-operator.dev/web";

pub(super) fn play(narrator: &mut Narrator, stage: &Stage, server: &ApiServer) -> Result<()> {
    narrator.act(
        "Act two: the same through Kubernetes",
        "A real kube-apiserver runs on this machine; the Director reaches it by a management network.\n\
         `you` is your own shell, with kubectl.",
    );
    let you = User::new(server, &stage.checkout);
    let controller_flags = "--kubeconfig /etc/lvs-operator.kubeconfig";

    narrator.step("The definitions, the agent's rights, and the agent", || {
        for arguments in PREPARATION {
            you.kubectl(arguments)?;
        }
        let kubeconfig = server.guest_kubeconfig_of(SERVICE_ACCOUNT.0, SERVICE_ACCOUNT.1)?;
        stage.copy_to_guest(&kubeconfig, "/etc/lvs-operator.kubeconfig")?;
        say("\nThe agent's kubeconfig is its service account's: it may do what deploy/rbac.yaml says, and no more.");
        director::start(stage, controller_flags)?;
        let table = stage.quietly_on("director", "ipvsadm -Ln")?;
        check(tutorial::service(&table).is_none(), "the agent is ready and has nothing to do yet", &table)
    })?;

    narrator.step("One file: a VirtualService and two RealServers", || {
        say(PICTURE);
        you.kubectl(&format!("apply -f {TUTORIAL}"))?;
        you.kubectl(&format!("wait --for condition=Ready --timeout 120s {WEB}"))?;
        let services = you.kubectl("get virtualservices.lvs-operator.dev")?;
        let row = services.lines().find(|line| line.starts_with("web ")).unwrap_or_default();
        let cells: Vec<&str> = row.split_whitespace().collect();
        let is_there = |cell| cells.contains(&cell);
        check(
            is_there(VIP) && is_there("2/2") && is_there("director") && is_there("True"),
            "the columns say: this VIP, two of two real servers, on this Director, ready",
            &services,
        )?;
        let servers = you.kubectl("get realservers.lvs-operator.dev")?;
        let all = REAL_SERVERS.iter().all(|address| servers.contains(address));
        check(all, "both real servers are there", &servers)
    })?;

    narrator.step("The kernel's own table says the same", || {
        let table = stage.on("director", "ipvsadm -Ln")?;
        check_destinations(&table)?;
        let addresses = stage.on("director", "ip -brief -4 address")?;
        check(addresses.contains(VIP), "the Director holds the VIP", &addresses)
    })?;

    narrator.step("Requests: who answers, and whom they see", || {
        let answers = requests::ask(stage, "client", 6)?;
        check(
            answers.servers.len() == 6 && answers.alternate(),
            "the real servers take turns",
            &answers.pages,
        )?;
        check(
            answers.were_asked_by(CLIENT),
            "they saw the client's own address: nothing was translated",
            &answers.pages,
        )?;
        let far = requests::ask(stage, "far-client", 2)?;
        check(far.were_asked_by(FAR_CLIENT), "and that of a client beyond the router", &far.pages)
    })?;

    narrator.step("Weights: twice as much for rs1", || {
        you.kubectl(r#"patch realservers.lvs-operator.dev rs1 --type merge -p '{"spec":{"weight":2}}'"#)?;
        stage.eventually_on("director", "ipvsadm -Ln", "the weights are 2 and 1", |table| {
            tutorial::weights(table) == [2, 1]
        })?;
        let table = stage.on("director", "ipvsadm -Ln")?;
        let scheduler = tutorial::service(&table).map(|(scheduler, _)| scheduler);
        check(scheduler == Some("wrr"), "the scheduler is wrr, which looks at weights", &table)?;
        let answers = requests::ask(stage, "client", 12)?;
        check(answers.counts() == [8, 4], "of twelve requests rs1 answers eight, rs2 four", &answers.pages)
    })?;

    narrator.step("rs2 is drained, may be shut down, and comes back: nobody notices", || {
        you.kubectl(&format!("patch {WEB} --type merge -p '{FAST_PATCH}'"))?;
        // Not rs1: if it refused connections a moment ago, the kernel counts those for a minute (SYN_RECV).
        let client = Steady::start(stage, "client");
        say(&format!("A client asks {} times a second, all the time.", requests::RATE));
        thread::sleep(A_WHILE);
        you.kubectl(r#"patch realservers.lvs-operator.dev rs2 --type merge -p '{"spec":{"drain":true}}'"#)?;
        you.kubectl("wait realservers.lvs-operator.dev rs2 --for=condition=Drained --timeout 120s")?;
        let table = stage.on("director", "ipvsadm -Ln")?;
        let is_drained = tutorial::weights(&table) == [2, 0] && table.contains(REAL_SERVERS[1]);
        check(is_drained, "rs2 takes no new connections, and the last one has ended", &table)?;
        let answers = requests::ask(stage, "client", 6)?;
        check(answers.servers == [0; 6], "rs1 answers every request", &answers.pages)?;
        you.kubectl(r#"patch realservers.lvs-operator.dev rs2 --type merge -p '{"spec":{"drain":false}}'"#)?;
        stage.eventually_on("director", "ipvsadm -Ln", "the weights are 2 and 1", |table| {
            tutorial::weights(table) == [2, 1]
        })?;
        thread::sleep(A_WHILE);
        let report = client.report()?;
        let told = requests::told(&report);
        say(&told);
        check(report.failures.is_empty(), "no request failed in all that time", &told)
    })?;

    narrator.step("Somebody deletes a rule: it comes back, and you are told", || {
        stage.on("director", &format!("ipvsadm -d -t {SERVICE} -r {}:80", REAL_SERVERS[1]))?;
        stage.eventually_on("director", "ipvsadm -Ln", "the destination is back", |table| {
            tutorial::weights(table) == [2, 1]
        })?;
        let table = stage.on("director", "ipvsadm -Ln")?;
        check_destinations(&table)?;
        let event = "events.events.k8s.io";
        you.eventually(&format!("get {event}"), "an Event tells of it", |events| {
            events.contains("DriftRepaired")
        })?;
        let events = you.kubectl(&format!("get {event} --field-selector reason=DriftRepaired"))?;
        check(events.contains("DriftRepaired"), "an Event tells of it", &events)
    })?;

    narrator.step("The agent is killed: the kernel goes on without it", || {
        let client = Steady::start(stage, "client");
        say(&format!("A client asks {} times a second, all the time.", requests::RATE));
        thread::sleep(A_WHILE);
        stage.on("director", "kill -9 $(pidof lvs-controller)")?;
        let rules = stage.on("director", "ipvsadm -Sn")?;
        thread::sleep(A_WHILE);
        let (code, pid) = stage.try_on("director", "pidof lvs-controller")?;
        check(code != 0 && !client.has_ended(), "the client asks on, and nobody is at the wheel", &pid)?;
        say("\nThe agent starts again, and finds everything as it should be:");
        director::start(stage, controller_flags)?;
        director::await_passes(stage, 3.0)?;
        let report = client.report()?;
        let counts = format!("curl -sS {METRICS} | grep -E '^lvs_(passes|kernel_writes)_total'");
        let metrics = stage.on("director", &counts)?;
        let writes = director::metric(&metrics, "lvs_kernel_writes_total");
        check(writes == Some(0.0), "it has looked, and written nothing to the kernel", &metrics)?;
        let rules_now = stage.quietly_on("director", "ipvsadm -Sn")?;
        check(rules == rules_now, "the table is the same, line by line", &rules_now)?;
        let told = requests::told(&report);
        say(&told);
        check(report.failures.is_empty(), "no request failed in all that time", &told)
    })?;

    narrator.step("Deleted: rules and VIP go, what is not ours stays", || {
        tutorial::goes(stage, || you.kubectl(&format!("delete -f {TUTORIAL}")).map(drop))?;
        director::stop(stage)
    })
}

pub(super) fn check_destinations(table: &str) -> Result<()> {
    let (_, destinations) =
        tutorial::service(table).with_context(|| format!("no service {SERVICE} in\n{table}"))?;
    for (name, address) in NAMES.iter().zip(REAL_SERVERS) {
        let found = destinations.iter().any(|destination| {
            destination.address == address && destination.forwarding == "Route" && destination.weight > 0
        });
        check(found, &format!("{name} is a destination by direct routing"), table)?;
    }
    Ok(())
}
