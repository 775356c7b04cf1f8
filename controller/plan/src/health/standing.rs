//! What is in force for one service: which of its declared destinations are in the kernel, and with which
//! weight.

mod destination;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Instant;

use litemap::LiteMap;

use super::policy::Policy;
use super::ramp::Ramp;
use super::track::Verdict;
use crate::service::{DestinationKey, DestinationSettings, Forwarding, Service, ServiceKey};
use destination::Judge;

/// A destination as it is declared, and what its probe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The declared weight.
    pub weight: u16,
    /// 0 = off.
    pub upper_threshold: u32,
    /// 0 = off.
    pub lower_threshold: u32,
    /// Takes no new connections, and keeps its established ones.
    pub drain: bool,
    /// Left out at once.
    pub maintenance: bool,
    /// What its probe says; `None` if it is not checked, which counts as working.
    pub verdict: Option<Verdict>,
}

impl Declared {
    /// Whether it is meant to take new connections.
    fn is_wanted(&self) -> bool {
        self.weight > 0 && !self.drain && !self.maintenance
    }
}

/// What has to be remembered of a service between two passes. Empty where nothing is unusual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    members: LiteMap<DestinationKey, Past>,
    /// Since when the sorry server has not been needed, while it is still in the kernel.
    sorry_idle: Option<Instant>,
    /// With slow start: the weights in the kernel are ours. Before, they may show a ramp that was
    /// interrupted.
    seen: bool,
}

impl Standing {
    /// Whether there is nothing to remember: it can then be dropped, and made anew by `default`.
    pub fn is_empty(&self) -> bool {
        let Self { members, sorry_idle, seen } = self;
        members.is_empty() && sorry_idle.is_none() && !seen
    }
}

/// What was unusual about a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Past {
    /// Its first check is waited for, with weight 0.
    Waiting,
    /// It was found with a weight, and counts as working until its first check.
    Found,
    /// It failed.
    Failed {
        /// Since when it has had weight 0; `None` while panic keeps it in service.
        quiesced: Option<Instant>,
        /// It was removed, and stays so until it works again.
        removed: bool,
    },
    /// It works since then, and its weight grows.
    Ramping(Instant),
    /// It is in maintenance.
    Away,
}

/// What a destination does, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It takes new connections with its full weight.
    InService,
    /// It takes new connections with a weight that grows.
    SlowStart {
        /// How much of its weight is in force, 1..99.
        percent: u8,
    },
    /// It failed and takes new connections all the same: too many failed at once.
    Panic,
    /// Its declared weight is 0.
    ZeroWeight,
    /// Weight 0 until its first check has a result.
    Waiting,
    /// Weight 0 because it is declared to drain.
    Draining,
    /// Weight 0 because it failed.
    Quiesced,
    /// Not in the kernel because it failed.
    Removed,
    /// Not in the kernel because it is in maintenance.
    Maintenance,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InService => f.write_str("in service"),
            Self::SlowStart { percent } => write!(f, "slow start, at {percent} % of its weight"),
            Self::Panic => f.write_str("fails its check, in service because too many fail"),
            Self::ZeroWeight => f.write_str("declared weight 0"),
            Self::Waiting => f.write_str("waiting for its first check"),
            Self::Draining => f.write_str("draining"),
            Self::Quiesced => f.write_str("fails its check, weight 0"),
            Self::Removed => f.write_str("fails its check, removed"),
            Self::Maintenance => f.write_str("in maintenance"),
        }
    }
}

/// What is in force for one declared destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// What to say of it.
    pub state: State,
    /// What should be in the kernel; `None`: nothing.
    pub settings: Option<DestinationSettings>,
    /// Its check holds, or it is not checked. Before the first result, a destination that was found with a
    /// weight counts as working.
    pub healthy: bool,
}

/// Destinations of one service, counted; the sorry server is none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Declared.
    pub total: u32,
    /// Of these, healthy ones.
    pub healthy: u32,
    /// Of these, ones with a weight above 0.
    pub in_service: u32,
}

/// What is in force for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Each declared destination, in the order in which they were given, which is that of their keys.
    pub destinations: Vec<(DestinationKey, Destination)>,
    /// The sorry server, if it should be in the kernel.
    pub sorry: Option<(DestinationKey, DestinationSettings)>,
    /// The sorry server takes the connections.
    pub sorry_in_use: bool,
    /// Fewer work than the threshold says: checks are not believed.
    pub panic: bool,
    /// The destinations, counted.
    pub counts: Counts,
    /// When time alone changes something; always later than the `now` that was given.
    pub next: Option<Instant>,
}

