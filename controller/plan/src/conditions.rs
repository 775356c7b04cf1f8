//! Conditions: what is said of each object, from what was decided and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use lvs_crds::{ConditionStatus, RealServerCounts};

use crate::desired::{DesiredDestination, Pair};
use crate::health::{Drain, InForce, Probe, Stage, Verdict};
use crate::inventory::{Inventory, RealServerRecord, VirtualServiceRecord};
use crate::object::ObjectKey;
use crate::outcome::{Announcing, Programming, ServiceOutcome};
use crate::reason::Reason;
use crate::service::{DestinationKey, ServiceKey};

/// A condition without its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionValue {
    /// `Accepted`, `Programmed`, `Announced`, `RealServersReady`, `Healthy`, `Drained`, `KernelReady` or `Ready`.
    pub type_: &'static str,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why.
    pub reason: Reason,
    /// A sentence.
    pub message: String,
}

impl ConditionValue {
    pub(crate) fn new(type_: &'static str, holds: bool, reason: Reason, message: impl Into<String>) -> Self {
        let status = if holds { ConditionStatus::True } else { ConditionStatus::False };
        Self { type_, status, reason, message: message.into() }
    }

    fn unknown(type_: &'static str, reason: Reason, message: impl Into<String>) -> Self {
        Self { type_, status: ConditionStatus::Unknown, reason, message: message.into() }
    }

    /// Whether it is `True`.
    pub fn holds(&self) -> bool {
        self.status == ConditionStatus::True
    }
}

/// What this Director knows of its real servers.
pub trait Checks {
    /// What is in force for a service; `None` if that is what is declared.
    fn in_force(&self, key: &ServiceKey) -> Option<&InForce>;
    /// What a probe says, and its last failure in words.
    fn verdict(&self, probe: &Probe) -> (Verdict, Option<&str>);
    /// How far a real server has drained.
    fn drain(&self, real_server: &ObjectKey) -> Option<&Drain>;
    /// The services in which a real server with thresholds is overloaded.
    fn overloaded(&self, real_server: &ObjectKey) -> Option<&BTreeSet<ServiceKey>>;
}

/// What this Director knows of the kernel and the network.
#[derive(Clone, Copy)]
pub struct Findings<'a> {
    /// Every service that was handled.
    pub services: &'a BTreeMap<ServiceKey, ServiceOutcome>,
    /// Every VIP that was handled.
    pub vips: &'a BTreeMap<IpAddr, Announcing>,
    /// Why the kernel cannot be read and since when, if that is so for long enough to say that what is known of
    /// services is not known any more.
    pub unreadable: Option<&'a str>,
    /// The real servers.
    pub checks: &'a dyn Checks,
}

/// What is said of a virtual service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualServiceReport {
    /// Its conditions.
    pub conditions: Vec<ConditionValue>,
    /// Its real servers.
    pub real_servers: RealServerCounts,
    /// Whether this Director's kernel holds all of its rules.
    pub programmed: bool,
    /// Whether this Director announces its VIP, or there is none to announce.
    pub active: bool,
}

/// Says what there is to say of a virtual service.
pub fn virtual_service(record: &VirtualServiceRecord, findings: Findings<'_>) -> VirtualServiceReport {
    let accepted = accepted(record);
    let programmed = programmed(record, findings);
    let announced = announced(record, findings);
    let members = members(record, findings);
    let counts = members.counts;
    let real_servers = real_servers_ready(record, &members, &programmed);
    // Another's claim doesn't change that clients are served here.
    let contested = matches!(
        vip(record).and_then(|vip| findings.vips.get(&vip)),
        Some(Announcing::Conflict { bound: true, .. })
    );
    let (is_programmed, active) = (programmed.holds(), announced.holds() || contested);
    let conditions = with_ready(vec![accepted, programmed, announced, real_servers]);
    VirtualServiceReport { conditions, real_servers: counts, programmed: is_programmed, active }
}

/// Says what there is to say of a real server.
pub fn real_server(
    key: &ObjectKey,
    record: &RealServerRecord,
    inventory: &Inventory,
    checks: &dyn Checks,
) -> Vec<ConditionValue> {
    let accepted = real_server_accepted(key, record, inventory);
    let mut conditions = with_ready(vec![accepted, healthy(key, record, inventory, checks)]);
    // Who is drained on purpose, or has as much to do as was allowed, is in order.
    conditions.extend(drained(record, checks.drain(key)));
    conditions.extend(overloaded(record, checks.overloaded(key)));
    conditions
}

