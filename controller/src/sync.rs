//! THE driver: objects in, kernel rules out, status told. One per node, on a thread of its own.
//!
//! ```text
//! ingest ──► keys ──► observe ──► decide ──► write the ledger ──► apply ──► settle ──► report
//! (source)           (kernel)    (pure)      (disk)              (kernel)             (board)
//! ```
//!
//! A pass handles the services that changed, those that a glance at the table shows to have changed, and every
//! one of them at start and after a read that was cut short. A pass with nothing to do writes nothing. Apply never
//! stops at the first failure: each step has its own result, and status is made from the results.

mod decide;
mod describe;
mod drains;
mod health;
mod observe;
mod overloads;
mod probes;
mod report;
mod retries;
mod rolling;
mod settings;
mod settle;
mod table_size;
mod vips;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lvs_plan::diff::Role;
use lvs_plan::inventory::Dirty;
use lvs_plan::outcome::ServiceOutcome;
use lvs_plan::settings::Decision;
use lvs_plan::step::{Applied, Plan};
use lvs_plan::{Announcing, Change, DestinationKey, Inventory, Programming, ServiceKey};
use tracing::info;

use crate::board::Board;
use crate::checker::{News, Orders};
use crate::crash_point::crash_point;
use crate::kernel::{Answer, Kernel, KernelError};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::source::{SourceState, Update};

use decide::Decided;
use health::Health;
use observe::Unreadable;
use retries::Retries;
use rolling::Rolling;
use settings::Settings;
use table_size::TableSize;
use vips::Vips;

/// So many steps of a plan, and so much news of one kind, are logged one by one; of the rest only the number.
const LOGGED: usize = 32;

