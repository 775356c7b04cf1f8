use std::sync::Arc;
use std::time::{Duration, Instant};

use lvs_plan::Reason;
use serde_json::{Value, json};

use super::*;
use crate::board::{Board, fixtures};
use crate::counters::Traffic;
use crate::http::selection::Filter;
use crate::view::fixtures as views;

fn count(connections: u64, active: u32, weight: u32) -> Count {
    Count { traffic: Traffic { connections, ..Traffic::default() }, active, inactive: 3, weight }
}

type Counted = HashMap<ServiceKey, Counts>;

fn counted(counts: &[(ServiceKey, u8, Count)]) -> Counted {
    let mut counted = Counted::new();
    for (service, number, count) in counts {
        let key = DestinationKey { address: views::address(*number), port: service.port() };
        counted.entry(*service).or_default().insert(key, *count);
    }
    counted
}

fn snapshot(board: &Board, services: Vec<ServiceView>, counted: &Counted, rates: &Rates) -> Value {
    let selection = Selection::of(board, &Filter::default());
    let view = View { services };
    let sources = Sources { node: "d1", selection: &selection, view: &view, counted, rates };
    serde_json::to_value(Snapshot::new(&sources, "2026-01-02T03:04:05Z".to_owned())).expect("it is JSON")
}

fn web() -> Board {
    let board = Board::default();
    fixtures::put(&board, fixtures::virtual_service("web", Reason::Announced));
    fixtures::put(&board, fixtures::real_server("blue", &["default/web"]));
    board
}

/// The real servers of the only virtual service.
fn real_servers(services: Vec<ServiceView>, counted: &Counted) -> Vec<Value> {
    let snapshot = snapshot(&web(), services, counted, &Rates::default());
    snapshot["virtualServices"][0]["realServers"].as_array().expect("a list").clone()
}

#[test]
fn a_snapshot_joins_board_driver_and_kernel() {
    let service = views::service("web", views::tcp(80), &[("blue", 12)]);
    let (mut rates, start) = (Rates::default(), Instant::now());
    for (seconds, connections) in [(0, 100), (2, 103)] {
        let counted = counted(&[(service.key, 12, count(connections, 7, 2))]);
        rates.sample(&counted, start + Duration::from_secs(seconds));
    }
    let counted = counted(&[(service.key, 12, count(103, 7, 2))]);
    let board = web();
    board.lock().not_ready = vec!["the ledger is corrupt".to_owned()];
    let condition =
        |type_: &str, reason: &str| json!({"type": type_, "status": "True", "reason": reason, "message": ""});
    assert_eq!(
        snapshot(&board, vec![service], &counted, &rates),
        json!({
            "node": "d1",
            "time": "2026-01-02T03:04:05Z",
            "ready": false,
            "notReady": ["the ledger is corrupt"],
            "total": {"virtualServices": 1, "realServers": 1, "shown": 1, "matching": 1},
            "virtualServices": [{
                "namespace": "default",
                "name": "web",
                "vip": "172.16.21.10",
                "ports": ["80/TCP"],
                "scheduler": "wlc",
                "role": "Active",
                "conditions": [
                    condition("Accepted", "Accepted"),
                    condition("Programmed", "Programmed"),
                    condition("Announced", "Announced"),
                    condition("RealServersReady", "Ready"),
                    condition("Ready", "Ready"),
                ],
                "realServersSummary": {"total": 2, "healthy": 2, "inService": 2},
                "connectionsPerSecond": 1.5,
                "activeConnections": 7,
                "realServers": [{
                    "namespace": "default",
                    "name": "blue",
                    "address": "192.168.40.12",
                    "weight": 2,
                    "kernelWeight": 2,
                    "state": "InService",
                    "health": "Healthy",
                    "message": "",
                    "activeConnections": 7,
                    "inactiveConnections": 3,
                    "connectionsPerSecond": 1.5,
                    "drain": null,
                }],
            }],
        })
    );
}

#[test]
fn services_of_one_virtual_service_are_one_with_the_first_weights_the_worst_state_and_all_connections() {
    let (http, https) = (views::tcp(80), views::tcp(443));
    let mut first = views::service("web", http, &[("green", 13), ("blue", 12)]);
    let mut second = views::service("web", https, &[("blue", 12)]);
    first.destinations[0].weight = 5;
    second.destinations[0].state = State::Removed;
    second.destinations[0].verdict = Some(Verdict::Down);
    second.destinations[0].failure = Some("connection refused".into());
    let counted =
        counted(&[(http, 12, count(1, 2, 5)), (http, 13, count(1, 40, 2)), (https, 12, count(1, 30, 0))]);
    let rows = real_servers(vec![second, first], &counted);
    let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["blue", "green"]);
    let blue = &rows[0];
    assert_eq!((&blue["weight"], &blue["kernelWeight"]), (&json!(5), &json!(5)));
    assert_eq!((&blue["activeConnections"], &blue["inactiveConnections"]), (&json!(32), &json!(6)));
    assert_eq!((&blue["state"], &blue["health"]), (&json!("Unhealthy"), &json!("Unhealthy")));
    assert_eq!(blue["message"], "connection refused; removed");
    assert_eq!((&rows[1]["state"], &rows[1]["activeConnections"]), (&json!("InService"), &json!(40)));
}

