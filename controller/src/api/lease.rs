//! Our Lease, and the look at the others': says who holds the VIPs, and which Directors live.

mod document;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use lvs_plan::diff::Role;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::complaint::{Complaint, Outage};
use super::connect::{Connection, explain, is_away, is_silent};
use super::directors::Directors;
use super::peers::{Director, LeaseFacts, Peers, RENEW, acquire_time, senior_by_date};
use super::source::{Contact, Grade, Problem};
use crate::board::Board;
use crate::chain::chain;
use crate::driver_thread::Trigger;
use document::{COMPONENT, facts, lease};

/// For one request.
const REQUEST: Duration = Duration::from_secs(5);
/// After a failure.
const RETRY: Duration = Duration::from_secs(2);
/// A Director whose Lease is new waits so long, then looks again, before it holds any VIP: of two that
/// start together each then sees the other's Lease.
const SETTLE: Duration = Duration::from_secs(3);
/// From the look that our Lease is dated by to the Lease being written: well below [`SETTLE`], or it is dated anew.
const DATED: Duration = Duration::from_secs(2);
/// So often it is dated anew. Where the API server is slower than that, two that start together may both be active
/// until they look again, and the ARP probe of the second finds the first.
const DATINGS: u32 = 3;
/// How long the API server may refuse us the Leases. Then VIPs are bound on the word of the ARP probe alone,
/// as without an API server. (While it does not answer nothing is decided, and nothing is bound.)
const PATIENCE: Duration = Duration::from_secs(10);

/// Who we are and where Leases live.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) node_name: String,
    pub(super) namespace: String,
}

impl Identity {
    pub(super) fn lease_name(&self) -> String {
        format!("lvs-director-{}", self.node_name)
    }

    pub(super) fn field_manager(&self) -> String {
        director_manager(&self.node_name)
    }
}

/// The field manager of what one Director says of itself.
pub(super) fn director_manager(node_name: &str) -> String {
    // The server takes at most 128 characters; a node name may have 253.
    let mut manager = format!("lvs-operator.{node_name}");
    manager.truncate(128);
    manager
}

/// The Node of this name, for what goes with it. A Director that is no node of the cluster has none.
pub(super) async fn node_reference(
    client: &Client,
    name: &str,
) -> Result<Option<OwnerReference>, kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let uid = within(nodes.get_opt(name)).await?.and_then(|node| node.metadata.uid);
    Ok(uid.map(|uid| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.to_owned(),
        uid,
        ..OwnerReference::default()
    }))
}

/// Keeps our Lease and watches the others'. It outlives the connection.
pub(super) struct Leases {
    board: Board,
    triggers: Sender<Trigger>,
    directors: watch::Sender<Directors>,
    contact: watch::Sender<Contact>,
    outage: Outage,
    /// Rules of ours were in the kernel when we started.
    rules_in_force: bool,
    peers: Peers,
    /// Since when we hold our Lease.
    acquired: Option<Timestamp>,
    /// Before this no VIP is taken.
    settled_at: Option<Instant>,
    /// Whether a Lease of ours that we find is from before our start.
    may_resume: bool,
    /// How often our Lease was dated.
    datings: u32,
    refused_since: Option<Instant>,
    role: Option<Role>,
    complaint: Complaint,
    owner: Option<OwnerReference>,
}

impl Leases {
    pub(super) fn new(
        board: Board,
        triggers: Sender<Trigger>,
        directors: watch::Sender<Directors>,
        contact: watch::Sender<Contact>,
        outage: Outage,
        rules_in_force: bool,
    ) -> Self {
        Self {
            board,
            triggers,
            directors,
            contact,
            outage: outage.clone(),
            rules_in_force,
            peers: Peers::default(),
            acquired: None,
            settled_at: None,
            may_resume: true,
            datings: 0,
            refused_since: None,
            role: None,
            complaint: Complaint::new(outage),
            owner: None,
        }
    }

