//! What is known of each object.

use std::collections::HashSet;
use std::sync::Arc;

use crate::desired::Desired;
use crate::object::{Object, ObjectKey, ValidRealServer, ValidVirtualService};
use crate::service::ServiceKey;
use crate::validate::Violation;

/// Who is older: by creation time, then by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Age {
    created: i64,
    pub(super) key: ObjectKey,
}

/// A virtual service and what became of it.
#[derive(Clone, Debug)]
pub struct VirtualServiceRecord {
    /// The object as last delivered.
    pub object: Arc<Object>,
    /// The rules that its spec breaks.
    pub violations: Vec<Violation>,
    /// The older virtual service that has one of its services, if any. Hardly ever there is one.
    pub conflict: Option<Box<(ServiceKey, ObjectKey)>>,
    /// The last accepted version: what is in force.
    pub in_force: Option<Arc<ValidVirtualService>>,
    /// The last spec that broke no rule of its own.
    pub(super) candidate: Option<Arc<ValidVirtualService>>,
    pub(super) desired: Desired,
    /// Its pairs are to be judged again.
    pub(super) stale: bool,
}

impl VirtualServiceRecord {
    /// Whether the spec as last delivered is in force.
    pub fn accepted(&self) -> bool {
        self.violations.is_empty() && self.conflict.is_none()
    }

    /// The services that should exist for it, and the verdict on each real server.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }
}

/// A real server and what became of it.
#[derive(Clone, Debug)]
pub struct RealServerRecord {
    /// The object as last delivered.
    pub object: Arc<Object>,
    /// The rules that its spec breaks.
    pub violations: Vec<Violation>,
    /// The last accepted version: what is in force.
    pub in_force: Option<Arc<ValidRealServer>>,
    /// The virtual services that select it, in no order: hundreds may share one, and each comes in by itself.
    pub selected_by: HashSet<ObjectKey>,
}

pub(super) fn age(object: &Object) -> Age {
    Age { created: object.created, key: object.key.clone() }
}

/// What a virtual service asks for: by its newest good spec and by the version in force.
pub(super) fn asked_keys(record: &VirtualServiceRecord) -> Box<[ServiceKey]> {
    let versions = [&record.candidate, &record.in_force].into_iter().flatten();
    let mut keys: Vec<ServiceKey> = versions.flat_map(|version| &version.services).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_boxed_slice()
}
