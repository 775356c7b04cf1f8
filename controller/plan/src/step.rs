//! Steps and plans: what is to be done to the kernel, as values that can be printed, counted and compared.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::service::{DestinationKey, DestinationSettings, Forwarding, Service, ServiceKey, ServiceSettings};

/// The phase of what adds and changes services: the first.
const SERVICE_PHASE: u8 = 0;

/// How many phases there are.
const PHASES: usize = 8;

/// One change to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Adds a service.
    NewService {
        /// Which one.
        key: ServiceKey,
        /// How it spreads connections.
        settings: ServiceSettings,
    },
    /// Changes a service in place.
    SetService {
        /// Which one.
        key: ServiceKey,
        /// How it spreads connections from now on.
        settings: ServiceSettings,
    },
    /// Adds a destination.
    NewDestination {
        /// To which service.
        key: ServiceKey,
        /// Which one.
        destination: DestinationKey,
        /// Its settings.
        settings: DestinationSettings,
    },
    /// Changes a destination in place.
    SetDestination {
        /// Of which service.
        key: ServiceKey,
        /// Which one.
        destination: DestinationKey,
        /// Its settings from now on.
        settings: DestinationSettings,
    },
    /// Removes a destination.
    DelDestination {
        /// Of which service.
        key: ServiceKey,
        /// Which one.
        destination: DestinationKey,
    },
    /// Removes a service with all its destinations.
    DelService {
        /// Which one.
        key: ServiceKey,
    },
    /// Binds a VIP.
    BindVip {
        /// The address.
        vip: IpAddr,
        /// The link's name.
        link: Arc<str>,
    },
    /// Unbinds a VIP that we bound.
    UnbindVip {
        /// The address.
        vip: IpAddr,
        /// The link's name.
        link: Arc<str>,
    },
}

impl Step {
    /// What adds service comes before what removes it. A VIP is bound once its rules are there, so that no
    /// client is reset in between; a service goes before its VIP, so that a client is told at once rather than
    /// left waiting.
    fn phase(&self) -> u8 {
        match self {
            Self::NewService { .. } | Self::SetService { .. } => SERVICE_PHASE,
            Self::NewDestination { .. } => 1,
            Self::BindVip { .. } => 2,
            Self::SetDestination { settings, .. } if settings.weight > 0 => 3,
            Self::SetDestination { .. } => 4,
            Self::DelDestination { .. } => 5,
            Self::DelService { .. } => 6,
            Self::UnbindVip { .. } => 7,
        }
    }

    /// The service it changes, unless it is about a VIP.
    pub fn service(&self) -> Option<&ServiceKey> {
        match self {
            Self::NewService { key, .. }
            | Self::SetService { key, .. }
            | Self::NewDestination { key, .. }
            | Self::SetDestination { key, .. }
            | Self::DelDestination { key, .. }
            | Self::DelService { key } => Some(key),
            Self::BindVip { .. } | Self::UnbindVip { .. } => None,
        }
    }

    /// What kind of drift the step repairs, when no object asked for it: the label of
    /// `lvs_drift_repaired_total`.
    pub fn drift_kind(&self) -> &'static str {
        match self {
            Self::NewService { .. } => "service_missing",
            Self::SetService { .. } => "service_changed",
            Self::NewDestination { .. } => "destination_missing",
            Self::SetDestination { .. } => "destination_changed",
            Self::DelDestination { .. } => "destination_extra",
            Self::DelService { .. } => "service_extra",
            Self::BindVip { .. } => "address_missing",
            Self::UnbindVip { .. } => "address_extra",
        }
    }
}

/// Every kind of drift.
pub const DRIFT_KINDS: [&str; 8] = [
    "service_missing",
    "service_changed",
    "service_extra",
    "destination_missing",
    "destination_changed",
    "destination_extra",
    "address_missing",
    "address_extra",
];

/// Written like the `ipvsadm` or `ip` command that would do the same.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewService { key, settings } => write!(f, "add service {key} {settings}"),
            Self::SetService { key, settings } => write!(f, "change service {key} to {settings}"),
            Self::NewDestination { key, destination, settings } => {
                write!(f, "add destination {key} -> {destination} {settings}")
            }
            Self::SetDestination { key, destination, settings } => {
                write!(f, "change destination {key} -> {destination} to {settings}")
            }
            Self::DelDestination { key, destination } => {
                write!(f, "remove destination {key} -> {destination}")
            }
            Self::DelService { key } => write!(f, "remove service {key}"),
            Self::BindVip { vip, link } => write!(f, "bind VIP {vip} on {link}"),
            Self::UnbindVip { vip, link } => write!(f, "unbind VIP {vip} from {link}"),
        }
    }
}

