//! Before and after the kernel is touched: ownership is written down, results are taken in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use lvs_plan::outcome::{self, ServiceOutcome};
use lvs_plan::step::{Applied, Step, StepError};
use lvs_plan::{DestinationKey, Programming, ServiceKey};
use tracing::{debug, info, warn};

use super::Driver;
use super::decide::{self, Decided};
use crate::kernel::{Kernel, Table};
use crate::ledger::LedgerError;

impl<K: Kernel> Driver<K> {
    /// Ownership is written down before the kernel is touched, so that a crash in between leaves an intent and
    /// never a rule without an owner; and that it ends, so that what somebody makes in its place is not taken for
    /// ours. What is adopted was seen in the kernel, and is more than an intent at once.
    ///
    /// # Errors
    /// If it could not be written: then the steps must not be taken.
    pub(super) fn write_ledger(&mut self, decided: &Decided, observed: &Table) -> Result<(), LedgerError> {
        for (key, origin) in &decided.made {
            self.ledger.record_intent(*key, origin.clone());
        }
        for (key, origin) in &decided.claims {
            self.ledger.record_origin(*key, origin.clone());
        }
        for key in &decided.adopted {
            self.ledger.confirm(key);
        }
        for key in &decided.forgotten {
            self.ledger.forget(key);
        }
        for vip in &decided.vips.forgotten {
            self.ledger.forget_vip(*vip);
        }
        for step in decided.plan.steps() {
            match step {
                Step::BindVip { vip, link } => self.ledger.set_vip(*vip, link),
                Step::DelService { key } => {
                    if let Some(there) = observed.get(key) {
                        self.ledger.record_leaving(key, there);
                    }
                }
                _ => {}
            }
        }
        for key in &decided.abandoned {
            warn!(
                service = %key,
                "left in the kernel: this agent was stopped while it made or removed it, and nothing asks for it any \
                 more, so it may be somebody else's; remove it by hand if nobody needs it (ipvsadm -D)"
            );
        }
        // If it is not usable, that was tried just now, and nothing is about to happen that it would have to know.
        if self.ledger.usable() { self.save_ledger() } else { Ok(()) }
    }

    /// Says once that the ledger cannot be written, and once that it can be again.
    pub(super) fn save_ledger(&mut self) -> Result<(), LedgerError> {
        let was_usable = self.ledger.usable();
        let saved = self.ledger.save();
        match &saved {
            Err(error) if was_usable => {
                warn!(%error, "the ledger cannot be written: nothing is added or removed until it can");
            }
            Ok(()) if !was_usable => info!("the ledger can be used again"),
            _ => {}
        }
        saved
    }

    /// For those who only want to know the plan: what it cannot bring about is known before it is carried out.
    pub(super) fn foresee(&mut self, off_segment: &BTreeMap<ServiceKey, BTreeMap<DestinationKey, String>>) {
        for (key, off_segment) in off_segment {
            if let Some(outcome) = self.outcomes.get_mut(key)
                && !decide::is_refusal(&outcome.programming)
            {
                *outcome = ServiceOutcome::programmed().with_off_segment(off_segment);
            }
        }
    }

    /// Takes in what came of the steps about services.
    pub(super) fn settle(
        &mut self,
        keys: &BTreeSet<ServiceKey>,
        applied: &Applied,
        off_segment: &BTreeMap<ServiceKey, BTreeMap<DestinationKey, String>>,
        now: Instant,
    ) {
        let all_near = BTreeMap::new();
        let mut failed: BTreeSet<ServiceKey> = BTreeSet::new();
        let mut lost = 0;
        for (step, result) in applied.results() {
            let Some(key) = step.service() else { continue };
            match (step, result) {
                (Step::DelService { .. }, Ok(())) => self.ledger.forget(key),
                // It is ours from here on, whatever becomes of its destinations.
                (Step::NewService { .. }, Ok(())) => self.ledger.confirm(key),
                (_, Ok(())) => {}
                (_, Err(error)) => {
                    debug!(%step, %error, "failed");
                    failed.insert(*key);
                    if matches!(error, StepError::Unknown(_)) {
                        lost += 1;
                    } else if matches!(step, Step::NewService { .. }) {
                        // The kernel did not make it: who makes it now is somebody else.
                        self.ledger.forget(key);
                    }
                }
            }
        }
        if lost > 0 {
            warn!(steps = lost, "answers of the kernel were lost; reading the whole table again");
            self.full_due = true;
        }
        let mut outcomes = outcome::of_failed_services(applied);
        for key in keys {
            let desired = self.inventory.desired(key);
            self.table_size.set(*key, desired.map(|desired| desired.destinations.len()));
            let works = if desired.is_none() {
                self.outcomes.remove(key);
                !failed.contains(key)
            } else if self.outcomes.get(key).is_some_and(|outcome| decide::is_refusal(&outcome.programming)) {
                // A refusal was decided before the kernel was asked; it stands.
                false
            } else {
                let off_segment = off_segment.get(key).unwrap_or(&all_near);
                let outcome = outcomes.remove(key).unwrap_or_else(ServiceOutcome::programmed);
                let outcome = outcome.with_off_segment(off_segment);
                let works = outcome.programming == Programming::Programmed;
                self.outcomes.insert(*key, outcome);
                works
            };
            if works {
                self.retries.settled(key);
            } else {
                self.retries.failed(*key, now);
            }
        }
        self.backlog.services.clear();
    }
}
