//! What should exist for one virtual service: its destinations, judged pair by pair.

use std::sync::Arc;

use litemap::LiteMap;

use crate::health::{self, Probe};
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

    /// The same with what should be in the kernel of its destinations.
    pub fn in_force<'a>(&'a self, destinations: Destinations<'a>) -> Wanted<'a> {
        Wanted { settings: self.settings(), destinations, declared: &self.destinations }
    }

    /// What should be in the kernel if no check, drain or other circumstance had a say.
    pub fn as_declared(&self) -> Wanted<'_> {
        self.in_force(Destinations::AsDeclared(&self.destinations))
    }
}

/// What should be in the kernel of a service.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// How it spreads connections.
    pub settings: &'a ServiceSettings,
    /// Its destinations.
    pub destinations: Destinations<'a>,
    /// Its destinations as they are declared.
    pub declared: &'a LiteMap<DestinationKey, DesiredDestination>,
}

/// The destinations of a service that should be in the kernel.
#[derive(Clone, Copy, Debug)]
pub enum Destinations<'a> {
    /// All that are declared, as they are declared.
    AsDeclared(&'a LiteMap<DestinationKey, DesiredDestination>),
    /// These, by what is known of the real servers.
    InForce(&'a LiteMap<DestinationKey, DestinationSettings>),
}

impl Destinations<'_> {
    /// Whether this one is among them.
    pub fn contains(&self, key: &DestinationKey) -> bool {
        match self {
            Self::AsDeclared(declared) => declared.contains_key(key),
            Self::InForce(in_force) => in_force.contains_key(key),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::AsDeclared(declared) => declared.len(),
            Self::InForce(in_force) => in_force.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, by address and port.
    pub fn iter(&self) -> impl Iterator<Item = (DestinationKey, DestinationSettings)> {
        (0..self.len()).filter_map(|index| match self {
            Self::AsDeclared(declared) => {
                declared.get_indexed(index).map(|(key, wanted)| (*key, wanted.settings))
            }
            Self::InForce(in_force) => in_force.get_indexed(index).map(|(key, settings)| (*key, *settings)),
        })
    }
}

/// A destination that should exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredDestination {
    /// The real server it stands for.
    pub owner: ObjectKey,
    /// Its settings, with the declared weight.
    pub settings: DestinationSettings,
    /// Takes no new connections.
    pub drain: bool,
    /// Is left out.
    pub maintenance: bool,
    /// Which check decides about it; none if it is not checked.
    pub probe: Option<Probe>,
}

impl DesiredDestination {
    /// One that is not checked and has no circumstances.
    pub fn simple(owner: ObjectKey, settings: DestinationSettings) -> Self {
        Self { owner, settings, drain: false, maintenance: false, probe: None }
    }

    /// Its settings by its declaration alone, whatever its check says; none in maintenance.
    pub fn declared(&self) -> Option<DestinationSettings> {
        let weight = if self.drain { 0 } else { self.settings.weight };
        (!self.maintenance).then_some(DestinationSettings { weight, ..self.settings })
    }

    /// Whether nothing but its declaration says what should be in the kernel.
    pub fn is_as_declared(&self) -> bool {
        !self.drain && !self.maintenance && self.probe.is_none()
    }
}

/// Whether a real server serves a virtual service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pair {
    /// It does.
    Accepted {
        /// The declared weight; 0 while it drains or is in maintenance.
        weight: u16,
    },
    /// It does not.
    Refused {
        /// The rule.
        reason: Reason,
        /// The rule in words. Boxed, so that the many that are accepted are small.
        message: Box<str>,
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
pub fn build(
    owner: &ObjectKey,
    virtual_service: &Arc<ValidVirtualService>,
    members: &[Member<'_>],
) -> Desired {
    // What is kept for ten thousand of them has no room to spare.
    let services = LiteMap::with_capacity(virtual_service.services.len());
    let pairs = LiteMap::with_capacity(members.len());
    let mut desired = Desired { services, pairs, weights_ignored: false };
    for key in &virtual_service.services {
        let service = DesiredService {
            owner: owner.clone(),
            virtual_service: Arc::clone(virtual_service),
            destinations: LiteMap::with_capacity(members.len()),
        };
        desired.services.insert(*key, service);
    }
    for member in members.iter().copied() {
        let pair = judge(virtual_service, member, &desired);
        if let Pair::Accepted { .. } = pair {
            let ValidRealServer { address, weight, drain, maintenance, .. } = *member.spec;
            for key in served_keys(virtual_service, member.spec) {
                let destination = DestinationKey { address, port: key.port() };
                let settings = DestinationSettings {
                    weight: u32::from(weight),
                    forwarding: Forwarding::Direct,
                    upper_threshold: member.spec.upper_threshold,
                    lower_threshold: member.spec.lower_threshold,
                };
                // That it needs a port and has none was judged before.
                let probe = health::probe(virtual_service, member.spec, &key).unwrap_or_default();
                if let Some(service) = desired.services.get_mut(&key) {
                    let owner = member.key.clone();
                    let wanted = DesiredDestination { owner, settings, drain, maintenance, probe };
                    service.destinations.insert(destination, wanted);
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
    let refused = |reason, message: String| Pair::Refused { reason, message: message.into() };
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
    // The virtual service's own check has its port, or it would not be in force.
    if member.spec.check.is_some() {
        for key in served_keys(virtual_service, member.spec) {
            if let Err(error) = health::probe(virtual_service, member.spec, &key) {
                return refused(Reason::Invalid, error.to_string());
            }
        }
    }
    let takes_none = member.spec.drain || member.spec.maintenance;
    Pair::Accepted { weight: if takes_none { 0 } else { member.spec.weight } }
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
