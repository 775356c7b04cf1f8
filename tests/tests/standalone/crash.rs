//! The agent dies at every step of a pass, as by `kill -9`, and the next one ends what it began.
//!
//! The controller itself names the places where it can die, so a new one is covered by being there.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lvs_lab::eventually::eventually;
use lvs_lab::load::{self, Load, Report};
use lvs_lab::objects::{self, manifest};
use lvs_lab::table::Table;
use lvs_lab::topology::{Host, Topology, tutorial};
use serde_json::{Value, json};

use crate::TUTORIAL;
use crate::director::{Director, program, text};

const VARIABLE: &str = "LVS_CRASH_AT";
/// A full pass each second, so that whatever an agent would still do is done soon.
const FLAGS: [&str; 2] = ["--resync-seconds", "1"];
/// The label of the real servers that change.
const APP: &str = "other";
/// So many Directors at a time: an agent waits more than it computes.
const DIRECTORS: usize = 3;

/// Beside the tutorial's service, which stays as it is: one that changes in every way and one that goes.
fn before() -> String {
    manifest(&[
        service("changing", "172.16.21.11", &[80, 81], "wlc"),
        service("leaving", "172.16.21.12", &[80], "sh"),
        server("changing", &json!({"address": "192.168.40.21", "weight": 1})),
        server("draining", &json!({"address": "192.168.40.22", "weight": 2})),
        server("leaving", &json!({"address": "192.168.40.23", "weight": 3})),
    ])
}

/// The same later: changed, gone, and one more.
fn after() -> String {
    manifest(&[
        service("changing", "172.16.21.11", &[80, 82], "wrr"),
        service("coming", "172.16.21.13", &[80], "rr"),
        server("changing", &json!({"address": "192.168.40.21", "weight": 5})),
        server("draining", &json!({"address": "192.168.40.22", "drain": true})),
        server("coming", &json!({"address": "192.168.40.24", "weight": 4})),
    ])
}

fn service(name: &str, vip: &str, ports: &[u16], scheduler: &str) -> Value {
    let ports: Vec<_> = ports.iter().map(|port| json!({"port": port})).collect();
    let selector = objects::selects(APP);
    let spec = json!({
        "vip": vip, "ports": ports, "scheduler": scheduler, "realServerSelector": selector,
        // Nobody answers at these addresses.
        "healthCheck": {"none": {}},
    });
    objects::virtual_service(name, &spec)
}

fn server(name: &str, spec: &Value) -> Value {
    objects::real_server(name, APP, spec)
}

/// The controller's answer to a place that it does not have.
fn refusal() -> (Option<i32>, String) {
    let output = Command::new(program()).arg("status").env(VARIABLE, "nowhere").output().unwrap();
    (output.status.code(), text(&output.stderr))
}

/// Every place, and the later times at which some are reached for another reason.
fn places() -> Vec<String> {
    let (_, words) = refusal();
    let names = words.trim_end().rsplit_once("one of the names ").map(|(_, names)| names);
    let names = names.unwrap_or_else(|| panic!("a controller without the feature crash-points: {words}"));
    let mut places: Vec<_> = names.split(' ').map(str::to_owned).collect();
    // The first write is of intents, the second says what came of them.
    places.extend(["journal-torn:2", "journal-unsynced:2"].map(str::to_owned));
    places
}

/// What is in the kernel for us: the table and the VIPs.
#[derive(Debug, PartialEq)]
struct InKernel {
    table: Table,
    vips: Vec<String>,
}

impl InKernel {
    fn of(director: &Director) -> Self {
        let addresses = director.addresses();
        let mut vips: Vec<_> =
            addresses.lines().filter(|line| line.contains(" 172.16.21.")).map(str::to_owned).collect();
        vips.sort();
        Self { table: director.our_table(), vips }
    }
}

/// Starts an agent that dies at this place.
pub(crate) fn crash(director: &Director, place: &str) {
    let mut agent = director.spawn(&FLAGS, &[(VARIABLE, place)]);
    let ended = eventually(&format!("{place} is reached"), || match agent.ended().unwrap() {
        Some(status) => Ok(status),
        None => Err(director.logged()),
    });
    assert_eq!(ended.signal(), Some(9), "at {place}: {ended}; log:\n{}", director.logged());
}

