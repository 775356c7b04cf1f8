//! Conditions: what is said of each object, from what was decided and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use lvs_crds::{ConditionStatus, RealServerCounts};

use crate::desired::Pair;
use crate::inventory::{Inventory, RealServerRecord, VirtualServiceRecord};
use crate::object::ObjectKey;
use crate::outcome::{Announcing, Programming, ServiceOutcome};
use crate::reason::Reason;
use crate::service::{DestinationKey, ServiceKey};

/// A condition without its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionValue {
    /// `Accepted`, `Programmed`, `Announced`, `RealServersReady` or `Ready`.
    pub type_: &'static str,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why.
    pub reason: Reason,
    /// A sentence.
    pub message: String,
}

impl ConditionValue {
    fn new(type_: &'static str, holds: bool, reason: Reason, message: impl Into<String>) -> Self {
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

/// What this Director knows of the kernel and the network.
#[derive(Clone, Copy, Debug)]
pub struct Findings<'a> {
    /// Every service that was handled.
    pub services: &'a BTreeMap<ServiceKey, ServiceOutcome>,
    /// Every VIP that was handled.
    pub vips: &'a BTreeMap<IpAddr, Announcing>,
    /// Why the kernel cannot be read and since when, if that is so for long enough to say that what is known of
    /// services is not known any more.
    pub unreadable: Option<&'a str>,
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
    let counts = count(record, findings.services);
    let real_servers = real_servers_ready(record, counts, &programmed);
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
pub fn real_server(key: &ObjectKey, record: &RealServerRecord, inventory: &Inventory) -> Vec<ConditionValue> {
    with_ready(vec![real_server_accepted(key, record, inventory)])
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
    if let Some((service, holder)) = &record.conflict {
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

fn count(record: &VirtualServiceRecord, outcomes: &BTreeMap<ServiceKey, ServiceOutcome>) -> RealServerCounts {
    let in_force = record.desired().services.iter().flat_map(|(key, service)| {
        let outcome = outcomes.get(key);
        service.destinations.iter().filter(move |(destination, _)| in_kernel(outcome, destination))
    });
    let in_force: BTreeSet<&ObjectKey> = in_force.map(|(_, wanted)| &wanted.owner).collect();
    let mut counts = RealServerCounts::default();
    for (member, pair) in &record.desired().pairs {
        let Pair::Accepted { weight } = pair else { continue };
        counts.total += 1;
        counts.healthy += 1;
        counts.in_service += i32::from(*weight > 0 && in_force.contains(member));
    }
    counts
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
    counts: RealServerCounts,
    programmed: &ConditionValue,
) -> ConditionValue {
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
    if counts.in_service > 0 {
        return ConditionValue::new("RealServersReady", true, Reason::Ready, also("", ""));
    }
    let message = match &record.in_force {
        None => "no version of it was accepted".to_owned(),
        Some(_) if counts.total > 0 && takes_connections(record) && !programmed.holds() => {
            // What to do about it is said there, once.
            also(&format!("no real server is in the kernel, see Programmed ({})", programmed.reason), "; ")
        }
        Some(_) if counts.total > 0 => also(
            "no real server takes new connections: all have weight 0, are drained or are not in the kernel",
            "; ",
        ),
        Some(_) if !refused.is_empty() => format!("every selected real server is refused: {refused}"),
        Some(version) if version.selector.requirements.is_none() => {
            "spec.realServerSelector is left out, which selects none".to_owned()
        }
        Some(_) => "no RealServer in this namespace matches spec.realServerSelector".to_owned(),
    };
    ConditionValue::new("RealServersReady", false, Reason::NoneInService, message)
}

/// Whether a real server would take new connections if it were in the kernel.
fn takes_connections(record: &VirtualServiceRecord) -> bool {
    record.desired().pairs.values().any(|pair| matches!(pair, Pair::Accepted { weight } if *weight > 0))
}

fn real_server_accepted(key: &ObjectKey, record: &RealServerRecord, inventory: &Inventory) -> ConditionValue {
    if !record.violations.is_empty() {
        let message = violations_text(&record.violations, record.in_force.is_some());
        return ConditionValue::new("Accepted", false, Reason::Invalid, message);
    }
    let mut refused: Vec<(Reason, String)> = Vec::new();
    let mut serves = 0;
    let mut ignored = None;
    for owner in &record.selected_by {
        let Some(virtual_service) = inventory.virtual_service(owner) else { continue };
        match virtual_service.desired().pairs.get(key) {
            Some(Pair::Accepted { .. }) => {
                serves += 1;
                if ignored.is_none() && ignored_weights(virtual_service).is_some() {
                    ignored = Some(format!("WeightsIgnored: the scheduler of {owner} ignores weights"));
                }
            }
            Some(Pair::Refused { reason, message }) => refused.push((*reason, format!("{owner}: {message}"))),
            None => {}
        }
    }
    let words = refused.iter().map(|(_, words)| words.as_str()).collect::<Vec<_>>().join("; ");
    match refused.first() {
        Some((reason, _)) if serves == 0 => ConditionValue::new("Accepted", false, *reason, words),
        Some(_) => {
            let prefix = ignored.map(|text| format!("{text}; ")).unwrap_or_default();
            ConditionValue::new("Accepted", true, Reason::Accepted, format!("{prefix}refused by {words}"))
        }
        None => ConditionValue::new("Accepted", true, Reason::Accepted, ignored.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
