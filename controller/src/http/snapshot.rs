//! What the status page is told: the board's word on each virtual service, joined with the driver's on its
//! real servers and with the kernel's counters. Pure; the page's script is the other side of this form.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use lvs_crds::{ConditionStatus, DirectorRole, RealServerCounts};
use lvs_plan::health::{Stage, State, Verdict};
use lvs_plan::{DestinationKey, ObjectKey, ServiceKey, Spec};
use serde::Serialize;

use super::rates::Rates;
use super::selection::{Selection, Total};
use crate::board::Entry;
use crate::counters::{Count, Counts};
use crate::view::{DestinationView, DrainView, ServiceView, View};

/// Everything at one time.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Snapshot<'a> {
    node: &'a str,
    time: String,
    ready: bool,
    not_ready: &'a [String],
    total: Total,
    virtual_services: Vec<VirtualService<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VirtualService<'a> {
    namespace: &'a str,
    name: &'a str,
    /// Empty for a firewall mark.
    vip: &'a str,
    ports: Vec<String>,
    scheduler: &'static str,
    role: DirectorRole,
    conditions: Vec<Condition<'a>>,
    real_servers_summary: RealServerCounts,
    connections_per_second: Option<f64>,
    active_connections: Option<u64>,
    real_servers: Vec<RealServer<'a>>,
}

#[derive(Debug, Serialize)]
struct Condition<'a> {
    #[serde(rename = "type")]
    type_: &'static str,
    status: ConditionStatus,
    reason: &'static str,
    message: &'a str,
}

/// A real server in all services of one virtual service.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct RealServer<'a> {
    /// Empty for a sorry server, as the name is.
    namespace: &'a str,
    name: &'a str,
    address: IpAddr,
    weight: u32,
    /// Null if it is not in the kernel.
    kernel_weight: Option<u32>,
    state: Shown,
    health: Health,
    message: String,
    /// Null, as the next two, if it cannot be read.
    active_connections: Option<u64>,
    inactive_connections: Option<u64>,
    connections_per_second: Option<f64>,
    drain: Option<Drain>,
}

/// What a real server does; the worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
enum Shown {
    InService,
    Sorry,
    Drained,
    Maintenance,
    Quiesced,
    Draining,
    SlowStart,
    WaitingForFirstCheck,
    Unhealthy,
}

/// What checks say; the worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
enum Health {
    NotChecked,
    Healthy,
    Unknown,
    Unhealthy,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Drain {
    remaining: u32,
    at_start: u32,
    elapsed_seconds: u64,
    timeout_seconds: u64,
}

/// What a snapshot is made from.
pub(super) struct Sources<'a> {
    pub(super) node: &'a str,
    pub(super) selection: &'a Selection,
    pub(super) view: &'a View,
    /// Services whose counters could not be read are absent.
    pub(super) counted: &'a HashMap<ServiceKey, Counts>,
    pub(super) rates: &'a Rates,
}

impl<'a> Snapshot<'a> {
    pub(super) fn new(sources: &Sources<'a>, time: String) -> Self {
        let Sources { node, selection, view, .. } = *sources;
        let mut services: HashMap<&ObjectKey, Vec<&ServiceView>> = HashMap::new();
        for service in &view.services {
            services.entry(&service.owner).or_default().push(service);
        }
        let virtual_services = selection.entries.iter().map(|entry| {
            let mut services = services.remove(&entry.object.key).unwrap_or_default();
            services.sort_unstable_by_key(|service| service.key);
            sources.virtual_service(entry, &services)
        });
        Self {
            node,
            time,
            ready: selection.not_ready.is_empty(),
            not_ready: &selection.not_ready,
            total: selection.total,
            virtual_services: virtual_services.collect(),
        }
    }
}

