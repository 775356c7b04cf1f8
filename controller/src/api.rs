//! The API server as the source of objects, and as the place where statuses, events and Leases go.
//!
//! ```text
//!           ┌► feed ─► observed ─► store (evidence) ─► source ─► the driver
//! connect ──┼► lease ─► peers ─► the driver's role, and the directors that live
//!           ├► director: our own object, made if it is missing
//!           ├► status (wanted, pace) ◄─ the board, statuses, directors
//!           ├► events ◄─ the board
//!           └► stop: the DaemonSet we belong to
//! ```
//! All of them share one task. None of them ever ends because the API server is away: what is in force stays.
//!
//! # What is asked of the API server
//! The chart grants exactly this.
//!
//! | group | resource | verbs | scope |
//! |---|---|---|---|
//! | `lvs-operator.dev` | `virtualservices`, `realservers` | `list` `watch` | cluster |
//! | `lvs-operator.dev` | `directors` | `list` `watch` `create` | cluster |
//! | `lvs-operator.dev` | `virtualservices/status`, `realservers/status`, `directors/status` | `patch` | cluster |
//! | `events.k8s.io` | `events` | `create` `patch` | cluster |
//! | core | `nodes` | `get` | cluster |
//! | `coordination.k8s.io` | `leases` | `list` `create` `patch` `delete` | own namespace |
//! | core | `pods` | `get` | own namespace |
//! | `apps` | `daemonsets` | `get` `list` `watch` | own namespace |

mod backoff;
mod complaint;
mod connect;
mod director;
mod directors;
mod events;
mod evidence;
mod feed;
#[cfg(test)]
mod fixtures;
mod guarded;
mod lease;
mod observed;
mod peers;
mod source;
mod status;
mod statuses;
mod stop;
mod store;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::env;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use kube::Api;
use kube::api::ListParams;
use lvs_crds::{Director, RealServer, VirtualService};
use lvs_plan::diff::Role;
use lvs_plan::{Change, ObjectKey};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::args::Node;
use crate::board::Board;
use crate::chain::chain;
use crate::driver_thread::Trigger;
use crate::source::{SourceState, Update};
use backoff::Backoff;
use complaint::Outage;
use connect::{Connection, connect, explain};
use director::Maker;
use directors::Directors;
use guarded::Guarded;
use lease::{Identity, Leases};
use observed::{Watched, observe};
use source::{Contact, Source, Unauthorized};
use status::Writer;
use statuses::Statuses;
use stop::{Owner, PodName};

pub use stop::Stop;

/// Objects per request of [`read_once`].
const PAGE: u32 = 500;

/// The running source.
pub struct Running {
    /// Ends when it is aborted.
    pub task: JoinHandle<()>,
    node: Node,
    connection: watch::Receiver<Option<Connection>>,
    pod: Option<PodName>,
    owner: Owner,
}

impl Running {
    /// Says why this agent was told to stop, within 2 s.
    pub async fn why_stopped(&self) -> Stop {
        let Some(pod) = &self.pod else { return Stop::Keep };
        let client = self.connection.borrow().as_ref().map(|connection| connection.client.clone());
        self.owner.why_stopped(client, pod, &self.node.node_name).await
    }
}

/// Takes back the Lease of a Director that holds nothing any more. Failing costs the others a wait until it expires.
pub async fn withdraw(node: &Node) {
    let withdrawn = match connect(node).await {
        Ok(connection) => {
            let identity = identity(node, &connection);
            lease::withdraw(connection.client, &identity).await
        }
        Err(error) => Err(chain(&error)),
    };
    match withdrawn {
        Ok(()) => info!("the Lease of this Director is withdrawn"),
        Err(error) => warn!(error, "the Lease of this Director stays until it expires"),
    }
}

/// What is in force since before the start.
#[derive(Clone, Debug, Default)]
pub struct Previous {
    /// The virtual services whose rules the ledger names.
    pub virtual_services: BTreeSet<ObjectKey>,
    /// The addresses of their destinations in the kernel; `None` if that could not be read.
    pub destinations: Option<BTreeSet<IpAddr>>,
}

impl Previous {
    fn rules_in_force(&self) -> bool {
        !self.virtual_services.is_empty()
    }
}

/// Delivers the objects of the API server to `sink`, then every change, and keeps their status, until the task is
/// aborted.
pub fn spawn(
    node: &Node,
    previous: Previous,
    board: Board,
    sink: mpsc::Sender<Update>,
    triggers: std::sync::mpsc::Sender<Trigger>,
) -> Running {
    let (connections, connection) = watch::channel(None);
    let owner = Owner::default();
    let pod = pod_name();
    let parts = Parts { previous, board, sink, triggers, owner: owner.clone(), pod: pod.clone() };
    let task = tokio::spawn(run(node.clone(), parts, connections));
    Running { task, node: node.clone(), connection, pod, owner }
}

