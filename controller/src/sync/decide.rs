//! From what is desired and what is observed to a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use lvs_plan::desired::Destinations;
use lvs_plan::diff::{self, ServiceView};
use lvs_plan::object::Kind;
use lvs_plan::outcome::ServiceOutcome;
use lvs_plan::step::{Plan, Step};
use lvs_plan::{DesiredService, DestinationKey, Programming, ServiceKey};

use super::Driver;
use super::vips::DecidedVips;
use crate::kernel::{Kernel, KernelError, Table};
use crate::ledger::Origin;

/// What a pass is about to do.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// The steps.
    pub(super) plan: Plan,
    /// The services of which there is anything new to do or to say.
    pub(super) touched: BTreeSet<ServiceKey>,
    /// Services that are not there and are to be made, also such that were ours and that somebody removed.
    pub(super) made: Vec<(ServiceKey, Origin)>,
    /// Services that are there, to be written into the ledger before the kernel is touched.
    pub(super) claims: Vec<(ServiceKey, Origin)>,
    /// Of these, those that become ours, being as declared or as far as we had come.
    pub(super) adopted: Vec<ServiceKey>,
    /// Ledger entries that stand for nothing any more.
    pub(super) forgotten: Vec<ServiceKey>,
    /// Of these, those that the kernel has a service of that may have been ours.
    pub(super) abandoned: Vec<ServiceKey>,
    /// Services that nobody asked to change and that differ from what they were: somebody else's doing.
    pub(super) drifted: BTreeSet<ServiceKey>,
    /// Destinations that are on no link of this Director, and why.
    pub(super) off_segment: BTreeMap<ServiceKey, BTreeMap<DestinationKey, String>>,
    /// The same for VIPs.
    pub(super) vips: DecidedVips,
}

/// Whether it was decided without asking the kernel that nothing is done.
pub(super) fn is_refusal(programming: &Programming) -> bool {
    matches!(programming, Programming::Foreign(_) | Programming::LedgerUnusable(_))
}

impl<K: Kernel> Driver<K> {
    /// Compares these services, and the VIPs that depend on them, with what the kernel reports.
    ///
    /// # Errors
    /// If it cannot be asked where the real servers are.
    pub(super) fn decide(
        &mut self,
        keys: &BTreeSet<ServiceKey>,
        observed: &Table,
        now: Instant,
    ) -> Result<Decided, KernelError> {
        let mut decided = Decided::default();
        let mut steps = Vec::new();
        let ledger_usable = self.ledger.usable();
        for key in keys {
            let desired = self.inventory.desired(key);
            let destinations_held = desired.is_some_and(|desired| self.holds_destinations(desired));
            let judged = if let Some(desired) = desired {
                self.health.judge(key, desired, observed.get(key), destinations_held, now)
            } else {
                self.health.forget(key);
                None
            };
            let wanted = desired.map(|desired| match &judged {
                Some(in_force) => desired.in_force(Destinations::InForce(in_force)),
                None => desired.as_declared(),
            });
            let off_segment = match wanted {
                Some(wanted) => off_segment(&mut self.kernel, wanted.destinations)?,
                None => BTreeMap::new(),
            };
            let view = ServiceView {
                desired: wanted,
                observed: observed.get(key),
                claim: self.ledger.claim(key, observed.get(key)),
                held: self.is_held(key),
                destinations_held,
                ledger_usable,
                off_segment: &off_segment,
            };
            let decision = diff::service(key, view);
            let origin = desired.map(|desired| self.origin(desired));
            // Also when it went over to another object or file: on that its fate depends from now on (I6).
            let moved = ledger_usable
                && self
                    .ledger
                    .origin(key)
                    .is_some_and(|known| origin.as_ref().is_some_and(|origin| known != origin));
            if !moved && decision.is_nothing() && off_segment.is_empty() && self.was_as_declared(key) {
                continue;
            }
            decided.touched.insert(*key);
            if self.is_drift(key, &decision.steps) {
                decided.drifted.insert(*key);
            }
            if let Some(origin) = origin {
                let adds = decision.steps.iter().any(|step| matches!(step, Step::NewService { .. }));
                if adds {
                    decided.made.push((*key, origin));
                } else if decision.adopt || moved {
                    decided.claims.push((*key, origin));
                }
                let programming = decision.refused.unwrap_or_else(|| match self.outcomes.get(key) {
                    Some(outcome) if !is_refusal(&outcome.programming) => outcome.programming.clone(),
                    // Nobody reads it: what came of it follows in the same pass.
                    _ => Programming::Pending("about to be programmed".to_owned()),
                });
                let missing = BTreeSet::new();
                self.outcomes.insert(*key, ServiceOutcome { programming, missing });
            }
            if decision.adopt {
                decided.adopted.push(*key);
            }
            if decision.forget {
                decided.forgotten.push(*key);
                if desired.is_none() && observed.contains_key(key) {
                    decided.abandoned.push(*key);
                }
            }
            if !off_segment.is_empty() {
                decided.off_segment.insert(*key, off_segment);
            }
            steps.extend(decision.steps);
            self.vips.track(key, desired.is_some());
        }
        decided.vips = self.decide_vips(&decided.touched, &mut steps, now);
        decided.plan = Plan::new(steps);
        Ok(decided)
    }

