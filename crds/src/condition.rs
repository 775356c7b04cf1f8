//! Conditions, as `metav1.Condition` defines them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One observation about an object (the fields of `metav1.Condition`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is observed, in CamelCase, such as `Accepted` or `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds: True, False, or Unknown.
    pub status: ConditionStatus,
    /// The `metadata.generation` that the observation is about; an older one than the object's is out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed: RFC 3339, UTC.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// One CamelCase word that says why, for programs.
    pub reason: String,
    /// A sentence for people: what is the case and what to do. Empty when there is nothing to add.
    pub message: String,
}

/// The three values of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be told.
    Unknown,
}
