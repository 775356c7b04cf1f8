//! The rules of a `Director`.

use lvs_crds::rules::DirectorRule;
use lvs_crds::{DirectorSpec, Timeouts};

use super::{Breach, out_of_range};
use crate::settings::{Setting, Values};

/// Where a spec breaks a rule. Destructured, so that a new field cannot be forgotten.
pub(super) fn breach(rule: DirectorRule, spec: &DirectorSpec) -> Breach {
    let DirectorSpec { timeouts } = spec;
    let Timeouts { tcp, tcp_fin, udp } = timeouts.unwrap_or_default();
    let seconds = match rule {
        DirectorRule::TcpInRange => tcp,
        DirectorRule::TcpFinInRange => tcp_fin,
        DirectorRule::UdpInRange => udp,
    };
    seconds.is_some_and(|seconds| out_of_range(rule.rule(), seconds)).into()
}

/// The timeouts that a spec asks for, in seconds.
pub(super) fn parse(spec: &DirectorSpec) -> Values {
    let DirectorSpec { timeouts } = spec;
    let Timeouts { tcp, tcp_fin, udp } = timeouts.unwrap_or_default();
    let timeouts =
        [(Setting::TcpTimeout, tcp), (Setting::TcpFinTimeout, tcp_fin), (Setting::UdpTimeout, udp)];
    timeouts.into_iter().filter_map(|(setting, seconds)| Some((setting, i64::from(seconds?)))).collect()
}
