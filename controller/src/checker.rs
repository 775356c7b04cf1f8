//! Runs the health checks, on a thread of their own, and tells the driver only of what changed.
//!
//! A real server is asked once for all services that use it. One task runs everything: the schedule says what is due,
//! the checks under way are futures of this task and end by their timeouts, and nothing of a check outlives it. So a
//! server that hangs delays nobody, and a probe that is forgotten leaves nothing behind.

mod clock;
mod descriptors;
mod lateness;
mod round;
pub mod tally;

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use lvs_plan::health::{Probe, Verdict};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::driver_thread::Trigger;
use crate::metrics::Metrics;

pub use descriptors::raise as raise_descriptors;
use round::Round;
use tally::Tallies;

/// What the driver wants checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// From now on.
    Watch(Probe),
    /// No longer.
    Forget(Probe),
}

/// What became known of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Which one.
    pub probe: Probe,
    /// What it says now.
    pub verdict: Verdict,
    /// The last failure in words; none while it is up.
    pub failure: Option<Arc<str>>,
}

/// Where the driver puts its orders. Without a checker behind it, as for `plan`, they go nowhere.
#[derive(Clone, Debug, Default)]
pub struct Orders(Option<UnboundedSender<Vec<Order>>>);

impl Orders {
    /// Orders for a test to read.
    #[cfg(test)]
    pub(crate) fn to_be_read() -> (Self, UnboundedReceiver<Vec<Order>>) {
        let (sender, orders) = unbounded_channel();
        (Self(Some(sender)), orders)
    }

    /// Hands over what changed.
    pub fn send(&self, orders: Vec<Order>) {
        if let (Some(sender), false) = (&self.0, orders.is_empty()) {
            // A checker that ended takes the process with it.
            let _ = sender.send(orders);
        }
    }
}

/// What the checker counts. Without a checker behind it, nothing.
#[derive(Clone, Debug, Default)]
pub struct CheckCounts(Option<UnboundedSender<oneshot::Sender<Tallies>>>);

impl CheckCounts {
    /// The tallies of all probes, if the checker answers within this time.
    pub async fn tallies(&self, limit: Duration) -> Option<Tallies> {
        let (answer, tallies) = oneshot::channel();
        self.0.as_ref()?.send(answer).ok()?;
        tokio::time::timeout(limit, tallies).await.ok()?.ok()
    }
}

/// Starts the checker; its news come as triggers. It ends when nobody can order anything any more.
///
/// # Errors
/// If the thread or its runtime cannot be started.
pub fn start(triggers: Sender<Trigger>, metrics: Metrics) -> std::io::Result<(Orders, CheckCounts)> {
    let (sender, orders) = unbounded_channel();
    let (asker, questions) = unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new()
        .name("checks".to_owned())
        .spawn(move || runtime.block_on(run(orders, questions, triggers, metrics)))?;
    Ok((Orders(Some(sender)), CheckCounts(Some(asker))))
}

async fn run(
    mut orders: UnboundedReceiver<Vec<Order>>,
    mut questions: UnboundedReceiver<oneshot::Sender<Tallies>>,
    triggers: Sender<Trigger>,
    metrics: Metrics,
) {
    let mut round = Round::new(Instant::now(), metrics);
    loop {
        let news = tokio::select! {
            // What is known comes before what is to be found out.
            biased;
            ordered = orders.recv() => match ordered {
                Some(ordered) => {
                    round.take_orders(ordered);
                    continue;
                }
                None => return,
            },
            Some(answer) = questions.recv() => {
                // Who asked may have gone.
                let _ = answer.send(round.tallies());
                continue;
            }
            news = round.news() => news,
        };
        if triggers.send(Trigger::Health(news)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
