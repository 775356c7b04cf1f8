//! Which services a pass handles, and what the kernel says of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lvs_plan::{Programming, ServiceKey};
use tracing::{info, warn};

use super::{Driver, PassReport, Scope};
use crate::kernel::{Glance, Kernel, KernelError, Table};

/// The first wait before the kernel is read again after it could not be; it doubles up to [`READ_WAIT_MAX`].
pub(super) const READ_WAIT_MIN: Duration = Duration::from_millis(200);
/// The longest wait before the kernel is read again.
pub(super) const READ_WAIT_MAX: Duration = Duration::from_secs(30);

/// For so long what was last seen is believed: an answer that was lost once is no reason to doubt every object.
pub(super) const BELIEVED: Duration = Duration::from_secs(5);

/// Since when the kernel cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) error: KernelError,
    /// Why, and since when, for people.
    pub(super) words: String,
    since: Instant,
    wait: Duration,
    /// When it is tried again.
    pub(super) again: Instant,
    /// Every object was told that what was known of it is not known any more.
    pub(super) doubted: bool,
}

impl<K: Kernel> Driver<K> {
    /// The services that this pass handles.
    pub(super) fn keys(&mut self, scope: Scope, now: Instant) -> BTreeSet<ServiceKey> {
        let mut keys = self.backlog.services.clone();
        keys.extend(self.retries.due(now));
        if scope == Scope::Full && self.full_due {
            keys.extend(self.inventory.desired_services().map(|(key, _)| *key));
            keys.extend(self.ledger.services());
        } else if scope > Scope::Changes {
            // Of a small table every service is read anyway, and the whole table, everybody's, may be large.
            let glance = if self.rolling.reads_all(self.outcomes.len()) { None } else { self.glance() };
            let part = self.rolling.begin(&self.outcomes, glance);
            // What failed has its own times: each try may make the kernel look for a module. A service with a
            // real server out of reach is there, and the rest of it is checked like any other.
            let rests = |key: &ServiceKey| self.retries.is_waiting(key, now) && !self.is_in_kernel(key);
            keys.extend(part.into_iter().filter(|key| scope == Scope::Full || !rests(key)));
            if scope == Scope::Full {
                keys.extend(self.ledger.services().filter(|key| !self.outcomes.contains_key(key)));
            }
        }
        keys
    }

    fn glance(&mut self) -> Option<Glance> {
        let glance = self.kernel.glance();
        match &glance {
            Err(error) if !self.rolling.blind => warn!(%error, "every look reads every service instead"),
            Ok(_) if self.rolling.blind => info!("the IPVS table can be glanced at again"),
            _ => {}
        }
        self.rolling.blind = glance.is_err();
        glance.ok()
    }

    /// Whether the service was there after the last look at it, with all or some of its destinations.
    pub(super) fn is_in_kernel(&self, key: &ServiceKey) -> bool {
        self.outcomes.get(key).is_some_and(|outcome| {
            matches!(outcome.programming, Programming::Programmed | Programming::NoRoute(_))
        })
    }

    /// Whether nothing is done about the service, because it is somebody else's or cannot be written down.
    pub(super) fn is_refused(&self, key: &ServiceKey) -> bool {
        self.outcomes.get(key).is_some_and(|outcome| super::decide::is_refusal(&outcome.programming))
    }

    pub(super) fn observe(
        &mut self,
        scope: Scope,
        keys: &BTreeSet<ServiceKey>,
    ) -> Result<Table, KernelError> {
        if scope == Scope::Full {
            self.vips.also_due(self.ledger.vips());
        }
        if scope == Scope::Full || self.vips.needs_addresses() {
            self.vips.set_addresses(self.kernel.addresses()?);
        }
        if scope == Scope::Full {
            self.vips.all_due();
        }
        // Also for no service: a Director without IPVS is not ready for the first one.
        if keys.is_empty() && scope != Scope::Full {
            return Ok(Table::new());
        }
        let before = self.kernel.processor_time();
        let table = self.kernel.services(keys)?;
        if scope > Scope::Changes {
            self.rolling.took(keys.len(), self.kernel.processor_time().saturating_sub(before));
        }
        Ok(table)
    }

    /// The kernel could not be read: what was to be done stays to be done.
    pub(super) fn cannot_read(&mut self, error: KernelError, now: Instant) -> PassReport {
        if self.unreadable.as_ref().is_none_or(|before| before.error != error) {
            warn!(%error, "the kernel cannot be read; trying again");
        }
        self.full_due = true;
        let first = Unreadable {
            words: format!("{error} (not read since {})", whole_second(Timestamp::now())),
            error: error.clone(),
            since: now,
            wait: READ_WAIT_MIN,
            again: now + READ_WAIT_MIN,
            doubted: false,
        };
        self.unreadable = Some(match self.unreadable.take() {
            // Another error is told by the log and by `/readyz`; the objects keep the first words.
            Some(before) => {
                let wait = (before.wait * 2).min(READ_WAIT_MAX);
                Unreadable { error: error.clone(), wait, again: now + wait, ..before }
            }
            None => first,
        });
        self.not_looked(error, now)
    }

    pub(super) fn not_looked(&mut self, error: KernelError, now: Instant) -> PassReport {
        let doubtful = self.unreadable.as_mut().filter(|unreadable| {
            !unreadable.doubted && now.saturating_duration_since(unreadable.since) >= BELIEVED
        });
        if let Some(unreadable) = doubtful {
            unreadable.doubted = true;
            self.backlog.objects.extend(self.inventory.virtual_services().map(|(key, _)| key.clone()));
        }
        self.report_unreadable();
        self.publish_state();
        PassReport { failed: Some(error), ..PassReport::default() }
    }
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::super::node::Node;
    use super::*;

    #[test]
    fn a_director_without_ipvs_is_not_ready_even_while_nothing_is_declared() {
        let mut node = Node::new();
        node.driver.kernel.short_reads = usize::MAX;
        node.pass(Scope::Changes);
        assert_eq!(node.board.lock().not_ready.len(), 1);
        node.driver.kernel.short_reads = 0;
        node.pass(Scope::Changes);
        assert_eq!(node.board.lock().not_ready, Vec::<String>::new());
    }
}
