//! The difference between what should exist and what does, as steps.

mod vip;

use std::collections::BTreeMap;

use litemap::LiteMap;

use crate::desired::Wanted;
use crate::outcome::Programming;
use crate::service::{DestinationKey, DestinationSettings, Service, ServiceKey};
use crate::step::Step;

pub use vip::{
    Asked, BoundAddress, Holder, Need, Place, Probe, Role, VipDecision, VipView, mac_text, vip, vip_prefix,
};

/// What the ledger says of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing: what stands under its key is somebody else's.
    None,
    /// We were about to make it, and the kernel was not seen to have it. What stands under its key now may be
    /// ours, made just before the agent died, or somebody else's, made after it.
    Intent,
    /// We made it or adopted it.
    Confirmed,
    /// We were about to remove it, and the kernel was not seen to be without it. What stands under its key now is
    /// ours if it is as it was then; else it may be somebody else's, made after ours was gone.
    Leaving {
        /// Whether it is.
        unchanged: bool,
    },
}

/// What is known of one service when it is compared.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // three facts that come from three places, in any combination
pub struct ServiceView<'a> {
    /// What should exist, if anything.
    pub desired: Option<Wanted<'a>>,
    /// What the kernel reports, if anything.
    pub observed: Option<&'a Service>,
    /// What the ledger says of it.
    pub claim: Claim,
    /// The object that asked for it is there but has no version that is known to be good: remove nothing.
    pub held: bool,
    /// A real server of the service is there but has no version that is known to be good: remove no
    /// destination.
    pub destinations_held: bool,
    /// Whether ownership can be written down; if not, nothing is added or removed.
    pub ledger_usable: bool,
    /// Destinations that are not on a link of this Director, and why: they are not added. One that is there
    /// already stays, because the link may be back in a moment.
    pub off_segment: &'a BTreeMap<DestinationKey, String>,
}

impl ServiceView<'_> {
    fn may_add(&self, destination: &DestinationKey) -> bool {
        self.ledger_usable && !self.off_segment.contains_key(destination)
    }
}

/// What the comparison of one service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceDecision {
    /// What to do.
    pub steps: Vec<Step>,
    /// The kernel's service becomes ours: it equals what is desired but for thresholds, or it is what we had
    /// begun to make or to remove.
    pub adopt: bool,
    /// Why nothing is done although something is desired.
    pub refused: Option<Programming>,
    /// The ledger's entry stands for nothing any more: the service is gone, or it is not known to be ours.
    pub forget: bool,
}

impl ServiceDecision {
    /// Whether everything stays as it is.
    pub fn is_nothing(&self) -> bool {
        let Self { steps, adopt, refused, forget } = self;
        steps.is_empty() && !adopt && refused.is_none() && !forget
    }
}

/// Compares one service.
pub fn service(key: &ServiceKey, view: ServiceView<'_>) -> ServiceDecision {
    let mut decision = ServiceDecision { steps: Vec::new(), adopt: false, refused: None, forget: false };
    match (view.desired, view.observed) {
        (None, None) => decision.forget = view.claim != Claim::None && !view.held,
        (None, Some(_)) => match view.claim {
            Claim::Confirmed | Claim::Leaving { unchanged: true } if !view.held && view.ledger_usable => {
                decision.steps.push(Step::DelService { key: *key });
            }
            // Whose it is cannot be told without a declaration to compare it with, so it is left alone.
            Claim::Intent | Claim::Leaving { unchanged: false } => decision.forget = !view.held,
            Claim::None | Claim::Confirmed | Claim::Leaving { unchanged: true } => {}
        },
        (Some(_), observed)
            if !(view.ledger_usable || view.claim == Claim::Confirmed && observed.is_some()) =>
        {
            decision.refused = Some(Programming::LedgerUnusable(format!(
                "the ledger cannot be used, so {key} is neither added nor taken over; see the agent's log"
            )));
        }
        (Some(desired), None) => {
            decision.steps.push(Step::NewService { key: *key, settings: desired.settings.clone() });
            let reachable = desired.destinations.iter().filter(|(destination, _)| view.may_add(destination));
            decision.steps.extend(reachable.map(|(destination, settings)| Step::NewDestination {
                key: *key,
                destination,
                settings,
            }));
        }
        (Some(desired), Some(observed)) => {
            let difference = match view.claim {
                Claim::Confirmed | Claim::Leaving { unchanged: true } => None,
                // What we had begun to make has our settings, and as many of our destinations as were reached.
                Claim::Intent => first_difference(desired, observed, Missing::Fine),
                Claim::None | Claim::Leaving { unchanged: false } => {
                    first_difference(desired, observed, Missing::Differs)
                }
            };
            if let Some(difference) = difference {
                decision.forget = view.claim == Claim::Leaving { unchanged: false };
                decision.refused = Some(Programming::Foreign(format!(
                    "the kernel already has {key}, made by somebody else, and it differs: {difference}; it is left alone. Remove it (ipvsadm -D), or make it equal and it is adopted"
                )));
            } else {
                decision.adopt = view.claim != Claim::Confirmed;
                repair(key, desired, observed, &view, &mut decision.steps);
            }
        }
    }
    decision
}

