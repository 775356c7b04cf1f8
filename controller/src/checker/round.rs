//! The checks that are due, under way and done.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use lvs_checks::{Failure, Prepared, Sockets, Target};
use lvs_plan::health::{Probe, Schedule, Terms, Track, Verdict};
use tracing::warn;

use super::clock::Clock;
use super::lateness::Lateness;
use super::tally::{Tallies, Tally};
use super::{News, Order};
use crate::metrics::Metrics;

/// What fails on this host is said so often at most.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);
/// So many more results are taken in before orders and the time are looked at again.
const TOGETHER: usize = 64;

/// What a check needs.
struct Check {
    prepared: Prepared,
    target: Target,
    sockets: Arc<Sockets>,
}

/// A probe that is watched.
struct Watched {
    probe: Probe,
    check: Arc<Check>,
    track: Track,
    under_way: bool,
    /// Its turn came while it was under way, as it does where the timeout is as long as the interval.
    missed: bool,
    tally: Arc<Tally>,
    /// The reason of the last failure that the driver was told.
    told: Option<&'static str>,
    /// So many failures in a row since then have had another reason.
    otherwise: u32,
}

impl Watched {
    /// What there is to tell after a check that succeeded, or failed like this.
    fn learn(&mut self, failure: Option<Failure>) -> Option<News> {
        let terms = &self.probe.terms;
        let changed = self.track.result(failure.is_none(), terms.fall, terms.rise).is_some();
        let reason = failure.as_ref().map(Failure::reason);
        // While it is down, that it now fails for another reason is news too, if it goes on so: one that fails in turn
        // for two reasons is none at each check.
        let other = self.track.verdict() == Verdict::Down && reason.is_some() && self.told != reason;
        self.otherwise = if other { self.otherwise + 1 } else { 0 };
        if !changed && self.otherwise < terms.fall {
            return None;
        }
        self.otherwise = 0;
        self.told = reason;
        Some(News {
            probe: self.probe.clone(),
            verdict: self.track.verdict(),
            failure: failure.map(|failure| failure.to_string().into()),
        })
    }
}

struct Done {
    id: u64,
    /// How much later it began than it should have.
    late: Duration,
    took: Duration,
    result: Result<(), Failure>,
}

type UnderWay = Pin<Box<dyn Future<Output = Done> + Send>>;

pub(super) struct Round {
    schedule: Schedule<u64>,
    watched: BTreeMap<u64, Watched>,
    ids: HashMap<Probe, u64>,
    last_id: u64,
    under_way: FuturesUnordered<UnderWay>,
    /// What the driver is to be told.
    news: Vec<News>,
    complained: Option<Instant>,
    metrics: Metrics,
    lateness: Lateness,
    /// How often the tallies were asked for.
    asked: u32,
    clock: Clock,
    /// Of all checks.
    sockets: Arc<Sockets>,
}

impl Round {
    pub(super) fn new(now: Instant, metrics: Metrics) -> Self {
        Self {
            schedule: Schedule::new(now),
            watched: BTreeMap::new(),
            ids: HashMap::new(),
            last_id: 0,
            under_way: FuturesUnordered::new(),
            news: Vec::new(),
            complained: None,
            metrics,
            lateness: Lateness::default(),
            asked: 0,
            clock: Clock::new(),
            sockets: Arc::default(),
        }
    }

    pub(super) fn take_orders(&mut self, orders: Vec<Order>) {
        let now = Instant::now();
        for order in orders {
            match order {
                Order::Watch(probe) => self.watch(probe, now),
                Order::Forget(probe) => self.forget(&probe),
            }
        }
    }

    fn watch(&mut self, probe: Probe, now: Instant) {
        if self.ids.contains_key(&probe) {
            return;
        }
        let check = match prepare(&probe) {
            Ok((prepared, target)) => {
                Arc::new(Check { prepared, target, sockets: Arc::clone(&self.sockets) })
            }
            Err(words) => {
                warn!(address = %probe.address, kind = probe.terms.kind.as_str(), words, "a health check cannot be made");
                let failure = Some(format!("the check cannot be made: {words}").into());
                self.news.push(News { probe, verdict: Verdict::Unknown, failure });
                return;
            }
        };
        self.last_id += 1;
        let id = self.last_id;
        self.schedule.add(id, probe.terms.interval, now);
        self.ids.insert(probe.clone(), id);
        let tally = Arc::new(Tally::new(self.asked));
        self.watched.insert(
            id,
            Watched {
                probe,
                check,
                track: Track::default(),
                under_way: false,
                missed: false,
                tally,
                told: None,
                otherwise: 0,
            },
        );
    }