impl<'a> Sources<'a> {
    fn virtual_service(&self, entry: &'a Entry, services: &[&'a ServiceView]) -> VirtualService<'a> {
        let key = &entry.object.key;
        let (vip, ports, scheduler) = match &entry.object.spec {
            Spec::VirtualService(spec) => {
                let summary = spec.ports_summary();
                let ports = summary.split(',').map(str::to_owned).collect();
                (spec.vip.as_deref().unwrap_or_default(), ports, spec.scheduler.as_str())
            }
            _ => ("", Vec::new(), ""),
        };
        let conditions = entry.verdict.conditions.iter().map(|condition| Condition {
            type_: condition.type_,
            status: condition.status,
            reason: condition.reason.as_str(),
            message: &condition.message,
        });
        let real_servers = self.real_servers(services);
        VirtualService {
            namespace: &key.namespace,
            name: &key.name,
            vip,
            ports,
            scheduler,
            role: entry.verdict.director.as_ref().map_or(DirectorRole::Unknown, |director| director.role),
            conditions: conditions.collect(),
            real_servers_summary: entry.verdict.real_servers.unwrap_or_default(),
            connections_per_second: real_servers
                .iter()
                .map(|it| it.connections_per_second)
                .fold(None, sum)
                .map(rounded),
            active_connections: real_servers.iter().map(|it| it.active_connections).fold(None, sum),
            real_servers,
        }
    }

    /// Each once, by namespace and name; the sorry server last.
    fn real_servers(&self, services: &[&'a ServiceView]) -> Vec<RealServer<'a>> {
        let mut declared: BTreeMap<(&ObjectKey, IpAddr), RealServer<'a>> = BTreeMap::new();
        let mut sorry: BTreeMap<IpAddr, RealServer<'a>> = BTreeMap::new();
        for service in services {
            for destination in &service.destinations {
                let row = self.declared(service, destination);
                merge(declared.entry((&destination.owner, row.address)), row);
            }
            if let Some((key, weight)) = service.sorry {
                merge(sorry.entry(key.address), self.sorry(service, key, weight));
            }
        }
        let mut rows: Vec<_> = declared.into_values().chain(sorry.into_values()).collect();
        for row in &mut rows {
            row.connections_per_second = row.connections_per_second.map(rounded);
        }
        rows
    }

    fn declared(&self, service: &ServiceView, destination: &'a DestinationView) -> RealServer<'a> {
        let row = self.row(service, destination.key, destination.kernel_weight);
        RealServer {
            namespace: &destination.owner.namespace,
            name: &destination.owner.name,
            weight: destination.weight.into(),
            state: shown(destination),
            health: match destination.verdict {
                None => Health::NotChecked,
                Some(Verdict::Unknown) => Health::Unknown,
                Some(Verdict::Up) => Health::Healthy,
                Some(Verdict::Down) => Health::Unhealthy,
            },
            message: message(destination),
            drain: destination.drain.as_deref().and_then(drain),
            ..row
        }
    }

    fn sorry(&self, service: &ServiceView, key: DestinationKey, weight: u32) -> RealServer<'a> {
        self.row(service, key, Some(weight).filter(|_| service.in_kernel))
    }

    /// What the kernel counts, in the row of a sorry server.
    fn row(&self, service: &ServiceView, key: DestinationKey, told: Option<u32>) -> RealServer<'a> {
        let none = Count::default();
        // A service that is not ours or not there was not read.
        let counts = self.counted.get(&service.key);
        let there = counts.and_then(|counts| counts.get(&key));
        let count = if service.in_kernel { counts.map(|_| there.unwrap_or(&none)) } else { Some(&none) };
        RealServer {
            namespace: "",
            name: "",
            address: key.address,
            weight: told.unwrap_or_default(),
            kernel_weight: if counts.is_some() { there.map(|count| count.weight) } else { told },
            state: Shown::Sorry,
            health: Health::NotChecked,
            message: String::new(),
            active_connections: count.map(|count| count.active.into()),
            inactive_connections: count.map(|count| count.inactive.into()),
            connections_per_second: self.rates.per_second(service.key, key),
            drain: None,
        }
    }
}

/// Of the services of one virtual service the first tells the weights, the worst the state.
fn merge<'a, K: Ord>(place: std::collections::btree_map::Entry<'_, K, RealServer<'a>>, row: RealServer<'a>) {
    let mut occupied = match place {
        std::collections::btree_map::Entry::Vacant(vacant) => {
            vacant.insert(row);
            return;
        }
        std::collections::btree_map::Entry::Occupied(occupied) => occupied,
    };
    let known = occupied.get_mut();
    if (row.health, row.state) > (known.health, known.state) {
        known.message = row.message;
    }
    known.state = known.state.max(row.state);
    known.health = known.health.max(row.health);
    known.active_connections = sum(known.active_connections, row.active_connections);
    known.inactive_connections = sum(known.inactive_connections, row.inactive_connections);
    known.connections_per_second = sum(known.connections_per_second, row.connections_per_second);
}

/// Of what is known.
fn sum<T: std::ops::Add<Output = T>>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    }
}

fn rounded(rate: f64) -> f64 {
    (rate * 100.0).round() / 100.0
}

fn shown(destination: &DestinationView) -> Shown {
    match destination.state {
        State::InService => Shown::InService,
        State::SlowStart { .. } => Shown::SlowStart,
        State::ZeroWeight => Shown::Quiesced,
        State::Waiting => Shown::WaitingForFirstCheck,
        State::Draining if destination.drain.as_ref().is_some_and(|it| it.stage == Stage::Drained) => {
            Shown::Drained
        }
        State::Draining => Shown::Draining,
        State::Panic | State::Quiesced | State::Removed => Shown::Unhealthy,
        State::Maintenance => Shown::Maintenance,
    }
}

/// What its state and its health do not say.
fn message(destination: &DestinationView) -> String {
    let failure = destination.failure.as_deref().unwrap_or_default();
    let more = match (destination.state, destination.drain.as_deref()) {
        (State::Panic, _) => "in service because too many fail",
        (State::Removed, _) => "removed",
        (State::Draining, Some(DrainView { stage: Stage::TimedOut { .. }, .. })) => "its time is over",
        _ => "",
    };
    let separator = if more.is_empty() || failure.is_empty() { "" } else { "; " };
    format!("{failure}{separator}{more}")
}

fn drain(drain: &DrainView) -> Option<Drain> {
    let (at_start, remaining) = drain.counted?;
    Some(Drain {
        remaining,
        at_start,
        elapsed_seconds: drain.elapsed.as_secs(),
        timeout_seconds: drain.timeout.as_secs(),
    })
}
