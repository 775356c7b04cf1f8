//! What should exist for one virtual service: its destinations, judged pair by pair.

use std::sync::Arc;

use litemap::LiteMap;

use crate::object::{ObjectKey, ValidRealServer, ValidVirtualService};
use crate::reason::Reason;
use crate::service::{
    DestinationKey, DestinationSettings, Forwarding, ServiceKey, ServiceSettings, family_of,
};

/// A service that should exist.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredService {
    /// The virtual service that asks for it.
    pub owner: ObjectKey,
    /// Its settings, shared by all services of the owner.
    pub virtual_service: Arc<ValidVirtualService>,
    /// Its destinations. A map of four in a `BTreeMap` takes the memory of eleven.
    pub destinations: LiteMap<DestinationKey, DesiredDestination>,
}

impl DesiredService {
    /// How it should spread connections.
    pub fn settings(&self) -> &ServiceSettings {
        &self.virtual_service.settings
    }
}

/// A destination that should exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredDestination {
    /// The real server it stands for.
    pub owner: ObjectKey,
    /// Its settings.
    pub settings: DestinationSettings,
}

/// Whether a real server serves a virtual service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pair {
    /// It does.
    Accepted {
        /// The weight in force.
        weight: u16,
    },
    /// It does not.
    Refused {
        /// The rule.
        reason: Reason,
        /// The rule in words.
        message: String,
    },
}

/// A real server as a virtual service meets it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Who it is.
    pub key: &'a ObjectKey,
    /// Its accepted spec.
    pub spec: &'a ValidRealServer,
}

/// The services of one virtual service, and the verdict on each pair.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// The services that should exist.
    pub services: LiteMap<ServiceKey, DesiredService>,
    /// The verdict on each selected real server.
    pub pairs: LiteMap<ObjectKey, Pair>,
    /// Real servers differ in weight and the scheduler does not care.
    pub weights_ignored: bool,
}

/// Judges each pair; `members` come oldest first, because the older of two with one address wins.
pub fn build<'a>(
    owner: &ObjectKey,
    virtual_service: &Arc<ValidVirtualService>,
    members: impl IntoIterator<Item = Member<'a>>,
) -> Desired {
    // Most have one port, and what is kept for ten thousand of them has no room to spare.
    let services = LiteMap::with_capacity(virtual_service.services.len());
    let mut desired = Desired { services, ..Desired::default() };
    for key in &virtual_service.services {
        let service = DesiredService {
            owner: owner.clone(),
            virtual_service: Arc::clone(virtual_service),
            destinations: LiteMap::new(),
        };
        desired.services.insert(*key, service);
    }
    for member in members {
        let pair = judge(virtual_service, member, &desired);
        if let Pair::Accepted { weight } = pair {
            for key in served_keys(virtual_service, member.spec) {
                let destination = DestinationKey { address: member.spec.address, port: key.port() };
                let settings = DestinationSettings {
                    weight: u32::from(weight),
                    forwarding: Forwarding::Direct,
                    upper_threshold: member.spec.upper_threshold,
                    lower_threshold: member.spec.lower_threshold,
                };
                if let Some(service) = desired.services.get_mut(&key) {
                    service
                        .destinations
                        .insert(destination, DesiredDestination { owner: member.key.clone(), settings });
                }
            }
        }
        desired.pairs.insert(member.key.clone(), pair);
    }
    desired.weights_ignored =
        ignores_weights(&virtual_service.settings.scheduler) && weights_differ(&desired.pairs);
    desired
}

/// The services of the virtual service that the real server has a part in.
fn served_keys(
    virtual_service: &ValidVirtualService,
    spec: &ValidRealServer,
) -> impl Iterator<Item = ServiceKey> {
    let port = spec.port;
    virtual_service.services.iter().copied().filter(move |key| port.is_none_or(|port| key.port() == port))
}

fn judge(virtual_service: &ValidVirtualService, member: Member<'_>, so_far: &Desired) -> Pair {
    let refused = |reason, message| Pair::Refused { reason, message };
    let address = member.spec.address;
    if family_of(address) != virtual_service.family {
        let (ours, theirs) = (virtual_service.family, family_of(address));
        return refused(
            Reason::FamilyMismatch,
            format!(
                "spec.address: {address} is {theirs:?}, the virtual service is {ours:?}: direct routing rewrites only the MAC address"
            ),
        );
    }
    if let Some(port) = member.spec.port
        && served_keys(virtual_service, member.spec).next().is_none()
    {
        let ports: Vec<String> = virtual_service.services.iter().map(ToString::to_string).collect();
        return refused(
            Reason::PortMapping,
            format!(
                "spec.port: {port} is none of the virtual service's ports ({}): direct routing leaves the port as the client sent it, so it cannot be mapped; let the real server listen on the same port, or leave spec.port out",
                ports.join(", ")
            ),
        );
    }
    for key in served_keys(virtual_service, member.spec) {
        let destination = DestinationKey { address, port: key.port() };
        if let Some(older) =
            so_far.services.get(&key).and_then(|service| service.destinations.get(&destination))
        {
            return refused(
                Reason::DuplicateAddress,
                format!(
                    "spec.address: {address} already serves {key} as the older RealServer {}",
                    older.owner
                ),
            );
        }
    }
    Pair::Accepted { weight: if member.spec.drain { 0 } else { member.spec.weight } }
}

/// Whether a scheduler takes all weights but 0 for the same (`ip_vs_rr.c`, `ip_vs_lc.c` and `ip_vs_dh.c` do).
pub fn ignores_weights(scheduler: &str) -> bool {
    matches!(scheduler, "rr" | "lc" | "dh")
}

/// Whether the real servers that take connections are meant to take unequal shares.
fn weights_differ(pairs: &LiteMap<ObjectKey, Pair>) -> bool {
    let mut weights = pairs.values().filter_map(|pair| match pair {
        Pair::Accepted { weight } if *weight > 0 => Some(*weight),
        Pair::Accepted { .. } | Pair::Refused { .. } => None,
    });
    weights.next().is_some_and(|first| weights.any(|weight| weight != first))
}