/// Starts an agent, sees it end what the last one began and then write nothing more, and kills it.
fn recover(director: &mut Director, from: &str, expected: &InKernel) {
    director.start_with(&FLAGS);
    director.await_ready();
    // Its own word, which costs less to ask for than the kernel's; that is heard in the end.
    let figures = || {
        let names = ["lvs_services", "lvs_vips_held", "lvs_passes_total", "lvs_kernel_writes_total"];
        names.map(|name| director.metric(name))
    };
    let wanted = (expected.table.0.len() as u64, expected.vips.len() as u64);
    let [_, _, passes, writes] = eventually(&format!("all is in force after {from}"), || match figures() {
        figures @ [services, vips, ..] if (services, vips) == wanted => Ok(figures),
        figures => Err(format!("{figures:?}, wanted {wanted:?}; log:\n{}", director.logged())),
    });
    eventually("two more passes", || match figures() {
        [_, _, now, _] if now < passes + 2 => Err(format!("{now}, before {passes}")),
        [.., now] => {
            assert_eq!(now, writes, "after {from}: {}", director.logged());
            Ok(())
        }
    });
    assert_eq!(InKernel::of(director), *expected, "after {from}");
    director.foreign.assert_untouched();
    director.take_agent().kill().unwrap();
}

/// What an agent that never dies makes of these objects, among them these services.
fn never_crashed(director: &mut Director, objects: &str, services: [&str; 3]) -> InKernel {
    director.write("others.yaml", objects);
    director.start();
    for service in services {
        director.await_served(service);
    }
    director.take_agent().kill().unwrap();
    InKernel::of(director)
}

/// Back to nothing, by hand: that is quicker than `run --cleanup` and needs nothing of the code under test.
fn clear(director: &Director, made: &InKernel) {
    let mut script = String::from("set -e\n");
    for service in made.table.0.keys() {
        script += &format!("ipvsadm -D {service}\n");
    }
    for vip in made.vips.iter().filter_map(|line| line.split_whitespace().nth(3)) {
        script += &format!("ip address delete {vip} dev eth0\n");
    }
    director.host().exec(&script).unwrap();
    fs::remove_dir_all(director.state_dir()).unwrap();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_place_to_die_that_is_none_is_a_usage_error_that_names_them_all() {
    let (code, words) = refusal();
    assert_eq!(code, Some(64), "{words}");
    assert!(places().len() > 12, "{words}");
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn an_agent_that_dies_at_any_step_of_its_first_pass_is_followed_by_one_that_ends_it() {
    let waiting = Mutex::new(places());
    thread::scope(|scope| {
        for _ in 0..DIRECTORS {
            scope.spawn(|| {
                let mut director = Director::without_agent(Topology::tutorial().unwrap());
                director.write("tutorial.yaml", TUTORIAL);
                let expected = never_crashed(&mut director, &before(), ["web", "changing", "leaving"]);
                assert_eq!((expected.table.0.len(), expected.vips.len()), (4, 3), "{expected:?}");
                clear(&director, &expected);
                let next = || waiting.lock().unwrap().pop();
                while let Some(place) = next() {
                    crash(&director, &place);
                    recover(&mut director, &place, &expected);
                    clear(&director, &expected);
                }
                director.finish();
            });
        }
    });
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn an_agent_that_dies_amid_changes_and_deletions_loses_no_request_and_the_next_one_ends_them() {
    let mut director = Director::without_agent(Topology::tutorial().unwrap());
    director.write("tutorial.yaml", TUTORIAL);
    let objects = [before(), after()];
    let expected = [
        never_crashed(&mut director, &objects[0], ["web", "changing", "leaving"]),
        never_crashed(&mut director, &objects[1], ["web", "changing", "coming"]),
    ];
    assert_eq!((expected[1].table.0.len(), expected[1].vips.len()), (4, 3), "{:?}", expected[1]);

    let requests = Requests::start(&director.network["client"]);
    for (number, place) in places().iter().enumerate() {
        director.write("others.yaml", &objects[number % 2]);
        // As a death in the middle of a write leaves it: what follows is a new snapshot.
        let mut journal =
            OpenOptions::new().append(true).open(director.state_dir().join("ledger.journal")).unwrap();
        journal.write_all(b"{").unwrap();
        crash(&director, place);
        director.foreign.assert_untouched();
        recover(&mut director, place, &expected[number % 2]);
    }
    requests.end();
    director.finish();
}

/// A client that asks for the tutorial's page 20 times a second.
struct Requests {
    enough: Arc<AtomicBool>,
    report: JoinHandle<Report>,
}

impl Requests {
    fn start(client: &Host) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let (client, is_enough) = (client.clone(), Arc::clone(&enough));
        let report = thread::spawn(move || {
            let target = format!("http://{}/", tutorial::VIP).parse().unwrap();
            let load = Load { target, rate: 20.0, count: 100_000, timeout: Duration::from_secs(20) };
            client.within(|| load::run_until(&load, || is_enough.load(Ordering::Relaxed))).unwrap().unwrap()
        });
        Self { enough, report }
    }

    /// No request failed so far.
    fn end(self) {
        self.enough.store(true, Ordering::Relaxed);
        let report = self.report.join().unwrap();
        let answered = report.answered();
        // Past the harness, which keeps what a good test prints to itself.
        let _ = writeln!(
            io::stderr(),
            "{} requests, {answered} answered, failures: {:?}",
            report.sent,
            report.failures
        );
        assert!(answered == report.sent && answered >= 400, "{report:?}");
    }
}
