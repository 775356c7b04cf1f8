//! The Kubernetes API of lvs-operator: the group `lvs-operator.dev`, version `v1alpha1`.
//!
//! A field or condition is in the schema only once it has an effect; what later work adds is listed in
//! the changelog when it arrives.

mod condition;
mod real_server;
pub mod rules;
mod schema;
mod virtual_service;
pub mod yaml;

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

pub use condition::{Condition, ConditionStatus};
pub use real_server::{RealServer, RealServerSpec, RealServerStatus};
pub use virtual_service::{
    DirectorRole, DirectorStatus, IpFamily, Persistence, PersistenceEngine, Protocol, RealServerCounts,
    Scheduler, SchedulerFlag, ServicePort, VirtualService, VirtualServiceSpec, VirtualServiceStatus,
};

/// The API group of all kinds.
pub const GROUP: &str = "lvs-operator.dev";
/// The only served and stored version.
pub const VERSION: &str = "v1alpha1";
