//! A Director's Lease as the API server keeps it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use serde_json::json;

use super::Identity;
use crate::api::peers::{DURATION, LeaseFacts};

/// Marks the Leases of Directors among others in the namespace.
pub(super) const COMPONENT: (&str, &str) = ("lvs-operator.dev/component", "director");
/// Says in a Lease whether its Director is ready.
const READY: &str = "lvs-operator.dev/ready";

/// Our Lease, to be applied.
pub(super) fn lease(
    identity: &Identity,
    owner: Option<&OwnerReference>,
    acquired: Timestamp,
    now: Timestamp,
    ready: bool,
) -> serde_json::Value {
    let spec = LeaseSpec {
        holder_identity: Some(identity.node_name.clone()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: Some(MicroTime(acquired)),
        renew_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    };
    let metadata = ObjectMeta {
        name: Some(identity.lease_name()),
        namespace: Some(identity.namespace.clone()),
        labels: Some(BTreeMap::from([(COMPONENT.0.to_owned(), COMPONENT.1.to_owned())])),
        annotations: Some(BTreeMap::from([(READY.to_owned(), ready.to_string())])),
        owner_references: owner.map(|owner| vec![owner.clone()]),
        ..ObjectMeta::default()
    };
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})
}

/// What a Lease says; nothing if nobody holds it.
pub(super) fn facts(lease: Lease) -> Option<LeaseFacts> {
    let spec = lease.spec?;
    let renewed = spec.renew_time?.0;
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Some(LeaseFacts {
        name: spec.holder_identity.filter(|name| !name.is_empty())?,
        acquired: spec.acquire_time.map_or(renewed, |time| time.0),
        renewed,
        duration: seconds.map_or(DURATION, Duration::from_secs),
        ready: lease
            .metadata
            .annotations
            .is_some_and(|notes| notes.get(READY).is_some_and(|ready| ready == "true")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_write_into_a_lease_is_what_others_read() {
        let identity = Identity { node_name: "d1".to_owned(), namespace: "lvs-operator".to_owned() };
        let acquired = Timestamp::new(1_700_000_000, 123_456_000).unwrap();
        let renewed = Timestamp::new(1_700_000_010, 654_321_000).unwrap();
        let written = lease(&identity, None, acquired, renewed, true);
        let read = facts(serde_json::from_value(written).unwrap());
        let expected =
            LeaseFacts { name: "d1".to_owned(), acquired, renewed, duration: DURATION, ready: true };
        assert_eq!(read, Some(expected));
    }

    #[test]
    fn a_lease_without_a_holder_is_nobodys() {
        assert_eq!(facts(Lease::default()), None);
    }
}
