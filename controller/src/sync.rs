//! THE driver: objects in, kernel rules out, status told. One per node, on a thread of its own.
//!
//! ```text
//! ingest ──► keys ──► observe ──► decide ──► write the ledger ──► apply ──► settle ──► report
//! (source)           (kernel)    (pure)      (disk)              (kernel)             (board)
//! ```
//!
//! A pass handles the services that changed, and every one of them at start, on resync and after a read that
//! was cut short. A pass with nothing to do writes nothing. Apply never stops at the first failure: each step
//! has its own result, and status is made from the results.

mod decide;
mod probes;
mod report;
mod retries;
mod rolling;
mod table_size;
mod vips;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lvs_plan::diff::{Probe, Role};
use lvs_plan::inventory::Dirty;
use lvs_plan::outcome::{self, ServiceOutcome};
use lvs_plan::step::{Applied, Plan, Step, StepError};
use lvs_plan::{Announcing, DestinationKey, Inventory, Programming, ServiceKey};
use tracing::{debug, info, warn};

use crate::board::Board;
use crate::kernel::{Kernel, KernelError, Table};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::source::{SourceState, Update};

use decide::Decided;
use retries::Retries;
use rolling::Rolling;
use table_size::TableSize;
use vips::Vips;

/// The first wait before the kernel is read again after it could not be; it doubles up to [`READ_WAIT_MAX`].
const READ_WAIT_MIN: Duration = Duration::from_millis(200);
/// The longest wait before the kernel is read again.
const READ_WAIT_MAX: Duration = Duration::from_secs(30);
/// So many steps of a plan are logged one by one; of the rest only the number.
const LOGGED_STEPS: usize = 32;

/// How much of the node a pass looks at, beside what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Only what changed.
    Changes,
    /// And the next part of the rolling drift check.
    Rolling,
    /// Everything: at start, on resync, and when an answer of the kernel was lost or cut short.
    Full,
}

/// What changed in the network below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkChange {
    /// A link or an address, and with it perhaps routes.
    LinksOrAddresses,
    /// Only routes.
    Routes,
}

/// What the driver knows and where it writes.
pub struct Driver<K> {
    kernel: K,
    ledger: Ledger,
    board: Board,
    metrics: Metrics,
    inventory: Inventory,
    source: SourceState,
    /// Changes that no pass has handled yet.
    backlog: Dirty,
    outcomes: BTreeMap<ServiceKey, ServiceOutcome>,
    table_size: TableSize,
    vips: Vips,
    role: Role,
    rolling: Rolling,
    retries: Retries<ServiceKey>,
    /// Something made the next pass a full one: the start, or a lost answer.
    full_due: bool,
    /// Why the kernel could not be read, and when it is tried again.
    unreadable: Option<Unreadable>,
    /// A pass ended with a readable kernel since the source became complete, and nothing that is there on a
    /// Director in order (a link for each VIP, each scheduler) was missing. From then on a single object that wants
    /// something else does not make the Director unready.
    passed: bool,
}

#[derive(Debug)]
struct Unreadable {
    error: KernelError,
    wait: Duration,
    again: Instant,
}

/// What one pass did, for logs and tests.
#[derive(Debug, Default)]
pub struct PassReport {
    /// The steps with their results.
    pub applied: Applied,
    /// Services that became ours because they were as declared.
    pub adopted: usize,
    /// Why the pass could not look at the kernel.
    pub failed: Option<KernelError>,
}

impl<K: Kernel> Driver<K> {
    /// A driver that knows nothing yet.
    pub fn new(kernel: K, ledger: Ledger, board: Board, metrics: Metrics, now: Instant) -> Self {
        Self {
            kernel,
            ledger,
            board,
            metrics,
            inventory: Inventory::default(),
            source: SourceState::default(),
            backlog: Dirty::default(),
            outcomes: BTreeMap::new(),
            table_size: TableSize::default(),
            vips: Vips::new(now),
            role: Role::Active,
            rolling: Rolling::default(),
            retries: Retries::default(),
            full_due: true,
            unreadable: None,
            passed: false,
        }
    }

    /// Takes in what the source delivered. Nothing is written.
    pub fn ingest(&mut self, update: Update) {
        for change in update.changes {
            self.inventory.change(change);
        }
        if update.state.held_files != self.source.held_files {
            // What was kept because its file could not be read may be kept no longer.
            self.full_due = true;
        }
        self.source = update.state;
    }

    /// Takes in whether this Director may hold VIPs.
    pub fn set_role(&mut self, role: Role) {
        if self.role != role {
            self.role = role;
            self.vips.all_due();
        }
    }

