//! Objects that keep or break each rule: one table for every place that checks rules.
//!
//! The same objects meet the CEL forms here, the Rust twins in `lvs-plan`, and a real API server in the lab.

mod director;
mod health_check;
mod real_server;
mod verdict;
mod virtual_service;

use serde_json::{Value, json};

use super::{Check, Rule};
use crate::{GROUP, VERSION};

pub use verdict::verdict;

/// An object, and what has to be said of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is special about it, in words.
    pub name: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// Its spec.
    pub spec: Value,
    /// What has to be said.
    pub expected: Expected,
}

/// What has to be said of an object.
///
/// An API server adds a cause for the field `<nil>` where it skipped the CEL rules, because a list is too long
/// or a type is wrong: that one says nothing.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Nothing: it is accepted.
    Accepted,
    /// It breaks exactly these rules.
    Broken(Vec<Breach>),
    /// It is not an object of this kind at all: the type does not read it, and no rule is asked.
    WrongType {
        /// The field that the API server names.
        field: &'static str,
        /// Words of the API server's message.
        words: &'static str,
    },
}

/// A rule, and the field that breaks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The rule.
    pub rule: Rule,
    /// The field with its index, `spec.ports[1].port`.
    pub field: String,
}

impl Case {
    /// What an API server has to say: it does not know the rules that are ours alone.
    pub fn expected_of_an_api_server(&self) -> Expected {
        let Expected::Broken(breaches) = &self.expected else { return self.expected.clone() };
        let known: Vec<Breach> =
            breaches.iter().filter(|breach| breach.rule.check != Check::Ours).cloned().collect();
        if known.is_empty() { Expected::Accepted } else { Expected::Broken(known) }
    }

    /// The whole object, to be created under this name.
    pub fn object(&self, name: &str) -> Value {
        json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": self.kind,
            "metadata": {"name": name},
            "spec": self.spec,
        })
    }
}

/// All cases.
pub fn all() -> Vec<Case> {
    let mut cases = virtual_service::cases();
    cases.extend(real_server::cases());
    cases.extend(health_check::cases());
    cases.extend(director::cases());
    cases
}