/// Adds `Ready`: the AND of the others. Its reason is the first that does not hold; what cannot be told counts
/// after that.
fn with_ready(mut conditions: Vec<ConditionValue>) -> Vec<ConditionValue> {
    conditions.reserve_exact(1);
    let first = |status| conditions.iter().find(|condition| condition.status == status);
    let ready = match first(ConditionStatus::False).or_else(|| first(ConditionStatus::Unknown)) {
        None => ConditionValue::new("Ready", true, Reason::Ready, ""),
        Some(ConditionValue { type_, status, reason, message }) => ConditionValue {
            type_: "Ready",
            status: *status,
            reason: *reason,
            message: format!("{type_}: {message}"),
        },
    };
    conditions.push(ready);
    conditions
}

fn violations_text(violations: &[crate::validate::Violation], in_force: bool) -> String {
    let mut text = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if in_force {
        text.push_str(" (the last accepted version stays in force)");
    }
    text
}

fn accepted(record: &VirtualServiceRecord) -> ConditionValue {
    let in_force = record.in_force.is_some();
    if !record.violations.is_empty() {
        let message = violations_text(&record.violations, in_force);
        return ConditionValue::new("Accepted", false, Reason::Invalid, message);
    }
    if let Some((service, holder)) = record.conflict.as_deref() {
        let kept = if in_force { " (the last accepted version stays in force)" } else { "" };
        let message = format!("{service} belongs to the older VirtualService {holder}{kept}");
        return ConditionValue::new("Accepted", false, Reason::Conflict, message);
    }
    ConditionValue::new("Accepted", true, Reason::Accepted, ignored_weights(record).unwrap_or_default())
}

/// Says so when the scheduler in force ignores weights that differ.
fn ignored_weights(record: &VirtualServiceRecord) -> Option<String> {
    let scheduler = &record.in_force.as_ref()?.settings.scheduler;
    let instead = match &**scheduler {
        "rr" => "wrr",
        "lc" => "wlc",
        _ => "wlc or wrr",
    };
    record.desired().weights_ignored.then(|| {
        format!(
            "WeightsIgnored: scheduler {scheduler} ignores weights, so real servers of different weight get equal shares; use {instead} to respect them"
        )
    })
}

fn programmed(record: &VirtualServiceRecord, findings: Findings<'_>) -> ConditionValue {
    let Some(version) = &record.in_force else {
        return ConditionValue::new("Programmed", false, Reason::Pending, "no version of it was accepted");
    };
    let mut worst: Option<(Reason, String)> = None;
    for key in &version.services {
        let (reason, words) = match findings.services.get(key) {
            None => {
                let words =
                    findings.unreadable.map_or_else(|| format!("{key} is not programmed yet"), str::to_owned);
                (Reason::Pending, words)
            }
            Some(ServiceOutcome { programming: Programming::Programmed, .. }) => continue,
            Some(outcome) => {
                let (reason, words) = outcome.programming.reason();
                (reason, words.to_owned())
            }
        };
        match &mut worst {
            None => worst = Some((reason, words)),
            Some((_, all)) => {
                let _ = write!(all, "; {words}");
            }
        }
    }
    if worst.is_none()
        && let Some(Announcing::NoInterface(words)) = vip(record).and_then(|vip| findings.vips.get(&vip))
    {
        worst = Some((Reason::NoVIPInterface, words.clone()));
    }
    match (worst, findings.unreadable) {
        (Some((reason, words)), _) => ConditionValue::new("Programmed", false, reason, words),
        (None, Some(words)) => ConditionValue::unknown(
            "Programmed",
            Reason::Pending,
            format!(
                "{words}; when last seen the rules were as declared, and the kernel goes on forwarding by those it has"
            ),
        ),
        (None, None) => ConditionValue::new("Programmed", true, Reason::Programmed, ""),
    }
}