struct Parts {
    previous: Previous,
    board: Board,
    sink: mpsc::Sender<Update>,
    triggers: std::sync::mpsc::Sender<Trigger>,
    owner: Owner,
    pod: Option<PodName>,
}

async fn run(node: Node, parts: Parts, connections: watch::Sender<Option<Connection>>) {
    let Parts { previous, board, sink, triggers, owner, pod } = parts;
    let me = node.node_name.clone();
    let (known, directors) =
        watch::channel(Directors { me: me.clone(), ready: false, published: false, others: None });
    let (leases_say, contact) = watch::channel(Contact::default());
    let rules_in_force = previous.rules_in_force();
    let statuses = Statuses::default();
    let outage = Outage::default();
    let (queue, mut recorder) = events::queue(board.clone(), outage.clone());
    let mut leases = Leases::new(board.clone(), triggers, known, leases_say, outage.clone(), rules_in_force);
    let mut writer = Writer::new(board, statuses.clone(), directors, queue, outage.clone());
    let (director_missing, missing) = watch::channel(false);
    let mut maker = Maker::new(missing, outage.clone());
    let mut source = Source::new(me.clone(), previous, statuses, sink, contact, outage, director_missing);

    let connection = connections.subscribe();
    let belongings = async {
        if let Some(pod) = &pod {
            owner.run(pod, connection.clone()).await;
        }
    };
    tokio::join!(
        stay_connected(&node, &mut source, &mut leases, &mut maker, connections),
        writer.run(connection.clone()),
        recorder.run(&me, connection.clone()),
        belongings,
    );
}

/// Connects, and connects anew whenever the credentials fail.
async fn stay_connected(
    node: &Node,
    source: &mut Source,
    leases: &mut Leases,
    maker: &mut Maker,
    connections: watch::Sender<Option<Connection>>,
) -> Infallible {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(15));
    loop {
        match connect(node).await {
            Ok(connection) => {
                connections.send_replace(Some(connection.clone()));
                let identity = identity(node, &connection);
                let Unauthorized = tokio::select! {
                    unauthorized = source.run(&connection) => unauthorized,
                    never = leases.run(&connection, &identity) => match never {},
                    never = maker.run(&connection, &identity) => match never {},
                };
                backoff.reset();
            }
            Err(error) => source.unreachable(&chain(&error)).await,
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// Every Director's Lease is in the namespace of its pod; those outside the cluster have to name the same one.
fn identity(node: &Node, connection: &Connection) -> Identity {
    let namespace =
        env_name("POD_NAMESPACE").unwrap_or_else(|| connection.client.default_namespace().to_owned());
    Identity { node_name: node.node_name.clone(), namespace }
}

fn pod_name() -> Option<PodName> {
    Some(PodName { namespace: env_name("POD_NAMESPACE")?, name: env_name("POD_NAME")? })
}

fn env_name(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|name| !name.is_empty())
}

/// One look at the API server.
#[derive(Debug)]
pub struct Glance {
    /// The objects.
    pub update: Update,
    /// Whether this Director would hold VIPs; in words for people why that is not known, if the Leases cannot be read.
    pub role: Result<Role, String>,
}

/// One look at the objects and at the other Directors, for commands that do not stay. `rules_in_force`: whether the
/// ledger names any.
///
/// # Errors
/// If the API server cannot be reached or refuses the objects.
pub async fn read_once(node: &Node, rules_in_force: bool) -> Result<Glance> {
    let connection = connect(node).await?;
    let identity = identity(node, &connection);
    let role = lease::role_at_a_glance(connection.client.clone(), &identity, rules_in_force).await;
    let role = role.map_err(|error| {
        let doing = format!("read the Leases of the Directors in namespace {}", identity.namespace);
        explain(&error, &doing, &connection.address)
    });
    let mut changes = Vec::new();
    let all = ListParams::default();
    list::<VirtualService>(&connection, all.clone(), &mut changes).await?;
    list::<RealServer>(&connection, all.clone(), &mut changes).await?;
    let ours = all.fields(&format!("metadata.name={}", node.node_name));
    // As in a run, rules do not wait for it.
    if let Err(error) = list::<Director>(&connection, ours, &mut changes).await {
        warn!("the settings of this Director are not known: {error}");
    }
    let state = SourceState { complete: true, up_to_date: true, ..SourceState::default() };
    Ok(Glance { update: Update { changes, state }, role })
}

async fn list<K: Watched>(
    connection: &Connection,
    which: ListParams,
    changes: &mut Vec<Change>,
) -> Result<()> {
    let api = Api::<Guarded<K>>::all(connection.client.clone());
    let mut params = which.limit(PAGE);
    loop {
        let page = api.list(&params).await.map_err(|error| {
            let doing = format!("list {}.{}", K::plural(&()), K::group(&()));
            anyhow::anyhow!("{}", explain(&error, &doing, &connection.address))
        })?;
        for object in page.items {
            changes.push(Change::upsert(observe(object).object));
        }
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(());
        }
    }
}
