//! Who else holds a VIP: asked before it is bound, listened for while it is held.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use lvs_net::Listener;
use lvs_net::ethernet::Mac;
use lvs_net::link::{Link, Snapshot};
use lvs_net::probe::{Error, ProbeVerdict, vip_holders};
use lvs_plan::diff::{Holder, Probe};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::chain::chain;
use crate::driver_thread::Trigger;
use crate::kernel::REAL_SERVERS_ASKED;

/// How long the network has to answer who holds a VIP. RFC 5227 section 1.1 waits 2 s after the last of three
/// probes; on a server's own segment an answer takes milliseconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The same claim is told to the driver at most this often.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Claims that are remembered for that; a storm of made-up addresses must not take memory.
const REMEMBERED: usize = 1024;

/// After an error of a link, or when it could not be listened on.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);

/// Asks who holds VIPs. A link without Ethernet cannot be asked and has nobody else on it; any other failure is no
/// answer.
pub(super) fn probe(
    link: &Link,
    own: &[Mac],
    vips: &[IpAddr],
    real_servers: &[IpAddr],
) -> Vec<(IpAddr, Probe)> {
    let verdicts = match vip_holders(link, own, vips, PROBE_TIMEOUT) {
        Ok(verdicts) => verdicts,
        Err(Error::NoMac { .. }) => return vips.iter().map(|vip| (*vip, Probe::Free)).collect(),
        Err(error) => {
            warn!(error = chain(&error), "it cannot be asked who holds the VIPs; trying again");
            return vips.iter().map(|vip| (*vip, Probe::Unknown)).collect();
        }
    };
    let is_taken = |verdict: &ProbeVerdict| matches!(verdict, ProbeVerdict::Taken { .. });
    let macs = if verdicts.values().any(is_taken) { macs_of(link, own, real_servers) } else { None };
    let macs = macs.unwrap_or_default();
    let probe = |verdict| match verdict {
        ProbeVerdict::Free => Probe::Free,
        ProbeVerdict::Contended { mac } => Probe::Contended { mac },
        ProbeVerdict::Taken { mac } => Probe::Taken(Holder { mac, real_server: macs.get(&mac).copied() }),
    };
    verdicts.into_iter().map(|(vip, verdict)| (vip, probe(verdict))).collect()
}

/// Asks for real servers as for VIPs: who answers for a RIP is that real server. One on another segment does not
/// answer here. `None` if nobody could be asked.
pub(super) fn macs_of(link: &Link, own: &[Mac], real_servers: &[IpAddr]) -> Option<BTreeMap<Mac, IpAddr>> {
    let asked = &real_servers[..real_servers.len().min(REAL_SERVERS_ASKED)];
    match vip_holders(link, own, asked, PROBE_TIMEOUT) {
        Ok(verdicts) => {
            let taken = verdicts.into_iter().filter_map(|(address, verdict)| match verdict {
                ProbeVerdict::Taken { mac } => Some((mac, address)),
                ProbeVerdict::Free | ProbeVerdict::Contended { .. } => None,
            });
            Some(taken.collect())
        }
        Err(error) => {
            debug!(error = chain(&error), "the real servers cannot be asked for their MAC addresses");
            None
        }
    }
}

/// Listens on every link that holds VIPs.
pub(super) struct Ears {
    watched: watch::Sender<Watched>,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Watched {
    links: Vec<Holding>,
    own: Vec<Mac>,
}

/// A link and the VIPs that it holds.
type Holding = (Link, Vec<IpAddr>);

impl Ears {
    pub(super) fn open(runtime: &Handle, triggers: Sender<Trigger>) -> Self {
        let (watched, receiver) = watch::channel(Watched::default());
        Self { watched, task: runtime.spawn(run(receiver, triggers)) }
    }