fn announced(record: &VirtualServiceRecord, findings: Findings<'_>) -> ConditionValue {
    let condition = |holds, reason, message: String| ConditionValue::new("Announced", holds, reason, message);
    if record.in_force.is_none() {
        return condition(false, Reason::NoActiveDirector, "no version of it was accepted".to_owned());
    }
    let Some(vip) = vip(record) else {
        let words =
            "a firewall mark has no VIP: marking packets and routing them here are the administrator's";
        return condition(true, Reason::NotApplicable, words.to_owned());
    };
    match findings.vips.get(&vip) {
        Some(Announcing::Announced(words)) => condition(true, Reason::Announced, words.clone()),
        Some(Announcing::Conflict { holder, bound }) => {
            let state = if *bound { "stays bound here, but" } else { "is not bound:" };
            let words = format!("{vip} {state} {holder} answers for it; {}", holder.cure());
            condition(false, Reason::VIPConflict, words)
        }
        Some(Announcing::PeerWithoutVrrp { peer }) => condition(
            false,
            Reason::PeerWithoutVRRP,
            format!(
                "{vip} is not bound here: Director {peer} lives and holds the VIPs; run one Director until failover is set up"
            ),
        ),
        Some(
            Announcing::Pending(words)
            | Announcing::Unheard(words)
            | Announcing::NoInterface(words)
            | Announcing::Refused(words),
        ) => condition(false, Reason::NoActiveDirector, words.clone()),
        None => condition(
            false,
            Reason::NoActiveDirector,
            format!("{vip} is not bound: its rules are not in force"),
        ),
    }
}

fn vip(record: &VirtualServiceRecord) -> Option<IpAddr> {
    record.in_force.as_ref()?.services.first()?.vip()
}

/// The real servers of a virtual service, counted, and what is unusual about them.
#[derive(Default)]
struct Members<'a> {
    counts: RealServerCounts,
    panic: bool,
    sorry_in_use: bool,
    failing: BTreeSet<&'a ObjectKey>,
    /// Their first check is waited for.
    waiting: BTreeSet<&'a ObjectKey>,
}

fn members<'a>(record: &'a VirtualServiceRecord, findings: Findings<'_>) -> Members<'a> {
    let mut members = Members::default();
    let mut in_service: BTreeSet<&ObjectKey> = BTreeSet::new();
    for (key, service) in &record.desired().services {
        let outcome = findings.services.get(key);
        let in_force = findings.checks.in_force(key);
        for (destination, wanted) in &service.destinations {
            let owner = &wanted.owner;
            let now = in_force.and_then(|in_force| in_force.get(destination));
            if now.is_some_and(|now| !now.healthy) {
                match wanted.probe.as_ref().map(|probe| findings.checks.verdict(probe).0) {
                    Some(Verdict::Down) => drop(members.failing.insert(owner)),
                    _ => drop(members.waiting.insert(owner)),
                }
            }
            let weight = match now {
                Some(now) => now.settings.map_or(0, |settings| settings.weight),
                None if wanted.is_as_declared() => wanted.settings.weight,
                // Not judged yet.
                None => 0,
            };
            if weight > 0 && in_kernel(outcome, destination) {
                in_service.insert(owner);
            }
        }
        members.panic |= in_force.is_some_and(|in_force| in_force.panic);
        members.sorry_in_use |= in_force.is_some_and(|in_force| in_force.sorry_in_use);
    }
    for (member, pair) in &record.desired().pairs {
        let Pair::Accepted { .. } = pair else { continue };
        members.counts.total += 1;
        let healthy = !members.failing.contains(member) && !members.waiting.contains(member);
        members.counts.healthy += i32::from(healthy);
        members.counts.in_service += i32::from(in_service.contains(member));
    }
    members
}

fn in_kernel(outcome: Option<&ServiceOutcome>, destination: &DestinationKey) -> bool {
    outcome.is_some_and(|outcome| match outcome.programming {
        Programming::Programmed => true,
        Programming::NoRoute(_) | Programming::Refused(_) => !outcome.missing.contains(destination),
        Programming::Pending(_)
        | Programming::Foreign(_)
        | Programming::SchedulerMissing(_)
        | Programming::LedgerUnusable(_) => false,
    })
}

