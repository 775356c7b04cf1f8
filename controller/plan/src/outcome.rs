//! What came of a service and of a VIP on this Director.

use std::collections::{BTreeMap, BTreeSet};

use crate::diff::Holder;
use crate::reason::Reason;
use crate::service::{DestinationKey, ServiceKey, ServiceSettings};
use crate::step::{Applied, Step, StepError};

/// Linux errno values that have a meaning of their own here (`include/uapi/asm-generic/errno-base.h`).
mod errno {
    pub(super) const ENOENT: i32 = 2;
    pub(super) const ESRCH: i32 = 3;
    pub(super) const EEXIST: i32 = 17;
    pub(super) const EINVAL: i32 = 22;
}

/// Whether a service's rules are in the kernel of this Director.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Programming {
    /// As declared.
    Programmed,
    /// Not yet tried, or the answer was lost.
    Pending(String),
    /// The kernel has a service of this key that we did not make and that differs from ours.
    Foreign(String),
    /// The kernel does not have the scheduler.
    SchedulerMissing(String),
    /// A real server cannot be reached.
    NoRoute(String),
    /// The kernel said no.
    Refused(String),
    /// Ownership cannot be written down, so nothing is added or removed.
    LedgerUnusable(String),
}

impl Programming {
    /// The reason and the words of the condition.
    pub fn reason(&self) -> (Reason, &str) {
        match self {
            Self::Programmed => (Reason::Programmed, ""),
            Self::Pending(words) => (Reason::Pending, words),
            Self::Foreign(words) => (Reason::ForeignService, words),
            Self::SchedulerMissing(words) => (Reason::SchedulerMissing, words),
            Self::NoRoute(words) => (Reason::NoRoute, words),
            Self::Refused(words) => (Reason::KernelRefused, words),
            Self::LedgerUnusable(words) => (Reason::LedgerUnusable, words),
        }
    }
}

/// What this Director knows of one service after a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOutcome {
    /// Whether its rules are in force.
    pub programming: Programming,
    /// Destinations that take no connections: the kernel did not take them, or they are on no link of this
    /// Director.
    pub missing: BTreeSet<DestinationKey>,
}

impl ServiceOutcome {
    /// All as declared.
    pub fn programmed() -> Self {
        Self { programming: Programming::Programmed, missing: BTreeSet::new() }
    }

    /// Takes in the destinations that are on no link of this Director, and why.
    #[must_use]
    pub fn with_off_segment(mut self, off_segment: &BTreeMap<DestinationKey, String>) -> Self {
        if !off_segment.is_empty() && self.programming == Programming::Programmed {
            let words: Vec<&str> = off_segment.values().map(String::as_str).collect();
            self.programming = Programming::NoRoute(words.join("; "));
        }
        self.missing.extend(off_segment.keys());
        self
    }
}

/// Where a VIP stands on this Director.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcing {
    /// It is bound here.
    Announced(String),
    /// The probe for another holder is on its way, or the bind has not been tried.
    Pending(String),
    /// Another host answers for it.
    Conflict {
        /// That host.
        holder: Holder,
        /// It is bound here all the same: the other came later.
        bound: bool,
    },
    /// Another Director lives, and nothing yet decides between the two.
    PeerWithoutVrrp {
        /// Its node.
        peer: String,
    },
    /// Its link is down or has no carrier, so nobody hears of it.
    Unheard(String),
    /// No link can hold it.
    NoInterface(String),
    /// The kernel did not bind it.
    Refused(String),
}

/// What became of the services of which a step failed; every other one is as declared.
///
/// The first failure counts, because what follows it mostly fails because of it.
pub fn of_failed_services(applied: &Applied) -> BTreeMap<ServiceKey, ServiceOutcome> {
    let mut outcomes = BTreeMap::new();
    for (step, result) in applied.results() {
        let (Some(key), Err(error)) = (step.service(), result) else { continue };
        let outcome = outcomes.entry(*key).or_insert_with(ServiceOutcome::programmed);
        if let Step::NewDestination { destination, .. } = step {
            outcome.missing.insert(*destination);
        }
        if outcome.programming == Programming::Programmed {
            outcome.programming = failure(step, error);
        }
    }
    outcomes
}

/// The errno of a step in the words of the API.
fn failure(step: &Step, error: &StepError) -> Programming {
    let words = format!("{step}: {error}");
    match (step, error) {
        (_, StepError::Unknown(_) | StepError::NotTaken) => Programming::Pending(words),
        // `ip_vs_scheduler_get` or `ip_vs_pe_getbyname` found neither the name nor a module of it.
        (
            Step::NewService { settings, .. } | Step::SetService { settings, .. },
            StepError::Kernel { errno: errno::ENOENT, .. },
        ) => Programming::SchedulerMissing(missing_module(settings, &words)),
        // `ip_vs_new_dest` refuses what is not a unicast address, which is every address before `lo` was up.
        (Step::NewDestination { destination, .. }, StepError::Kernel { errno: errno::EINVAL, .. }) => {
            Programming::NoRoute(format!(
                "no route to {}: direct routing needs it on a link of this Director, and `lo` up ({words})",
                destination.address
            ))
        }
        (step, StepError::Kernel { errno, .. }) if was_outrun(step, *errno) => {
            Programming::Pending(format!("somebody changed the table meanwhile; reading it again ({words})"))
        }
        _ => Programming::Refused(words),
    }
}

