//! What the agent believes and says across restarts and faults: nothing is its own by a stale or torn ledger, and what
//! is wrong is named where it is wrong.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Command, Stdio};

use lvs_lab::eventually::{eventually, eventually_is};
use lvs_lab::topology::{Topology, tutorial};

use crate::crash::crash;
use crate::director::{Director, program, text};
use crate::{TUTORIAL, unchecked};

const SERVICE: &str = "-t 172.16.21.10:80";

/// The tutorial's objects under other names and at another port.
fn other() -> String {
    [
        ("name: web", "name: other"),
        ("name: rs", "name: other-rs"),
        ("app: web", "app: other"),
        ("port: 80", "port: 81"),
    ]
    .iter()
    .fold(unchecked(), |objects, (tutorial, other)| objects.replace(tutorial, other))
}

/// What an agent writes down before it makes the tutorial's service.
const INTENT: &str = r#"{"do":"intent","service":{"vip":"172.16.21.10","protocol":"TCP","port":80},"object":{"namespace":"default","name":"web"},"file":"tutorial.yaml"}"#;

/// A Director whose last agent died between that and making it.
fn died_with_an_intent() -> Director {
    let mut director = Director::tutorial();
    director.take_agent().kill().unwrap();
    let journal = director.state_dir().join("ledger.journal");
    writeln!(File::options().append(true).open(journal).unwrap(), "{INTENT}").unwrap();
    director.write("tutorial.yaml", &unchecked());
    director
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_file_that_is_no_yaml_is_named_with_its_line_and_other_files_go_on() {
    let director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.write("other.yaml", &other());
    director.await_served("web");
    director.await_served("other");
    let table = director.our_table();
    director.write("tutorial.yaml", "apiVersion: lvs-operator.dev/v1alpha1\nspec: [\n");
    let finding = eventually("the error is found", || {
        let state = director.debug_state();
        state["sources"].get(0).cloned().ok_or(state.to_string())
    });
    assert_eq!(finding["file"], "tutorial.yaml");
    assert!(finding["line"].as_u64().is_some_and(|line| (2..=3).contains(&line)), "{finding}");
    assert_eq!(director.our_table(), table, "the last good version is in force");

    director.write("other.yaml", &other().replace("scheduler: wrr", "scheduler: wlc"));
    eventually_is("the other file is in force", &"wlc".to_owned(), || {
        director.our_table().0["-t 172.16.21.10:81"].scheduler.clone()
    });
    assert_eq!(director.our_table().0[SERVICE], table.0[SERVICE]);
    assert!(director.logged().contains("tutorial.yaml"), "{}", director.logged());
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_ledger_of_another_boot_makes_no_service_ours() {
    let mut director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    director.take_agent().kill().unwrap();
    let path = director.state_dir().join("ledger.json");
    let mut ledger: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    ledger["bootId"] = "00000000-0000-4000-8000-000000000000".into();
    fs::write(&path, ledger.to_string()).unwrap();
    // As after a reboot: the table was empty, and somebody else came first.
    director
        .host()
        .exec(&format!(
            "ipvsadm -D {SERVICE}; ipvsadm -A {SERVICE} -s rr; ipvsadm -a {SERVICE} -r 192.168.40.12 -m -w 7; \
             ip address delete 172.16.21.10/32 dev eth0"
        ))
        .unwrap();
    let by_hand = director.our_table();
    director.start();
    director.await_condition("VirtualService", "web", "Programmed", "False", "ForeignService");
    assert!(director.logged().contains("another boot"), "{}", director.logged());
    director.remove("tutorial.yaml");
    eventually_is("nobody speaks of the object any more", &true, || {
        director.object("VirtualService", "web").is_none()
    });
    assert_eq!((director.our_table(), director.writes()), (by_hand, 0));
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn what_somebody_made_where_an_agent_died_before_it_could_stays_as_it_is() {
    let mut director = died_with_an_intent();
    director
        .host()
        .exec(&format!("ipvsadm -A {SERVICE} -s rr && ipvsadm -a {SERVICE} -r 192.168.40.12 -m -w 7"))
        .unwrap();
    let by_hand = director.our_table();
    director.start();
    director.await_condition("VirtualService", "web", "Programmed", "False", "ForeignService");
    director.remove("tutorial.yaml");
    eventually("it is said that it is left", || {
        let log = director.logged();
        if log.contains("left in the kernel") { Ok(()) } else { Err(log) }
    });
    assert_eq!((director.our_table(), director.writes()), (by_hand, 0));
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn what_an_agent_had_half_made_when_it_died_is_finished_and_goes_with_its_object() {
    let mut director = died_with_an_intent();
    director.host().exec(&format!("ipvsadm -A {SERVICE} -s wrr")).unwrap();
    director.start();
    director.await_served("web");
    assert_eq!(director.our_table().0[SERVICE].destinations.len(), 2);
    assert_eq!(director.writes(), 3, "two destinations and the VIP");
    director.remove("tutorial.yaml");
    eventually_is("the rules are gone", &lvs_lab::table::Table::default(), || director.our_table());
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn what_somebody_made_after_an_agent_had_removed_its_own_and_died_stays_as_it_is() {
    let mut director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    director.take_agent().kill().unwrap();
    director.remove("tutorial.yaml");
    // The kernel has removed it, and the ledger does not know.
    crash(&director, "applied");
    assert_eq!(director.our_table(), lvs_lab::table::Table::default());
    director.host().exec(&format!("ipvsadm -A {SERVICE} -s wrr")).unwrap();
    let by_hand = director.our_table();
    director.start();
    eventually("it is said that it is left", || {
        let log = director.logged();
        if log.contains("left in the kernel") { Ok(()) } else { Err(log) }
    });
    director.await_ready();
    assert_eq!((director.our_table(), director.writes()), (by_hand, 0));
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_ledger_that_cannot_be_written_stops_additions_and_removals_until_it_can() {
    let mut director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    let table = director.our_table();
    director.take_agent().kill().unwrap();
    let state = director.state_dir().display().to_string();
    let mount = |options: &str| {
        let mount = Command::new("mount").args(["-o", options, &state, &state]).output().unwrap();
        assert!(mount.status.success(), "{mount:?}");
    };
    mount("bind");
    mount("remount,bind,ro");
    director.remove("tutorial.yaml");
    director.write("other.yaml", &other());
    director.start();
    let words = director.await_not_ready("cannot write the ledger");
    assert!(words.contains("ledger.json") && words.contains("Read-only file system"), "{words}");
    director.await_condition("VirtualService", "other", "Programmed", "False", "LedgerUnusable");
    assert_eq!((director.our_table(), director.writes()), (table, 0));
    assert!(director.holds(tutorial::VIP));

    mount("remount,bind,rw");
    director.await_served("other");
    director.await_ready();
    eventually_is("what was removed is gone", &vec!["-t 172.16.21.10:81".to_owned()], || {
        director.our_table().0.into_keys().collect()
    });
    drop(director.take_agent());
    Command::new("umount").arg(&state).status().unwrap();
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn without_the_right_to_change_the_network_the_agent_says_so_and_ends() {
    let director = Director::without_agent(Topology::tutorial().unwrap());
    director.write("tutorial.yaml", TUTORIAL);
    for (capability, name) in [("-net_admin", "CAP_NET_ADMIN"), ("-net_raw", "CAP_NET_RAW")] {
        let mut run = Command::new("setpriv");
        run.args([
            "--bounding-set",
            capability,
            "--inh-caps",
            capability,
            &program(),
            "run",
            "--node-name",
            "d1",
        ]);
        run.arg("--manifests").arg(director.manifests()).arg("--state-dir").arg(director.state_dir());
        let output = director.host().within(|| run.output()).unwrap().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.contains(&format!("{name} is missing")) && said.contains("run as root"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert_eq!(director.our_table(), lvs_lab::table::Table::default());
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_missing_kubeconfig_is_waited_for_and_what_is_in_the_kernel_stays() {
    let mut director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    let table = director.our_table();
    director.take_agent().kill().unwrap();
    let mut run = Command::new(program());
    run.args(["run", "--node-name", "d1", "--kubeconfig", "/nowhere/admin.conf", "--state-dir"]);
    run.arg(director.state_dir()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let agent = director.host().spawn(&mut run).unwrap();
    let words = director.await_not_ready("/nowhere/admin.conf");
    assert!(words.contains("--kubeconfig"), "{words}");
    assert_eq!((director.our_table(), director.writes()), (table, 0));
    assert!(director.holds(tutorial::VIP));
    drop(agent);
    director.finish();
}
