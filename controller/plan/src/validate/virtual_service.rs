//! The rules of a `VirtualService`.

use std::sync::Arc;
use std::time::Duration;

use lvs_crds::rules::VirtualServiceRule;
use lvs_crds::{
    DEFAULT_DRAIN_TIMEOUT_SECONDS, LabelSelector, LabelSelectorRequirement, Labels, Persistence,
    PersistenceEngine, Protocol, Scheduler, SchedulerFlag, ServicePort, SorryServer, VirtualServiceSpec,
};

use super::{Breach, address, health_check, items, out_of_range, repetitions, too_long};
use crate::desired::ignores_weights;
use crate::health::{Check, Policy};
use crate::object::ValidVirtualService;
use crate::selector::{Requirement, Selector};
use crate::service::{Family, PersistenceSettings, ServiceKey, ServiceSettings};

/// `IP_VS_SVC_F_SCHED1`: `IP_VS_SVC_F_SCHED_SH_FALLBACK` and `IP_VS_SVC_F_SCHED_MH_FALLBACK` (`ip_vs.h`).
const FALLBACK: u8 = 1 << 0;
/// `IP_VS_SVC_F_SCHED2`: `IP_VS_SVC_F_SCHED_SH_PORT` and `IP_VS_SVC_F_SCHED_MH_PORT`.
const PORT: u8 = 1 << 1;