fn real_servers_ready(
    record: &VirtualServiceRecord,
    members: &Members<'_>,
    programmed: &ConditionValue,
) -> ConditionValue {
    let counts = members.counts;
    let refused: Vec<String> = record
        .desired()
        .pairs
        .iter()
        .filter_map(|(key, pair)| match pair {
            Pair::Accepted { .. } => None,
            Pair::Refused { reason, .. } => Some(format!("{key} ({reason})")),
        })
        .collect();
    let refused = refused.join(", ");
    let also = |words: &str, separator: &str| match refused.as_str() {
        "" => words.to_owned(),
        refused => format!("{words}{separator}refused: {refused}"),
    };
    let failing = members.failing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let not_ready = |reason, words: &str| ConditionValue::new("RealServersReady", false, reason, words);
    if members.panic {
        let words = format!(
            "fewer real servers work than spec.panicThresholdPercent says, so checks are not believed and all take \
             connections; failing: {failing}"
        );
        return not_ready(Reason::Panic, &also(&words, "; "));
    }
    if members.sorry_in_use {
        let words = "no real server takes new connections; the sorry server does";
        return not_ready(Reason::SorryServer, &also(words, "; "));
    }
    if counts.in_service > 0 {
        let words = if failing.is_empty() { String::new() } else { format!("failing: {failing}") };
        let separator = if words.is_empty() { "" } else { "; " };
        return ConditionValue::new("RealServersReady", true, Reason::Ready, also(&words, separator));
    }
    if !members.waiting.is_empty() {
        let words = also("the first health check has not ended yet", "; ");
        return ConditionValue::unknown("RealServersReady", Reason::NoneInService, words);
    }
    let message = match &record.in_force {
        None => "no version of it was accepted".to_owned(),
        Some(_) if counts.total > 0 && takes_connections(record) && !programmed.holds() => {
            // What to do about it is said there, once.
            also(&format!("no real server is in the kernel, see Programmed ({})", programmed.reason), "; ")
        }
        Some(_) if !failing.is_empty() => {
            also(&format!("no real server takes new connections; failing their checks: {failing}"), "; ")
        }
        Some(_) if counts.total > 0 => also(
            "no real server takes new connections: all have weight 0, drain, are in maintenance or not in the kernel",
            "; ",
        ),
        Some(_) if !refused.is_empty() => format!("every selected real server is refused: {refused}"),
        Some(version) if version.selector.requirements.is_none() => {
            "spec.realServerSelector is left out, which selects none".to_owned()
        }
        Some(_) => "no RealServer in this namespace matches spec.realServerSelector".to_owned(),
    };
    not_ready(Reason::NoneInService, &message)
}

/// Whether a real server would take new connections if it were in the kernel.
fn takes_connections(record: &VirtualServiceRecord) -> bool {
    record.desired().pairs.values().any(|pair| matches!(pair, Pair::Accepted { weight } if *weight > 0))
}

/// Whether every check holds that decides about a destination of the real server.
fn healthy(
    key: &ObjectKey,
    record: &RealServerRecord,
    inventory: &Inventory,
    checks: &dyn Checks,
) -> ConditionValue {
    let services = record.selected_by.iter().filter_map(|owner| inventory.virtual_service(owner));
    let services = services.flat_map(|virtual_service| &virtual_service.desired().services);
    let (mut used, mut checked, mut pending, mut unusable) = (false, false, None, None);
    let mut failures: BTreeSet<&str> = BTreeSet::new();
    for (service, desired) in services {
        // Hardly ever does a real server have more than one address, and never in one service.
        let mine = |(_, wanted): &(&DestinationKey, &DesiredDestination)| wanted.owner == *key;
        let Some((destination, wanted)) = desired.destinations.iter().find(mine) else { continue };
        used = true;
        let Some(probe) = &wanted.probe else { continue };
        checked = true;
        match checks.verdict(probe) {
            (Verdict::Up, _) => {}
            (Verdict::Down, words) => drop(failures.insert(words.unwrap_or("its check fails"))),
            (Verdict::Unknown, words) => {
                unusable = unusable.or(words);
                let now = checks.in_force(service).and_then(|in_force| in_force.get(destination));
                let works_so_far = now.is_some_and(|now| now.healthy);
                pending = Some(pending.unwrap_or(true) && works_so_far);
            }
        }
    }
    let condition = |holds, reason, words: &str| ConditionValue::new("Healthy", holds, reason, words);
    match pending {
        _ if !failures.is_empty() => {
            let words: Vec<&str> = failures.into_iter().collect();
            condition(false, Reason::CheckFailed, &words.join("; "))
        }
        // It was in service when this agent came, which is what it starts from: a restart is no news.
        Some(true) => match unusable {
            Some(words) => condition(true, Reason::CheckPending, words),
            None => condition(true, Reason::CheckPassed, ""),
        },
        Some(false) => {
            let words = unusable.unwrap_or("the first check has not ended yet");
            ConditionValue::unknown("Healthy", Reason::CheckPending, words)
        }
        None if checked => condition(true, Reason::CheckPassed, ""),
        None if used => condition(true, Reason::NotChecked, "healthCheck is none, so it counts as working"),
        None => condition(true, Reason::NotChecked, "no virtual service uses it, so nothing is checked"),
    }
}

