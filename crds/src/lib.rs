//! The Kubernetes API of lvs-operator: the group `lvs-operator.dev`, version `v1alpha1`.
//!
//! A field or condition is in the schema only once it has an effect; what later work adds is listed in
//! the changelog when it arrives.

mod condition;
mod director;
mod health_check;
mod real_server;
pub mod rules;
mod schema;
mod selector;
mod virtual_service;
pub mod yaml;

pub use condition::{Condition, ConditionStatus};
pub use director::{Director, DirectorReport, DirectorSpec, Timeouts};
pub use health_check::{
    CheckKind, DnsCheck, DnsRcode, DnsType, GrpcCheck, HealthCheck, HttpCheck, HttpHeader, HttpMethod,
    HttpsCheck, NoCheck, PingCheck, TcpCheck, TlsOptions, UdpCheck,
};
pub use real_server::{RealServer, RealServerSpec, RealServerStatus};
pub use selector::{LabelSelector, LabelSelectorRequirement, Labels};
pub use virtual_service::{
    DEFAULT_DRAIN_TIMEOUT_SECONDS, DirectorRole, DirectorStatus, IpFamily, OnFailure, Persistence,
    PersistenceEngine, Protocol, RealServerCounts, Scheduler, SchedulerFlag, ServicePort, SorryServer,
    VirtualService, VirtualServiceSpec, VirtualServiceStatus,
};

/// The API group of all kinds.
pub const GROUP: &str = "lvs-operator.dev";
/// The only served and stored version.
pub const VERSION: &str = "v1alpha1";
