//! What becomes of one destination.

use std::time::Instant;

use lvs_crds::OnFailure;

use super::{Declared, Destination, Past, State, direct};
use crate::health::policy::Policy;
use crate::health::ramp::Ramp;
use crate::health::track::Verdict;

/// What all destinations of a service have in common.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) policy: &'a Policy,
    pub(super) ramp: Ramp,
    /// Failed ones are used as if they worked.
    pub(super) panic: bool,
    /// With slow start: a weight in the kernel may show a ramp that was interrupted.
    pub(super) first_sight: bool,
    pub(super) now: Instant,
}

impl Judge<'_> {
    /// What is to be remembered of a destination from now on.
    pub(super) fn past(
        &self,
        declared: &Declared,
        past: Option<Past>,
        in_kernel: Option<u32>,
    ) -> Option<Past> {
        if declared.maintenance {
            return Some(Past::Away);
        }
        let past = match declared.verdict {
            None => None,
            Some(Verdict::Down) => Some(self.failed(declared, past, in_kernel)),
            Some(Verdict::Up) => self.working(declared, past, in_kernel),
            Some(Verdict::Unknown) => self.unknown(declared, past, in_kernel),
        };
        // A ramp that has reached the full weight is over.
        past.filter(|past| match past {
            Past::Ramping(since) => self.ramp.next(declared.weight, *since, self.now).is_some(),
            Past::Waiting | Past::Found | Past::Failed { .. } | Past::Away => true,
        })
    }

    fn failed(&self, declared: &Declared, past: Option<Past>, in_kernel: Option<u32>) -> Past {
        if self.panic && declared.is_wanted() {
            return Past::Failed { quiesced: None, removed: false };
        }
        let (quiesced, removed) = match past {
            Some(Past::Failed { quiesced, removed }) => (quiesced.unwrap_or(self.now), removed),
            // What is not there has no connections that could end.
            _ => (self.now, in_kernel.is_none()),
        };
        let is_over = match self.policy.on_failure {
            OnFailure::Quiesce => quiesced + self.policy.drain_timeout <= self.now,
            OnFailure::Remove => true,
        };
        Past::Failed { quiesced: Some(quiesced), removed: removed || is_over }
    }

    fn working(&self, declared: &Declared, past: Option<Past>, in_kernel: Option<u32>) -> Option<Past> {
        let since = match (past, in_kernel) {
            (Some(Past::Ramping(since)), _) => Some(since),
            // It was in service: panic kept it there, or it was found so.
            (Some(Past::Failed { quiesced: None, .. } | Past::Found), _) => None,
            (Some(Past::Waiting | Past::Failed { .. } | Past::Away), _) | (None, None) => Some(self.now),
            (None, Some(weight)) => self.interrupted(declared, weight),
        };
        since.filter(|_| self.ramp.is_on()).map(Past::Ramping)
    }

    /// Not a failure: it goes on as it is, and one that is new waits.
    fn unknown(&self, declared: &Declared, past: Option<Past>, in_kernel: Option<u32>) -> Option<Past> {
        match (past, in_kernel) {
            // From here on it is known, whatever somebody makes of its weight.
            (Some(Past::Ramping(_) | Past::Waiting | Past::Found), _) => past,
            (None, Some(weight @ 1..)) => {
                Some(self.interrupted(declared, weight).map_or(Past::Found, Past::Ramping))
            }
            (Some(Past::Failed { .. } | Past::Away), Some(1..)) => Some(Past::Found),
            (_, Some(0) | None) => Some(Past::Waiting),
        }
    }

    /// Since when a destination is up whose weight a former agent may have been raising.
    fn interrupted(&self, declared: &Declared, weight: u32) -> Option<Instant> {
        let may_be = self.ramp.is_on() && self.first_sight;
        may_be.then(|| self.ramp.since(declared.weight, weight, self.now)).flatten()
    }

    /// What is in force for a destination, and when time alone changes it.
    pub(super) fn destination(
        &self,
        declared: &Declared,
        past: Option<Past>,
    ) -> (Destination, Option<Instant>) {
        let full = self.ramp.full(declared.weight);
        let wanted = declared.is_wanted();
        let (state, weight, next) = match past {
            Some(Past::Away) => (State::Maintenance, None, None),
            Some(Past::Failed { quiesced: None, .. }) => (State::Panic, Some(full), None),
            Some(Past::Failed { removed: true, .. }) => (State::Removed, None, None),
            Some(Past::Failed { quiesced: Some(since), .. }) => {
                (State::Quiesced, Some(0), Some(since + self.policy.drain_timeout))
            }
            _ if declared.drain => (State::Draining, Some(0), None),
            _ if !wanted => (State::ZeroWeight, Some(0), None),
            Some(Past::Waiting) => (State::Waiting, Some(0), None),
            Some(Past::Ramping(since)) => {
                let weight = self.ramp.weight(declared.weight, since, self.now);
                let percent = (weight * 100 / full).clamp(1, 99) as u8;
                let next = self.ramp.next(declared.weight, since, self.now);
                (State::SlowStart { percent }, Some(weight), next)
            }
            Some(Past::Found) | None => (State::InService, Some(full), None),
        };
        let healthy = match declared.verdict {
            None | Some(Verdict::Up) => true,
            Some(Verdict::Down) => false,
            Some(Verdict::Unknown) => !matches!(past, Some(Past::Waiting | Past::Away)),
        };
        let settings =
            weight.map(|weight| direct(weight, declared.upper_threshold, declared.lower_threshold));
        (Destination { state, settings, healthy }, next)
    }
}
