//! Requests from a client through the VIP, and who answered.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::stage::{Background, Stage};
use super::tutorial::{NAMES, VIP};
use crate::load::Report;

/// The real servers that answered, in order.
pub(super) struct Answers {
    /// What was printed, a page each.
    pub(super) pages: String,
    /// Positions in [`NAMES`].
    pub(super) servers: Vec<usize>,
}

impl Answers {
    /// Whether no real server answered twice in a row.
    pub(super) fn alternate(&self) -> bool {
        self.servers.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// How many each real server answered.
    pub(super) fn counts(&self) -> [usize; 2] {
        [0, 1].map(|server| self.servers.iter().filter(|answered| **answered == server).count())
    }

    /// Whether each page says that it was asked for from this address.
    pub(super) fn were_asked_by(&self, address: &str) -> bool {
        self.pages.lines().filter(|page| !page.is_empty()).all(|page| page.contains(address))
    }
}

/// Asks for the page that often, each time on a new connection.
pub(super) fn ask(stage: &Stage, client: &str, count: usize) -> Result<Answers> {
    // One program, for an emulated guest starts few a second. The servers close each connection.
    let command = format!("curl -sS -m 5 $(yes http://{VIP}/ | head -n {count})");
    let pages = stage.on(client, &command)?;
    let servers = pages.lines().filter_map(answered_by).collect();
    Ok(Answers { pages, servers })
}

/// Which real server's page this is: `rs1 saw 172.16.0.50`.
pub(super) fn answered_by(page: &str) -> Option<usize> {
    let name = page.split_whitespace().next()?;
    NAMES.iter().position(|server| *server == name)
}

/// Requests a second of a [`Steady`] client.
pub(super) const RATE: u32 = 25;

/// The file in the guest that ends a [`Steady`] client.
const ENOUGH: &str = "/run/enough-requests";
/// Seconds after which a [`Steady`] client gives up waiting for the demo.
const AT_MOST: u32 = 180;

/// A client that asks at a steady rate, whatever becomes of its requests, until its report is wanted.
pub(super) struct Steady<'a> {
    stage: &'a Stage,
    host: &'a str,
    asking: Background,
}

impl<'a> Steady<'a> {
    /// Starts it.
    pub(super) fn start(stage: &'a Stage, host: &'a str) -> Self {
        let count = RATE * AT_MOST;
        let ask = format!("lab guest-client --rate {RATE} --count {count} --until {ENOUGH} http://{VIP}/");
        // What ended the client before this one must not end this one.
        let asking = stage.start_on(host, &format!("sh -c 'rm -f {ENOUGH}; exec {ask}'"));
        Self { stage, host, asking }
    }

    /// Whether it has asked for the last time.
    pub(super) fn has_ended(&self) -> bool {
        self.asking.has_ended()
    }

    /// Ends it and says what came of it.
    pub(super) fn report(self) -> Result<Report> {
        self.stage.quietly_on(self.host, &format!("touch {ENOUGH}"))?;
        let (_, said) = self.asking.wait()?;
        serde_json::from_str(&said).with_context(|| format!("the client said:\n{said}"))
    }
}

/// Of requests that failed, so many are named.
const SHOWN: usize = 3;

/// A report for people.
pub(super) fn told(report: &Report) -> String {
    let Report { sent, answers, seen_as: _, failures, longest_gap_ms } = report;
    let mut text = format!("{sent} requests, {RATE} a second:");
    for (server, count) in answers {
        let _ = write!(text, " {count} answered by {server},");
    }
    let _ = write!(text, " {} failed; at most {longest_gap_ms} ms between two answers", failures.len());
    for failure in failures.iter().take(SHOWN) {
        let _ = write!(text, "\n  {} ms: {}", failure.at_ms, failure.reason);
    }
    if failures.len() > SHOWN {
        let _ = write!(text, "\n  and {} more", failures.len() - SHOWN);
    }
    text
}
