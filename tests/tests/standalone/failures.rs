//! What is missing when the agent starts: it stays up, says what to do, and goes on by itself.

use std::fs;
use std::process::Command;

use lvs_lab::eventually::eventually;
use lvs_lab::topology::{Topology, tutorial};

use crate::TUTORIAL;
use crate::director::Director;

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_missing_directory_is_waited_for() {
    let mut director = Director::without_agent(Topology::tutorial().unwrap());
    fs::remove_dir(director.manifests()).unwrap();
    director.start();
    let words = director.await_not_ready("cannot be read");
    assert!(words.contains("create it"), "{words}");
    fs::create_dir(director.manifests()).unwrap();
    director.await_ready();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_missing_link_is_waited_for_and_each_object_says_so() {
    let mut director = Director::without_agent(Topology::tutorial().unwrap());
    director.write("tutorial.yaml", TUTORIAL);
    director.start_with(&["--vip-interface", "vips0"]);
    let message = director.await_condition("VirtualService", "web", "Programmed", "False", "NoVIPInterface");
    assert!(
        message.contains("there is no interface vips0") && message.contains("--vip-interface"),
        "{message}"
    );
    director.await_not_ready("vips0");
    director
        .host()
        .exec("ip link add vips0 link eth0 type macvlan mode bridge && ip link set vips0 up")
        .unwrap();
    director.await_served("web");
    director.await_ready();
    let addresses = director.host().exec("ip -oneline address show dev vips0").unwrap();
    assert!(addresses.contains(tutorial::VIP), "{addresses}");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_missing_scheduler_is_named_with_the_module_and_loaded_when_it_comes() {
    // No other test uses this one.
    const BLOCK: &str = "/etc/modprobe.d/lvs-lab-nq.conf";
    fs::write(BLOCK, "install ip_vs_nq /bin/false\n").unwrap();
    let _ = Command::new("rmmod").arg("ip_vs_nq").output().unwrap();
    let mut director = Director::without_agent(Topology::tutorial().unwrap());
    director.write("tutorial.yaml", &TUTORIAL.replace("scheduler: wrr", "scheduler: nq"));
    director.start();
    let message =
        director.await_condition("VirtualService", "web", "Programmed", "False", "SchedulerMissing");
    assert!(message.contains("modprobe ip_vs_nq"), "{message}");
    director.await_not_ready("ip_vs_nq");
    let told = director.logged().lines().filter(|line| line.contains("modprobe ip_vs_nq")).count();
    assert_eq!(told, 1, "{}", director.logged());
    fs::remove_file(BLOCK).unwrap();
    director.await_served("web");
    director.await_ready();
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_corrupt_ledger_stops_additions_and_is_recovered_from_when_it_is_moved_away() {
    let mut director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    director.take_agent().kill().unwrap();
    let ledger = director.state_dir().join("ledger.json");
    fs::write(&ledger, "{").unwrap();
    let table = director.our_table();
    director.start();
    let words = director.await_not_ready("corrupt");
    assert!(words.contains("move it away"), "{words}");
    director.await_condition("VirtualService", "web", "Programmed", "False", "LedgerUnusable");
    assert_eq!((director.our_table(), director.writes()), (table.clone(), 0));
    assert!(director.holds(tutorial::VIP), "what is there goes on serving");
    fs::rename(&ledger, ledger.with_extension("bad")).unwrap();
    director.await_served("web");
    director.await_ready();
    assert_eq!((director.our_table(), director.writes()), (table, 0), "it was adopted");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_real_server_behind_a_router_is_named_and_joins_when_it_is_on_a_link() {
    let far = "10.50.0.99";
    let mut director = Director::without_agent(Topology::tutorial().unwrap());
    director.write("tutorial.yaml", &TUTORIAL.replace(tutorial::REAL_SERVERS[1], far));
    director.start();
    let message = director.await_condition("VirtualService", "web", "Programmed", "False", "NoRoute");
    assert!(message.contains(far) && message.contains("router"), "{message}");
    let rules = || director.host().exec("ipvsadm -Sn").unwrap();
    assert!(rules().contains(tutorial::REAL_SERVERS[0]) && !rules().contains(far), "{}", rules());

    director.host().exec(&format!("ip route add {far}/32 dev eth0")).unwrap();
    eventually("it joins", || if rules().contains(far) { Ok(()) } else { Err(rules()) });
    director.finish();
}
