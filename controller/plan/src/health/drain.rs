//! How far a real server has drained: whether clients still hold connections through this Director.

use std::time::{Duration, Instant};

/// How often connections are counted while some are left.
const LOOK: Duration = Duration::from_secs(1);
/// The same once the time is over.
const LATE_LOOK: Duration = Duration::from_secs(10);

/// A real server that is declared to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    since: Instant,
    looked: Option<Instant>,
    at_start: Option<u32>,
    left: Option<u32>,
    stage: Stage,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Connections are left, or have not been counted yet.
    Draining,
    /// No connection is left.
    Drained,
    /// Its time is over, and so many connections were left then.
    TimedOut {
        /// Active connections.
        left: u32,
    },
}

impl Drain {
    /// Its weight has been 0 since now.
    pub fn begin(now: Instant) -> Self {
        Self { since: now, looked: None, at_start: None, left: None, stage: Stage::Draining }
    }

    /// How far it is.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Since when it drains.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Active connections at the first count, and at the last.
    pub fn counted(&self) -> Option<(u32, u32)> {
        Some((self.at_start?, self.left?))
    }

    /// When connections are to be counted next.
    ///
    /// Not before a second has gone, so that packets which were on their way when the weight became 0 have been counted.
    /// Also once none is left: a client may come back by its persistence template.
    pub fn next(&self) -> Instant {
        let last = self.looked.unwrap_or(self.since);
        match self.stage {
            Stage::Draining => last + LOOK,
            Stage::TimedOut { .. } | Stage::Drained => last + LATE_LOOK,
        }
    }

    /// They could not be counted: it is tried again when the next look is due.
    pub fn postpone(&mut self, now: Instant) {
        self.looked = Some(now);
    }

    /// Takes in the number of active connections, of all services together, on this Director. Says whether the stage
    /// is another one now.
    pub fn count(&mut self, active: u32, timeout: Duration, now: Instant) -> bool {
        let before = self.stage;
        self.looked = Some(now);
        self.at_start.get_or_insert(active);
        self.left = Some(active);
        self.stage = match before {
            _ if active == 0 => Stage::Drained,
            Stage::Draining | Stage::Drained if self.since + timeout <= now => {
                Stage::TimedOut { left: active }
            }
            Stage::Draining | Stage::Drained => Stage::Draining,
            stage @ Stage::TimedOut { .. } => stage,
        };
        self.stage != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(300);

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_drained_when_no_connection_is_left_and_no_longer_when_a_client_comes_back() {
        let start = Instant::now();
        let mut drain = Drain::begin(start);
        assert_eq!(drain.next(), after(start, 1));
        assert!(!drain.count(80, TIMEOUT, after(start, 1)));
        assert!(!drain.count(12, TIMEOUT, after(start, 2)));
        assert_eq!((drain.counted(), drain.stage()), (Some((80, 12)), Stage::Draining));
        assert!(drain.count(0, TIMEOUT, after(start, 3)));
        assert_eq!((drain.stage(), drain.next()), (Stage::Drained, after(start, 13)));
        assert!(drain.count(1, TIMEOUT, after(start, 13)));
        assert_eq!(drain.stage(), Stage::Draining);
    }

    #[test]
    fn its_time_is_over_with_as_many_as_were_left_then() {
        let start = Instant::now();
        let mut drain = Drain::begin(start);
        assert!(!drain.count(5, TIMEOUT, after(start, 299)));
        assert!(drain.count(4, TIMEOUT, after(start, 300)));
        assert_eq!(drain.stage(), Stage::TimedOut { left: 4 });
        assert!(!drain.count(3, TIMEOUT, after(start, 310)), "what was left then stays said");
        assert_eq!(drain.next(), after(start, 320));
        assert!(drain.count(0, TIMEOUT, after(start, 320)));
        assert_eq!(drain.stage(), Stage::Drained);
    }

    #[test]
    fn a_timeout_of_0_is_over_at_the_first_look() {
        let start = Instant::now();
        let mut drain = Drain::begin(start);
        assert!(drain.count(1, Duration::ZERO, after(start, 1)));
        assert_eq!(drain.stage(), Stage::TimedOut { left: 1 });
    }
}
