//! The client's requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;

use super::network::VIP;
use crate::load::{self, Load, Report, Target};
use crate::topology::Host;

/// Requests a second.
const RATE: u32 = 20;
/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(3);

fn target() -> Target {
    format!("http://{VIP}/").parse().expect("the VIP makes a URL")
}

/// Sends `count` requests, each on a connection of its own.
pub fn ask(client: &Host, count: u32) -> Result<Report> {
    client.within(|| load::run(&Load { target: target(), rate: f64::from(RATE), count, timeout: TIMEOUT }))?
}

/// Requests that go on until they are stopped.
pub struct Stream {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Count>>,
}

/// What a [`Stream`] saw.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// Requests sent.
    pub sent: u32,
    /// Why some were not answered.
    pub failures: Vec<String>,
}

impl Stream {
    /// Starts it.
    pub fn start(client: &Host) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            move || {
                let mut count = Count::default();
                while !stop.load(Ordering::Relaxed) {
                    let report = ask(&client, RATE)?;
                    count.sent += report.sent;
                    count.failures.extend(report.failures.into_iter().map(|failure| failure.reason));
                }
                Ok(count)
            }
        });
        Self { stop, thread }
    }

    /// Stops it and says what it saw.
    pub fn stop(self) -> Result<Count> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| anyhow::bail!("the client panicked"))
    }
}