    /// From now on these VIPs, on links by index, and claims by others than `own`.
    pub(super) fn listen(&self, snapshot: &Snapshot, own: Vec<Mac>, held: &BTreeMap<IpAddr, u32>) {
        let mut links: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
        for (vip, link) in held {
            links.entry(*link).or_default().push(*vip);
        }
        let wanted = Watched {
            links: links
                .into_iter()
                .filter_map(|(index, vips)| Some((snapshot.link(index)?.clone(), vips)))
                .filter(|(link, _)| link.mac.is_some())
                .collect(),
            own,
        };
        self.watched.send_if_modified(|watched| {
            let news = *watched != wanted;
            if news {
                *watched = wanted;
            }
            news
        });
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(mut watched: watch::Receiver<Watched>, triggers: Sender<Trigger>) {
    let mut told = HashMap::new();
    let mut listeners = Vec::new();
    loop {
        let Watched { links, own } = watched.borrow_and_update().clone();
        let deaf = tune(&mut listeners, links, |(link, vips)| {
            let opened = Listener::open(link, vips);
            opened
                .inspect_err(|error| {
                    warn!(error = chain(error), "a second holder of VIPs would go unnoticed; trying again");
                })
                .ok()
        });
        tokio::select! {
            changed = watched.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LISTEN_AGAIN), if deaf => {}
            () = tell(&listeners, &own, &mut told, &triggers) => return,
        }
    }
}

/// Opens a listener for every holding that has none, and closes those that are no longer wanted; the others hear
/// all the time. Says whether one could not be opened.
fn tune<L>(
    listeners: &mut Vec<(Holding, L)>,
    wanted: Vec<Holding>,
    open: impl Fn(&Holding) -> Option<L>,
) -> bool {
    let mut before = std::mem::take(listeners);
    let mut deaf = false;
    for holding in wanted {
        let same = before.iter().position(|(listened, _)| *listened == holding);
        let listener = same.map(|index| before.swap_remove(index).1).or_else(|| open(&holding));
        match listener {
            Some(listener) => listeners.push((holding, listener)),
            None => deaf = true,
        }
    }
    deaf
}

/// Tells the driver of claims; ends when the driver is gone.
async fn tell(
    listeners: &[(Holding, Listener)],
    own: &[Mac],
    told: &mut HashMap<(IpAddr, Mac), Instant>,
    triggers: &Sender<Trigger>,
) {
    let claims = listeners.iter().map(|(_, listener)| {
        Box::pin(stream::unfold(listener, move |listener| async move {
            loop {
                match listener.next(own).await {
                    Ok(claim) => return Some((claim, listener)),
                    Err(error) => {
                        debug!(%error, "listening for other holders of VIPs");
                        tokio::time::sleep(LISTEN_AGAIN).await;
                    }
                }
            }
        }))
    });
    let mut claims = stream::select_all(claims);
    while let Some(claim) = claims.next().await {
        let now = Instant::now();
        if told.get(&claim).is_some_and(|at| now.duration_since(*at) < TELL_EVERY) {
            continue;
        }
        if told.len() >= REMEMBERED {
            told.clear();
        }
        told.insert(claim, now);
        if triggers.send(Trigger::Claimed(claim.0, claim.1)).is_err() {
            return;
        }
    }
    // No link at all: until there is one.
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn holding(index: u32, vips: &[u8]) -> Holding {
        let link = Link {
            index,
            name: format!("eth{index}"),
            mac: Some([2, 0, 0, 0, 0, 1]),
            up: true,
            carrier: true,
            loopback: false,
        };
        (link, vips.iter().map(|last| IpAddr::from([172, 16, 21, *last])).collect())
    }

    #[test]
    fn only_where_something_changed_is_a_socket_opened_anew() {
        let opened = Cell::new(0);
        let open = |_: &Holding| {
            opened.set(opened.get() + 1);
            Some(opened.get())
        };
        let mut listeners = Vec::new();
        assert!(!tune(&mut listeners, vec![holding(2, &[10]), holding(3, &[20])], open));
        assert!(!tune(&mut listeners, vec![holding(2, &[10]), holding(3, &[20])], open));
        assert_eq!(opened.get(), 2);
        assert!(!tune(&mut listeners, vec![holding(2, &[10, 11]), holding(3, &[20])], open));
        assert_eq!(listeners, [(holding(2, &[10, 11]), 3), (holding(3, &[20]), 2)]);
        tune(&mut listeners, Vec::new(), open);
        assert!(listeners.is_empty());
    }

    #[test]
    fn what_could_not_be_opened_is_tried_again() {
        let mut listeners = Vec::new();
        assert!(tune(&mut listeners, vec![holding(2, &[10])], |_| None));
        assert!(!tune(&mut listeners, vec![holding(2, &[10])], |_| Some(())));
        assert_eq!(listeners.len(), 1);
    }
}
