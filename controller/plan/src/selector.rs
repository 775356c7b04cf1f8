//! Label selectors, as `metav1.LabelSelector` defines them.

use std::collections::BTreeMap;

/// A parsed label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// All must hold; `None` selects nothing, an empty list everything.
    pub requirements: Option<Vec<Requirement>>,
}

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The label has one of these values.
    In(String, Vec<String>),
    /// The label has none of these values, or is not there.
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is not there.
    DoesNotExist(String),
}

impl Selector {
    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.as_ref().is_some_and(|all| all.iter().all(|requirement| requirement.holds(labels)))
    }

    /// Whether [`anchor`](Self::anchor) says it all: who has that label is selected.
    pub fn is_its_anchor(&self) -> bool {
        self.anchor().is_some() && self.requirements.as_ref().is_some_and(|all| all.len() == 1)
    }

    /// A label and value that every selected object has, if the selector names one.
    pub fn anchor(&self) -> Option<(&str, &str)> {
        self.requirements.as_ref()?.iter().find_map(|requirement| match requirement {
            Requirement::In(name, values) if values.len() == 1 => Some((name.as_str(), values[0].as_str())),
            _ => None,
        })
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::In(name, values) => labels.get(name).is_some_and(|value| values.contains(value)),
            Self::NotIn(name, values) => labels.get(name).is_none_or(|value| !values.contains(value)),
            Self::Exists(name) => labels.contains_key(name),
            Self::DoesNotExist(name) => !labels.contains_key(name),
        }
    }
}
