//! Validation: the Rust twin of the rules that the API server checks (`lvs_crds::rules`).
//!
//! Objects from files never meet an API server, and objects in one may be older than its rules.

mod address;
mod director;
mod health_check;
mod real_server;
#[cfg(test)]
mod tests;
mod virtual_service;

use std::fmt;

use lvs_crds::rules::{Check, DirectorRule, RealServerRule, Rule, VirtualServiceRule};
use lvs_crds::{DirectorSpec, RealServerSpec, VirtualServiceSpec};

use crate::object::{ValidRealServer, ValidVirtualService};
use crate::settings::Values;

/// A rule that a spec breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field's path, `spec.ports[1].port`.
    pub field: String,
    /// The rule.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Checks a virtual service's spec. The errors are all rules that it breaks, never none.
pub fn virtual_service(spec: &VirtualServiceSpec) -> Result<ValidVirtualService, Vec<Violation>> {
    let broken = VirtualServiceRule::ALL.iter().flat_map(|rule| {
        let breach = virtual_service::breach(*rule, spec);
        violations(rule.rule(), breach)
    });
    let broken: Vec<Violation> = broken.chain(health_check::broken(spec.health_check.as_deref())).collect();
    if broken.is_empty() { Ok(virtual_service::parse(spec)) } else { Err(broken) }
}

/// Checks a real server's spec. The errors are all rules that it breaks, never none.
pub fn real_server(spec: &RealServerSpec) -> Result<ValidRealServer, Vec<Violation>> {
    let broken = RealServerRule::ALL.iter().flat_map(|rule| {
        let breach = real_server::breach(*rule, spec);
        violations(rule.rule(), breach)
    });
    let broken: Vec<Violation> = broken.chain(health_check::broken(spec.health_check.as_deref())).collect();
    if broken.is_empty() { Ok(real_server::parse(spec)) } else { Err(broken) }
}

/// Checks a Director's spec, and gives the timeouts that it asks for. The errors are all rules that it breaks, never
/// none.
pub fn director(spec: &DirectorSpec) -> Result<Values, Vec<Violation>> {
    let broken = DirectorRule::ALL.iter().flat_map(|rule| {
        let breach = director::breach(*rule, spec);
        violations(rule.rule(), breach)
    });
    let broken: Vec<Violation> = broken.collect();
    if broken.is_empty() { Ok(director::parse(spec)) } else { Err(broken) }
}

/// Where a spec breaks one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Breach {
    /// Nowhere.
    None,
    /// At the rule's field.
    Field,
    /// In these items of the list that the rule's field is in.
    Items(Vec<usize>),
}

impl From<bool> for Breach {
    /// From whether the rule is broken.
    fn from(broken: bool) -> Self {
        if broken { Self::Field } else { Self::None }
    }
}

/// The items of a list that a test finds.
fn items<T>(list: &[T], broken: impl Fn(&T) -> bool) -> Breach {
    Breach::Items((0..list.len()).filter(|index| broken(&list[*index])).collect())
}

/// The items of a list that repeat an earlier one.
fn repetitions<T>(list: &[T], same: impl Fn(&T, &T) -> bool) -> Breach {
    let repeats = |index: &usize| list[..*index].iter().any(|earlier| same(earlier, &list[*index]));
    Breach::Items((0..list.len()).filter(repeats).collect())
}

/// Whether a number is outside the rule's range.
fn out_of_range(rule: Rule, value: impl Into<i64>) -> bool {
    let Check::Range(min, max) = rule.check else { unreachable!("{} has no range", rule.field) };
    !(min..=max).contains(&value.into())
}

/// Whether a list is longer than the rule allows.
fn too_long<T>(rule: Rule, list: &[T]) -> bool {
    let Check::MaxItems(most) = rule.check else { unreachable!("{} has no limit", rule.field) };
    list.len() as u64 > most
}

fn violations(rule: Rule, breach: Breach) -> Vec<Violation> {
    let at = |field: String| Violation { field, message: rule.message.to_owned() };
    match breach {
        Breach::None => Vec::new(),
        Breach::Field => vec![at(rule.field.to_owned())],
        Breach::Items(indexes) => {
            indexes.into_iter().map(|index| at(rule.field.replace("[]", &format!("[{index}]")))).collect()
        }
    }
}
