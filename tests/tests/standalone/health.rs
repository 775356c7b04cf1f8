//! Real servers that fail, drain, rest and return: traffic by the client, the table by `ipvsadm`, words by `/status`.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lvs_lab::eventually::{eventually, eventually_is};
use lvs_lab::load::{self, Load, Report};
use lvs_lab::objects::{manifest, real_server, selects, virtual_service};
use lvs_lab::topology::tutorial::{REAL_SERVERS, VIP};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::director::Director;

/// Fast checks: a second apart, two failures or successes in a row.
fn checked(kind: &str) -> Value {
    json!({kind: {}, "intervalSeconds": 1, "fall": 2, "rise": 2})
}

/// A virtual service over everything with the label `web`, with these fields besides.
fn web(fields: &Value) -> Value {
    let mut spec = json!({
        "vip": VIP, "ports": [{"port": 80}], "scheduler": "wrr", "realServerSelector": selects("web"),
        "healthCheck": checked("http"),
    });
    for (name, value) in fields.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    virtual_service("web", &spec)
}

/// rs1 and rs2, with these fields of rs1 besides.
fn servers(of_rs1: &Value) -> [Value; 2] {
    let mut rs1 = json!({"address": REAL_SERVERS[0]});
    for (name, value) in of_rs1.as_object().into_iter().flatten() {
        rs1[name] = value.clone();
    }
    [real_server("rs1", "web", &rs1), real_server("rs2", "web", &json!({"address": REAL_SERVERS[1]}))]
}

fn declare(director: &Director, service: Value, servers: [Value; 2]) {
    // The agent would set it, but not beside a foreign service.
    reschedule_used_ports(director, true);
    let [rs1, rs2] = servers;
    director.write("web.yaml", &manifest(&[service, rs1, rs2]));
}

/// Whether a new connection from a port that was used a moment ago is scheduled anew, where its last real server has
/// weight 0 (`ip_vs_in_hook` in the kernel's `ip_vs_core.c`).
fn reschedule_used_ports(director: &Director, wanted: bool) {
    let value = u8::from(wanted);
    director.host().exec(&format!("sysctl -qw net.ipv4.vs.expire_nodest_conn={value}")).unwrap();
}

/// The weights in the kernel, by real server.
fn weights(director: &Director) -> BTreeMap<&'static str, u32> {
    let table = director.our_table();
    let destinations = table.0.into_values().flat_map(|service| service.destinations);
    let names = ["rs1", "rs2"];
    let name = |address: &str| {
        let number = REAL_SERVERS.iter().position(|known| address.starts_with(&format!("{known}:")));
        names[number.unwrap_or_else(|| panic!("{address} is no real server"))]
    };
    destinations.map(|(address, destination)| (name(&address), destination.weight)).collect()
}

