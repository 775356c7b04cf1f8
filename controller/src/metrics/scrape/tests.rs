use lvs_checks::REASONS;

use super::*;
use crate::checker::tally::Tally;
use crate::counters::fake::FakeCounters;
use crate::metrics::checks::Outcome;
use crate::metrics::fixtures::{checked, probe, scrape};
use crate::view::fixtures::{FakeDriver, service, tcp};

/// The checker's side: what it would tell.
#[derive(Default)]
struct Checker(HashMap<lvs_plan::health::Probe, Arc<Tally>>, u32);

impl Checker {
    fn watch(&mut self, number: u8) {
        self.0.insert(probe(number, 80), Arc::new(Tally::new(self.1)));
    }

    fn check(&self, number: u8, failures: &[Option<&'static str>]) {
        for failure in failures {
            self.0[&probe(number, 80)].note(Duration::from_millis(1), *failure);
        }
    }

    fn tell(&mut self) -> Tallies {
        let tallies = Tallies { asked: self.1, of: self.0.clone() };
        self.1 += 1;
        tallies
    }
}

/// What a scrape says of a virtual service: how many checks, and of each real server successes and failures.
fn counted(scrape: &Scrape, name: &str) -> (u64, Vec<(String, u64, u64)>) {
    let Some(counted) = scrape.checks.iter().find(|it| &*it.virtual_service.name == name) else {
        return (0, Vec::new());
    };
    let mut results: Vec<(String, u64, u64)> = Vec::new();
    for Outcome { real_server, failure, count } in &counted.results {
        match (failure, results.last_mut()) {
            (None, _) => results.push(of(&real_server.name, *count, 0)),
            (Some(_), Some((_, _, failures))) => *failures += count,
            (Some(_), None) => panic!("the successes come first"),
        }
    }
    (counted.times.ranges.iter().sum(), results)
}

fn of(name: &str, successes: u64, failures: u64) -> (String, u64, u64) {
    (name.to_owned(), successes, failures)
}

#[test]
fn what_was_checked_is_counted_for_each_virtual_service_and_goes_on_as_long_as_it_lives() {
    let (mut checker, mut checks, counters) =
        (Checker::default(), Checks::default(), FakeCounters::default());
    let web = |real_servers: &[(&str, u8)]| checked(service("web", tcp(80), real_servers));
    let api = |real_servers: &[(&str, u8)]| checked(service("api", tcp(80), real_servers));
    let (blue, green) = (("blue", 12), ("green", 13));

    checker.watch(12);
    checker.watch(13);
    checker.check(12, &[None, None, Some(REASONS[0])]);
    checker.check(13, &[None]);
    let first = scrape(vec![web(&[blue, green])], &checker.tell(), &mut checks, &counters);
    assert_eq!(counted(&first, "web"), (4, vec![of("blue", 2, 1), of("green", 1, 0)]));

    // Another virtual service takes a real server that is checked already: only what follows is its own.
    checker.check(12, &[None]);
    let both = || vec![web(&[blue, green]), api(&[blue])];
    let second = scrape(both(), &checker.tell(), &mut checks, &counters);
    assert_eq!(counted(&second, "web"), (5, vec![of("blue", 3, 1), of("green", 1, 0)]));
    assert_eq!(counted(&second, "api"), (0, vec![of("blue", 0, 0)]), "nothing yet");
    checker.check(12, &[Some(REASONS[1])]);
    let third = scrape(both(), &checker.tell(), &mut checks, &counters);
    assert_eq!(counted(&third, "web"), (6, vec![of("blue", 3, 2), of("green", 1, 0)]));
    assert_eq!(counted(&third, "api"), (1, vec![of("blue", 0, 1)]));

    // The check of blue gets new settings; green leaves. Nothing goes down.
    checker.watch(12);
    checker.check(12, &[None]);
    let fourth = scrape(vec![web(&[blue]), api(&[blue])], &checker.tell(), &mut checks, &counters);
    assert_eq!(counted(&fourth, "web"), (7, vec![of("blue", 4, 2)]));
    assert_eq!(counted(&fourth, "api"), (2, vec![of("blue", 1, 1)]));

    // For a while it is not checked.
    let unchecked = scrape(vec![service("web", tcp(80), &[blue])], &checker.tell(), &mut checks, &counters);
    assert_eq!(counted(&unchecked, "web"), (7, vec![]));
    let again = scrape(vec![web(&[blue])], &checker.tell(), &mut checks, &counters);
    assert_eq!(counted(&again, "web"), (7, vec![of("blue", 4, 2)]));

    // An object that comes again is another one.
    scrape(Vec::new(), &checker.tell(), &mut checks, &counters);
    checker.check(12, &[None]);
    let anew = scrape(vec![web(&[blue])], &checker.tell(), &mut checks, &counters);
    assert_eq!(counted(&anew, "web"), (0, vec![of("blue", 0, 0)]));
}

#[test]
fn a_probe_that_several_services_share_is_counted_once_for_their_virtual_service() {
    let (mut checker, mut checks, counters) =
        (Checker::default(), Checks::default(), FakeCounters::default());
    checker.watch(12);
    checker.check(12, &[None, None]);
    let http = checked(service("web", tcp(80), &[("blue", 12)]));
    let mut https = service("web", tcp(443), &[("blue", 12)]);
    https.destinations[0].probe = http.destinations[0].probe.clone();
    let scrape = scrape(vec![https, http], &checker.tell(), &mut checks, &counters);
    assert_eq!(counted(&scrape, "web"), (2, vec![of("blue", 2, 0)]));
}

#[test]
fn a_real_server_is_healthy_where_a_check_holds_and_none_fails() {
    let verdicts = |verdicts: &[Option<Verdict>]| {
        let services = (80..).zip(verdicts).map(|(port, verdict)| {
            let mut service = service("web", tcp(port), &[("blue", 12)]);
            service.destinations[0].verdict = *verdict;
            service
        });
        healthy(&View { services: services.collect() }).first().map(|(_, healthy)| *healthy)
    };
    let (up, down, unknown) = (Some(Verdict::Up), Some(Verdict::Down), Some(Verdict::Unknown));
    assert_eq!(verdicts(&[None]), None);
    assert_eq!(verdicts(&[unknown, None]), None);
    assert_eq!(verdicts(&[unknown, up]), Some(true));
    assert_eq!(verdicts(&[up, down, up, unknown]), Some(false));
}

#[tokio::test]
async fn the_kernel_is_read_once_a_second_at_most_and_what_was_read_is_not_kept() {
    let counters = FakeCounters::default();
    let mut foreign = service("late", tcp(81), &[("blue", 12)]);
    foreign.in_kernel = false;
    let view = View { services: vec![service("web", tcp(80), &[("blue", 12)]), foreign] };
    let (_driver, triggers) = FakeDriver::start(view);
    let scraper = Arc::new(Scraper::new(triggers, CheckCounts::default(), counters.counters()));
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let scraper = Arc::clone(&scraper);
            tokio::spawn(async move { scraper.scrape().await.len() })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.expect("it does not panic"), 2);
    }
    assert_eq!(counters.reads(), 1, "and only what is ours");
    tokio::time::sleep(FRESH + Duration::from_millis(200)).await;
    assert!(lock(&scraper.latest).is_none());
    scraper.scrape().await;
    assert_eq!(counters.reads(), 2);
}
