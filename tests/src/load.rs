//! A client that asks at a steady rate and counts who answered: how tests and the demo show that requests go on.
//!
//! It is an open loop: a request starts when its time has come, whatever became of those before it. So a stalled server
//! makes failures and not silence.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::runtime;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::http;

/// What to ask for, and how often.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where to.
    pub target: Target,
    /// Requests a second, more than 0.
    pub rate: f64,
    /// How many requests.
    pub count: u32,
    /// How long a request may take, from the connection to the end of the page.
    pub timeout: Duration,
}

/// An `http://ADDRESS[:PORT]/PATH` with an address, not a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    address: SocketAddr,
    path: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Requests that were started.
    pub sent: u32,
    /// Good answers by the server's name, which is the first word of its page.
    pub answers: BTreeMap<String, u32>,
    /// Client addresses that servers saw, which is the last word of their pages.
    pub seen_as: BTreeMap<String, u32>,
    /// Requests without a good answer, in the order they were started.
    pub failures: Vec<Failure>,
    /// The longest time between two good answers, in milliseconds; from the start to the first and from the last to the
    /// end count too.
    pub longest_gap_ms: u64,
}

/// A request without a good answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// When it was started, in milliseconds from the first one.
    pub at_ms: u64,
    /// Why.
    pub reason: String,
}

impl Report {
    /// Good answers.
    pub fn answered(&self) -> u32 {
        self.answers.values().sum()
    }
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> Result<Self> {
        let rest =
            url.strip_prefix("http://").with_context(|| format!("{url} does not start with http://"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address = authority
            .parse()
            .or_else(|_| authority.trim_matches(['[', ']']).parse().map(|ip| SocketAddr::new(ip, 80)))
            .with_context(|| format!("{authority} is not an address with or without a port"))?;
        Ok(Self { address, path: format!("/{path}") })
    }
}

struct Answer {
    started: Duration,
    ended: Duration,
    page: Result<String>,
}

/// Asks from the calling thread's network namespace until all requests have ended.
pub fn run(load: &Load) -> Result<Report> {
    run_until(load, || false)
}

/// The same, but no request starts any more once it is `enough`.
pub fn run_until(load: &Load, enough: impl Fn() -> bool) -> Result<Report> {
    ensure!(load.rate > 0.0 && load.rate.is_finite(), "a rate of {} makes no sense", load.rate);
    let start = Instant::now();
    let asking = async {
        let mut requests = JoinSet::new();
        for number in 0..load.count {
            let due = Duration::from_secs_f64(f64::from(number) / load.rate);
            sleep(due.saturating_sub(start.elapsed())).await;
            if enough() {
                break;
            }
            let load = load.clone();
            requests.spawn(async move {
                let started = start.elapsed();
                let page = ask(&load.target, load.timeout).await;
                Answer { started, ended: start.elapsed(), page }
            });
        }
        requests.join_all().await
    };
    // All of them on this thread, for others may be in other namespaces.
    let answers = runtime::Builder::new_current_thread().enable_all().build()?.block_on(asking);
    Ok(report(answers, start.elapsed()))
}

async fn ask(target: &Target, timeout: Duration) -> Result<String> {
    let (status, page) = http::fetch(target.address, &target.path, timeout).await?;
    ensure!(status == 200, "the server answered: {status}");
    Ok(page)
}

fn report(mut answers: Vec<Answer>, end: Duration) -> Report {
    let mut report = Report { sent: answers.len() as u32, ..Report::default() };
    answers.sort_by_key(|answer| answer.started);
    let mut good: Vec<Duration> = Vec::new();
    for answer in answers {
        match answer.page {
            Ok(page) => {
                let mut words = page.split_whitespace();
                *report.answers.entry(words.next().unwrap_or("?").to_owned()).or_default() += 1;
                *report.seen_as.entry(words.next_back().unwrap_or("?").to_owned()).or_default() += 1;
                good.push(answer.ended);
            }
            Err(error) => {
                let at_ms = answer.started.as_millis() as u64;
                report.failures.push(Failure { at_ms, reason: format!("{error:#}") });
            }
        }
    }
    good.sort();
    let mut last = Duration::ZERO;
    for time in good.into_iter().chain([end]) {
        report.longest_gap_ms = report.longest_gap_ms.max(time.saturating_sub(last).as_millis() as u64);
        last = time;
    }
    report
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use anyhow::anyhow;

    use super::*;

    #[test]
    fn urls_with_addresses_of_both_families_are_understood() {
        for (url, address, path) in [
            ("http://172.16.21.10/", "172.16.21.10:80", "/"),
            ("http://172.16.21.10", "172.16.21.10:80", "/"),
            ("http://172.16.21.10:8080/a/b", "172.16.21.10:8080", "/a/b"),
            ("http://[fd00::1]/", "[fd00::1]:80", "/"),
            ("http://[fd00::1]:81/x", "[fd00::1]:81", "/x"),
        ] {
            let expected = Target { address: address.parse().unwrap(), path: path.to_owned() };
            assert_eq!(url.parse::<Target>().unwrap(), expected, "{url}");
        }
        for bad in ["172.16.21.10", "https://172.16.21.10/", "http://example.org/", "http://"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_are_counted_by_server_and_the_longest_gap_is_found() {
        let answer = |started, ended, page: Result<&str>| Answer {
            started: Duration::from_millis(started),
            ended: Duration::from_millis(ended),
            page: page.map(str::to_owned),
        };
        let answers = vec![
            answer(900, 910, Ok("rs2 saw 172.16.0.50\n")),
            answer(0, 5, Ok("rs1 saw 172.16.0.50\n")),
            answer(100, 600, Err(anyhow!("timed out"))),
        ];
        let report = report(answers, Duration::from_secs(1));
        assert_eq!(report.sent, 3);
        assert_eq!(report.answers, [("rs1".to_owned(), 1), ("rs2".to_owned(), 1)].into());
        assert_eq!(report.seen_as, [("172.16.0.50".to_owned(), 2)].into());
        assert_eq!(report.failures.iter().map(|failure| failure.at_ms).collect::<Vec<_>>(), [100]);
        assert_eq!(report.longest_gap_ms, 905);
    }

    #[test]
    fn requests_end_when_it_is_enough() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
        let load = Load { target, rate: 1000.0, count: 100, timeout: Duration::from_millis(1) };
        let asked = std::cell::Cell::new(0);
        let enough = || asked.replace(asked.get() + 1) == 3;
        assert_eq!(run_until(&load, enough).unwrap().sent, 3);
    }

    #[test]
    fn a_server_that_never_answers_makes_every_request_fail_and_none_wait_for_another() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
        let load = Load { target, rate: 100.0, count: 10, timeout: Duration::from_millis(300) };
        let start = Instant::now();
        let report = run(&load).unwrap();
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!((report.sent, report.answered(), report.failures.len()), (10, 0, 10), "{report:?}");
    }
}
