//! What is in the kernel for each virtual service and real server, gathered for one scrape. Where a scrape
//! comes soon after another, it is given the same.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lvs_plan::health::Verdict;
use lvs_plan::{ObjectKey, ServiceKey};
use tokio::time::Instant;

use super::checks::{Checks, Counted};
use crate::checker::CheckCounts;
use crate::checker::tally::Tallies;
use crate::counters::{Count, Counters, Counts, Traffic};
use crate::driver_thread::Trigger;
use crate::view::{DestinationView, Of, ServiceView, View, Window};

/// The kernel is read once in this time at most.
const FRESH: Duration = Duration::from_secs(1);
/// How long the driver is waited for. A scraper gives up after 10 s, usually.
const DRIVER_LIMIT: Duration = Duration::from_secs(2);
/// How long the checker is, which is never busy for long.
const CHECKER_LIMIT: Duration = Duration::from_secs(1);

/// Everything of one time.
#[derive(Debug, Default)]
pub struct Scrape {
    view: Arc<View>,
    /// The services of the view by virtual service and key.
    order: Vec<usize>,
    /// Services whose counters could not be read are absent.
    destinations: HashMap<ServiceKey, Counts>,
    services: HashMap<ServiceKey, Traffic>,
    /// Real servers about which their checks agree.
    pub(super) healthy: Vec<(ObjectKey, bool)>,
    /// Virtual services with checks.
    pub(super) checks: Vec<Counted>,
}

impl Scrape {
    pub(super) fn new(
        view: Arc<View>,
        tallies: Option<&Tallies>,
        checks: &mut Checks,
        counters: &Counters,
    ) -> Self {
        let services = &view.services;
        let mut order: Vec<usize> = (0..services.len()).collect();
        order.sort_unstable_by(|one, other| {
            let (one, other) = (&services[*one], &services[*other]);
            one.owner.cmp(&other.owner).then_with(|| one.key.cmp(&other.key))
        });
        if let Some(tallies) = tallies {
            checks.follow(&view, &order, tallies);
        }
        let mut checks: Vec<_> =
            checks.counted().filter(|it| !it.results.is_empty() || it.times.micros > 0).collect();
        checks.sort_unstable_by(|one, other| one.virtual_service.cmp(&other.virtual_service));
        // Of a service that is not ours nothing is told.
        let keys: Vec<ServiceKey> =
            services.iter().filter(|service| service.in_kernel).map(|service| service.key).collect();
        Self {
            destinations: counters.destinations(keys.iter()),
            services: counters.services(&keys).unwrap_or_default(),
            healthy: healthy(&view),
            checks,
            order,
            view,
        }
    }

    /// How many services there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// A service, and what was counted of it.
    pub(super) fn service(&self, place: usize) -> (&ServiceView, Option<&Traffic>) {
        let service = &self.view.services[self.order[place]];
        (service, self.services.get(&service.key))
    }

    /// What was counted of the destinations of a service.
    pub(super) fn destinations<'a>(
        &'a self,
        service: &'a ServiceView,
    ) -> impl Iterator<Item = (&'a DestinationView, Option<&'a Count>)> {
        let counts = self.destinations.get(&service.key);
        service.destinations.iter().map(move |it| (it, counts.and_then(|counts| counts.get(&it.key))))
    }
}

/// Unhealthy ones fail a check, healthy ones hold one and fail none. Of others nothing is known.
fn healthy(view: &View) -> Vec<(ObjectKey, bool)> {
    let mut healthy: BTreeMap<&ObjectKey, bool> = BTreeMap::new();
    for destination in view.services.iter().flat_map(|service| &service.destinations) {
        let holds = match destination.verdict {
            Some(Verdict::Up) => true,
            Some(Verdict::Down) => false,
            Some(Verdict::Unknown) | None => continue,
        };
        *healthy.entry(&destination.owner).or_insert(true) &= holds;
    }
    healthy.into_iter().map(|(key, holds)| (key.clone(), holds)).collect()
}

/// The newest scrape and when it was made, until it is too old to be given again.
type Latest = Option<(Instant, Arc<Scrape>)>;

/// Gathers scrapes.
#[derive(Debug)]
pub struct Scraper {
    driver: tokio::sync::Mutex<Window>,
    checker: CheckCounts,
    counters: Counters,
    checks: Arc<Mutex<Checks>>,
    latest: Arc<Mutex<Latest>>,
}

impl Scraper {
    /// Of this driver, checker and kernel.
    pub fn new(driver: Sender<Trigger>, checker: CheckCounts, counters: Counters) -> Self {
        Self {
            driver: tokio::sync::Mutex::new(Window::new(driver)),
            checker,
            counters,
            checks: Arc::default(),
            latest: Arc::default(),
        }
    }

    /// All of now, or of the second before.
    pub async fn scrape(&self) -> Arc<Scrape> {
        // One at a time: who waits for it finds the other's.
        let mut window = self.driver.lock().await;
        if let Some((at, scrape)) = &*lock(&self.latest)
            && at.elapsed() < FRESH
        {
            return Arc::clone(scrape);
        }
        let view = window.look(Of::All, DRIVER_LIMIT).await;
        let tallies = self.checker.tallies(CHECKER_LIMIT).await;
        let (checks, counters, latest) =
            (Arc::clone(&self.checks), self.counters.clone(), Arc::clone(&self.latest));
        let made = tokio::task::spawn_blocking(move || {
            let scrape = Arc::new(Scrape::new(view, tallies.as_ref(), &mut lock(&checks), &counters));
            *lock(&latest) = Some((Instant::now(), Arc::clone(&scrape)));
            scrape
        });
        let scrape = made.await.unwrap_or_default();
        // It is as large as all that is known of the objects: nobody keeps it for later.
        let latest = Arc::clone(&self.latest);
        tokio::spawn(async move {
            tokio::time::sleep(FRESH).await;
            lock(&latest).take_if(|(at, _)| at.elapsed() >= FRESH);
        });
        scrape
    }
}

fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What a panic left behind is counted wrong at worst, and not for long.
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