    /// Renews and looks, for ever.
    pub(super) async fn run(&mut self, connection: &Connection, identity: &Identity) -> Infallible {
        loop {
            let wait = match self.round(&connection.client, identity).await {
                Ok(()) => {
                    self.refused_since = None;
                    self.set_away(None);
                    self.outage.heard();
                    if self.complaint.succeeded() {
                        info!("the Leases of the Directors can be used again");
                    }
                    self.wait()
                }
                Err(error) => {
                    self.failed(&error, connection, identity);
                    RETRY
                }
            };
            sleep(wait).await;
        }
    }

    /// Until the next look: sooner while something is not decided.
    fn wait(&self) -> Duration {
        if self.acquired.is_none() {
            return RETRY;
        }
        let unsettled = self.settled_at.map(|at| at.saturating_duration_since(Instant::now()));
        match unsettled {
            Some(rest) if !rest.is_zero() => rest.min(RENEW),
            _ => RENEW,
        }
    }

    async fn round(&mut self, client: &Client, identity: &Identity) -> Result<(), kube::Error> {
        let leases: Api<Lease> = Api::namespaced(client.clone(), &identity.namespace);
        let ready = self.is_ready();
        if self.acquired.is_none() {
            let asked = Instant::now();
            let own = self.look(&leases, identity).await?.filter(|_| self.may_resume);
            let clock = Timestamp::now();
            let acquired = acquire_time(own.as_ref(), self.rules_in_force, self.peers.latest(), clock);
            self.may_resume = own.is_some_and(|own| own.acquired == acquired);
            self.renew(&leases, identity, acquired, ready).await?;
            self.datings += 1;
            if !self.may_resume && asked.elapsed() > DATED && self.datings < DATINGS {
                // Somebody may have come meanwhile whom the date does not consider.
                return Ok(());
            }
            self.acquired = Some(acquired);
            let settled = self.may_resume && clock.duration_since(acquired).unsigned_abs() > RENEW;
            self.settled_at = Some(if settled { Instant::now() } else { Instant::now() + SETTLE });
            self.find_owner(client, identity).await;
        } else if let Some(acquired) = self.acquired {
            self.renew(&leases, identity, acquired, ready).await?;
        }
        self.look(&leases, identity).await?;
        self.decide(identity, ready);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        let content = self.board.lock();
        // Before the driver's first word nothing speaks against it, and nothing for it.
        content.source.complete && content.not_ready.is_empty()
    }

    /// Reads all Leases of Directors; gives back our own.
    async fn look(
        &mut self,
        leases: &Api<Lease>,
        identity: &Identity,
    ) -> Result<Option<LeaseFacts>, kube::Error> {
        let (own, others) = list(leases, identity).await?;
        self.peers.look(others, Instant::now(), Timestamp::now());
        Ok(own)
    }

    async fn renew(
        &self,
        leases: &Api<Lease>,
        identity: &Identity,
        acquired: Timestamp,
        ready: bool,
    ) -> Result<(), kube::Error> {
        let params = PatchParams::apply(&identity.field_manager()).force();
        let lease = lease(identity, self.owner.as_ref(), acquired, Timestamp::now(), ready);
        within(leases.patch(&identity.lease_name(), &params, &Patch::Apply(lease))).await.map(drop)
    }

    /// The Node that the Lease goes with.
    async fn find_owner(&mut self, client: &Client, identity: &Identity) {
        if let Ok(Some(node)) = node_reference(client, &identity.node_name).await {
            self.owner = Some(node);
        }
    }

    fn decide(&mut self, identity: &Identity, ready: bool) {
        let now = Instant::now();
        let others = self.peers.directors(now).map(|(name, director)| (name.to_owned(), director)).collect();
        self.publish(identity, ready, Some(others));
        let Some(acquired) = self.acquired else { return };
        match self.peers.role(&identity.node_name, acquired, now) {
            Some(Role::Active) if self.settled_at.is_some_and(|at| at > now) => {}
            Some(role) => self.take(role),
            None => {}
        }
    }

    fn publish(&self, identity: &Identity, ready: bool, others: Option<BTreeMap<String, Director>>) {
        let now =
            Directors { me: identity.node_name.clone(), ready, published: self.acquired.is_some(), others };
        self.directors.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }

