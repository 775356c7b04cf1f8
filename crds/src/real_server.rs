//! `RealServer`: a host that answers for virtual services.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Condition, HealthCheck, rules};

/// A real server: a host that answers for the virtual services which select it. It needs no agent. It shares a
/// layer-2 segment with the Director, holds each VIP on `lo` without answering ARP for it, listens on the
/// VIP's ports, and replies to clients through its own router.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "lvs-operator.dev",
    version = "v1alpha1",
    kind = "RealServer",
    plural = "realservers",
    shortname = "lvsrs",
    category = "lvs",
    namespaced,
    status = "RealServerStatus",
    derive = "PartialEq",
    doc = "A real server of the Linux Virtual Server: a host that answers for the VirtualServices which select it by its labels.",
    selectable = ".spec.address",
    printcolumn = r#"{"name": "ADDRESS", "type": "string", "jsonPath": ".spec.address"}"#,
    printcolumn = r#"{"name": "WEIGHT", "type": "integer", "jsonPath": ".spec.weight"}"#,
    printcolumn = r#"{"name": "READY", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::real_server_schema)]
pub struct RealServerSpec {
    /// The real server's own address (RIP): IPv4 or IPv6, in canonical form, global unicast (private ranges are
    /// fine), on a link of the Director and of the same family as the virtual service.
    pub address: String,
    /// The real server's share of new connections, 0..65535, in proportion to the weights of the others.
    /// 0 takes no new ones. Default: 1. The schedulers rr, lc and dh ignore weights other than 0.
    #[serde(default = "default_weight")]
    pub weight: i32,
    /// Takes the real server out of service gently: its weight in the kernel becomes 0, so established
    /// connections go on and new ones go elsewhere. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drain: bool,
    /// Connections, 0..2147483647, at which the kernel sends the real server no new ones. Counted for each
    /// service on its own. 0 is no limit. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper_threshold: Option<i64>,
    /// Connections, 0..2147483647 and at most `upperThreshold`, below which a real server that had reached
    /// `upperThreshold` takes new ones again. Default: 0, which is three quarters of `upperThreshold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower_threshold: Option<i64>,
    /// Restricts the real server to this one of the virtual service's ports, 1..65535. Default: it serves all
    /// of them. Another port than the client's cannot work with direct routing: then the pair is refused with
    /// `PortMapping`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// Takes the real server out of every service at once, with its established connections. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub maintenance: bool,
    /// How it is found out whether this real server works; it stands in for the virtual service's
    /// `healthCheck` as a whole. Default: the virtual service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<Box<HealthCheck>>,
}

fn default_weight() -> i32 {
    1
}

/// What was observed of a real server. Written by one Director at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::tidy)]
pub struct RealServerStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is said of this real server, one entry for each type: `Accepted`, `Healthy`, `Drained`,
    /// `Overloaded`, and `Ready`, which is True when all others are; `Drained` and `Overloaded` do not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The virtual services that use it, as `namespace/name`, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub virtual_services: Vec<String>,
}
