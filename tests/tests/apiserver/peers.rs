//! Until failover exists: of several Directors the one that came first holds the VIPs.

use lvs_lab::eventually::eventually;
use serde_json::Value;

use crate::stage::{Stage, TUTORIAL};

const WEB: (&str, &str) = ("virtualservices.lvs-operator.dev", "web");

fn role_of(web: &Value, director: &str) -> Value {
    let directors = web["status"]["directors"].as_array().cloned().unwrap_or_default();
    directors
        .iter()
        .find(|entry| entry["name"] == director)
        .map(|entry| entry["role"].clone())
        .unwrap_or_default()
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn a_second_director_binds_nothing_and_says_so_until_the_first_is_gone() {
    let stage = Stage::new();
    let first_seat = stage.seat("director", "director");
    // Its name comes first, its start second.
    let second_seat = stage.seat("client", "another");
    let first = first_seat.start_ready();
    stage.kubectl.apply(TUTORIAL);
    stage.kubectl.await_ready(WEB.0, WEB.1);

    let second = second_seat.start_ready();
    second.await_page("/status", "it says why it binds nothing", |page| page.contains("PeerWithoutVRRP"));
    let web = stage
        .kubectl
        .eventually(WEB.0, WEB.1, "both have an entry", |web| role_of(web, "another") == "Standby");
    assert_eq!(role_of(&web, "director"), "Active");
    assert_eq!(web["status"]["activeDirector"], "director");
    assert_eq!(crate::kubectl::condition(&web, "Ready")["status"], "True");
    assert!(!stage.holds_vip("client") && stage.holds_vip("director"));

    // The first restarts: it is still the first.
    first.kill();
    let first = first_seat.start_ready();
    assert_eq!(first.metric("lvs_kernel_writes_total"), 0);
    assert!(!stage.holds_vip("client") && stage.holds_vip("director"));

    // It goes for good, and its node with it.
    first.kill();
    stage.director().exec("ip address del 172.16.21.10/32 dev eth0").unwrap();
    // A Lease is believed for 40 s.
    std::thread::sleep(std::time::Duration::from_secs(35));
    eventually("the second one holds the VIP", || {
        if stage.holds_vip("client") { Ok(()) } else { Err(second.log()) }
    });
    stage.kubectl.eventually(WEB.0, WEB.1, "the first one is unknown, the second active", |web| {
        role_of(web, "director") == "Unknown"
            && role_of(web, "another") == "Active"
            && web["status"]["activeDirector"] == "another"
    });
    stage.kubectl.run("delete leases.coordination.k8s.io lvs-director-director");
    stage
        .kubectl
        .eventually(WEB.0, WEB.1, "the first one's entry is gone", |web| role_of(web, "director").is_null());
    drop(second);
    stage.end();
}