    /// At the last look it was as declared, that has been said, and nobody has asked for anything else since. Of
    /// a thousand services that are looked at in peace all are like this.
    fn was_as_declared(&self, key: &ServiceKey) -> bool {
        let outcome = self.outcomes.get(key);
        !self.full_due
            && !self.backlog.services.contains(key)
            && outcome.is_some_and(|outcome| *outcome == ServiceOutcome::programmed())
    }

    /// Whether these steps undo what somebody did. What only now can be reached is no such thing.
    fn is_drift(&self, key: &ServiceKey, steps: &[Step]) -> bool {
        let Some(outcome) = self.outcomes.get(key) else { return false };
        let undoes = |step: &Step| !matches!(step, Step::NewDestination { destination, .. } if outcome.missing.contains(destination));
        self.is_in_kernel(key) && !self.backlog.services.contains(key) && steps.iter().any(undoes)
    }

    /// The object that asked for the service is there, but no version of it is known to be good: after a
    /// restart over an invalid object or file, what is in the kernel is the last good version.
    pub(super) fn is_held(&self, key: &ServiceKey) -> bool {
        self.ledger.origin(key).is_some_and(|origin| {
            self.inventory.is_unsettled(&origin.object)
                || origin.file.as_ref().is_some_and(|file| self.source.held_files.contains(file))
        })
    }

    /// The same for real servers: which destination stood for one of them is not known, so none is removed.
    fn holds_destinations(&self, desired: &DesiredService) -> bool {
        !self.source.held_files.is_empty()
            || self
                .inventory
                .unsettled_real_servers(&desired.owner.namespace)
                .any(|labels| desired.virtual_service.selector.matches(labels))
    }

    fn origin(&self, desired: &DesiredService) -> Origin {
        debug_assert_eq!(desired.owner.kind, Kind::VirtualService);
        let record = self.inventory.virtual_service(&desired.owner);
        Origin { object: desired.owner.clone(), file: record.and_then(|record| record.object.file.clone()) }
    }
}

/// The destinations of a service that are on no link of this Director, and why.
fn off_segment<K: Kernel>(
    kernel: &mut K,
    destinations: Destinations<'_>,
) -> Result<BTreeMap<DestinationKey, String>, KernelError> {
    let mut off_segment = BTreeMap::new();
    for (destination, _) in destinations.iter() {
        if let Some(words) = kernel.off_segment(destination.address)? {
            off_segment.insert(destination, words);
        }
    }
    Ok(off_segment)
}
