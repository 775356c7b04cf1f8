//! The driver's thread: waits for triggers, lets them pile up for a moment, and makes a pass.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use lvs_plan::diff::Role;
use tokio::sync::oneshot;

use crate::checker::News;
use crate::kernel::{Answer, Kernel};
use crate::source::Update;
use crate::sync::{Driver, NetworkChange, Scope};
use crate::view::{Of, View};

/// Triggers that come within this time share a pass.
const COALESCE: Duration = Duration::from_millis(50);
/// A look for drift that is due so shortly before a resync becomes the resync.
const NEARLY_RESYNC: Duration = Duration::from_secs(2);

/// What wakes the driver.
#[derive(Debug)]
pub enum Trigger {
    /// The source delivered something.
    Update(Update),
    /// An address, a link or a route changed.
    Network(NetworkChange),
    /// The network answered who holds some VIPs.
    Probed(Vec<Answer>),
    /// Another station claimed a VIP that this Director holds.
    Claimed(IpAddr, [u8; 6]),
    /// The question with this number for the MAC addresses of real servers was answered.
    Identified(u64, BTreeMap<[u8; 6], IpAddr>),
    /// What health checks say of these probes is not what they said before.
    Health(Vec<News>),
    /// Somebody wants to show what the driver knows of these.
    Describe(Of, oneshot::Sender<View>),
    /// It was decided whether this Director may hold VIPs.
    Role(Role),
    /// End the thread; rules and VIPs stay.
    Stop,
}

/// Runs the driver until it is told to stop, or nobody is left to tell it anything.
pub fn run<K: Kernel>(mut driver: Driver<K>, triggers: &Receiver<Trigger>, resync: Duration) {
    let mut next_resync = Instant::now();
    let mut next_rolling = next_resync;
    loop {
        let now = Instant::now();
        let mut wake = next_resync.min(next_rolling);
        if let Some(deadline) = driver.next_deadline() {
            wake = wake.min(deadline);
        }
        let mut woken = false;
        match triggers.recv_timeout(wake.saturating_duration_since(now)) {
            // That is no reason for a pass.
            Ok(Trigger::Describe(of, answer)) => describe(&driver, &of, answer),
            Ok(first) => {
                let until = Instant::now() + COALESCE;
                let mut next = Some(first);
                while let Some(trigger) = next.take() {
                    if !take_in(&mut driver, trigger) {
                        return;
                    }
                    next = triggers.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
                }
                woken = true;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        let mut scope = None;
        if woken || driver.wants_pass(now) {
            scope = Some(Scope::Changes);
        }
        let resync_due = next_resync.saturating_duration_since(now);
        if resync_due.is_zero() || (now >= next_rolling && resync_due < NEARLY_RESYNC.min(resync / 2)) {
            next_resync = now + resync;
            scope = Some(Scope::Full);
        } else if now >= next_rolling {
            scope = Some(Scope::Rolling);
        }
        if let Some(scope) = scope {
            driver.pass(scope, now);
            if scope > Scope::Changes {
                next_rolling = now + driver.check_pause();
            }
        }
        driver.announce(Instant::now());
    }
}

fn describe<K: Kernel>(driver: &Driver<K>, of: &Of, answer: oneshot::Sender<View>) {
    // Who asked may have gone.
    let _ = answer.send(driver.describe(of, Instant::now()));
}

/// Says whether to go on.
fn take_in<K: Kernel>(driver: &mut Driver<K>, trigger: Trigger) -> bool {
    match trigger {
        Trigger::Update(update) => driver.ingest(update),
        Trigger::Network(change) => driver.network_changed(change, Instant::now()),
        Trigger::Probed(answers) => driver.probed(answers, Instant::now()),
        Trigger::Claimed(vip, mac) => driver.claimed(vip, mac, Instant::now()),
        Trigger::Identified(question, macs) => driver.identified(question, macs, Instant::now()),
        Trigger::Health(news) => driver.checked(news),
        Trigger::Describe(of, answer) => describe(driver, &of, answer),
        Trigger::Role(role) => driver.set_role(role),
        Trigger::Stop => return false,
    }
    true
}
