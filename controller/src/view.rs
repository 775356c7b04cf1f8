//! What the driver knows of its services, for whoever shows or counts them: made when it is asked for, and
//! kept by nobody.

#[cfg(test)]
pub(crate) mod fixtures;
mod window;

use std::sync::Arc;
use std::time::Duration;

use lvs_plan::health::{Probe, Stage, State, Verdict};
use lvs_plan::{DestinationKey, ObjectKey, ServiceKey};

pub use window::Window;

/// Of which virtual services something is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// All of them.
    All,
    /// These, as far as they are there.
    These(Vec<ObjectKey>),
}

/// Services that should be in the kernel, in no order.
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
    /// It was in the kernel, and ours, when it was last looked at.
    pub in_kernel: bool,
    /// Its destinations, declared ones that are not in the kernel too, in the order of their keys.
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
    /// What decides about it; `None` if it is not checked.
    pub probe: Option<Probe>,
    /// What its check says; `None` if it is not checked.
    pub verdict: Option<Verdict>,
    /// The last failure of its check, while it fails.
    pub failure: Option<Arc<str>>,
    /// How far it has drained, if it is to.
    pub drain: Option<Box<DrainView>>,
}

/// How far a real server has drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainView {
    /// The stage.
    pub stage: Stage,
    /// Since when its weight is 0.
    pub elapsed: Duration,
    /// How long it may take: the longest time of all virtual services that use it.
    pub timeout: Duration,
    /// Active connections at the first count and at the last, of all services together.
    pub counted: Option<(u32, u32)>,
}