/// The steps from what a service of ours is to what it should be.
fn repair(
    key: &ServiceKey,
    desired: Wanted<'_>,
    observed: &Service,
    view: &ServiceView<'_>,
    steps: &mut Vec<Step>,
) {
    if desired.settings != &observed.settings {
        steps.push(Step::SetService { key: *key, settings: desired.settings.clone() });
    }
    for (destination, settings) in desired.destinations.iter() {
        match observed.destinations.get(&destination) {
            None if view.may_add(&destination) => {
                steps.push(Step::NewDestination { key: *key, destination, settings });
            }
            Some(reported) if !settings.agrees_with_report(reported) => {
                steps.push(Step::SetDestination { key: *key, destination, settings });
            }
            None | Some(_) => {}
        }
    }
    let extra = observed.destinations.iter();
    for (destination, reported) in extra.filter(|(at, _)| !desired.destinations.contains(at)) {
        let (key, destination) = (*key, *destination);
        // Of one that is declared it is known what it stands for.
        let declared = desired.declared.get(&destination);
        if view.ledger_usable && !view.held && (declared.is_some() || !view.destinations_held) {
            steps.push(Step::DelDestination { key, destination });
        } else if let Some(declared) = declared.filter(|_| reported.weight > 0) {
            // It failed or is in maintenance, and what removes it has to wait.
            let settings = DestinationSettings { weight: 0, ..declared.settings };
            steps.push(Step::SetDestination { key, destination, settings });
        }
    }
}

/// What a destination that is declared and not in the kernel says of whose the service is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Fine,
    Differs,
}

/// Adoption is only for what equals the declaration in scheduler, flags, persistence and every destination's
/// address, port, forwarding and weight. What we had begun to make has what is in force instead, as far as it came.
fn first_difference(desired: Wanted<'_>, observed: &Service, missing: Missing) -> Option<String> {
    if desired.settings != &observed.settings {
        return Some(format!("it has {}, declared is {}", observed.settings, desired.settings));
    }
    let wanted: LiteMap<DestinationKey, DestinationSettings> = match missing {
        Missing::Fine => desired.destinations.iter().collect(),
        Missing::Differs => {
            desired.declared.iter().filter_map(|(at, wanted)| Some((*at, wanted.declared()?))).collect()
        }
    };
    for (destination, settings) in &wanted {
        match observed.destinations.get(destination) {
            None if missing == Missing::Differs => {
                return Some(format!("it has no destination {destination}"));
            }
            Some(reported)
                if reported.weight != settings.weight || !settings.agrees_in_forwarding(reported) =>
            {
                return Some(format!("its destination {destination} is {reported}, declared is {settings}"));
            }
            None | Some(_) => {}
        }
    }
    let extra = observed.destinations.keys().find(|destination| !wanted.contains_key(destination))?;
    Some(format!("it has a destination {extra} that is not declared"))
}

#[cfg(test)]
mod tests;
