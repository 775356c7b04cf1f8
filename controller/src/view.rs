//! What the driver knows of its services, for whoever shows or counts them: made when it is asked for, and kept by nobody.

use std::sync::Arc;
use std::time::Duration;

use lvs_plan::health::{Stage, State, Verdict};
use lvs_plan::{DestinationKey, ObjectKey, ServiceKey};

/// Every service that should be in the kernel, in no order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The services.
    pub services: Vec<ServiceView>,
}

/// A service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    /// Its key in the kernel.
    pub key: ServiceKey,
    /// The virtual service that asks for it.
    pub owner: ObjectKey,
    /// Its destinations, declared ones that are not in the kernel too.
    pub destinations: Vec<DestinationView>,
    /// The sorry server and its weight, while it is in the kernel.
    pub sorry: Option<(DestinationKey, u32)>,
}

/// A real server in one service.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationView {
    /// Its key in the service.
    pub key: DestinationKey,
    /// The real server.
    pub owner: ObjectKey,
    /// The declared weight.
    pub weight: u16,
    /// The weight that should be in the kernel; `None` if it should not be there.
    pub kernel_weight: Option<u32>,
    /// What it does.
    pub state: State,
    /// What its check says; `None` if it is not checked.
    pub verdict: Option<Verdict>,
    /// The last failure of its check, while it fails.
    pub failure: Option<Arc<str>>,
    /// How far it has drained, if it is to.
    pub drain: Option<DrainView>,
}

/// How far a real server has drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainView {
    /// The stage.
    pub stage: Stage,
    /// Since when its weight is 0.
    pub elapsed: Duration,
    /// Active connections at the first count and at the last, of all services together.
    pub counted: Option<(u32, u32)>,
}
