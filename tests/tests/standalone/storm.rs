//! Many real servers that fail at once: what reaches the kernel, and what is said.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use lvs_lab::farm::Farm;
use lvs_lab::objects::{manifest, real_server, selects, virtual_service};
use serde_json::{Value, json};

use crate::director::Director;

const SERVICES: u32 = 10;
/// Seconds between two checks of one: an emulated guest makes some hundred a second.
const INTERVAL: u64 = 10;
/// For all of them, also beside other tests.
const LIMIT: Duration = Duration::from_mins(4);
/// For a page about all of them.
const PAGE_LIMIT: Duration = Duration::from_mins(1);

/// How many there are in each service. Ten thousand in all take a controller that is not built for debugging.
fn servers_of_each() -> u32 {
    let all = std::env::var("LVS_LAB_STORM").map_or(1000, |all| all.parse().expect("a number"));
    all / SERVICES
}

/// Whether a service believes no checks once half of its real servers fail. Every other one does.
fn panics(service: u32) -> bool {
    service.is_multiple_of(2)
}

fn objects(each: u32) -> String {
    let mut objects = Vec::new();
    for service in 0..SERVICES {
        let app = format!("app{service}");
        let spec = json!({
            "vip": Ipv4Addr::new(172, 16, 22, 1 + service as u8), "ports": [{"port": 80}], "scheduler": "wrr",
            "realServerSelector": selects(&app),
            "panicThresholdPercent": if panics(service) { 50 } else { 0 },
            "healthCheck":
                {"tcp": {}, "intervalSeconds": INTERVAL, "timeoutSeconds": 10, "fall": 1, "rise": 1},
        });
        objects.push(virtual_service(&format!("web{service}"), &spec));
        objects.extend((service * each..).take(each as usize).map(|number| {
            real_server(&format!("rs{number}"), &app, &json!({"address": Farm::address(number)}))
        }));
    }
    manifest(&objects)
}

/// How many destinations of our services there are with each weight.
fn weights(director: &Director) -> BTreeMap<u32, u32> {
    let read = || fs::read_to_string("/proc/thread-self/net/ip_vs");
    let table = director.host().within(read).unwrap().unwrap();
    let mut weights = BTreeMap::new();
    for line in table.lines().filter_map(|line| line.trim_start().strip_prefix("-> 0A01")) {
        let weight = line.split_whitespace().nth(2).and_then(|weight| weight.parse().ok());
        *weights.entry(weight.unwrap_or_else(|| panic!("{line}"))).or_default() += 1;
    }
    weights
}

/// Asks every few seconds, since every answer is long.
fn await_that<T>(director: &Director, what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(last) if Instant::now() > end => {
                let log = director.logged();
                let tail: Vec<_> = log.lines().rev().take(20).collect();
                panic!("not within {} s: {what}; last seen: {last}; {tail:#?}", LIMIT.as_secs())
            }
            Err(_) => thread::sleep(Duration::from_secs(2)),
        }
    }
}

fn await_weights<const N: usize>(director: &Director, what: &str, expected: [(u32, u32); N]) {
    await_that(director, what, || match weights(director) {
        now if now == BTreeMap::from(expected) => Ok(()),
        now => Err(format!("{now:?}")),
    });
}

fn page(director: &Director, path: &str) -> Result<String, String> {
    match director.get_within(path, PAGE_LIMIT) {
        Some((200, page)) => Ok(page),
        other => Err(format!("{path}: {other:?}")),
    }
}

/// How many steps were taken in the kernel, and how many checks of each real server were made.
fn counters(director: &Director) -> Result<(u64, BTreeMap<String, u64>), String> {
    let metrics = page(director, "/metrics")?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let writes = metrics.lines().find_map(|line| line.strip_prefix("lvs_kernel_writes_total "));
    let mut checks = BTreeMap::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("lvs_checks_total{")) {
        let (labels, count) = line.rsplit_once(' ').ok_or(line)?;
        let (real_server, _) = labels.split_once(",result=").ok_or(line)?;
        *checks.entry(real_server.to_owned()).or_default() += number(count)?;
    }
    Ok((number(writes.ok_or("no writes are counted")?)?, checks))
}

/// Status and reason of a condition.
fn said(object: &Value, type_: &str) -> (Value, Value) {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let condition = conditions.clone().find(|it| it["type"] == type_).cloned().unwrap_or_default();
    (condition["status"].clone(), condition["reason"].clone())
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn servers_that_fail_at_once_are_one_write_each_and_where_too_many_fail_none_is_left_out() {
    let (each, all) = (servers_of_each(), SERVICES * servers_of_each());
    let director = Director::tutorial();
    let farm = Farm::open(&director.network["client"], director.host()).unwrap();
    director.write("storm.yaml", &objects(each));
    await_weights(&director, "all take connections", [(1, all)]);
    let failed = "lvs_conditions_false{kind=\"RealServer\",condition=\"Healthy\",reason=\"CheckFailed\"} ";
    let (before, _) = counters(&director).unwrap();

    farm.close().unwrap();
    await_that(&director, "all have failed", || {
        let metrics = page(&director, "/metrics")?;
        let count = metrics.lines().find_map(|line| line.strip_prefix(failed)).unwrap_or("0");
        if count == all.to_string() { Ok(()) } else { Err(count.to_owned()) }
    });
    await_weights(&director, "panic is over the failures", [(0, all / 2), (1, all / 2)]);
    // Of a service in panic no more than half had lost their weight; each of these is written once more.
    let (after, checks) = counters(&director).unwrap();
    let writes = after - before;
    assert!((u64::from(all / 2)..=u64::from(all)).contains(&writes), "{writes}");
    assert_eq!(checks.len(), all as usize);

    let list = page(&director, "/status").unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    let (mut services, mut servers) = (0, 0);
    for object in list["items"].as_array().unwrap() {
        let name = object["metadata"]["name"].as_str().unwrap();
        if object["kind"] == "RealServer" {
            servers += 1;
            assert_eq!(said(object, "Healthy"), (json!("False"), json!("CheckFailed")), "{name}");
        } else if let Some(number) = name.strip_prefix("web") {
            services += 1;
            let (reason, in_service) =
                if panics(number.parse().unwrap()) { ("Panic", each) } else { ("NoneInService", 0) };
            assert_eq!(said(object, "RealServersReady"), (json!("False"), json!(reason)), "{name}");
            let counts = json!({"total": each, "healthy": 0, "inService": in_service});
            assert_eq!(object["status"]["realServers"], counts, "{name}");
        }
    }
    assert_eq!((services, servers), (SERVICES, all));

    // Another failed check of each says nothing new.
    let quiet = await_that(&director, "each has been checked once more", || {
        let (writes, now) = counters(&director)?;
        let again = checks.iter().filter(|(name, before)| now.get(*name) > Some(before)).count();
        if again == checks.len() { Ok(writes) } else { Err(format!("{again} of {all}")) }
    });
    assert_eq!(quiet, after, "it is quiet again");
    director.finish();
}