/// Whether a real server that is declared to drain has done so.
fn drained(record: &RealServerRecord, drain: Option<&Drain>) -> Option<ConditionValue> {
    record.in_force.as_ref().filter(|version| version.drain)?;
    let condition = |holds, reason, words: String| ConditionValue::new("Drained", holds, reason, words);
    Some(match drain.map(Drain::stage) {
        None | Some(Stage::Draining) => {
            condition(false, Reason::Draining, "active connections are left, or not counted yet".to_owned())
        }
        Some(Stage::Drained) => {
            condition(true, Reason::Drained, "no active connection goes through this Director".to_owned())
        }
        Some(Stage::TimedOut { left }) => {
            let connections = if left == 1 { "connection was" } else { "connections were" };
            let words = format!("drainTimeoutSeconds are over, and {left} active {connections} left");
            condition(true, Reason::DrainTimeout, words)
        }
    })
}

/// Whether the kernel sends a real server with thresholds no new connections for their sake.
fn overloaded(record: &RealServerRecord, services: Option<&BTreeSet<ServiceKey>>) -> Option<ConditionValue> {
    let upper = record.in_force.as_ref().map(|version| version.upper_threshold).filter(|upper| *upper > 0)?;
    let services = services.into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Some(if services.is_empty() {
        ConditionValue::new("Overloaded", false, Reason::BelowThreshold, "")
    } else {
        let words = format!("gets no new connections: it has reached upperThreshold ({upper}) in {services}");
        ConditionValue::new("Overloaded", true, Reason::AboveThreshold, words)
    })
}

fn real_server_accepted(key: &ObjectKey, record: &RealServerRecord, inventory: &Inventory) -> ConditionValue {
    if !record.violations.is_empty() {
        let message = violations_text(&record.violations, record.in_force.is_some());
        return ConditionValue::new("Accepted", false, Reason::Invalid, message);
    }
    let mut refused: Vec<(&ObjectKey, Reason, &str)> = Vec::new();
    let mut serves = 0;
    let mut ignored: Option<&ObjectKey> = None;
    for owner in &record.selected_by {
        let Some(virtual_service) = inventory.virtual_service(owner) else { continue };
        match virtual_service.desired().pairs.get(key) {
            Some(Pair::Accepted { .. }) => {
                serves += 1;
                if virtual_service.desired().weights_ignored && virtual_service.in_force.is_some() {
                    ignored = Some(ignored.map_or(owner, |first| first.min(owner)));
                }
            }
            Some(Pair::Refused { reason, message }) => refused.push((owner, *reason, message)),
            None => {}
        }
    }
    refused.sort_unstable();
    let words = refused.iter().map(|(owner, _, message)| format!("{owner}: {message}"));
    let words = words.collect::<Vec<_>>().join("; ");
    let ignored = ignored.map(|owner| format!("WeightsIgnored: the scheduler of {owner} ignores weights"));
    match refused.first() {
        Some((_, reason, _)) if serves == 0 => ConditionValue::new("Accepted", false, *reason, words),
        Some(_) => {
            let prefix = ignored.map(|text| format!("{text}; ")).unwrap_or_default();
            ConditionValue::new("Accepted", true, Reason::Accepted, format!("{prefix}refused by {words}"))
        }
        None => ConditionValue::new("Accepted", true, Reason::Accepted, ignored.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod health_tests;
