//! What health checks say, service by service: which probes each uses, and what is in force because of them.
//!
//! What is decided is pure and in `lvs_plan::health`; here is what it needs from one pass to the next.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use litemap::LiteMap;
use lvs_plan::conditions::Checks;
use lvs_plan::health::{self, Declared, Drain, InForce, Policy, Probe, Standing, Verdict};
use lvs_plan::service::DestinationSettings;
use lvs_plan::{DesiredDestination, DesiredService, DestinationKey, ObjectKey, Service, ServiceKey};

use super::drains::Drains;
use super::overloads::Overloads;
use crate::checker::{News, Order, Orders};

/// What is known of every probe, and what follows for every service that is not simply as declared.
#[derive(Debug, Default)]
pub(super) struct Health {
    orders: Orders,
    /// What the checker has not been told yet.
    unsent: Vec<Order>,
    /// Probes that were left by a service, perhaps their last.
    left: Vec<Probe>,
    probes: HashMap<Probe, Watched>,
    services: HashMap<ServiceKey, Checked>,
    /// When time alone changes something.
    changes: BTreeSet<(Instant, ServiceKey)>,
    pub(super) drains: Drains,
    pub(super) overloads: Overloads,
}

/// A probe in use.
#[derive(Debug, Default)]
struct Watched {
    verdict: Verdict,
    failure: Option<Arc<str>>,
    /// Who uses it.
    services: BTreeSet<ServiceKey>,
}

/// A service with checks, or with anything else that is not simply as declared.
#[derive(Debug, Default)]
struct Checked {
    probes: Vec<Probe>,
    standing: Standing,
    in_force: Option<Box<InForce>>,
    next: Option<Instant>,
}

/// The destinations that should be in the kernel.
pub(super) type InForceTable = LiteMap<DestinationKey, DestinationSettings>;

impl Health {
    pub(super) fn new(orders: Orders) -> Self {
        Self { orders, ..Self::default() }
    }

    /// Takes in what the checker found out. Says which services it concerns, and by which probe.
    pub(super) fn checked(&mut self, news: Vec<News>) -> Vec<(ServiceKey, Probe)> {
        let mut concerned = Vec::new();
        for News { probe, verdict, failure } in news {
            // Of one that is no longer in use nothing is wanted.
            let Some(watched) = self.probes.get_mut(&probe) else { continue };
            watched.verdict = verdict;
            watched.failure = failure;
            concerned.extend(watched.services.iter().map(|key| (*key, probe.clone())));
        }
        concerned
    }

    /// What should be in the kernel for a service now, and what is checked for it from now on; `None` if all is as
    /// declared.
    pub(super) fn judge(
        &mut self,
        key: &ServiceKey,
        desired: &DesiredService,
        observed: Option<&Service>,
        destinations_held: bool,
        now: Instant,
    ) -> Option<InForceTable> {
        let policy = desired.virtual_service.policy();
        let as_declared = desired.destinations.values().all(DesiredDestination::is_as_declared);
        if as_declared && policy.sorry_server.is_none() && policy.slow_start.is_zero() {
            self.forget(key);
            return None;
        }
        self.watch(key, desired);
        let wanted = desired.destinations.iter();
        let declared: Vec<_> = wanted.map(|(key, wanted)| (*key, self.declared(wanted))).collect();
        let checked = self.services.entry(*key).or_default();
        // One that stays because it is not known what it stands for serves: nobody has to say sorry.
        let sorry = policy.sorry_server.map(|address| DestinationKey { address, port: key.port() });
        let serves = |(at, settings): (&DestinationKey, &DestinationSettings)| {
            settings.weight > 0 && sorry != Some(*at) && !desired.destinations.contains_key(at)
        };
        let observed_ones = observed.into_iter().flat_map(|service| &service.destinations);
        let not_sorry = (destinations_held && observed_ones.into_iter().any(serves))
            .then(|| Policy { sorry_server: None, ..policy.clone() });
        let policy = not_sorry.as_ref().unwrap_or(policy);
        let in_force = health::in_force(key, policy, &declared, observed, &mut checked.standing, now);
        if let Some(before) = checked.next.take() {
            self.changes.remove(&(before, *key));
        }
        checked.next = in_force.next;
        self.changes.extend(in_force.next.map(|next| (next, *key)));
        let table = in_force.table().collect();
        checked.in_force = Some(Box::new(in_force));
        Some(table)
    }