impl fmt::Display for ServiceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scheduler {}", self.scheduler)?;
        if self.scheduler_flags & 1 != 0 {
            write!(f, " {}-fallback", self.scheduler)?;
        }
        if self.scheduler_flags & 2 != 0 {
            write!(f, " {}-port", self.scheduler)?;
        }
        if self.scheduler_flags & 4 != 0 {
            f.write_str(" flag-3")?;
        }
        if self.one_packet {
            f.write_str(" one-packet")?;
        }
        if let Some(persistence) = &self.persistence {
            write!(f, " persistent {} s /{}", persistence.timeout_seconds, persistence.prefix_length)?;
            if let Some(engine) = &persistence.engine {
                write!(f, " by {engine}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for DestinationSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.forwarding {
            Forwarding::Direct => "direct",
            Forwarding::Local => "local",
            Forwarding::Tunnel => "tunnel",
            Forwarding::Masquerade => "masquerade",
            Forwarding::Bypass => "bypass",
        };
        write!(f, "{method} weight {}", self.weight)?;
        if self.upper_threshold > 0 || self.lower_threshold > 0 {
            write!(f, " thresholds {}..{}", self.lower_threshold, self.upper_threshold)?;
        }
        Ok(())
    }
}

/// All of it: two services that read the same are the same.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)?;
        let mut destinations = self.destinations.iter();
        destinations.try_for_each(|(destination, settings)| write!(f, "; {destination} {settings}"))
    }
}

/// Ordered steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
}

impl Plan {
    /// Puts steps in the order in which they are safe to take; within a phase their order stays.
    pub fn new(steps: Vec<Step>) -> Self {
        // Few phases and many large steps: each is moved twice, while sorting would move it again and again.
        let mut phases = [const { Vec::new() }; PHASES];
        let count = steps.len();
        for step in steps {
            phases[usize::from(step.phase())].push(step);
        }
        let mut steps = Vec::with_capacity(count);
        for mut phase in phases {
            steps.append(&mut phase);
        }
        Self { steps }
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Carries the plan out by `take`, which takes all the steps that it is given, in order, and says what came of
    /// each. This is the only way to an [`Applied`].
    ///
    /// A service that could not be added may have been added by somebody else meanwhile. So `take` is called twice:
    /// for what adds and changes services, and then for the rest, without what was meant for a service that was not
    /// added.
    ///
    /// # Panics
    /// If `take` does not give exactly one result for each step.
    pub fn carry_out(self, mut take: impl FnMut(&[Step]) -> Vec<Result<(), StepError>>) -> Applied {
        let mut rest = self.steps;
        let services = rest.partition_point(|step| step.phase() == SERVICE_PHASE);
        let mut applied = Applied::default();
        let mut not_added = BTreeSet::new();
        if services > 0 {
            let first: Vec<Step> = rest.drain(..services).collect();
            let results = take(&first);
            applied.extend(first, results);
            not_added.extend(applied.results().filter_map(|(step, result)| match step {
                Step::NewService { key, .. } if result.is_err() => Some(*key),
                _ => None,
            }));
        }
        if !not_added.is_empty() {
            let is_left_out = |step: &mut Step| step.service().is_some_and(|key| not_added.contains(key));
            let left_out = rest.extract_if(.., is_left_out);
            applied.results.extend(left_out.map(|step| (step, Err(StepError::NotTaken))));
        }
        if !rest.is_empty() {
            let results = take(&rest);
            applied.extend(rest, results);
        }
        applied
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The kernel said no.
    #[error("{text}")]
    Kernel {
        /// The errno.
        errno: i32,
        /// The errno in words, and the kernel's own words if it gave any.
        text: String,
    },
    /// It is not known whether the kernel did it; the next pass reads it again.
    #[error("the answer was lost ({0}); reading the table again")]
    Unknown(String),
    /// It was left out, because its service could not be added.
    #[error("not tried: its service could not be added")]
    NotTaken,
}

/// A plan that was carried out, with what came of each step. Status is made from nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    results: Vec<(Step, Result<(), StepError>)>,
}

impl Applied {
    /// Each step with its result, in order.
    pub fn results(&self) -> impl Iterator<Item = (&Step, Result<(), &StepError>)> {
        self.results.iter().map(|(step, result)| (step, result.as_ref().copied()))
    }

    /// How many steps were taken, failed ones too.
    pub fn taken(&self) -> usize {
        self.results.iter().filter(|(_, result)| *result != Err(StepError::NotTaken)).count()
    }

    /// Whether there were no steps.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    fn extend(&mut self, steps: Vec<Step>, results: Vec<Result<(), StepError>>) {
        assert_eq!(steps.len(), results.len(), "every step has its own result");
        self.results.extend(steps.into_iter().zip(results));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{address, direct, settings, tcp};
    use crate::service::PersistenceSettings;

