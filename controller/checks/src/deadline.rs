//! The one timeout of a check, kept while it waits for one thing after another.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::failure::{Awaited, Failure, Peer};

/// When a check has to be over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    started: Instant,
    at: Instant,
    timeout: Duration,
    peer: Peer,
}

/// Longer timeouts are cut to this, a day: it keeps the sum with a clock's reading in range.
const LONGEST: Duration = Duration::from_secs(86_400);

impl Deadline {
    pub(crate) fn after(timeout: Duration, peer: Peer) -> Self {
        let started = Instant::now();
        let timeout = timeout.min(LONGEST);
        Self { started, at: started + timeout, timeout, peer }
    }

    /// For how long the check has been running.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The same check with less time, for a part of it.
    pub(crate) fn at_most(self, timeout: Duration) -> Self {
        Self { at: self.at.min(self.started + timeout), timeout: self.timeout.min(timeout), ..self }
    }

    /// What `work` gives, or that the awaited did not come in time.
    pub(crate) async fn within<T>(
        &self,
        awaited: Awaited,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        timeout_at(self.at, work)
            .await
            .unwrap_or_else(|_| Err(Failure::Timeout { awaited, peer: self.peer, timeout: self.timeout }))
    }
}