#[test]
fn every_state_has_a_word_and_says_the_worst() {
    let drain = |stage, counted| DrainView {
        stage,
        elapsed: Duration::from_millis(8_900),
        timeout: Duration::from_secs(300),
        counted,
    };
    let drains = Some(drain(Stage::Draining, Some((80, 12))));
    let drained = Some(drain(Stage::Drained, Some((80, 0))));
    let late = Some(drain(Stage::TimedOut { left: 3 }, Some((80, 2))));
    let uncounted = Some(drain(Stage::Draining, None));
    let (up, down, failure) = (Some(Verdict::Up), Some(Verdict::Down), Some("no answer"));
    for (state, verdict, failure, drain, word, health, message) in [
        (State::InService, up, None, None, "InService", "Healthy", ""),
        (State::InService, None, None, None, "InService", "NotChecked", ""),
        (State::SlowStart { percent: 5 }, up, None, None, "SlowStart", "Healthy", ""),
        (
            State::Panic,
            down,
            failure,
            None,
            "Unhealthy",
            "Unhealthy",
            "no answer; in service because too many fail",
        ),
        (State::ZeroWeight, up, None, None, "Quiesced", "Healthy", ""),
        (State::Waiting, Some(Verdict::Unknown), None, None, "WaitingForFirstCheck", "Unknown", ""),
        (State::Draining, up, None, drains, "Draining", "Healthy", ""),
        (State::Draining, up, None, uncounted, "Draining", "Healthy", ""),
        (State::Draining, up, None, drained, "Drained", "Healthy", ""),
        (State::Draining, up, None, late, "Draining", "Healthy", "its time is over"),
        (State::Quiesced, down, failure, None, "Unhealthy", "Unhealthy", "no answer"),
        (State::Removed, down, failure, None, "Unhealthy", "Unhealthy", "no answer; removed"),
        (State::Maintenance, up, None, None, "Maintenance", "Healthy", ""),
    ] {
        let mut service = views::service("web", views::tcp(80), &[("blue", 12)]);
        let blue = &mut service.destinations[0];
        (blue.state, blue.verdict) = (state, verdict);
        (blue.failure, blue.drain) = (failure.map(Arc::from), drain.map(Box::new));
        let rows = real_servers(vec![service], &Counted::new());
        let row = [&rows[0]["state"], &rows[0]["health"], &rows[0]["message"]];
        assert_eq!(row, [word, health, message], "{state:?}");
        let counted = drain.and_then(|drain| drain.counted).map(|(at_start, remaining)| {
            json!({"remaining": remaining, "atStart": at_start, "elapsedSeconds": 8, "timeoutSeconds": 300})
        });
        assert_eq!(rows[0]["drain"], json!(counted));
    }
}

#[test]
fn the_kernel_tells_the_weight_and_without_it_the_driver_does() {
    let key = views::tcp(80);
    let service = || views::service("web", key, &[("blue", 12)]);
    let row = |service, counted: &Counted| {
        let row = real_servers(vec![service], counted).remove(0);
        [row["kernelWeight"].clone(), row["activeConnections"].clone()]
    };
    assert_eq!(row(service(), &counted(&[(key, 12, count(0, 1, 9))])), [json!(9), json!(1)]);
    assert_eq!(
        row(service(), &counted(&[(key, 13, count(0, 1, 9))])),
        [Value::Null, json!(0)],
        "it is not there"
    );
    assert_eq!(row(service(), &Counted::new()), [json!(2), Value::Null], "it cannot be read");
    let mut absent = service();
    (absent.in_kernel, absent.destinations[0].kernel_weight) = (false, None);
    assert_eq!(row(absent, &Counted::new()), [Value::Null, json!(0)], "there is no such service");
}

#[test]
fn a_sorry_server_comes_last_and_has_an_address_only() {
    let mut service = views::service("web", views::tcp(80), &[("blue", 12)]);
    service.sorry = Some((DestinationKey { address: views::address(1), port: 80 }, 1));
    let rows = real_servers(vec![service], &Counted::new());
    let sorry = &rows[1];
    assert_eq!((&sorry["state"], &sorry["health"]), (&json!("Sorry"), &json!("NotChecked")));
    assert_eq!((&sorry["name"], &sorry["address"]), (&json!(""), &json!("192.168.40.1")));
    assert_eq!((&sorry["weight"], &sorry["kernelWeight"]), (&json!(1), &json!(1)));
}

#[test]
fn a_mark_has_no_vip_and_what_the_driver_does_not_know_has_no_rows() {
    let board = Board::default();
    fixtures::put(&board, fixtures::firewall_mark("marked", 7));
    fixtures::put(&board, fixtures::refused("late", Reason::Conflict));
    let mut snapshot = snapshot(&board, Vec::new(), &Counted::new(), &Rates::default());
    let services = snapshot["virtualServices"].as_array_mut().expect("a list");
    assert_eq!(services[0]["conditions"][0]["reason"], "Conflict");
    assert_eq!(services[0]["conditions"][0]["message"], "because of Conflict");
    assert_eq!(services[0]["realServers"], json!([]));
    assert_eq!(
        (&services[0]["connectionsPerSecond"], &services[0]["activeConnections"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!((&services[1]["vip"], &services[1]["ports"]), (&json!(""), &json!(["FWM 7"])));
}