/// Where a spec breaks a rule. Destructured, so that a new field cannot be forgotten.
pub(super) fn breach(rule: VirtualServiceRule, spec: &VirtualServiceSpec) -> Breach {
    use VirtualServiceRule as Rule;
    let VirtualServiceSpec {
        vip,
        ports,
        firewall_mark: mark,
        family,
        scheduler,
        scheduler_flags: flags,
        persistence,
        one_packet,
        real_server_selector: selector,
        health_check: check,
        on_failure: _,
        drain_timeout_seconds,
        sorry_server,
        panic_threshold_percent,
        slow_start_seconds,
    } = spec;
    let check = check.as_deref();
    let sorry_is = |broken: &dyn Fn(&str) -> bool| {
        Breach::from(sorry_server.as_ref().is_some_and(|it| broken(&it.address)))
    };
    let family_of_all = || vip.as_deref().map_or(*family, address::family);
    let vip_is = |broken: fn(&str) -> bool| Breach::from(vip.as_deref().is_some_and(broken));
    let persistence_is =
        |broken: &dyn Fn(&Persistence) -> bool| Breach::from(persistence.as_ref().is_some_and(broken));
    let expressions =
        selector.as_ref().and_then(|selector| selector.match_expressions.as_deref()).unwrap_or_default();
    let other_than_udp = || ports.iter().any(|entry| entry.protocol != Protocol::Udp);
    match rule {
        Rule::VipOrFirewallMark => (vip.is_some() == mark.is_some()).into(),
        Rule::VipIsAddress => vip_is(|vip| address::parse(vip).is_none()),
        Rule::VipIsCanonical => vip_is(address::is_not_canonical),
        Rule::VipIsGlobalUnicast => vip_is(address::is_not_global_unicast),
        Rule::VipNeedsPorts => (vip.is_some() && mark.is_none() && ports.is_empty()).into(),
        Rule::AtMostPorts => too_long(rule.rule(), ports).into(),
        Rule::PortsAreUnique => repetitions(ports, |a, b| (a.protocol, a.port) == (b.protocol, b.port)),
        Rule::PortInRange => items(ports, |entry| out_of_range(rule.rule(), entry.port)),
        Rule::FirewallMarkWithoutPorts => (mark.is_some() && vip.is_none() && !ports.is_empty()).into(),
        Rule::FirewallMarkInRange => mark.is_some_and(|mark| out_of_range(rule.rule(), mark)).into(),
        Rule::FirewallMarkNeedsFamily => (mark.is_some() && vip.is_none() && family.is_none()).into(),
        Rule::FamilyOnlyWithFirewallMark => (family.is_some() && mark.is_none() && vip.is_some()).into(),
        Rule::FlagsFitTheScheduler => flags.iter().any(|flag| scheduler_of(*flag) != *scheduler).into(),
        Rule::FlagsAreUnique => repetitions(flags, |a, b| a == b),
        Rule::PersistenceTimeoutInRange => {
            persistence_is(&|it| out_of_range(rule.rule(), it.timeout_seconds))
        }
        Rule::PrefixLengthInRange => {
            persistence_is(&|it| it.prefix_length.is_some_and(|length| out_of_range(rule.rule(), length)))
        }
        Rule::PrefixLengthFitsFamily => {
            let family = family_of_all();
            let too_long = |length: i32| (33..=128).contains(&length) && family == Some(Family::IPv4);
            persistence_is(&|it| it.prefix_length.is_some_and(too_long))
        }
        Rule::SipNeedsUdp => {
            persistence_is(&|it| it.engine == Some(PersistenceEngine::Sip) && other_than_udp())
        }
        Rule::OnePacketNeedsUdp => (*one_packet && other_than_udp()).into(),
        Rule::AtMostExpressions => too_long(rule.rule(), expressions).into(),
        Rule::OperatorIsKnown => items(expressions, |it| Operator::of(it).is_none()),
        Rule::OperatorNeedsValues => items(expressions, |it| {
            matches!(Operator::of(it), Some(Operator::In | Operator::NotIn)) && values(it).is_empty()
        }),
        Rule::OperatorWithoutValues => items(expressions, |it| {
            matches!(Operator::of(it), Some(Operator::Exists | Operator::DoesNotExist))
                && !values(it).is_empty()
        }),
        Rule::CheckNeedsPort => {
            let lacks_port = check.is_some_and(|it| health_check::asks_a_port(it) && it.port.is_none());
            (mark.is_some() && vip.is_none() && lacks_port).into()
        }
        Rule::SourceAddressFitsFamily => {
            health_check::source_is_of_another_family(check, family_of_all()).into()
        }
        Rule::DrainTimeoutInRange => {
            drain_timeout_seconds.is_some_and(|seconds| out_of_range(rule.rule(), seconds)).into()
        }
        Rule::SorryIsAddress => sorry_is(&|address| address::parse(address).is_none()),
        Rule::SorryIsCanonical => sorry_is(&address::is_not_canonical),
        Rule::SorryIsGlobalUnicast => sorry_is(&address::is_not_global_unicast),
        Rule::SorryFitsFamily => sorry_is(&|address| {
            address::family(address).zip(family_of_all()).is_some_and(|(sorry, ours)| sorry != ours)
        }),
        Rule::PanicThresholdInRange => out_of_range(rule.rule(), *panic_threshold_percent).into(),
        Rule::SlowStartInRange => {
            (*slow_start_seconds != 0 && !(20..=3_600).contains(slow_start_seconds)).into()
        }
        Rule::SlowStartNeedsWeights => {
            (*slow_start_seconds != 0 && ignores_weights(scheduler.as_str())).into()
        }
    }
}

/// The parsed form of a spec that keeps every rule.
pub(super) fn parse(spec: &VirtualServiceSpec) -> ValidVirtualService {
    let (mut services, family) = match (spec.vip.as_deref(), spec.firewall_mark, spec.family) {
        (Some(vip), _, _) => {
            let vip = address::parse(vip).expect("the VIP is an address");
            let key = |entry: &ServicePort| ServiceKey::Address {
                vip,
                protocol: entry.protocol,
                port: entry.port.try_into().expect("the port is in range"),
            };
            (spec.ports.iter().map(key).collect(), crate::service::family_of(vip))
        }
        (None, Some(mark), Some(family)) => {
            let mark = mark.try_into().expect("the firewall mark is in range");
            (vec![ServiceKey::FirewallMark { mark, family }], family)
        }
        (None, _, _) => unreachable!("there is a VIP, or a firewall mark with its family"),
    };
    services.sort_unstable();
    let settings = ServiceSettings {
        scheduler: spec.scheduler.as_str().into(),
        one_packet: spec.one_packet,
        scheduler_flags: spec.scheduler_flags.iter().fold(0, |bits, flag| bits | bit_of(*flag)),
        persistence: spec.persistence.as_ref().map(|persistence| persistence_settings(persistence, family)),
    };
    let selector = spec.real_server_selector.as_ref().map(parse_selector).unwrap_or_default();
    ValidVirtualService { services, family, settings, selector, policy: policy(spec).shared() }
}