fn await_weights<const N: usize>(director: &Director, expected: [(&'static str, u32); N]) {
    eventually_is("the weights in the kernel", &BTreeMap::from(expected), || weights(director));
}

/// A client that asks 20 times a second, until it is stopped.
struct Client {
    stop: Arc<AtomicBool>,
    asking: thread::JoinHandle<Report>,
}

impl Client {
    fn start(director: &Director) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let client = director.network["client"].clone();
        let asking = thread::spawn(move || {
            let target = format!("http://{VIP}/").parse().unwrap();
            let load = Load { target, rate: 20.0, count: 2000, timeout: Duration::from_secs(20) };
            let enough = || stopped.load(Ordering::Relaxed);
            client.within(|| load::run_until(&load, enough)).unwrap().unwrap()
        });
        Self { stop, asking }
    }

    fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.join().unwrap()
    }
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_client_whose_port_comes_round_again_leaves_a_drained_server_only_if_the_kernel_was_told_so() {
    let director = Director::tutorial();
    declare(&director, web(&json!({})), servers(&json!({"drain": true})));
    director.await_served("web");
    await_weights(&director, [("rs1", 0), ("rs2", 1)]);
    // The server ends each connection, so that the client's port is free at once.
    let ask = || {
        let curl = format!("curl -sS -m 20 --local-port 40000 http://{VIP}/");
        director.network["client"].exec(&curl).unwrap().split_whitespace().next().map(str::to_owned)
    };
    assert_eq!(ask().as_deref(), Some("rs2"));
    let [rs1, rs2] = servers(&json!({}));
    let mut drained = rs2;
    drained["spec"]["drain"] = true.into();
    director.write("web.yaml", &manifest(&[web(&json!({})), rs1, drained]));
    await_weights(&director, [("rs1", 1), ("rs2", 0)]);
    reschedule_used_ports(&director, false);
    assert_eq!(ask().as_deref(), Some("rs2"), "the kernel keeps an ended connection for two minutes");
    reschedule_used_ports(&director, true);
    assert_eq!(ask().as_deref(), Some("rs1"));
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_server_that_dies_gets_no_new_connections_and_one_that_returns_gets_them_again() {
    let mut director = Director::tutorial();
    declare(&director, web(&json!({})), servers(&json!({})));
    director.await_served("web");
    await_weights(&director, [("rs1", 1), ("rs2", 1)]);
    let writes = director.writes();

    director.network.stop_web("rs1").unwrap();
    await_weights(&director, [("rs1", 0), ("rs2", 1)]);
    let words = director.await_condition("RealServer", "rs1", "Healthy", "False", "CheckFailed");
    assert!(words.contains("connection refused by 192.168.40.12:80"), "{words}");
    let status = director.object("VirtualService", "web").unwrap()["status"].clone();
    assert_eq!(status["realServers"], json!({"total": 2, "healthy": 1, "inService": 1}));
    let client = Client::start(&director);
    thread::sleep(Duration::from_secs(2));
    let report = client.stop();
    assert_eq!((report.failures.as_slice(), report.answers.get("rs1")), (&[][..], None), "{report:?}");

    director.network.start_web("rs1").unwrap();
    await_weights(&director, [("rs1", 1), ("rs2", 1)]);
    director.await_condition("RealServer", "rs1", "Healthy", "True", "CheckPassed");
    assert_eq!(director.writes(), writes + 2, "one write for each transition");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_server_that_accepts_and_never_answers_fails_by_its_timeout_and_delays_no_other() {
    let director = Director::tutorial();
    declare(&director, web(&json!({})), servers(&json!({})));
    director.await_served("web");
    director.network.web("rs1").unwrap().signal(Signal::STOP).unwrap();
    await_weights(&director, [("rs1", 0), ("rs2", 1)]);
    let words = director.await_condition("RealServer", "rs1", "Healthy", "False", "CheckFailed");
    assert!(words.contains("within 1 s"), "{words}");
    assert_eq!(director.condition("RealServer", "rs2", "Healthy")[0], "True");
    director.network.web("rs1").unwrap().signal(Signal::CONT).unwrap();
    await_weights(&director, [("rs1", 1), ("rs2", 1)]);
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_new_server_waits_with_weight_0_for_its_first_success_and_a_restart_writes_nothing() {
    let mut director = Director::tutorial();
    director.network.stop_web("rs1").unwrap();
    // Patient, so that rs2 does not fail on a machine that is busy: that would be a write.
    let patient = json!({"http": {}, "intervalSeconds": 3, "timeoutSeconds": 3, "fall": 3, "rise": 1});
    declare(&director, web(&json!({"healthCheck": patient})), servers(&json!({})));
    await_weights(&director, [("rs1", 0), ("rs2", 1)]);
    director.await_condition("RealServer", "rs1", "Healthy", "False", "CheckFailed");

    director.take_agent().kill().unwrap();
    let left = director.our_table();
    director.start();
    director.await_ready();
    director.await_condition("RealServer", "rs1", "Healthy", "False", "CheckFailed");
    director.await_condition("RealServer", "rs2", "Healthy", "True", "CheckPassed");
    assert_eq!((director.our_table(), director.writes()), (left, 0));
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_drained_server_keeps_its_connections_and_says_when_the_last_has_ended() {
    let director = Director::tutorial();
    declare(&director, web(&json!({})), servers(&json!({})));
    director.await_served("web");
    // Of two connections each server has one.
    let client = director.network["client"].clone();
    let connect = || TcpStream::connect((VIP, 80)).unwrap();
    let mut connections: Vec<TcpStream> = client.within(|| vec![connect(), connect()]).unwrap();
    declare(&director, web(&json!({})), servers(&json!({"drain": true})));
    await_weights(&director, [("rs1", 0), ("rs2", 1)]);
    director.await_condition("RealServer", "rs1", "Drained", "False", "Draining");
    let mut pages = String::new();
    for connection in &mut connections {
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        connection.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        connection.read_to_string(&mut pages).unwrap();
    }
    assert!(pages.contains("rs1 saw") && pages.contains("rs2 saw"), "both go on: {pages}");
    drop(connections);
    director.await_condition("RealServer", "rs1", "Drained", "True", "Drained");

    declare(&director, web(&json!({})), servers(&json!({})));
    await_weights(&director, [("rs1", 1), ("rs2", 1)]);
    eventually_is("nobody speaks of a drain any more", &String::new(), || {
        let [status, ..] = director.condition("RealServer", "rs1", "Drained");
        status
    });
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_drain_that_takes_too_long_says_how_many_connections_were_left() {
    let director = Director::tutorial();
    let service = || web(&json!({"drainTimeoutSeconds": 2}));
    declare(&director, service(), servers(&json!({})));
    director.await_served("web");
    let client = director.network["client"].clone();
    let connect = || TcpStream::connect((VIP, 80)).unwrap();
    let connections: Vec<TcpStream> = client.within(|| vec![connect(), connect()]).unwrap();
    declare(&director, service(), servers(&json!({"drain": true})));
    let words = director.await_condition("RealServer", "rs1", "Drained", "True", "DrainTimeout");
    assert!(words.contains("1 active connection"), "{words}");
    assert_eq!(
        weights(&director),
        BTreeMap::from([("rs1", 0), ("rs2", 1)]),
        "it stays for those that are left"
    );
    drop(connections);
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn maintenance_takes_a_server_out_at_once_and_gives_it_back_when_it_works() {
    let director = Director::tutorial();
    declare(&director, web(&json!({})), servers(&json!({})));
    director.await_served("web");
    declare(&director, web(&json!({})), servers(&json!({"maintenance": true})));
    await_weights(&director, [("rs2", 1)]);
    declare(&director, web(&json!({})), servers(&json!({})));
    await_weights(&director, [("rs1", 1), ("rs2", 1)]);
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_failed_server_is_removed_after_its_time_or_at_once_as_declared() {
    let mut director = Director::tutorial();
    declare(&director, web(&json!({"drainTimeoutSeconds": 1})), servers(&json!({})));
    director.await_served("web");
    director.network.stop_web("rs1").unwrap();
    await_weights(&director, [("rs2", 1)]);
    director.network.start_web("rs1").unwrap();
    await_weights(&director, [("rs1", 1), ("rs2", 1)]);

    declare(&director, web(&json!({"onFailure": "Remove"})), servers(&json!({})));
    director.network.stop_web("rs1").unwrap();
    await_weights(&director, [("rs2", 1)]);
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn the_sorry_server_answers_while_no_real_server_does() {
    let mut director = Director::tutorial();
    // rs2 is nobody's real server here, and says sorry.
    let service = web(&json!({"sorryServer": {"address": REAL_SERVERS[1]}}));
    let rs1 = real_server("rs1", "web", &json!({"address": REAL_SERVERS[0]}));
    director.write("web.yaml", &manifest(&[service, rs1]));
    director.await_served("web");
    assert_eq!(weights(&director), BTreeMap::from([("rs1", 1)]));
    director.network.stop_web("rs1").unwrap();
    await_weights(&director, [("rs1", 0), ("rs2", 1)]);
    director.await_condition("VirtualService", "web", "RealServersReady", "False", "SorryServer");
    let page = director.network["client"].exec(&format!("curl -s --max-time 20 http://{VIP}/")).unwrap();
    assert!(page.starts_with("rs2 saw "), "{page}");
    director.network.start_web("rs1").unwrap();
    await_weights(&director, [("rs1", 1), ("rs2", 0)]);
    director.await_served("web");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn below_the_panic_threshold_checks_are_not_believed() {
    let mut director = Director::tutorial();
    declare(&director, web(&json!({"panicThresholdPercent": 60})), servers(&json!({})));
    director.await_served("web");
    director.network.stop_web("rs1").unwrap();
    director.await_condition("RealServer", "rs1", "Healthy", "False", "CheckFailed");
    director.await_condition("VirtualService", "web", "RealServersReady", "False", "Panic");
    assert_eq!(weights(&director), BTreeMap::from([("rs1", 1), ("rs2", 1)]), "one of two is less than 60 %");
    director.network.start_web("rs1").unwrap();
    director.await_served("web");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_server_that_returns_warms_up_in_many_small_steps() {
    let mut director = Director::tutorial();
    declare(&director, web(&json!({"slowStartSeconds": 20})), servers(&json!({})));
    await_weights(&director, [("rs1", 20), ("rs2", 20)]);
    director.network.stop_web("rs1").unwrap();
    await_weights(&director, [("rs1", 0), ("rs2", 20)]);
    let writes = director.writes();
    director.network.start_web("rs1").unwrap();
    let mut seen = Vec::new();
    eventually("rs1 has its full weight again", || {
        let now = weights(&director)["rs1"];
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        if now == 20 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    assert!(seen.is_sorted() && seen.len() > 5, "{seen:?}");
    assert_eq!(director.writes(), writes + 20);
    director.finish();
}
