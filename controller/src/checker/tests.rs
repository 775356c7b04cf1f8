use std::net::TcpListener;
use std::sync::mpsc;

use lvs_checks::{Prepared, Target};
use lvs_crds::{CheckKind, HealthCheck, HttpCheck, HttpHeader, RealServerSpec};
use lvs_plan::health::Terms;
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A TCP check of a port of this host, each second.
fn probe(port: u16) -> Probe {
    let second = Duration::from_secs(1);
    let terms = Terms {
        kind: CheckKind::Tcp,
        interval: second,
        timeout: second,
        fall: 1,
        rise: 1,
        source: None,
        mark: None,
    };
    Probe { address: [127, 0, 0, 1].into(), port: Some(port), terms: terms.into() }
}

#[tokio::test]
async fn what_ended_and_how_is_counted_for_each_probe_while_it_is_watched() {
    let port = |listener: &TcpListener| listener.local_addr().expect("it is bound").port();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let good = probe(port(&listener));
    let bad = probe(port(&TcpListener::bind("127.0.0.1:0").expect("a port")));
    let (triggers, news) = mpsc::channel();
    let (orders, counts) = start(triggers, Metrics::default()).expect("a thread");
    orders.send([&good, &bad].map(|probe| Order::Watch(probe.clone())).to_vec());
    // Both are told of once they were checked.
    let told = tokio::task::spawn_blocking(move || {
        let of = |trigger| match trigger {
            Trigger::Health(news) => news,
            other => panic!("only news, not {other:?}"),
        };
        let told = news.iter().flat_map(of).take(2).count();
        (told, news)
    });
    let (told, _news) = told.await.expect("it does not panic");
    assert_eq!(told, 2);

    let limit = Duration::from_secs(5);
    let tallies = counts.tallies(limit).await.expect("it answers");
    let (up, down) = (tallies.of(&good).expect("watched"), tallies.of(&bad).expect("watched"));
    assert!(tallies.is_new(up) && up.results().successes > 0 && up.times().ranges.iter().sum::<u64>() > 0);
    let refused = lvs_checks::REASONS.iter().position(|reason| *reason == "refused").expect("a reason");
    assert!(down.results().successes == 0 && down.results().failures[refused] > 0);

    orders.send(vec![Order::Forget(bad.clone())]);
    let tallies = counts.tallies(limit).await.expect("it answers");
    assert!(tallies.of(&bad).is_none() && !tallies.is_new(tallies.of(&good).expect("watched")));
    drop(orders);
    while counts.tallies(limit).await.is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Headers that frame the message, in mixed case: neither the rules nor the checker let them through.
fn framing_headers() -> impl Strategy<Value = String> {
    "(?i-u:connection|content-length|transfer-encoding)"
}

proptest! {
    /// What an API server lets through and the checker then cannot send would never be checked.
    #[test]
    fn every_request_that_the_rules_allow_can_be_made(
        path in "/[!-~]{0,16}",
        name in prop_oneof!["[0-9A-Za-z!#$%&*+.^_|~-]{1,12}", framing_headers()],
        value in "[ -~]{0,24}",
    ) {
        let headers = vec![HttpHeader { name, value }];
        let request = HttpCheck { path, headers, ..HttpCheck::default() };
        let http = Some(Box::new(request.clone()));
        let check = HealthCheck { http, ..HealthCheck::default() };
        let spec = json!({"address": "10.0.0.1", "healthCheck": check});
        let spec: RealServerSpec = serde_json::from_value(spec).expect("a real server");
        let is_allowed = lvs_plan::validate::real_server(&spec).is_ok();
        let target = Target { address: [127, 0, 0, 1].into(), port: Some(80), source: None, mark: None };
        let prepared = Prepared::new(&CheckKind::Http(request), &target);
        prop_assert!(!is_allowed || prepared.is_ok(), "{:?}", prepared.err());
    }

    #[test]
    fn every_question_that_the_rules_allow_can_be_asked(
        name in "[a-z0-9_.-]{1,12}",
        record in prop::sample::select(vec!["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"]),
        answer in prop_oneof![
            "[!-~]{1,12}", "[a-z./*-]{1,70}", "[0-9.]{7,9}", "[0-9a-f:.]{2,12}", "\\PC{1,5}",
        ],
    ) {
        let dns = json!({"name": name, "type": record, "expectedAnswer": answer});
        let spec = json!({"address": "10.0.0.1", "healthCheck": {"dns": dns}});
        let spec: RealServerSpec = serde_json::from_value(spec).expect("a real server");
        let is_allowed = lvs_plan::validate::real_server(&spec).is_ok();
        let target = Target { address: [127, 0, 0, 1].into(), port: Some(53), source: None, mark: None };
        let check = serde_json::from_value(dns).expect("a DNS check");
        let prepared = Prepared::new(&CheckKind::Dns(check), &target);
        prop_assert!(!is_allowed || prepared.is_ok(), "{:?}", prepared.err());
    }
}
