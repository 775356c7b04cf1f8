//! The settings of the kernel, and the `Director` object that says how they stand. They belong to the network namespace, so
//! each Director of the lab has its own.

use lvs_lab::eventually::{eventually, eventually_is};
use lvs_lab::foreign::Foreign;
use lvs_lab::topology::{Host, Topology};

use crate::TUTORIAL;
use crate::director::{Director, text};

const FRESH: [&str; 4] = ["0", "0", "0", "1"];
const WANTED: [&str; 4] = ["1", "1", "0", "1"];

/// What the kernel of this host has.
fn settings(host: &Host) -> Vec<String> {
    let names = "expire_nodest_conn expire_quiescent_template conntrack conn_reuse_mode";
    let read = format!("cd /proc/sys/net/ipv4/vs && cat {names}");
    host.exec(&read).unwrap().lines().map(str::to_owned).collect()
}

fn timeouts(host: &Host) -> String {
    host.exec("ipvsadm --list --timeout").unwrap().trim().to_owned()
}

/// A Director without any IPVS service, whose kernel has loaded IPVS.
fn alone() -> Director {
    let network = Topology::tutorial().unwrap();
    network["director"].exec("ipvsadm --list").unwrap();
    let foreign = Foreign::plant_addresses(&network["director"]).unwrap();
    Director::beside(foreign, network)
}

fn document(timeouts: &str) -> String {
    format!(
        "apiVersion: lvs-operator.dev/v1alpha1\nkind: Director\nmetadata: {{name: d1}}\nspec: {{timeouts: {timeouts}}}\n"
    )
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn settings_are_written_at_start_put_right_at_a_resync_and_left_by_a_restart_and_a_cleanup() {
    let mut director = alone();
    assert_eq!(settings(director.host()), FRESH);
    director.write("tutorial.yaml", TUTORIAL);
    director.start_with(&["--resync-seconds", "2"]);
    director.await_condition("Director", "d1", "KernelReady", "True", "Ready");
    director.await_served("web");
    assert_eq!(settings(director.host()), WANTED);
    let itself = director.object("Director", "d1").unwrap();
    assert_eq!(itself["spec"], serde_json::json!({}), "it is shown without a document");
    assert_eq!(itself["metadata"]["namespace"], serde_json::Value::Null);

    director.host().exec("echo 1 > /proc/sys/net/ipv4/vs/conntrack").unwrap();
    eventually_is("what somebody changed is put right", &WANTED.map(str::to_owned).to_vec(), || {
        settings(director.host())
    });
    eventually("that is told", || {
        let log = director.logged();
        if log.contains("somebody changed the kernel's settings") { Ok(()) } else { Err(log) }
    });

    director.take_agent().terminate().unwrap();
    let written = |director: &Director| director.logged().matches("a setting is written").count();
    let before = written(&director);
    director.start();
    director.await_served("web");
    director.await_condition("Director", "d1", "KernelReady", "True", "Ready");
    assert_eq!(written(&director), before, "a restart writes nothing");

    director.take_agent().terminate().unwrap();
    let cleanup = director.run("run", &["--cleanup"]);
    assert_eq!(cleanup.status.code(), Some(0), "{cleanup:?}");
    assert!(!text(&cleanup.stdout).contains("net.ipv4.vs"), "{cleanup:?}");
    assert_eq!(settings(director.host()), WANTED);
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn nothing_is_written_beside_foreign_services_and_nothing_else_suffers() {
    let mut director = Director::without_agent(Topology::tutorial().unwrap());
    let before = timeouts(director.host());
    director.write("director.yaml", &document("{udp: 77}"));
    director.write("tutorial.yaml", TUTORIAL);
    director.start_with(&["--resync-seconds", "2"]);
    let message = director.await_condition("Director", "d1", "KernelReady", "False", "ForeignIPVS");
    for words in ["expire_nodest_conn is 0 instead of 1", "10.99.0.1:99", "sysctl -w", "ipvsadm --set 0 0 77"]
    {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert_eq!(director.condition("Director", "d1", "Ready")[0], "False");
    director.await_ready();
    director.await_served("web");
    let passes = director.metric("lvs_passes_total");
    eventually("some resyncs passed", || {
        let now = director.metric("lvs_passes_total");
        if now > passes + 5 { Ok(()) } else { Err(now.to_string()) }
    });
    assert_eq!(
        (settings(director.host()), timeouts(director.host())),
        (FRESH.map(str::to_owned).to_vec(), before)
    );

    // Whoever knows better sets them by hand.
    let by_hand = message.split('`').find(|words| words.starts_with("sysctl -w")).unwrap();
    director.host().exec(by_hand).unwrap();
    director.host().exec("ipvsadm --set 0 0 77").unwrap();
    director.await_condition("Director", "d1", "KernelReady", "True", "Ready");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_mark_of_ours_is_not_taken_for_somebody_elses_of_the_other_family() {
    let mut director = alone();
    director.write(
        "mark.yaml",
        "apiVersion: lvs-operator.dev/v1alpha1\nkind: VirtualService\nmetadata: {name: mark}\n\
         spec: {firewallMark: 7, family: IPv4, healthCheck: {none: {}}}\n",
    );
    director.start_with(&["--resync-seconds", "2"]);
    director.await_condition("VirtualService", "mark", "Programmed", "True", "Programmed");
    director.await_condition("Director", "d1", "KernelReady", "True", "Ready");
    director.host().exec("echo 0 > /proc/sys/net/ipv4/vs/expire_nodest_conn").unwrap();
    eventually_is("it is put right", &WANTED.map(str::to_owned).to_vec(), || settings(director.host()));

    director.host().exec("ipvsadm -A -f 7 -6 -s rr").unwrap();
    director.host().exec("echo 0 > /proc/sys/net/ipv4/vs/expire_nodest_conn").unwrap();
    director.await_condition("Director", "d1", "KernelReady", "False", "ForeignIPVS");
    director.host().exec("ipvsadm -D -f 7 -6").unwrap();
    director.await_condition("Director", "d1", "KernelReady", "True", "Ready");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn timeouts_take_effect_where_they_are_asked_for_and_a_bad_one_leaves_the_last_good_ones() {
    const BEFORE: &str = "Timeout (tcp tcpfin udp): 900 120 300";
    const AFTER: &str = "Timeout (tcp tcpfin udp): 900 33 44";
    let mut director = alone();
    assert_eq!(timeouts(director.host()), BEFORE);
    director.start();
    director.await_condition("Director", "d1", "KernelReady", "True", "Ready");
    assert_eq!(timeouts(director.host()), BEFORE, "nobody asked for others");

    let other = document("{udp: 99}").replace("d1", "d2");
    director.write("director.yaml", &format!("{}---\n{other}", document("{tcpFin: 33, udp: 44}")));
    eventually_is("they are set", &AFTER.to_owned(), || timeouts(director.host()));
    assert_eq!(director.object("Director", "d1").unwrap()["spec"]["timeouts"]["tcpFin"], 33);
    assert_eq!(director.object("Director", "d2"), None, "it is about another node");

    director.write("director.yaml", &document("{tcpFin: 0, udp: 55}"));
    let message = director.await_condition("Director", "d1", "KernelReady", "False", "Invalid");
    assert!(message.contains("spec.timeouts.tcpFin: tcpFin must be 1..2147483"), "{message}");
    assert_eq!(timeouts(director.host()), AFTER);

    director.remove("director.yaml");
    director.await_condition("Director", "d1", "KernelReady", "True", "Ready");
    assert_eq!(timeouts(director.host()), AFTER, "nobody asks for others");
    director.finish();
}