/// How much of the node a pass looks at, beside what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Only what changed.
    Changes,
    /// And the whole table at a glance; what it shows to have changed, and a few services more, are read.
    Rolling,
    /// And addresses, VIPs, and what failed. At start, and when an answer of the kernel was lost or cut short, every
    /// service is read.
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
    /// What the source delivered since the last pass. The inventory takes it in at once: real servers of one service
    /// that come one by one would cost the square of their number otherwise.
    delivered: Vec<Change>,
    source: SourceState,
    /// Changes that no pass has handled yet.
    backlog: Dirty,
    outcomes: BTreeMap<ServiceKey, ServiceOutcome>,
    table_size: TableSize,
    vips: Vips,
    health: Health,
    /// None if nobody looks after the settings of this node.
    settings: Option<Settings>,
    role: Role,
    rolling: Rolling,
    retries: Retries<ServiceKey>,
    /// Where each VIP stood when the objects that use it were told last.
    told: BTreeMap<IpAddr, Announcing>,
    /// Something made the next pass a full one: the start, or a lost answer.
    full_due: bool,
    /// Why the kernel could not be read, and when it is tried again.
    unreadable: Option<Unreadable>,
    /// A pass ended with a readable kernel since the source became complete, and nothing that is there on a
    /// Director in order (a link for each VIP, each scheduler) was missing. From then on a single object that wants
    /// something else does not make the Director unready.
    passed: bool,
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
            delivered: Vec::new(),
            source: SourceState::default(),
            backlog: Dirty::default(),
            outcomes: BTreeMap::new(),
            table_size: TableSize::default(),
            vips: Vips::new(now),
            health: Health::default(),
            settings: None,
            role: Role::Active,
            rolling: Rolling::default(),
            retries: Retries::default(),
            told: BTreeMap::new(),
            full_due: true,
            unreadable: None,
            passed: false,
        }
    }

    /// Has the real servers checked by whoever takes these orders.
    #[must_use]
    pub fn with_checks(self, orders: Orders) -> Self {
        Self { health: Health::new(orders), ..self }
    }

    /// Takes in what the checker found out.
    pub fn checked(&mut self, news: Vec<News>) {
        for (key, probe) in self.health.checked(news) {
            // It asks the destination's own address, and there is one with it in a service at most.
            let at = DestinationKey { address: probe.address, port: key.port() };
            let destination = self.inventory.desired(&key).and_then(|desired| desired.destinations.get(&at));
            let concerned = destination.filter(|wanted| wanted.probe.as_ref() == Some(&probe));
            self.backlog.objects.extend(concerned.map(|wanted| wanted.owner.clone()));
            self.backlog.services.insert(key);
        }
    }

    /// Takes in what the source delivered, for the next pass. Nothing is written.
    pub fn ingest(&mut self, update: Update) {
        let settings = &mut self.settings;
        let about_rules = update.changes.into_iter().filter_map(|change| match settings {
            Some(settings) => settings.take_in(change),
            None => Some(change),
        });
        self.delivered.extend(about_rules);
        if update.state.held_files != self.source.held_files {
            // What was kept because its file could not be read may be kept no longer.
            self.full_due = true;
        }
        self.source = update.state;
        crash_point!(Ingested);
    }

    /// Takes in whether this Director may hold VIPs.
    pub fn set_role(&mut self, role: Role) {
        if self.role != role {
            self.role = role;
            self.vips.role_changed();
        }
    }

    /// Takes in what the network answered about VIPs.
    pub fn probed(&mut self, answers: Vec<Answer>, now: Instant) {
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
            None => {
                [self.retries.next(), self.vips.next_pass(), self.health.next()].into_iter().flatten().min()
            }
        }
    }

    /// How long the drift check rests after a look at the table.
    pub fn check_pause(&self) -> Duration {
        self.rolling.pause(self.outcomes.len())
    }

    /// One pass.
    pub fn pass(&mut self, scope: Scope, now: Instant) -> PassReport {
        self.collect_changes(now);
        if !self.source.complete {
            // Until the source has been read wholly once, nothing is known to be gone (I6).
            self.publish_state();
            return PassReport::default();
        }
        if let Some(unreadable) = &self.unreadable
            && now < unreadable.again
        {
            let error = unreadable.error.clone();
            return self.not_looked(error, now);
        }
        let scope = if self.full_due { Scope::Full } else { scope };
        let keys = self.keys(scope, now);
        let observed = match self.observe(scope, &keys) {
            Ok(observed) => observed,
            Err(error) => return self.cannot_read(error, now),
        };
        crash_point!(Observed);
        let drained = self.count_drains(now);
        let overloaded = self.count_overloads(now);
        self.backlog.objects.extend(drained.into_iter().chain(overloaded));
        if !self.ledger.usable() {
            // It is asked for where it matters.
            let _ = self.save_ledger();
        }

        let mut decided = match self.decide(&keys, &observed, now) {
            Ok(decided) => decided,
            Err(error) => return self.cannot_read(error, now),
        };
        self.unreadable = None;
        crash_point!(Decided);
        self.health.send_orders();
        if self.write_ledger(&decided, &observed).is_err() {
            self.vips.also_due(decided.vips.looked_at);
            decided = match self.decide(&keys, &observed, now) {
                Ok(decided) => decided,
                Err(error) => return self.cannot_read(error, now),
            };
        }
        // Not earlier: deciding again has to look at as much.
        self.full_due = false;
        let Decided {
            plan,
            touched,
            adopted,
            drifted,
            vips,
            off_segment,
            made: _,
            claims: _,
            forgotten: _,
            abandoned: _,
        } = decided;
        self.rolling.end(&keys, &touched);
        log_steps(&plan);
        crash_point!(IntentsSaved);
        let applied = plan.carry_out(|steps| self.kernel.apply(steps));
        crash_point!(Applied);
        self.settle(&touched, &applied, &off_segment, now);
        self.settle_vips(&applied, &vips.looked_at, now);
        self.note_counted(now);
        crash_point!(Unconfirmed);
        // What could not be written stays known.
        let _ = self.save_ledger();
        crash_point!(Unpublished);
        self.report(&touched, &applied, &drifted, &vips);
        self.look_after_settings(scope);
        self.metrics.pass_finished(applied.taken() as u64, now.elapsed());
        self.passed = self.passed || self.missing_at_start().is_none();
        self.publish_state();
        PassReport { applied, adopted: adopted.len(), failed: None }
    }

    /// The steps that a pass over everything would take now, and what it would do about the kernel's settings; nothing is
    /// written anywhere.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn plan(&mut self, now: Instant) -> Result<(Plan, Option<Decision>), KernelError> {
        self.collect_changes(now);
        let keys = self.keys(Scope::Full, now);
        let observed = self.observe(Scope::Full, &keys)?;
        self.vips.assume_free();
        let decided = self.decide(&keys, &observed, now)?;
        self.foresee(&decided.off_segment);
        let settings = self.plan_settings(&decided.adopted)?;
        Ok((decided.plan, settings))
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

    fn collect_changes(&mut self, now: Instant) {
        self.inventory.change_all(std::mem::take(&mut self.delivered));
        self.backlog.services.extend(self.health.due(now));
        let Dirty { mut services, objects } = self.inventory.take_dirty();
        self.backlog.services.append(&mut services);
        self.backlog.objects.extend(objects);
    }
}

fn log_steps(plan: &Plan) {
    for step in plan.steps().iter().take(LOGGED) {
        info!(%step, "kernel");
    }
    if let Some(rest) = plan.steps().len().checked_sub(LOGGED).filter(|rest| *rest > 0) {
        info!(steps = rest, "kernel: and more");
    }
}

#[cfg(test)]
mod convergence_tests;
#[cfg(test)]
mod driver_tests;
#[cfg(test)]
mod health_tests;
#[cfg(test)]
mod node;
#[cfg(test)]
mod truth_tests;
#[cfg(test)]
mod vip_tests;
