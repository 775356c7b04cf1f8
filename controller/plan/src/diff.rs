//! The difference between what should exist and what does, as steps.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::desired::DesiredService;
use crate::outcome::{Announcing, Programming};
use crate::service::{DestinationKey, Service, ServiceKey, family_of};
use crate::step::Step;

/// What is known of one service when it is compared.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // four facts that come from four places, in any combination
pub struct ServiceView<'a> {
    /// What should exist, if anything.
    pub desired: Option<&'a DesiredService>,
    /// What the kernel reports, if anything.
    pub observed: Option<&'a Service>,
    /// The ledger says that we made it.
    pub ours: bool,
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
    /// The kernel's service equals what is desired and becomes ours; at most thresholds are left to be set.
    pub adopt: bool,
    /// Why nothing is done although something is desired.
    pub refused: Option<Programming>,
    /// The ledger's entry has no object and no service any more.
    pub forget: bool,
}

/// Compares one service.
pub fn service(key: &ServiceKey, view: ServiceView<'_>) -> ServiceDecision {
    let mut decision = ServiceDecision { steps: Vec::new(), adopt: false, refused: None, forget: false };
    match (view.desired, view.observed) {
        (None, None) => decision.forget = view.ours && !view.held,
        (None, Some(_)) => {
            if view.ours && !view.held && view.ledger_usable {
                decision.steps.push(Step::DelService { key: *key });
            }
        }
        (Some(_), observed) if !(view.ledger_usable || view.ours && observed.is_some()) => {
            decision.refused = Some(Programming::LedgerUnusable(format!(
                "the ledger cannot be used, so {key} is neither added nor taken over; see the agent's log"
            )));
        }
        (Some(desired), None) => {
            decision.steps.push(Step::NewService { key: *key, settings: desired.settings().clone() });
            let reachable = desired.destinations.iter().filter(|(destination, _)| view.may_add(destination));
            decision.steps.extend(reachable.map(|(destination, wanted)| Step::NewDestination {
                key: *key,
                destination: *destination,
                settings: wanted.settings,
            }));
        }
        (Some(desired), Some(observed)) if !view.ours => {
            if let Some(difference) = first_difference(desired, observed) {
                decision.refused = Some(Programming::Foreign(format!(
                    "the kernel already has {key}, made by somebody else, and it differs: {difference}; it is left alone. Remove it (ipvsadm -D), or make it equal and it is adopted"
                )));
            } else {
                decision.adopt = true;
                repair(key, desired, observed, &view, &mut decision.steps);
            }
        }
        (Some(desired), Some(observed)) => repair(key, desired, observed, &view, &mut decision.steps),
    }
    decision
}

/// The steps from what a service of ours is to what it should be.
fn repair(
    key: &ServiceKey,
    desired: &DesiredService,
    observed: &Service,
    view: &ServiceView<'_>,
    steps: &mut Vec<Step>,
) {
    if desired.settings() != &observed.settings {
        steps.push(Step::SetService { key: *key, settings: desired.settings().clone() });
    }
    for (destination, wanted) in &desired.destinations {
        match observed.destinations.get(destination) {
            None if view.may_add(destination) => {
                steps.push(Step::NewDestination {
                    key: *key,
                    destination: *destination,
                    settings: wanted.settings,
                });
            }
            Some(reported) if !wanted.settings.agrees_with_report(reported) => {
                steps.push(Step::SetDestination {
                    key: *key,
                    destination: *destination,
                    settings: wanted.settings,
                });
            }
            None | Some(_) => {}
        }
    }
    if view.ledger_usable && !view.destinations_held && !view.held {
        let extra = observed
            .destinations
            .keys()
            .filter(|destination| !desired.destinations.contains_key(destination));
        steps.extend(extra.map(|destination| Step::DelDestination { key: *key, destination: *destination }));
    }
}

/// Adoption is only for what equals the declaration in scheduler, flags, persistence and every destination's
/// address, port, forwarding and weight.
fn first_difference(desired: &DesiredService, observed: &Service) -> Option<String> {
    if desired.settings() != &observed.settings {
        return Some(format!("it has {}, declared is {}", observed.settings, desired.settings()));
    }
    for (destination, wanted) in &desired.destinations {
        match observed.destinations.get(destination) {
            None => return Some(format!("it has no destination {destination}")),
            Some(reported)
                if reported.weight != wanted.settings.weight
                    || !wanted.settings.agrees_in_forwarding(reported) =>
            {
                return Some(format!(
                    "its destination {destination} is {reported}, declared is {}",
                    wanted.settings
                ));
            }
            Some(_) => {}
        }
    }
    let extra =
        observed.destinations.keys().find(|destination| !desired.destinations.contains_key(destination))?;
    Some(format!("it has a destination {extra} that is not declared"))
}