    /// Those of every probe.
    pub(super) fn tallies(&mut self) -> Tallies {
        let of = self.watched.values().map(|watched| (watched.probe.clone(), Arc::clone(&watched.tally)));
        let tallies = Tallies { asked: self.asked, of: of.collect() };
        self.asked = self.asked.wrapping_add(1);
        tallies
    }

    /// A check under way ends by its timeout; nobody waits for its result.
    fn forget(&mut self, probe: &Probe) {
        if let Some(id) = self.ids.remove(probe) {
            self.schedule.remove(id);
            self.watched.remove(&id);
        }
    }

    /// Waits until there is something to tell. Nothing is lost if it is dropped before that.
    pub(super) async fn news(&mut self) -> Vec<News> {
        loop {
            self.start_due(Instant::now());
            if !self.news.is_empty() {
                return std::mem::take(&mut self.news);
            }
            let next = self.schedule.next();
            if let Some(at) = next {
                self.clock.wake_at(at);
            }
            tokio::select! {
                // While checks end the alarm need not be asked: the loop looks at the time itself.
                biased;
                Some(done) = self.under_way.next() => {
                    self.take_in(done);
                    // Those that ended with it. This looks without a waker, but the loop looks with one before it waits.
                    for _ in 0..TOGETHER {
                        let Some(Some(done)) = self.under_way.next().now_or_never() else { break };
                        self.take_in(done);
                    }
                }
                () = &mut self.clock.alarm, if next.is_some() => {}
                else => std::future::pending().await,
            }
        }
    }

    fn start_due(&mut self, now: Instant) {
        for turn in self.schedule.due(now) {
            self.leave_out(turn.left_out, now.saturating_duration_since(turn.planned));
            self.start(turn.id, turn.planned);
        }
        if let Some(words) = self.lateness.tell(now) {
            warn!("{words}");
        }
    }

    fn leave_out(&mut self, turns: u32, late: Duration) {
        self.metrics.checks_left_out(turns);
        self.lateness.note(turns, late);
    }

    /// Starts the check that should begin at this time.
    fn start(&mut self, id: u64, planned: Instant) {
        let Some(watched) = self.watched.get_mut(&id) else { return };
        if watched.under_way {
            // A check lasts an interval at most, in which two turns come only to one that began late.
            if std::mem::replace(&mut watched.missed, true) {
                self.leave_out(1, Duration::ZERO);
            }
            return;
        }
        watched.under_way = true;
        let check = Arc::clone(&watched.check);
        let timeout = watched.probe.terms.timeout;
        self.under_way.push(Box::pin(async move {
            let Check { prepared, target, sockets } = &*check;
            let begun = Instant::now();
            let late = begun.saturating_duration_since(planned);
            let result = lvs_checks::check(prepared, target, timeout, sockets).await;
            Done { id, late, took: begun.elapsed(), result }
        }));
    }

    fn take_in(&mut self, done: Done) {
        self.metrics.check_began(done.late);
        let Some(watched) = self.watched.get_mut(&done.id) else { return };
        watched.under_way = false;
        let again = std::mem::take(&mut watched.missed);
        watched.tally.note(done.took, done.result.as_ref().err().map(Failure::reason));
        match done.result {
            // That says nothing of the real server.
            Err(failure) if failure.is_ours() => {
                let address = watched.probe.address;
                self.complain(address, &failure);
            }
            result => self.news.extend(watched.learn(result.err())),
        }
        if again {
            // The turn that it missed, late.
            self.start(done.id, Instant::now());
        }
    }

    fn complain(&mut self, address: IpAddr, failure: &Failure) {
        let now = Instant::now();
        if self.complained.is_some_and(|last| now - last < COMPLAINT_PAUSE) {
            return;
        }
        self.complained = Some(now);
        warn!(%failure, %address, "a health check could not be made on this host; it counts for nothing");
    }
}

/// # Errors
/// In words, if the settings cannot be used.
fn prepare(probe: &Probe) -> Result<(Prepared, Target), String> {
    let Probe { address, port, terms } = probe;
    let Terms { kind, source, mark, interval: _, timeout: _, fall: _, rise: _ } = &**terms;
    let target = Target { address: *address, port: *port, source: *source, mark: *mark };
    let prepared = Prepared::new(kind, &target).map_err(|error| error.to_string())?;
    Ok((prepared, target))
}
