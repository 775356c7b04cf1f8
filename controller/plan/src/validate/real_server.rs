//! The rules of a `RealServer`.

use std::sync::Arc;

use lvs_crds::RealServerSpec;
use lvs_crds::rules::RealServerRule;

use super::{Breach, address, health_check, out_of_range};
use crate::health::Check;
use crate::object::ValidRealServer;

/// Where a spec breaks a rule. Destructured, so that a new field cannot be forgotten.
pub(super) fn breach(rule: RealServerRule, spec: &RealServerSpec) -> Breach {
    let RealServerSpec {
        address,
        weight,
        drain: _,
        upper_threshold,
        lower_threshold,
        port,
        maintenance: _,
        health_check: check,
    } = spec;
    let number_is_off = |value: Option<i64>| value.is_some_and(|value| out_of_range(rule.rule(), value));
    let broken = match rule {
        RealServerRule::AddressIsAddress => address::parse(address).is_none(),
        RealServerRule::AddressIsCanonical => address::is_not_canonical(address),
        RealServerRule::AddressIsGlobalUnicast => address::is_not_global_unicast(address),
        RealServerRule::WeightInRange => out_of_range(rule.rule(), *weight),
        RealServerRule::UpperThresholdInRange => number_is_off(*upper_threshold),
        RealServerRule::LowerThresholdInRange => number_is_off(*lower_threshold),
        RealServerRule::ThresholdsInOrder => {
            lower_threshold.is_some_and(|lower| lower > upper_threshold.unwrap_or(0))
        }
        RealServerRule::PortInRange => number_is_off(port.map(i64::from)),
        RealServerRule::SourceAddressFitsAddress => {
            health_check::source_is_of_another_family(check.as_deref(), address::family(address))
        }
    };
    broken.into()
}

/// The parsed form of a spec that keeps every rule.
pub(super) fn parse(spec: &RealServerSpec) -> ValidRealServer {
    let RealServerSpec {
        address,
        weight,
        drain,
        upper_threshold,
        lower_threshold,
        port,
        maintenance,
        health_check,
    } = spec;
    let connections =
        |threshold: Option<i64>| threshold.unwrap_or(0).try_into().expect("the threshold is in range");
    ValidRealServer {
        address: address::parse(address).expect("the address is one"),
        weight: (*weight).try_into().expect("the weight is in range"),
        drain: *drain,
        upper_threshold: connections(*upper_threshold),
        lower_threshold: connections(*lower_threshold),
        port: port.map(|port| port.try_into().expect("the port is in range")),
        maintenance: *maintenance,
        check: health_check.as_deref().map(|check| Arc::new(Check::parse(check))),
    }
}
