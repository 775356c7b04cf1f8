//! Commands that do not stay, and their exit codes.

use lvs_lab::topology::{Topology, tutorial};

use crate::director::{Director, text};
use crate::{TUTORIAL, unchecked};

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn plan_prints_the_steps_and_takes_none_until_there_are_none() {
    let mut director = Director::without_agent(Topology::tutorial().unwrap());
    director.write("tutorial.yaml", TUTORIAL);
    let checked = director.run("plan", &[]);
    assert!(text(&checked.stdout).contains("192.168.40.12:80 direct weight 0"), "{checked:?}");
    assert!(text(&checked.stderr).contains("first check"), "{checked:?}");
    director.write("tutorial.yaml", &unchecked());
    let plan = director.run("plan", &[]);
    assert_eq!(plan.status.code(), Some(2), "{plan:?}");
    assert_eq!(
        text(&plan.stdout),
        "\
add service TCP 172.16.21.10:80 scheduler wrr
add destination TCP 172.16.21.10:80 -> 192.168.40.12:80 direct weight 1
add destination TCP 172.16.21.10:80 -> 192.168.40.13:80 direct weight 1
bind VIP 172.16.21.10 on eth0
"
    );
    assert_eq!(director.our_table(), lvs_lab::table::Table::default(), "nothing was changed");
    assert!(!director.holds(tutorial::VIP));
    assert!(!director.state_dir().exists(), "nor written");

    director.start();
    director.await_served("web");
    let plan = director.run("plan", &[]);
    assert_eq!((plan.status.code(), text(&plan.stdout).as_str()), (Some(0), ""), "{plan:?}");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn plan_names_what_is_wrong_in_the_manifests() {
    let director = Director::without_agent(Topology::tutorial().unwrap());
    director.write("bad.yaml", &TUTORIAL.replace("vip:", "vpi:"));
    let plan = director.run("plan", &[]);
    let said = text(&plan.stderr);
    assert_eq!(plan.status.code(), Some(2), "{plan:?}");
    assert!(said.contains("bad.yaml:") && said.contains("spec.vpi: unknown field"), "{said}");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn cleanup_removes_what_is_ours_and_only_that_and_not_while_an_agent_runs() {
    let mut director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    let declared = director.our_table();
    let refused = director.run("run", &["--cleanup"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(text(&refused.stderr).contains("another agent is using the state directory"), "{refused:?}");
    assert_eq!(director.our_table(), declared);

    director.take_agent().terminate().unwrap();
    let cleanup = director.run("run", &["--cleanup"]);
    assert_eq!(cleanup.status.code(), Some(0), "{cleanup:?}");
    assert_eq!(
        text(&cleanup.stdout),
        "remove service TCP 172.16.21.10:80\nunbind VIP 172.16.21.10 from eth0\n"
    );
    assert_eq!(director.our_table(), lvs_lab::table::Table::default());
    assert!(!director.holds(tutorial::VIP));
    let again = director.run("run", &["--cleanup"]);
    assert_eq!((again.status.code(), text(&again.stdout).as_str()), (Some(0), ""), "{again:?}");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_wrong_command_line_is_64_and_flags_of_later_work_are_not_taken_for_granted() {
    let director = Director::without_agent(Topology::tutorial().unwrap());
    for arguments in [
        &["fly"][..],
        &["run", "--node-name", "Bad Name"],
        &["run", "--node-name", "d1", "--resync-seconds", "0"],
        &["run", "--node-name", "d1", "--vrrp-id", "1"],
        &["run", "--node-name", "d1", "--vrrp-priority", "100"],
        &["run", "--node-name", "d1", "--vrrp-mode", "unicast"],
    ] {
        let output = director.run_bare(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {output:?}");
    }
    assert_eq!(director.run_bare(&["--help"]).status.code(), Some(0));
    let nobody = director.run_bare(&["status"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no agent answers at 127.0.0.1:9472"), "{nobody:?}");
    director.finish();
}