    fn take(&mut self, role: Role) {
        if self.role.as_ref() == Some(&role) {
            return;
        }
        match &role {
            Role::Active => info!("this Director holds the VIPs"),
            Role::Blocked { peer } => {
                warn!(peer, "another Director lives and came first: no VIP is bound here until it is gone");
            }
        }
        self.role = Some(role.clone());
        // Before the source says that it is complete: no pass knows objects but no role.
        let _ = self.triggers.send(Trigger::Role(role));
        self.contact.send_modify(|contact| contact.role_decided = true);
    }

    fn failed(&mut self, error: &kube::Error, connection: &Connection, identity: &Identity) {
        let doing = format!("keep the Lease of this Director in namespace {}", identity.namespace);
        let message = match error {
            kube::Error::Api(status) if status.code == 404 => format!(
                "the namespace {} for the Leases of the Directors does not exist: create it, or name another one in \
                 $POD_NAMESPACE",
                identity.namespace
            ),
            error => explain(error, &doing, &connection.address),
        };
        if !is_silent(error) {
            self.outage.heard();
        }
        if is_away(error) {
            // The source tells it.
            self.refused_since = None;
            self.set_away(Some(Problem { message, grade: Grade::of(error) }));
            return;
        }
        self.set_away(None);
        self.complaint.failed(error, message, None);
        let since = *self.refused_since.get_or_insert_with(Instant::now);
        if self.role.is_none() && since.elapsed() > PATIENCE {
            warn!("other Directors cannot be seen: VIPs are bound if nobody answers for them");
            self.take(Role::Active);
        }
        if self.role.is_some() && self.acquired.is_none() {
            self.publish(identity, self.is_ready(), None);
        }
    }

    fn set_away(&self, away: Option<Problem>) {
        self.contact.send_if_modified(|contact| {
            let changed = contact.away != away;
            contact.away = away;
            changed
        });
    }
}

/// Our own Lease and the others'.
async fn list(
    leases: &Api<Lease>,
    identity: &Identity,
) -> Result<(Option<LeaseFacts>, Vec<LeaseFacts>), kube::Error> {
    let (name, value) = COMPONENT;
    let params = ListParams::default().labels(&format!("{name}={value}"));
    let list = within(leases.list(&params)).await?;
    let (own, others): (Vec<LeaseFacts>, Vec<LeaseFacts>) =
        list.items.into_iter().filter_map(facts).partition(|facts| facts.name == identity.node_name);
    Ok((own.into_iter().next(), others))
}

/// The role that an agent started now would have, by the dates in the Leases. Nothing is written.
///
/// # Errors
/// If the Leases cannot be read.
pub(super) async fn role_at_a_glance(
    client: Client,
    identity: &Identity,
    rules_in_force: bool,
) -> Result<Role, kube::Error> {
    let leases: Api<Lease> = Api::namespaced(client, &identity.namespace);
    let (own, others) = list(&leases, identity).await?;
    let clock = Timestamp::now();
    let latest = others.iter().map(|other| other.acquired).max();
    let acquired = acquire_time(own.as_ref(), rules_in_force, latest, clock);
    Ok(match senior_by_date(&identity.node_name, acquired, &others, clock) {
        Some(peer) => Role::Blocked { peer: peer.to_owned() },
        None => Role::Active,
    })
}

/// Deletes our Lease, so that the others need not wait until it expires.
///
/// # Errors
/// If the API server did not do it.
pub(super) async fn withdraw(client: Client, identity: &Identity) -> Result<(), String> {
    let leases: Api<Lease> = Api::namespaced(client, &identity.namespace);
    let gone = within(leases.delete(&identity.lease_name(), &kube::api::DeleteParams::default())).await;
    match gone {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(chain(&error)),
    }
}

/// A request with a deadline: the client has none of its own.
pub(super) async fn within<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    match timeout(REQUEST, request).await {
        Ok(result) => result,
        Err(_) => Err(kube::Error::Service("no answer within 5 s".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_manager_fits_the_servers_limit() {
        assert_eq!(director_manager("d1"), "lvs-operator.d1");
        assert_eq!(director_manager(&"n".repeat(253)).len(), 128);
    }
}