impl InForce {
    /// What is in force for one destination.
    pub fn get(&self, key: &DestinationKey) -> Option<&Destination> {
        let index = self.destinations.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        Some(&self.destinations[index].1)
    }

    /// Everything that should be in the kernel.
    pub fn table(&self) -> impl Iterator<Item = (DestinationKey, DestinationSettings)> {
        let destinations = self.destinations.iter().filter_map(|(key, it)| Some((*key, it.settings?)));
        destinations.chain(self.sorry)
    }
}

/// Decides what is in force for a service now.
///
/// `declared` has each destination once. `observed` is what the kernel holds: of a destination that was never
/// checked it tells what a former agent knew, so that a restart changes nothing. `memory` belongs to the
/// service and is kept from call to call; a call with the same arguments gives the same answer.
pub fn in_force(
    key: &ServiceKey,
    policy: &Policy,
    declared: &[(DestinationKey, Declared)],
    observed: Option<&Service>,
    memory: &mut Standing,
    now: Instant,
) -> InForce {
    let ramp = Ramp::new(policy.slow_start, declared.iter().map(|(_, declared)| declared.weight));
    let in_kernel = |key: &DestinationKey| observed?.destinations.get(key).map(|settings| settings.weight);
    let panic = is_panic(policy.panic_threshold_percent, declared);
    let judge = Judge { policy, ramp, panic, first_sight: !memory.seen, now };

    let mut pasts = LiteMap::new();
    let mut next: Option<Instant> = None;
    let mut counts = Counts::default();
    let mut is_waiting = false;
    let mut destinations = Vec::with_capacity(declared.len());
    for (key, declared) in declared {
        let past = judge.past(declared, memory.members.get(key).copied(), in_kernel(key));
        let (destination, changes) = judge.destination(declared, past);
        next = earlier(next, changes);
        is_waiting |= past == Some(Past::Waiting) && declared.is_wanted();
        counts.total += 1;
        counts.healthy += u32::from(destination.healthy);
        counts.in_service += u32::from(destination.settings.is_some_and(|settings| settings.weight > 0));
        if let Some(past) = past {
            pasts.insert(*key, past);
        }
        destinations.push((*key, destination));
    }
    memory.members = pasts;
    memory.seen = ramp.is_on();

    let sorry_key = policy.sorry_server.map(|address| DestinationKey { address, port: key.port() });
    let sorry_key = sorry_key.filter(|sorry| declared.iter().all(|(key, _)| key != sorry));
    let sorry_weight = sorry_key.as_ref().and_then(in_kernel);
    // While one waits for its first check, nothing is known of a need that was not there already.
    let sorry_in_use = sorry_key.is_some()
        && counts.in_service == 0
        && (!is_waiting || sorry_weight.is_some_and(|it| it > 0));
    let sorry_until = match sorry_weight {
        Some(_) if !sorry_in_use => Some(*memory.sorry_idle.get_or_insert(now) + policy.drain_timeout),
        _ => {
            memory.sorry_idle = None;
            None
        }
    };
    let sorry_stays = sorry_in_use || sorry_until.is_some_and(|until| until > now);
    next = earlier(next, sorry_until.filter(|until| *until > now));
    let sorry = sorry_key.filter(|_| sorry_stays).map(|key| (key, direct(u32::from(sorry_in_use), 0, 0)));
    InForce { destinations, sorry, sorry_in_use, panic, counts, next }
}

/// Whether the share of those that did not fail, of those that are meant to take connections, is below the
/// threshold.
fn is_panic(threshold_percent: u8, declared: &[(DestinationKey, Declared)]) -> bool {
    let wanted = declared.iter().map(|(_, declared)| declared).filter(|declared| declared.is_wanted());
    let (all, working) = wanted.fold((0_usize, 0_usize), |(all, working), declared| {
        (all + 1, working + usize::from(declared.verdict != Some(Verdict::Down)))
    });
    working * 100 < all * usize::from(threshold_percent)
}

fn direct(weight: u32, upper_threshold: u32, lower_threshold: u32) -> DestinationSettings {
    DestinationSettings { weight, forwarding: Forwarding::Direct, upper_threshold, lower_threshold }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