/// Whether this Director may hold a VIP: passed in, so that failover can decide it later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It may.
    Active,
    /// Another Director lives, and nothing yet decides between the two.
    Blocked {
        /// Its node.
        peer: String,
    },
}

/// Whether another host was found to answer for a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Not asked yet, or the answer is too old.
    Unknown,
    /// Nobody answered.
    Free,
    /// Somebody did.
    Taken {
        /// The MAC address that answered.
        mac: [u8; 6],
    },
}

/// An address of this host that equals a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundAddress {
    /// The link's name.
    pub link: Arc<str>,
    /// The link's index.
    pub link_index: u32,
    /// Whether it carries our mark (`IFA_PROTO`) or the ledger says that we bound it.
    pub ours: bool,
}

/// Whether the services of this Director need a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// No service uses it.
    Unused,
    /// Services use it, but none of them is in force here (somebody else's differ, or ownership cannot be
    /// written down): it is neither bound nor let go.
    AsItIs,
    /// A service that is in force here uses it.
    Used,
}

/// What is known of one VIP when it is compared.
#[derive(Clone, Debug)]
pub struct VipView<'a> {
    /// Whether a service needs it.
    pub need: Need,
    /// Every address of this host that equals it.
    pub bound: &'a [BoundAddress],
    /// The link that should hold it, or why there is none.
    pub link: Result<Arc<str>, String>,
    /// The probe's answer.
    pub probe: Probe,
    /// Whether this Director may hold it.
    pub role: &'a Role,
    /// Remove nothing: the ledger cannot be used, or what asked for it has no version known to be good.
    pub held: bool,
    /// Whether ownership can be written down.
    pub ledger_usable: bool,
}

/// What the comparison of one VIP says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipDecision {
    /// What to do.
    pub steps: Vec<Step>,
    /// Where the VIP stands if the steps work; `None` if it is not needed, or not here.
    pub announcing: Option<Announcing>,
    /// Ask the network who holds it, and come again.
    pub probe: bool,
    /// The link on which we hold it and should announce it.
    pub announce_on: Option<Arc<str>>,
}

/// Compares one VIP.
pub fn vip(vip: IpAddr, view: &VipView<'_>) -> VipDecision {
    let mut decision = VipDecision { steps: Vec::new(), announcing: None, probe: false, announce_on: None };
    let ours: Vec<&BoundAddress> = view.bound.iter().filter(|address| address.ours).collect();
    let unbind = || ours.iter().map(|address| Step::UnbindVip { vip, link: Arc::clone(&address.link) });
    if view.need == Need::Unused {
        if !view.held && view.ledger_usable {
            decision.steps.extend(unbind());
        }
        return decision;
    }
    match (ours.first(), view.bound.first(), view.role) {
        (Some(_), _, Role::Blocked { peer }) => {
            decision.announcing = Some(Announcing::PeerWithoutVrrp { peer: peer.clone() });
            decision.steps.extend(unbind());
            return decision;
        }
        (Some(ours), _, Role::Active) => {
            decision.announcing = Some(Announcing::Announced(String::new()));
            decision.announce_on = Some(Arc::clone(&ours.link));
            return decision;
        }
        (None, Some(foreign), _) => {
            decision.announcing = Some(Announcing::Announced(format!(
                "{vip} was already on {}, bound by somebody else; it is used as it is and will not be removed",
                foreign.link
            )));
            return decision;
        }
        (None, None, _) if view.need == Need::AsItIs => return decision,
        (None, None, Role::Blocked { peer }) => {
            decision.announcing = Some(Announcing::PeerWithoutVrrp { peer: peer.clone() });
            return decision;
        }
        (None, None, Role::Active) => {}
    }
    let link = match &view.link {
        Ok(link) => link,
        Err(words) => {
            decision.announcing = Some(Announcing::NoInterface(words.clone()));
            return decision;
        }
    };
    decision.announcing = Some(match view.probe {
        Probe::Unknown => {
            decision.probe = true;
            Announcing::Pending(format!("asking on {link} whether another host holds {vip}"))
        }
        Probe::Taken { mac } => Announcing::Conflict { mac },
        Probe::Free if !view.ledger_usable => Announcing::Pending(
            "the ledger cannot be used, so the VIP is not bound; see the agent's log".to_owned(),
        ),
        Probe::Free => {
            decision.steps.push(Step::BindVip { vip, link: Arc::clone(link) });
            decision.announce_on = Some(Arc::clone(link));
            Announcing::Announced(String::new())
        }
    });
    decision
}

/// How a MAC address is written.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The prefix length with which a VIP is bound: it is a host's address, never a network.
pub fn vip_prefix(vip: IpAddr) -> u8 {
    match family_of(vip) {
        crate::service::Family::IPv4 => 32,
        crate::service::Family::IPv6 => 128,
    }
}

#[cfg(test)]
mod tests;
