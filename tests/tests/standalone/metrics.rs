//! What the kernel counts, as metrics and on the status page's stream.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use lvs_lab::eventually::eventually;
use lvs_lab::guest::{Job, on_host};
use lvs_lab::load::{self, Load};
use lvs_lab::objects::{manifest, real_server, selects, virtual_service};
use lvs_lab::topology::tutorial::{REAL_SERVERS, VIP};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::director::Director;

/// rs1 and rs2 behind the VIP, checked each second.
fn declared() -> Director {
    let director = Director::tutorial();
    let spec = json!({
        "vip": VIP, "ports": [{"port": 80}], "scheduler": "wrr", "realServerSelector": selects("web"),
        "healthCheck": {"http": {}, "intervalSeconds": 1},
    });
    let servers =
        [("rs1", REAL_SERVERS[0], 3), ("rs2", REAL_SERVERS[1], 1)].map(|(name, address, weight)| {
            real_server(name, "web", &json!({"address": address, "weight": weight}))
        });
    let [rs1, rs2] = servers;
    director.write("web.yaml", &manifest(&[virtual_service("web", &spec), rs1, rs2]));
    director.await_served("web");
    director
}

fn ask(director: &Director, count: u32) {
    let target = format!("http://{VIP}/").parse().unwrap();
    let load = Load { target, rate: 20.0, count, timeout: Duration::from_secs(20) };
    let report = director.network["client"].clone().within(|| load::run(&load)).unwrap().unwrap();
    assert_eq!(report.answered(), count, "{report:?}");
}

/// The value of a sample, by name and labels.
fn sample(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?.parse().ok()
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn traffic_and_checks_are_counted_to_the_liking_of_promtool_and_series_go_away_with_their_objects() {
    let director = declared();
    ask(&director, 40);
    let service = format!(r#"namespace="default",virtual_service="web",service="{VIP}:80/TCP""#);
    let of = |name: &str| {
        format!(r#"namespace="default",virtual_service="web",real_server="{name}",service="{VIP}:80/TCP""#)
    };
    // The kernel adds up every 2 s.
    let metrics = eventually("40 connections are counted", || {
        let (_, metrics) = director.get("/metrics").ok_or("no answer")?;
        match sample(&metrics, &format!("lvs_service_connections_total{{{service}}}")) {
            Some(count) if count >= 40.0 => Ok(metrics),
            other => Err(format!("{other:?}")),
        }
    });
    for (name, weight, connections) in [("rs1", 3.0, 30.0), ("rs2", 1.0, 10.0)] {
        let value = |metric: &str| sample(&metrics, &format!("lvs_destination_{metric}{{{}}}", of(name)));
        assert_eq!(value("connections_total"), Some(connections), "{metrics}");
        assert_eq!((value("weight"), value("declared_weight")), (Some(weight), Some(weight)));
        assert!(
            value("bytes_total") > Some(40.0 * connections) && value("packets_total") > Some(connections)
        );
        let healthy = format!(r#"lvs_real_server_healthy{{namespace="default",real_server="{name}"}}"#);
        assert_eq!(sample(&metrics, &healthy), Some(1.0));
        let passed = format!(
            r#"lvs_checks_total{{namespace="default",virtual_service="web",real_server="{name}",result="ok"}}"#
        );
        assert!(sample(&metrics, &passed) > Some(0.0), "{metrics}");
    }
    let checks = r#"lvs_check_duration_seconds_count{namespace="default",virtual_service="web"}"#;
    assert!(sample(&metrics, checks) >= Some(2.0), "{metrics}");
    promtool(&metrics);

    director.remove("web.yaml");
    eventually("the series are gone", || {
        let (_, metrics) = director.get("/metrics").ok_or("no answer")?;
        if metrics.contains("virtual_service=") || metrics.contains("real_server=") {
            Err(metrics)
        } else {
            Ok(())
        }
    });
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn an_agent_without_processor_time_says_how_many_checks_it_left_out_and_fails_nobody_for_it() {
    let mut director = declared();
    let agent = director.take_agent();
    let (left_out, writes) = (director.metric("lvs_checks_left_out_total"), director.writes());
    agent.signal(Signal::STOP).unwrap();
    thread::sleep(Duration::from_secs(5));
    agent.signal(Signal::CONT).unwrap();
    eventually("three turns of each of two checks", || {
        match director.metric("lvs_checks_left_out_total") - left_out {
            6.. => Ok(()),
            fewer => Err(format!("{fewer}; log:\n{}", director.logged())),
        }
    });
    eventually("both began more than a second late", || {
        let (_, metrics) = director.get("/metrics").ok_or("no answer")?;
        let all = sample(&metrics, "lvs_check_start_delay_seconds_count");
        let in_time = sample(&metrics, r#"lvs_check_start_delay_seconds_bucket{le="1.0"}"#);
        if all.zip(in_time).is_some_and(|(all, in_time)| all >= in_time + 2.0) {
            Ok(())
        } else {
            Err(metrics)
        }
    });
    let log = director.logged();
    assert!(log.contains("because this host is too busy"), "{log}");
    assert_eq!(director.writes(), writes, "{log}");
    drop(agent);
    director.finish();
}

/// Prometheus' own word on names, help texts and form. It runs on the host: here it would take seconds to start.
fn promtool(metrics: &str) {
    let job = Job { input: metrics.to_owned(), ..Job::new(["promtool", "check", "metrics"]) };
    let done = on_host(&job, Duration::from_mins(1)).unwrap();
    let words = String::from_utf8_lossy(&done.error);
    assert!(done.code == 0 && words.is_empty(), "promtool: {words}\n{metrics}");
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn the_status_page_is_told_each_second_what_the_kernel_does() {
    let director = declared();
    let (status, page) = director.get("/").unwrap();
    assert!(status == 200 && page.starts_with("<!doctype html>"));
    ask(&director, 8);
    let row = |snapshot: &Value, number: usize| snapshot["virtualServices"][0]["realServers"][number].clone();
    let snapshots = director.host().within(|| stream("/events?filter=web", 5)).unwrap().unwrap();
    let last = snapshots.last().unwrap();
    assert_eq!(last["total"], json!({"virtualServices": 1, "realServers": 2, "shown": 1, "matching": 1}));
    for (number, (name, weight)) in [("rs1", 3), ("rs2", 1)].into_iter().enumerate() {
        let row = row(last, number);
        assert_eq!(
            [&row["name"], &row["state"], &row["health"], &row["kernelWeight"]],
            [&json!(name), &json!("InService"), &json!("Healthy"), &json!(weight)]
        );
        assert!(row["connectionsPerSecond"].is_number() && row["inactiveConnections"].is_number(), "{row}");
    }
    let no_match = director.host().within(|| stream("/events?filter=nothing", 1)).unwrap().unwrap();
    assert_eq!(no_match[0]["total"]["shown"], 0);
    director.finish();
}

/// The first snapshots of a stream.
fn stream(path: &str, count: usize) -> io::Result<Vec<Value>> {
    let mut stream = TcpStream::connect(crate::director::HTTP)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut snapshots = Vec::new();
    for line in BufReader::new(stream).lines() {
        if let Some(data) = line?.strip_prefix("data: ") {
            snapshots.push(serde_json::from_str(data).map_err(io::Error::other)?);
        }
        if snapshots.len() == count {
            break;
        }
    }
    Ok(snapshots)
}