/// The kernel gives one errno for a missing scheduler and a missing persistence engine.
fn missing_module(settings: &ServiceSettings, words: &str) -> String {
    let scheduler = &settings.scheduler;
    match settings.persistence.as_ref().and_then(|persistence| persistence.engine.as_ref()) {
        None => format!(
            "the kernel has no scheduler {scheduler}; load its module: modprobe ip_vs_{scheduler} ({words})"
        ),
        Some(engine) => format!(
            "the kernel lacks the scheduler {scheduler} or the persistence engine {engine}; load their modules: modprobe -a ip_vs_{scheduler} ip_vs_pe_{engine} ({words})"
        ),
    }
}

/// Whether the errno says that the table is no longer as it was read: a dump of it is not atomic, and others may
/// write too (`ip_vs_genl_set_cmd`, `ip_vs_edit_dest`, `ip_vs_del_dest`).
fn was_outrun(step: &Step, errno: i32) -> bool {
    match step {
        Step::NewService { .. } => errno == errno::EEXIST,
        Step::NewDestination { .. } => matches!(errno, errno::EEXIST | errno::ESRCH),
        Step::SetService { .. } | Step::DelService { .. } => errno == errno::ESRCH,
        Step::SetDestination { .. } | Step::DelDestination { .. } => {
            matches!(errno, errno::ENOENT | errno::ESRCH)
        }
        Step::BindVip { .. } | Step::UnbindVip { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{address, direct, settings, tcp};
    use crate::service::PersistenceSettings;
    use crate::step::{DRIFT_KINDS, Plan};

    fn key() -> ServiceKey {
        tcp("172.16.21.10", 80)
    }

    fn every_step() -> [Step; 8] {
        let (key, vip) = (key(), address("172.16.21.10"));
        let destination = DestinationKey { address: address("192.168.40.12"), port: 80 };
        let weight = direct(1);
        [
            Step::NewService { key, settings: settings("wrr") },
            Step::SetService { key, settings: settings("wrr") },
            Step::DelService { key },
            Step::NewDestination { key, destination, settings: weight },
            Step::SetDestination { key, destination, settings: weight },
            Step::DelDestination { key, destination },
            Step::BindVip { vip, link: "eth0".into() },
            Step::UnbindVip { vip, link: "eth0".into() },
        ]
    }

    fn programming(step: Step, errno: i32) -> Programming {
        let error = StepError::Kernel { errno, text: format!("errno {errno}") };
        let mut failed = of_failed_services(&Plan::new(vec![step]).carry_out(|_| vec![Err(error.clone())]));
        failed.remove(&key()).expect("a step of it failed").programming
    }

    #[test]
    fn a_persistence_engine_may_be_what_is_missing() {
        let persistence =
            PersistenceSettings { timeout_seconds: 300, prefix_length: 32, engine: Some("sip".into()) };
        let settings = ServiceSettings { persistence: Some(persistence), ..settings("wrr") };
        let missing = programming(Step::NewService { key: key(), settings }, 2);
        let command = "modprobe -a ip_vs_wrr ip_vs_pe_sip";
        assert!(
            matches!(&missing, Programming::SchedulerMissing(words) if words.contains(command)),
            "{missing:?}"
        );
    }

    #[test]
    fn an_errno_is_told_in_the_words_of_the_api() {
        let [new_service, set_service, _, new_destination, ..] = every_step();
        let missing = programming(new_service.clone(), 2);
        assert!(
            matches!(&missing, Programming::SchedulerMissing(words) if words.contains("modprobe ip_vs_wrr"))
        );
        assert!(matches!(programming(set_service, 2), Programming::SchedulerMissing(_)));
        assert!(matches!(programming(new_destination, 22), Programming::NoRoute(_)));
        assert!(matches!(programming(new_service, 12), Programming::Refused(_)));
    }

    #[test]
    fn a_table_that_changed_between_reading_and_writing_is_no_refusal() {
        let [new_service, set_service, del_service, new, set, del, ..] = every_step();
        for (step, errno) in [
            (new_service, 17),
            (set_service, 3),
            (del_service, 3),
            (new.clone(), 17),
            (new, 3),
            (set.clone(), 2),
            (set, 3),
            (del.clone(), 2),
            (del, 3),
        ] {
            let outcome = programming(step.clone(), errno);
            assert!(matches!(outcome, Programming::Pending(_)), "{step}, errno {errno}: {outcome:?}");
        }
    }

    #[test]
    fn every_step_has_a_kind_of_drift_and_every_kind_a_step() {
        let mut kinds = every_step().map(|step| step.drift_kind());
        let mut listed = DRIFT_KINDS;
        kinds.sort_unstable();
        listed.sort_unstable();
        assert_eq!(kinds, listed);
    }
}