fn policy(spec: &VirtualServiceSpec) -> Policy {
    let seconds = |count: i32| Duration::from_secs(count.try_into().expect("a time is in range"));
    let address = |sorry: &SorryServer| address::parse(&sorry.address).expect("it is an address");
    Policy {
        check: spec.health_check.as_deref().map(|check| Arc::new(Check::parse(check))),
        on_failure: spec.on_failure,
        drain_timeout: seconds(spec.drain_timeout_seconds.unwrap_or(DEFAULT_DRAIN_TIMEOUT_SECONDS)),
        sorry_server: spec.sorry_server.as_deref().map(address),
        panic_threshold_percent: spec.panic_threshold_percent.try_into().expect("it is a percentage"),
        slow_start: seconds(spec.slow_start_seconds),
    }
}

fn persistence_settings(persistence: &Persistence, family: Family) -> PersistenceSettings {
    let whole = match family {
        Family::IPv4 => 32,
        Family::IPv6 => 128,
    };
    PersistenceSettings {
        timeout_seconds: persistence.timeout_seconds.try_into().expect("the timeout is in range"),
        prefix_length: persistence
            .prefix_length
            .unwrap_or(whole)
            .try_into()
            .expect("the prefix length is in range"),
        engine: persistence.engine.map(|engine| engine.as_str().into()),
    }
}

fn scheduler_of(flag: SchedulerFlag) -> Scheduler {
    match flag {
        SchedulerFlag::ShFallback | SchedulerFlag::ShPort => Scheduler::Sh,
        SchedulerFlag::MhFallback | SchedulerFlag::MhPort => Scheduler::Mh,
    }
}

fn bit_of(flag: SchedulerFlag) -> u8 {
    match flag {
        SchedulerFlag::ShFallback | SchedulerFlag::MhFallback => FALLBACK,
        SchedulerFlag::ShPort | SchedulerFlag::MhPort => PORT,
    }
}

/// The operators of `metav1.LabelSelectorRequirement`, which come as text.
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Operator {
    fn of(requirement: &LabelSelectorRequirement) -> Option<Self> {
        match requirement.operator.as_str() {
            "In" => Some(Self::In),
            "NotIn" => Some(Self::NotIn),
            "Exists" => Some(Self::Exists),
            "DoesNotExist" => Some(Self::DoesNotExist),
            _ => None,
        }
    }
}

fn values(requirement: &LabelSelectorRequirement) -> &[String] {
    requirement.values.as_deref().unwrap_or_default()
}

fn parse_selector(selector: &LabelSelector) -> Selector {
    let labels = selector.match_labels.iter().flat_map(Labels::iter);
    let labels = labels.map(|(name, value)| Requirement::In(name.to_owned(), vec![value.to_owned()]));
    let expressions = selector.match_expressions.iter().flatten().map(|requirement| {
        let (key, values) = (requirement.key.clone(), values(requirement).to_vec());
        match Operator::of(requirement).expect("the operator is known") {
            Operator::In => Requirement::In(key, values),
            Operator::NotIn => Requirement::NotIn(key, values),
            Operator::Exists => Requirement::Exists(key),
            Operator::DoesNotExist => Requirement::DoesNotExist(key),
        }
    });
    let mut requirements: Vec<Requirement> = labels.chain(expressions).collect();
    requirements.shrink_to_fit();
    Selector { requirements: Some(requirements) }
}