    fn declared(&self, wanted: &DesiredDestination) -> Declared {
        let DesiredDestination { owner: _, settings, drain, maintenance, probe } = wanted;
        let verdict = probe.as_ref().map(|probe| self.verdict(probe).0);
        Declared {
            weight: settings.weight as u16,
            upper_threshold: settings.upper_threshold,
            lower_threshold: settings.lower_threshold,
            drain: *drain,
            maintenance: *maintenance,
            verdict,
        }
    }

    /// Nothing is checked for the service any more.
    pub(super) fn forget(&mut self, key: &ServiceKey) {
        let Some(checked) = self.services.remove(key) else { return };
        if let Some(next) = checked.next {
            self.changes.remove(&(next, *key));
        }
        for probe in checked.probes {
            self.release(&probe, key);
        }
    }

    fn watch(&mut self, key: &ServiceKey, desired: &DesiredService) {
        // Each is of another address, so none comes twice.
        let probes: Vec<Probe> =
            desired.destinations.values().filter_map(|wanted| wanted.probe.clone()).collect();
        let checked = self.services.entry(*key).or_default();
        if checked.probes == probes {
            return;
        }
        let before = std::mem::replace(&mut checked.probes, probes.clone());
        for probe in &probes {
            let watched = self.probes.entry(probe.clone()).or_insert_with(|| {
                self.unsent.push(Order::Watch(probe.clone()));
                Watched::default()
            });
            watched.services.insert(*key);
        }
        let kept: HashSet<&Probe> = probes.iter().collect();
        for probe in before.iter().filter(|probe| !kept.contains(probe)) {
            self.release(probe, key);
        }
    }

    fn release(&mut self, probe: &Probe, key: &ServiceKey) {
        let Some(watched) = self.probes.get_mut(probe) else { return };
        watched.services.remove(key);
        if watched.services.is_empty() {
            // Another may be about to take it over, and then what is known of it stays known.
            self.left.push(probe.clone());
        }
    }

    /// Every probe in use.
    #[cfg(test)]
    pub(super) fn probes(&self) -> impl Iterator<Item = &Probe> {
        self.probes.keys()
    }

    /// Tells the checker what changed.
    pub(super) fn send_orders(&mut self) {
        for probe in std::mem::take(&mut self.left) {
            if self.probes.get(&probe).is_some_and(|watched| watched.services.is_empty()) {
                self.probes.remove(&probe);
                self.unsent.push(Order::Forget(probe));
            }
        }
        self.orders.send(std::mem::take(&mut self.unsent));
    }

    /// The services that time alone changes by now. They stay so until they are judged again.
    pub(super) fn due(&self, now: Instant) -> impl Iterator<Item = ServiceKey> {
        self.changes.iter().take_while(move |(at, _)| *at <= now).map(|(_, key)| *key)
    }

    /// When time alone changes something next, or connections are to be counted.
    pub(super) fn next(&self) -> Option<Instant> {
        let change = self.changes.first().map(|(at, _)| *at);
        [change, self.drains.next(), self.overloads.next()].into_iter().flatten().min()
    }
}

impl Checks for Health {
    fn in_force(&self, key: &ServiceKey) -> Option<&InForce> {
        self.services.get(key)?.in_force.as_deref()
    }

    fn verdict(&self, probe: &Probe) -> (Verdict, Option<&str>) {
        let watched = self.probes.get(probe);
        watched.map_or((Verdict::Unknown, None), |watched| (watched.verdict, watched.failure.as_deref()))
    }

    fn drain(&self, real_server: &ObjectKey) -> Option<&Drain> {
        self.drains.of(real_server)
    }

    fn overloaded(&self, real_server: &ObjectKey) -> Option<&BTreeSet<ServiceKey>> {
        self.overloads.of(real_server)
    }
}
