//! The agent goes and comes back; connections and rules do not notice.

use std::thread;
use std::time::Duration;

use lvs_lab::eventually::{eventually, eventually_is};
use lvs_lab::load::{self, Load};
use lvs_lab::topology::tutorial;

use crate::TUTORIAL;
use crate::director::{Director, text};

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn an_agent_that_is_killed_and_restarted_writes_nothing_and_no_request_fails() {
    let mut director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    let declared = director.our_table();
    let client = director.network["client"].clone();
    let requests = thread::spawn(move || {
        let target = format!("http://{}/", tutorial::VIP).parse().unwrap();
        let load = Load { target, rate: 20.0, count: 200, timeout: Duration::from_secs(20) };
        client.within(|| load::run(&load)).unwrap().unwrap()
    });
    director.take_agent().kill().unwrap();
    assert_eq!(director.our_table(), declared);
    assert!(director.holds(tutorial::VIP));
    director.start();
    director.await_served("web");
    let report = requests.join().unwrap();
    assert_eq!((report.failures.as_slice(), report.answered()), (&[][..], 200), "{report:?}");
    assert_eq!(director.writes(), 0);
    assert_eq!(director.our_table(), declared);
    assert_eq!(director.metric("lvs_vips_held"), 1, "it was found, and is announced");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn sigterm_is_a_clean_stop_that_leaves_everything() {
    let mut director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    let declared = director.our_table();
    let status = director.take_agent().terminate().unwrap();
    assert_eq!(status.code(), Some(0), "{}", director.logged());
    assert_eq!(director.our_table(), declared);
    assert!(director.holds(tutorial::VIP));
    assert!(director.logged().contains("stay in place"), "{}", director.logged());
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn what_was_deleted_while_the_agent_was_away_goes_when_it_comes_back() {
    let mut director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    director.take_agent().kill().unwrap();
    director.remove("tutorial.yaml");
    director.start();
    eventually_is("the rules are gone", &lvs_lab::table::Table::default(), || director.our_table());
    eventually_is("the VIP is gone", &false, || director.holds(tutorial::VIP));
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_restart_over_a_broken_file_keeps_what_came_from_it() {
    let mut director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    let declared = director.our_table();
    director.take_agent().kill().unwrap();
    director.write("tutorial.yaml", "spec: [");
    director.write("other.yaml", "");
    director.start();
    director.await_ready();
    eventually("the broken file is named", || {
        let state = director.debug_state();
        if state["source"]["heldFiles"] == serde_json::json!(["tutorial.yaml"]) {
            Ok(())
        } else {
            Err(state.to_string())
        }
    });
    let before = director.metric("lvs_passes_total");
    eventually("some more passes", || {
        let now = director.metric("lvs_passes_total");
        if now > before + 3 { Ok(()) } else { Err(now.to_string()) }
    });
    assert_eq!((director.our_table(), director.writes()), (declared, 0));
    assert!(director.holds(tutorial::VIP));
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_second_agent_is_turned_away_by_the_state_directory_and_by_the_port() {
    let director = Director::tutorial();
    let same_directory = director.run("run", &["--http", "127.0.0.1:9473"]);
    assert_eq!(same_directory.status.code(), Some(1));
    let said = text(&same_directory.stderr);
    assert!(
        said.contains("another agent is using the state directory") && said.contains("--state-dir"),
        "{said}"
    );
    let same_port = director.run_in(&director.state_dir().with_extension("other"), "run", &[]);
    assert_eq!(same_port.status.code(), Some(1), "{same_port:?}");
    let said = text(&same_port.stderr);
    assert!(said.contains("--http 127.0.0.1:9472 is taken"), "{said}");
    director.finish();
}