    /// Takes in what the network answered about VIPs.
    pub fn probed(&mut self, answers: Vec<(IpAddr, Probe)>, now: Instant) {
        self.vips.probed(answers, now);
    }

    /// Takes in that the network changed: what had no route or no link is tried again.
    pub fn network_changed(&mut self, change: NetworkChange, now: Instant) {
        self.kernel.routes_changed();
        self.vips.network_changed(change, now);
        // Nothing else is helped: a scheduler's module does not come by a route.
        let outcomes = &self.outcomes;
        self.retries.hurry(now, |key| {
            outcomes.get(key).is_some_and(|outcome| matches!(outcome.programming, Programming::NoRoute(_)))
        });
    }

    /// When the driver wants to be woken although nothing happens: for a pass or an announcement.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.next_pass(), self.vips.next_announcement()].into_iter().flatten().min()
    }

    /// Whether something other than a trigger makes a pass due: a retry, or a VIP to ask for again.
    pub fn wants_pass(&self, now: Instant) -> bool {
        self.next_pass().is_some_and(|at| at <= now)
    }

    fn next_pass(&self) -> Option<Instant> {
        if !self.source.complete {
            return None;
        }
        match &self.unreadable {
            Some(unreadable) => Some(unreadable.again),
            None => [self.retries.next(), self.vips.next_pass()].into_iter().flatten().min(),
        }
    }

    /// Sends the announcements that are due.
    pub fn announce(&mut self, now: Instant) {
        let due = self.vips.due_announcements(now);
        if !due.is_empty() {
            self.kernel.announce(&due);
        }
    }

    /// One pass.
    pub fn pass(&mut self, scope: Scope, now: Instant) -> PassReport {
        self.collect_changes();
        if !self.source.complete {
            // Until the source has been read wholly once, nothing is known to be gone (I6).
            self.publish_state();
            return PassReport::default();
        }
        if let Some(unreadable) = &self.unreadable
            && now < unreadable.again
        {
            let error = unreadable.error.clone();
            return self.not_looked(error);
        }
        let scope = if self.full_due { Scope::Full } else { scope };
        let keys = self.keys(scope, now);
        let observed = match self.observe(scope, &keys) {
            Ok(observed) => observed,
            Err(error) => return self.cannot_read(error, now),
        };
        self.unreadable = None;
        self.full_due = false;
        if !self.ledger.usable() && self.ledger.save().is_ok() && self.ledger.usable() {
            info!("the ledger can be used again");
        }

        let mut decided = match self.decide(&keys, &observed, now) {
            Ok(decided) => decided,
            Err(error) => return self.cannot_read(error, now),
        };
        if let Err(error) = self.write_ledger(&decided) {
            warn!(%error, "the ledger cannot be written: nothing is added or removed until it can");
            self.vips.also_due(decided.vips.looked_at);
            decided = match self.decide(&keys, &observed, now) {
                Ok(decided) => decided,
                Err(error) => return self.cannot_read(error, now),
            };
        }
        let Decided { plan, adopted, drifted, vips, off_segment, claims: _, forgotten: _ } = decided;
        log_steps(&plan);
        let results = self.kernel.apply(&plan);
        let applied = plan.applied(results);
        self.settle(&keys, &applied, &off_segment, now);
        self.settle_vips(&applied, &vips.looked_at, now);
        if let Err(error) = self.ledger.save() {
            warn!(%error, "the ledger cannot be written");
        }
        self.report(&keys, &applied, &drifted, &vips);
        self.metrics.pass_finished(applied.len() as u64, now.elapsed());
        self.passed = self.passed || self.missing_at_start().is_none();
        self.publish_state();
        PassReport { applied, adopted: adopted.len(), failed: None }
    }

    /// The steps that a pass over everything would take now; nothing is written anywhere.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn plan(&mut self, now: Instant) -> Result<Plan, KernelError> {
        self.collect_changes();
        let keys = self.keys(Scope::Full, now);
        let observed = self.observe(Scope::Full, &keys)?;
        self.vips.assume_free();
        Ok(self.decide(&keys, &observed, now)?.plan)
    }

    /// What a Director lacks that should have been there before the agent.
    fn missing_at_start(&self) -> Option<&str> {
        let scheduler = self.outcomes.values().find_map(|outcome| match &outcome.programming {
            Programming::SchedulerMissing(words) => Some(words.as_str()),
            _ => None,
        });
        let link = || {
            self.vips.announcing.values().find_map(|announcing| match announcing {
                Announcing::NoInterface(words) => Some(words.as_str()),
                _ => None,
            })
        };
        scheduler.or_else(link)
    }

    fn collect_changes(&mut self) {
        let dirty = self.inventory.take_dirty();
        self.backlog.services.extend(dirty.services);
        self.backlog.objects.extend(dirty.objects);
    }

    /// The services that this pass handles.
    fn keys(&mut self, scope: Scope, now: Instant) -> BTreeSet<ServiceKey> {
        let mut keys = self.backlog.services.clone();
        keys.extend(self.retries.due(now));
        match scope {
            Scope::Full => {
                keys.extend(self.inventory.desired_services().map(|(key, _)| *key));
                keys.extend(self.ledger.services());
            }
            Scope::Rolling => {
                // What failed has its own times: each try may make the kernel look for a module. A service with a
                // real server out of reach is there, and the rest of it is checked like any other.
                let part = self.rolling.next_part(&self.outcomes);
                let rests = |key: &ServiceKey| self.retries.is_waiting(key, now) && !self.is_in_kernel(key);
                keys.extend(part.into_iter().filter(|key| !rests(key)));
            }
            Scope::Changes => {}
        }
        keys
    }

    /// Whether the service was there after the last look at it, with all or some of its destinations.
    fn is_in_kernel(&self, key: &ServiceKey) -> bool {
        self.outcomes.get(key).is_some_and(|outcome| {
            matches!(outcome.programming, Programming::Programmed | Programming::NoRoute(_))
        })
    }

    fn observe(&mut self, scope: Scope, keys: &BTreeSet<ServiceKey>) -> Result<Table, KernelError> {
        if scope == Scope::Full {
            self.vips.also_due(self.ledger.vips());
        }
        if scope == Scope::Full || self.vips.needs_addresses() {
            self.vips.set_addresses(self.kernel.addresses()?);
        }
        if scope == Scope::Full {
            self.vips.all_due();
        }
        if keys.is_empty() { Ok(Table::new()) } else { self.kernel.services(keys) }
    }

    /// The kernel could not be read: what was to be done stays to be done.
    fn cannot_read(&mut self, error: KernelError, now: Instant) -> PassReport {
        let wait = match &self.unreadable {
            Some(before) => (before.wait * 2).min(READ_WAIT_MAX),
            None => READ_WAIT_MIN,
        };
        if self.unreadable.as_ref().is_none_or(|before| before.error != error) {
            warn!(%error, "the kernel cannot be read; trying again");
        }
        self.full_due = true;
        self.unreadable = Some(Unreadable { error: error.clone(), wait, again: now + wait });
        self.not_looked(error)
    }

    fn not_looked(&mut self, error: KernelError) -> PassReport {
        self.report_unreadable(&error.to_string());
        self.publish_state();
        PassReport { failed: Some(error), ..PassReport::default() }
    }

    /// Ownership is written down before the kernel is touched, so that a crash in between leaves an intent and
    /// never a rule without an owner.
    fn write_ledger(&mut self, decided: &Decided) -> Result<(), crate::ledger::LedgerError> {
        for (key, origin) in &decided.claims {
            self.ledger.record_intent(*key, origin.clone());
        }
        for key in &decided.forgotten {
            self.ledger.forget(key);
        }
        for vip in &decided.vips.forgotten {
            self.ledger.forget_vip(*vip);
        }
        for step in decided.plan.steps() {
            if let Step::BindVip { vip, link } = step {
                self.ledger.set_vip(*vip, link);
            }
        }
        self.ledger.save()
    }

    /// Takes in what came of the steps about services.
    fn settle(
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
                (_, Ok(())) => {}
                (_, Err(error)) => {
                    debug!(%step, %error, "failed");
                    failed.insert(*key);
                    if matches!(error, StepError::Unknown(_)) {
                        lost += 1;
                    } else if matches!(step, Step::NewService { .. }) && !self.ledger.is_confirmed(key) {
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
                let outcome = outcome::of_service(key, applied).with_off_segment(off_segment);
                let works = outcome.programming == Programming::Programmed;
                // With a real server out of reach the service itself is there all the same.
                if works || matches!(outcome.programming, Programming::NoRoute(_)) {
                    self.ledger.confirm(key);
                }
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

fn log_steps(plan: &Plan) {
    for step in plan.steps().iter().take(LOGGED_STEPS) {
        info!(%step, "kernel");
    }
    if let Some(rest) = plan.steps().len().checked_sub(LOGGED_STEPS).filter(|rest| *rest > 0) {
        info!(steps = rest, "kernel: and more");
    }
}

#[cfg(test)]
mod convergence_tests;
#[cfg(test)]
mod driver_tests;
