//! Many real servers that fail at once: how often their statuses are written.
//!
//! The witness is a watch of `kubectl`: it shows every write, and the API server's own time of it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use lvs_lab::farm::Farm;
use lvs_lab::objects::{manifest, real_server, selects, virtual_service};
use serde_json::json;

use crate::kubectl::{Kubectl, condition};
use crate::stage::Stage;

/// For all statuses to be written.
const LIMIT: Duration = Duration::from_mins(4);
const API: &str = "/apis/lvs-operator.dev/v1alpha1/namespaces/default";

/// How many there are. In an emulated guest a controller that is built for debugging writes some 20 statuses
/// a second.
fn all() -> u32 {
    std::env::var("LVS_LAB_STORM").map_or(200, |all| all.parse().expect("a number"))
}

/// Longer than the checks of so many take, and what is to be written for them.
fn watched(all: u32) -> Duration {
    Duration::from_secs(25 + u64::from(all) / 15)
}

/// Two virtual services; of the second one checks are not believed when half of its real servers fail.
fn objects(all: u32) -> String {
    let each = all / 2;
    let mut objects = Vec::new();
    for (number, panic_threshold) in [(0, 0), (1, 50)] {
        let app = format!("app{number}");
        let spec = json!({
            "vip": Ipv4Addr::new(172, 16, 22, 1 + number as u8), "ports": [{"port": 80}], "scheduler": "wrr",
            "realServerSelector": selects(&app), "panicThresholdPercent": panic_threshold,
            "healthCheck": {"tcp": {}, "intervalSeconds": 10, "timeoutSeconds": 10, "fall": 1, "rise": 1},
        });
        objects.push(virtual_service(&format!("web{number}"), &spec));
        objects.extend((number * each..).take(each as usize).map(|number| {
            real_server(&format!("rs{number}"), &app, &json!({"address": Farm::address(number)}))
        }));
    }
    manifest(&objects)
}

/// How many real servers are said to be healthy, or not.
fn count(kubectl: &Kubectl, status: &str) -> usize {
    let objects = kubectl.list("realservers.lvs-operator.dev");
    objects.iter().filter(|object| condition(object, "Healthy")["status"] == status).count()
}

fn await_all(kubectl: &Kubectl, all: u32, status: &str) {
    let end = Instant::now() + LIMIT;
    let mut now = count(kubectl, status);
    while now < all as usize {
        assert!(
            Instant::now() < end,
            "not within {} s: Healthy is {status} for all, only {now}",
            LIMIT.as_secs()
        );
        thread::sleep(Duration::from_secs(2));
        now = count(kubectl, status);
    }
}

/// The times, in full seconds, of all writes of a status while this watch lasts, by object.
fn watch(kubectl: &Kubectl, kind: &str, lasts: Duration) -> BTreeMap<String, Vec<String>> {
    let time = r#".metadata.managedFields[?(@.subresource=="status")].time"#;
    let columns = format!("custom-columns=NAME:.metadata.name,TIME:{time}");
    let seen = kubectl.run_for(lasts, &format!("get {kind} --watch-only --no-headers --output {columns}"));
    let mut writes = BTreeMap::<String, Vec<String>>::new();
    for line in seen.lines() {
        let (name, times) = line.split_once(char::is_whitespace).unwrap_or_else(|| panic!("{line}"));
        // Of several managers the last one wrote.
        let last = times.trim().split(',').max().expect("one at least").to_owned();
        writes.entry(name.to_owned()).or_default().push(last);
    }
    writes
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn servers_that_fail_at_once_are_one_status_write_each_and_one_a_second_of_their_services() {
    let all = all();
    let stage = Stage::new();
    let farm = Farm::open(&stage.network["client"], stage.director()).unwrap();
    let seat = stage.seat("director", "director");
    let agent = seat.start_ready();
    stage.kubectl.create(&objects(all));
    await_all(&stage.kubectl, all, "True");
    for name in ["web0", "web1"] {
        stage.kubectl.await_ready("virtualservices.lvs-operator.dev", name);
    }

    let writes = agent.metric("lvs_kernel_writes_total");
    let kinds = ["realservers.lvs-operator.dev", "virtualservices.lvs-operator.dev"];
    let watches = kinds.map(|kind| {
        let kubectl = stage.kubectl.clone();
        thread::spawn(move || watch(&kubectl, kind, watched(all)))
    });
    // Until the watches are there.
    thread::sleep(Duration::from_secs(3));
    farm.close().unwrap();
    let [real_servers, services] = watches.map(|watch| watch.join().unwrap());
    await_all(&stage.kubectl, all, "False");

    assert_eq!(real_servers.len(), all as usize);
    let often: Vec<_> = real_servers.iter().filter(|(_, times)| times.len() > 1).collect();
    assert!(often.is_empty(), "written more than once: {often:?}");
    assert_eq!(services.len(), 2, "{services:?}");
    for (name, times) in &services {
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{name} within one second: {times:?}");
    }
    for (name, reason) in [("web0", "NoneInService"), ("web1", "Panic")] {
        let service = stage.kubectl.get("virtualservices.lvs-operator.dev", name);
        assert_eq!(condition(&service, "RealServersReady")["reason"], reason, "{name}");
    }
    let writes = agent.metric("lvs_kernel_writes_total") - writes;
    assert!((u64::from(all / 2)..=u64::from(all)).contains(&writes), "{writes} writes to the kernel");
    drop(agent);
    // One request each; the next test would remove them one by one.
    stage.kubectl.run(&format!("delete --raw {API}/realservers"));
    stage.kubectl.run("delete --raw /apis/events.k8s.io/v1/namespaces/default/events");
    stage.end();
}
