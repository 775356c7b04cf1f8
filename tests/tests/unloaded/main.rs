//! `lvs-controller --manifests` on a kernel that has not loaded IPVS. Nothing unloads it reliably, so the lab runs these
//! tests before all others of a guest.

// clippy.toml lets tests unwrap, which covers the test functions and not what they call.
#![allow(clippy::unwrap_used)]

#[path = "../standalone/director.rs"]
#[allow(dead_code, reason = "the tests of a loaded kernel need more of it")]
mod director;

use std::path::{Path, PathBuf};
use std::process::Command;

use lvs_lab::foreign::Foreign;
use lvs_lab::topology::{Topology, tutorial};

use director::{Director, text};

const TUTORIAL: &str = include_str!("../../../deploy/examples/tutorial/virtualservice.yaml");

/// The modules of IPVS, out of modprobe's sight as if their package were not installed, until the value is dropped.
struct NotInstalled(PathBuf);

impl NotInstalled {
    fn hide() -> Self {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let folder = Path::new("/lib/modules").join(release.trim()).join("kernel/net/netfilter/ipvs");
        mount("mount", &["-t", "tmpfs", "nothing", folder.to_str().unwrap()]);
        Self(folder)
    }
}

impl Drop for NotInstalled {
    fn drop(&mut self) {
        mount("umount", &[self.0.to_str().unwrap()]);
    }
}

fn mount(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
}

fn is_loaded() -> bool {
    Path::new("/sys/module/ip_vs").exists()
}

#[test]
#[ignore = "needs root, network namespaces and a kernel that has not loaded IPVS: cargo lab test"]
fn a_kernel_without_ipvs_is_waited_for_with_the_cure_named_and_no_vip_taken() {
    const CURE: &str = "modprobe ip_vs";
    const PACKAGE: &str = "install the package";
    assert!(!is_loaded(), "something has loaded ip_vs, and this test shows nothing");
    let network = Topology::tutorial().unwrap();
    let not_installed = NotInstalled::hide();
    let foreign = Foreign::plant_addresses(&network["director"]).unwrap();
    let mut director = Director::beside(foreign, network);

    director.start();
    let words = director.await_not_ready(CURE);
    assert!(words.contains(PACKAGE), "{words}");

    director.write("tutorial.yaml", TUTORIAL);
    let message = director.await_condition("VirtualService", "web", "Programmed", "False", "Pending");
    assert!(message.contains(CURE) && message.contains(PACKAGE), "{message}");
    for type_ in ["Announced", "Ready"] {
        let [status, ..] = director.condition("VirtualService", "web", type_);
        assert_eq!(status, "False", "{type_}");
    }
    let plan = director.run("plan", &[]);
    assert_eq!((plan.status.code(), text(&plan.stdout).as_str()), (Some(1), ""), "{plan:?}");
    assert!(text(&plan.stderr).contains(CURE), "{plan:?}");
    director.await_not_ready(CURE);
    assert!(!is_loaded() && !director.holds(tutorial::VIP));
    assert_eq!(director.writes(), 0);
    director.foreign.assert_untouched();

    drop(not_installed);
    director.await_served("web");
    director.await_ready();
    let page = director.network["client"].exec(&format!("curl -sS -m 20 http://{}/", tutorial::VIP)).unwrap();
    assert!(page.contains(tutorial::CLIENT), "{page}");
    assert!(director.holds(tutorial::VIP));
    let table = director.our_table();
    assert_eq!(table.service("-t 172.16.21.10:80").unwrap().destinations.len(), 2, "{table:?}");

    let log = director.logged();
    assert_eq!(log.lines().filter(|line| line.contains(CURE)).count(), 1, "told once:\n{log}");
    assert!(!log.contains("panicked"), "{log}");
    director.finish();
}
