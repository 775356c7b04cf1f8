//! The checker's timers, set in such a way that thousands of timeouts beside them are cheap.

use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// How far ahead the anchor is set: less than the shortest timeout of a check, which is a second.
const AHEAD: Duration = Duration::from_millis(900);
/// With so little left it is set anew. More than any time between two looks that matters, less than `AHEAD`.
const LITTLE: Duration = Duration::from_millis(300);

pub(super) struct Clock {
    /// Ends when checks are due.
    pub(super) alarm: Pin<Box<Sleep>>,
    /// A timer that ends before the timeout of any check that begins now. While there is none that does, tokio
    /// wakes its driver for every timeout that is set (`runtime/time/mod.rs`, `reregister`): a write to its event
    /// descriptor for each check.
    anchor: Pin<Box<Sleep>>,
}

impl Clock {
    pub(super) fn new() -> Self {
        let sleep = || Box::pin(tokio::time::sleep(Duration::ZERO));
        Self { alarm: sleep(), anchor: sleep() }
    }

    /// Sets the alarm, and keeps the anchor ahead.
    pub(super) fn wake_at(&mut self, at: Instant) {
        let at = tokio::time::Instant::from_std(at);
        if self.alarm.deadline() != at {
            self.alarm.as_mut().reset(at);
        }
        let now = tokio::time::Instant::now();
        if self.anchor.deadline() < now + LITTLE {
            self.anchor.as_mut().reset(now + AHEAD);
        }
    }
}
