//! The `Director` object of this node: made when there is none, with an empty spec, which is the administrator's.

use std::convert::Infallible;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use lvs_crds::{Director, DirectorSpec};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::info;

use super::backoff::Backoff;
use super::complaint::{Complaint, Outage};
use super::connect::{Connection, explain};
use super::lease::{Identity, node_reference, within};

/// How long the watch has to show an object that the server says is there.
const SHOWN: Duration = Duration::from_secs(10);

/// Makes the object. It outlives the connection.
pub(super) struct Maker {
    /// Whether the watch knows that there is no object.
    missing: watch::Receiver<bool>,
    complaint: Complaint,
}

impl Maker {
    pub(super) fn new(missing: watch::Receiver<bool>, outage: Outage) -> Self {
        Self { missing, complaint: Complaint::new(outage) }
    }

    /// Makes the object whenever it is missing, for ever.
    pub(super) async fn run(&mut self, connection: &Connection, identity: &Identity) -> Infallible {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
        loop {
            if self.missing.wait_for(|missing| *missing).await.is_err() {
                // Its sender lives as long as this does, but for the very end.
                std::future::pending::<()>().await;
            }
            match make(connection, identity).await {
                Ok(()) => {
                    self.complaint.succeeded();
                    let _ = timeout(SHOWN, self.missing.wait_for(|missing| !*missing)).await;
                    backoff.reset();
                }
                Err(error) => {
                    let doing = "create directors.lvs-operator.dev";
                    let message = explain(&error, doing, &connection.address);
                    self.complaint.failed(&error, message, None);
                }
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }
}

async fn make(connection: &Connection, identity: &Identity) -> Result<(), kube::Error> {
    let name = &identity.node_name;
    let owner = node_reference(&connection.client, name).await?;
    let director = Director {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: DirectorSpec::default(),
        status: None,
    };
    let directors: Api<Director> = Api::all(connection.client.clone());
    let params = PostParams { field_manager: Some(identity.field_manager()), ..PostParams::default() };
    match within(directors.create(&params, &director)).await {
        Ok(_) => {
            info!(director = name, "the object of this Director is made");
            Ok(())
        }
        // Somebody was faster.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error),
    }
}
