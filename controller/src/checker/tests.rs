use std::net::TcpListener;
use std::sync::mpsc;

use lvs_crds::CheckKind;
use lvs_plan::health::Terms;

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
    let (orders, counts) = start(triggers).expect("a thread");
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