    /// A plan that adds the services at these ports, with one destination each, and then binds the VIP.
    fn plan(ports: &[u16]) -> Plan {
        let bind = Step::BindVip { vip: address("172.16.21.10"), link: "eth0".into() };
        let service = |port: &u16| {
            let key = tcp("172.16.21.10", *port);
            let destination = DestinationKey { address: address("192.168.40.12"), port: *port };
            [
                Step::NewService { key, settings: settings("wrr") },
                Step::NewDestination { key, destination, settings: direct(1) },
            ]
        };
        Plan::new(std::iter::once(bind).chain(ports.iter().flat_map(service)).collect())
    }

    #[test]
    fn nothing_is_done_to_a_service_that_could_not_be_added() {
        let exists = || StepError::Kernel { errno: 17, text: "File exists".to_owned() };
        for error in [exists(), StepError::Unknown("cut off".to_owned())] {
            let outrun = tcp("172.16.21.10", 81);
            let mut taken = Vec::new();
            let applied = plan(&[80, 81, 82]).carry_out(|steps| {
                taken.extend_from_slice(steps);
                let result = |step: &Step| match step {
                    Step::NewService { key, .. } if *key == outrun => Err(error.clone()),
                    _ => Ok(()),
                };
                steps.iter().map(result).collect()
            });
            let about_it: Vec<_> = taken.iter().filter(|step| step.service() == Some(&outrun)).collect();
            assert!(matches!(about_it[..], [Step::NewService { .. }]), "{about_it:?}");
            assert_eq!((taken.len(), applied.taken(), applied.results().count()), (6, 6, 7));
            let left_out = applied.results().find(|(_, result)| *result == Err(&StepError::NotTaken));
            assert_eq!(left_out.expect("its destination").0.service(), Some(&outrun));
        }
    }

    #[test]
    fn a_plan_is_carried_out_in_order_and_in_no_more_parts_than_needed() {
        let parts = |plan: Plan| {
            let mut parts = Vec::new();
            plan.carry_out(|steps| {
                parts.push(steps.to_vec());
                steps.iter().map(|_| Ok(())).collect()
            });
            parts
        };
        assert_eq!(parts(Plan::default()), Vec::<Vec<Step>>::new());
        assert_eq!(parts(plan(&[])).len(), 1);
        let both = plan(&[80, 81]);
        assert_eq!(parts(both.clone()).concat(), both.steps());
        assert_eq!(parts(both).len(), 2);
    }

    #[test]
    fn services_that_differ_in_anything_read_differently() {
        let persistent = |timeout_seconds, prefix_length, engine: Option<&'static str>| {
            let engine = engine.map(Into::into);
            let persistence = Some(PersistenceSettings { timeout_seconds, prefix_length, engine });
            ServiceSettings { persistence, ..settings("sh") }
        };
        let settings = [
            settings("sh"),
            settings("mh"),
            ServiceSettings { one_packet: true, ..settings("sh") },
            ServiceSettings { scheduler_flags: 1, ..settings("sh") },
            ServiceSettings { scheduler_flags: 2, ..settings("sh") },
            ServiceSettings { scheduler_flags: 4, ..settings("sh") },
            persistent(300, 32, None),
            persistent(301, 32, None),
            persistent(300, 24, None),
            persistent(300, 32, Some("sip")),
        ];
        let one = |address_text, port, settings| {
            vec![(DestinationKey { address: address(address_text), port }, settings)]
        };
        let (first, second) = (one("192.168.40.12", 80, direct(1)), one("192.168.40.13", 80, direct(1)));
        let destinations = [
            vec![],
            [first.clone(), second.clone()].concat(),
            first,
            second,
            one("192.168.40.12", 81, direct(1)),
            one("fd00::12", 80, direct(1)),
            one("192.168.40.12", 80, DestinationSettings { weight: 2, ..direct(1) }),
            one("192.168.40.12", 80, DestinationSettings { forwarding: Forwarding::Local, ..direct(1) }),
            one("192.168.40.12", 80, DestinationSettings { upper_threshold: 5, ..direct(1) }),
            one("192.168.40.12", 80, DestinationSettings { lower_threshold: 5, ..direct(1) }),
        ];
        let texts = settings.iter().flat_map(|settings| {
            destinations.iter().map(|destinations| {
                let destinations = destinations.iter().copied().collect();
                Service { settings: settings.clone(), destinations }.to_string()
            })
        });
        assert_eq!(texts.collect::<BTreeSet<_>>().len(), settings.len() * destinations.len());
    }
}
