//! Whether a `DaemonSet` wants a pod on a node: its node selector and the required part of its node affinity.
//!
//! Taints are left out: they keep new pods away, and a node that somebody tainted is still a Director.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// Whether a node is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selects {
    Yes,
    No,
    /// There is a rule that this version does not know.
    Unknown,
}

impl Selects {
    fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        parts.into_iter().fold(Self::Yes, |all, part| match (all, part) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Yes, Self::Yes) => Self::Yes,
        })
    }

    fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        parts.into_iter().fold(Self::No, |any, part| match (any, part) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::No, Self::No) => Self::No,
        })
    }

    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// Judges a node by a pod's spec.
pub(super) fn selects(pod: &PodSpec, node: &Node) -> Selects {
    let none = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&none);
    let selector = pod
        .node_selector
        .iter()
        .flatten()
        .map(|(name, value)| Selects::from(labels.get(name) == Some(value)));
    let required = pod
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let affinity = required.map_or(Selects::Yes, |required| {
        Selects::any(required.node_selector_terms.iter().map(|of| term(of, node, labels)))
    });
    Selects::all(selector.chain([affinity]))
}

fn term(term: &NodeSelectorTerm, node: &Node, labels: &BTreeMap<String, String>) -> Selects {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        // An empty term matches nothing (k8s.io/component-helpers/scheduling/corev1/nodeaffinity).
        return Selects::No;
    }
    let expressions =
        expressions.iter().map(|rule| requirement(rule, labels.get(&rule.key).map(String::as_str)));
    let fields = fields.iter().map(|rule| match rule.key.as_str() {
        "metadata.name" => requirement(rule, node.metadata.name.as_deref()),
        _ => Selects::Unknown,
    });
    Selects::all(expressions.chain(fields))
}

fn requirement(rule: &NodeSelectorRequirement, value: Option<&str>) -> Selects {
    let values = rule.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let compare = |holds: fn(i64, i64) -> bool| {
        let number = value.and_then(|value| value.parse().ok());
        let bound = values.first().and_then(|bound| bound.parse().ok());
        number.zip(bound).is_some_and(|(number, bound)| holds(number, bound))
    };
    match rule.operator.as_str() {
        "In" => Selects::from(listed),
        "NotIn" => Selects::from(!listed),
        "Exists" => Selects::from(value.is_some()),
        "DoesNotExist" => Selects::from(value.is_none()),
        "Gt" => Selects::from(compare(|number, bound| number > bound)),
        "Lt" => Selects::from(compare(|number, bound| number < bound)),
        _ => Selects::Unknown,
    }
}
