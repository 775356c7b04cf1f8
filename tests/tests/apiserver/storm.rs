//! Many real servers that fail at once: how often their statuses are written.
//!
//! The witness is a watch by `kubectl`: it shows every write, and the API server's own time of it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use lvs_lab::farm::Farm;
use lvs_lab::objects::{manifest, real_server, selects, virtual_service};
use serde_json::{Value, json};

use crate::kubectl::{Kubectl, condition};
use crate::stage::Stage;

const API: &str = "/apis/lvs-operator.dev/v1alpha1/namespaces/default";

/// How many there are. In an emulated guest a controller that is built for debugging writes some 20 statuses
/// a second.
fn all() -> u32 {
    std::env::var("LVS_LAB_STORM").map_or(200, |all| all.parse().expect("a number"))
}

/// For the statuses of so many to be written, also on a machine that does other things.
fn limit(all: u32) -> Duration {
    Duration::from_secs(240 + u64::from(all) / 4)
}

/// Two virtual services; of the second one checks are not believed when half of its real servers fail.
fn objects(all: u32) -> String {
    let each = all / 2;
    // Thousands share their lab with an API server: not more than 250 checks a second.
    let interval = 10.max(all / 250);
    let mut objects = Vec::new();
    for (number, panic_threshold) in [(0, 0), (1, 50)] {
        let app = format!("app{number}");
        let spec = json!({
            "vip": Ipv4Addr::new(172, 16, 22, 1 + number as u8), "ports": [{"port": 80}], "scheduler": "wrr",
            "realServerSelector": selects(&app), "panicThresholdPercent": panic_threshold,
            // Ten thousand statuses take longer than 300 s, after which those that failed would be removed.
            "drainTimeoutSeconds": 86_400,
            "healthCheck": {"tcp": {}, "intervalSeconds": interval, "timeoutSeconds": 10, "fall": 1, "rise": 1},
        });
        objects.push(virtual_service(&format!("web{number}"), &spec));
        objects.extend((number * each..).take(each as usize).map(|number| {
            real_server(&format!("rs{number}"), &app, &json!({"address": Farm::address(number)}))
        }));
    }
    manifest(&objects)
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// A write to an object's status.
#[derive(Debug)]
struct Write {
    /// Its time in full seconds.
    time: String,
    /// What its condition Healthy says, if it has one.
    healthy: String,
}

/// Every write to the objects of a kind from a moment on.
struct Writes<'a> {
    kubectl: &'a Kubectl,
    kind: &'static str,
    /// All up to this version have been seen.
    version: String,
    /// By object.
    seen: BTreeMap<String, Vec<Write>>,
    /// All objects as they are now.
    objects: BTreeMap<String, Value>,
}

impl<'a> Writes<'a> {
    fn from_now(kubectl: &'a Kubectl, kind: &'static str) -> Self {
        let list = kubectl.run(&format!("get --raw {API}/{kind}"));
        let mut list: Value = serde_json::from_str(&list).unwrap();
        let version = text(&list["metadata"]["resourceVersion"]);
        let objects = list["items"].as_array_mut().unwrap().drain(..);
        let objects = objects.map(|object| (text(&object["metadata"]["name"]), object)).collect();
        Self { kubectl, kind, version, seen: BTreeMap::new(), objects }
    }

    /// Takes in what was written since, and in the next three seconds. A watch goes on where the one before
    /// ended, so none is missed: the API server knows the last minute's writes, and tells if they are gone.
    fn follow(&mut self) {
        let Self { kind, version, .. } = self;
        let from = format!("watch=true&resourceVersion={version}&timeoutSeconds=3");
        for event in self.kubectl.run(&format!("get --raw {API}/{kind}?{from}")).lines() {
            let mut event: Value = serde_json::from_str(event).unwrap();
            assert_eq!(event["type"], "MODIFIED", "{event}");
            let object = event["object"].take();
            let metadata = &object["metadata"];
            // Of several managers of the status the last one wrote.
            let managers = metadata["managedFields"].as_array().expect("a list").iter();
            let times = managers.filter(|fields| fields["subresource"] == "status");
            let time = times.map(|fields| text(&fields["time"])).max().expect("one at least");
            let healthy = condition(&object, "Healthy")["message"].as_str().unwrap_or_default().to_owned();
            let name = text(&metadata["name"]);
            self.version = text(&metadata["resourceVersion"]);
            self.seen.entry(name.clone()).or_default().push(Write { time, healthy });
            self.objects.insert(name, object);
        }
    }

