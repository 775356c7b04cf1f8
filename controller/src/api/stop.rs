//! Why the agent is stopped: for a while (an upgrade, a restart), or because this node is no Director any more.
//!
//! In the first case everything stays in place. In the second the rules would stay for ever, so they are removed,
//! but only on evidence: the `DaemonSet` is gone or being deleted, or the node is gone or no longer selected. What
//! cannot be learned in time is no evidence.
//!
//! `helm uninstall` deletes the `DaemonSet` and, before the pod is told to stop, also the role that lets it ask. So
//! the `DaemonSet` is watched all the time: a watch that is open outlives the right to open it.

mod selection;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use super::backoff::Backoff;
use super::connect::Connection;
use super::lease::within;

/// How long the API server may take to say why.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why the agent was told to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// For a while, or it is not known: everything stays.
    Keep,
    /// For good: what is ours goes. In words: why.
    Remove(String),
}

/// The pod that we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodName {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// What is known of the `DaemonSet` that we belong to. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Owner {
    known: Arc<Mutex<Known>>,
}

/// A `DaemonSet` is known by its name alone: one that was deleted and made anew still wants Directors.
#[derive(Clone, Debug, Default)]
struct Known {
    daemon_set: Option<String>,
    gone: bool,
}

impl Owner {
    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Watches the `DaemonSet` that this pod belongs to. Ends never, or when there is nothing to watch: a pod without
    /// one.
    pub(super) async fn run(&self, pod: &PodName, mut connection: watch::Receiver<Option<Connection>>) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
        loop {
            let Some(connected) = connection.borrow_and_update().clone() else {
                if connection.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match find_daemon_set(&connected.client, pod).await {
                Ok(Some(daemon_set)) => {
                    if self.known().daemon_set.as_ref() != Some(&daemon_set) {
                        info!(
                            "this pod belongs to the DaemonSet {daemon_set}: if that goes, so does what is ours"
                        );
                        self.set(|known| known.daemon_set = Some(daemon_set.clone()));
                    }
                    if self.follow(connected.client, pod, &daemon_set).await {
                        backoff.reset();
                    }
                }
                Ok(None) => {
                    info!("this pod belongs to no DaemonSet: at its end everything stays in place");
                    return;
                }
                Err(error) => debug!(%error, "the DaemonSet of this pod cannot be read yet"),
            }
            sleep(backoff.wait()).await;
        }
    }

    /// Ends when the watch fails. Says whether it worked before.
    async fn follow(&self, client: Client, pod: &PodName, daemon_set: &str) -> bool {
        let api: Api<DaemonSet> = Api::namespaced(client, &pod.namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={daemon_set}"));
        let mut events = std::pin::pin!(watcher(api, config));
        let mut seen = false;
        let mut worked = false;
        while let Some(event) = events.next().await {
            let gone = match event {
                Ok(Event::Init) => {
                    seen = false;
                    continue;
                }
                Ok(Event::InitApply(now) | Event::Apply(now)) => {
                    seen = true;
                    is_being_deleted(&now)
                }
                Ok(Event::InitDone) if seen => continue,
                Ok(Event::InitDone | Event::Delete(_)) => true,
                Err(error) => {
                    debug!(%error, "the watch on the DaemonSet of this pod broke");
                    return worked;
                }
            };
            worked = true;
            self.set(|known| known.gone = gone);
        }
        worked
    }

    /// Says why we are stopped, within 2 s.
    pub(super) async fn why_stopped(&self, client: Option<Client>, pod: &PodName, node_name: &str) -> Stop {
        let known = self.known();
        if known.gone {
            return Stop::Remove(daemon_set_gone(known.daemon_set.as_deref().unwrap_or_default()));
        }
        let Some(client) = client else { return Stop::Keep };
        match timeout(PATIENCE, ask(&client, pod, known.daemon_set, node_name)).await {
            Ok(Ok(stop)) => stop,
            Ok(Err(error)) => {
                info!(%error, "it cannot be learned why we are stopped: everything stays in place");
                Stop::Keep
            }
            Err(_) => {
                info!("it cannot be learned in time why we are stopped: everything stays in place");
                Stop::Keep
            }
        }
    }
}

async fn find_daemon_set(client: &Client, pod: &PodName) -> Result<Option<String>, kube::Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let pod = within(pods.get(&pod.name)).await?;
    let owner = pod
        .owner_references()
        .iter()
        .find(|owner| owner.kind == "DaemonSet" && owner.controller == Some(true));
    Ok(owner.map(|owner| owner.name.clone()))
}

async fn ask(
    client: &Client,
    pod: &PodName,
    known: Option<String>,
    node_name: &str,
) -> Result<Stop, kube::Error> {
    let name = match known {
        Some(name) => name,
        None => match find_daemon_set(client, pod).await? {
            Some(name) => name,
            None => return Ok(Stop::Keep),
        },
    };
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), &pod.namespace);
    let nodes: Api<Node> = Api::all(client.clone());
    let (daemon_set, node) = futures::try_join!(daemon_sets.get_opt(&name), nodes.get_opt(node_name))?;
    Ok(decide(&name, daemon_set.as_ref(), node_name, node.as_ref()))
}

/// What follows from what the API server answered; `None`: it says that there is no such object.
fn decide(name: &str, daemon_set: Option<&DaemonSet>, node_name: &str, node: Option<&Node>) -> Stop {
    let Some(daemon_set) = daemon_set.filter(|now| !is_being_deleted(now)) else {
        return Stop::Remove(daemon_set_gone(name));
    };
    let Some(node) = node else {
        return Stop::Remove(format!("the node {node_name} is gone"));
    };
    let template = daemon_set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    match template.map(|pod| selection::selects(pod, node)) {
        Some(selection::Selects::No) => {
            Stop::Remove(format!("the DaemonSet {name} no longer selects the node {node_name}"))
        }
        _ => Stop::Keep,
    }
}

fn daemon_set_gone(name: &str) -> String {
    format!("the DaemonSet {name} is gone or being deleted")
}

fn is_being_deleted(daemon_set: &DaemonSet) -> bool {
    daemon_set.metadata.deletion_timestamp.is_some()
}

#[cfg(test)]
#[path = "stop/tests.rs"]
mod tests;
