//! `Director`: a node that holds virtual services, and what its kernel is asked for.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Condition, rules};

/// A Director: a node whose kernel distributes connections to real servers. It has the name of its node. With an API
/// server the agent there makes it, with an empty spec; with files a document of this kind is needed only to set
/// something.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "lvs-operator.dev",
    version = "v1alpha1",
    kind = "Director",
    plural = "directors",
    shortname = "lvsdir",
    category = "lvs",
    status = "DirectorReport",
    derive = "PartialEq",
    doc = "A Director of the Linux Virtual Server: a node whose kernel distributes connections to real servers. It has the name of its node, whose agent makes it.",
    printcolumn = r#"{"name": "READY", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "KERNEL-READY", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"KernelReady\")].status"}"#,
    printcolumn = r#"{"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::director_schema)]
pub struct DirectorSpec {
    /// How long the kernel keeps idle connections, of all services of the node, those of others too. Default: as
    /// the kernel has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
}

/// How long the kernel keeps an idle connection. What is left out is left as the kernel has it, also if it was set
/// before: then it stays until somebody sets it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// TCP, established: 1..2147483 seconds. Default: left alone; the kernel begins with 900.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<i32>,
    /// TCP, after a FIN: 1..2147483 seconds. Default: left alone; the kernel begins with 120.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_fin: Option<i32>,
    /// UDP: 1..2147483 seconds. Default: left alone; the kernel begins with 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<i32>,
}

/// What a Director says of itself. Written by its own agent alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::tidy)]
pub struct DirectorReport {
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is said of this Director, one entry for each type: `KernelReady`, and `Ready`, which is True when all
    /// others are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