    /// How many are as it is wished.
    fn count(&self, holds: impl Fn(&Value) -> bool) -> u32 {
        self.objects.values().map(|object| u32::from(holds(object))).sum()
    }
}

/// Until Healthy is so for all real servers, and both services count so many healthy ones.
fn await_all([real_servers, services]: &mut [Writes<'_>; 2], all: u32, status: &str, healthy: u32) {
    let limit = limit(all);
    let end = Instant::now() + limit;
    loop {
        real_servers.follow();
        services.follow();
        let said = real_servers.count(|object| condition(object, "Healthy")["status"] == status);
        let counted = services.count(|object| object["status"]["realServers"]["healthy"] == healthy);
        if (said, counted) == (all, 2) {
            return;
        }
        assert!(
            Instant::now() < end,
            "not within {} s: Healthy is {status} for {said} of {all}, {counted} of 2 services know",
            limit.as_secs()
        );
    }
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn servers_that_fail_at_once_are_one_status_write_each_and_one_a_second_of_their_services() {
    let all = all();
    let stage = Stage::new();
    let farm = Farm::open(&stage.network["client"], stage.director()).unwrap();
    let seat = stage.seat("director", "director");
    let agent = seat.start_ready();
    stage.kubectl.create(&objects(all), all + 2);
    let mut writes = ["realservers", "virtualservices"].map(|kind| Writes::from_now(&stage.kubectl, kind));
    await_all(&mut writes, all, "True", all / 2);
    for name in ["web0", "web1"] {
        stage.kubectl.await_ready("virtualservices.lvs-operator.dev", name);
    }
    for writes in &mut writes {
        writes.seen.clear();
    }

    let kernel_writes = agent.metric("lvs_kernel_writes_total");
    farm.close().unwrap();
    await_all(&mut writes, all, "False", 0);
    // What was about to be written once more.
    writes.iter_mut().for_each(Writes::follow);

    let [real_servers, services] = writes;
    assert_eq!(real_servers.seen.len(), all as usize);
    let often: Vec<_> = real_servers.seen.iter().filter(|(_, seen)| seen.len() > 1).collect();
    assert!(often.len() <= all as usize / 100, "written more than once: {often:?}");
    for (name, seen) in often {
        // It was just being asked when all of them closed: it failed by a reset, and says later that it refuses.
        let [first, second] = &seen[..] else { panic!("{name}: {seen:?}") };
        let told = first.healthy.contains("reset by") && second.healthy.contains("refused by");
        assert!(told, "{name}: {seen:?}");
    }
    assert_eq!(services.seen.len(), 2, "{:?}", services.seen);
    for (name, seen) in real_servers.seen.iter().chain(&services.seen) {
        assert!(
            seen.windows(2).all(|pair| pair[0].time < pair[1].time),
            "{name} within one second: {seen:?}"
        );
    }
    for (name, reason) in [("web0", "NoneInService"), ("web1", "Panic")] {
        let service = stage.kubectl.get("virtualservices.lvs-operator.dev", name);
        assert_eq!(condition(&service, "RealServersReady")["reason"], reason, "{name}");
    }
    let writes = agent.metric("lvs_kernel_writes_total") - kernel_writes;
    assert!((u64::from(all / 2)..=u64::from(all)).contains(&writes), "{writes} writes to the kernel");
    drop(agent);
    // One request each; the next test would remove them one by one.
    stage.kubectl.run(&format!("delete --raw {API}/realservers"));
    stage.kubectl.run("delete --raw /apis/events.k8s.io/v1/namespaces/default/events");
    stage.end();
}
