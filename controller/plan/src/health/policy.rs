//! What a spec says of health, parsed.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use lvs_crds::{CheckKind, DEFAULT_DRAIN_TIMEOUT_SECONDS, HealthCheck, OnFailure, TcpCheck};

use super::probe::Terms;

/// How a virtual service treats its real servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How they are checked; `None` is [`Check::default`].
    pub check: Option<Arc<Check>>,
    /// What happens to one that fails.
    pub on_failure: OnFailure,
    /// How long one that failed stays with weight 0, and the sorry server after it was needed; up to a day.
    pub drain_timeout: Duration,
    /// The address of the sorry server.
    pub sorry_server: Option<IpAddr>,
    /// Below this percentage of working ones checks are not believed, 0..100; 0 = off.
    pub panic_threshold_percent: u8,
    /// How long the weight of one that becomes up grows, 20 s..1 h; 0 = off.
    pub slow_start: Duration,
}

/// What a spec that says nothing of it means.
static DEFAULT: Policy = Policy {
    check: None,
    on_failure: OnFailure::Quiesce,
    drain_timeout: Duration::from_secs(DEFAULT_DRAIN_TIMEOUT_SECONDS as u64),
    sorry_server: None,
    panic_threshold_percent: 0,
    slow_start: Duration::ZERO,
};

/// What one means that says only that nothing is checked.
static UNCHECKED: LazyLock<Arc<Policy>> = LazyLock::new(|| {
    let check = Check { port: None, subject: Subject::Nothing };
    Arc::new(Policy { check: Some(Arc::new(check)), ..DEFAULT.clone() })
});

impl Policy {
    /// What a spec that says nothing of it means.
    pub fn of_nothing_said() -> &'static Self {
        &DEFAULT
    }

    /// Itself, unless it says nothing, or nothing else than ten thousand others.
    pub(crate) fn shared(self) -> Option<Arc<Self>> {
        if self == **UNCHECKED {
            return Some(Arc::clone(&UNCHECKED));
        }
        (self != DEFAULT).then(|| Arc::new(self))
    }
}

/// A spec's `healthCheck`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The port of every probe, if it is not the destination's own.
    pub port: Option<u16>,
    /// What is asked.
    pub subject: Subject,
}

/// What a check asks. The terms are shared by all probes that come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Nothing: `none`.
    Nothing,
    /// One kind for every port.
    Kind(Arc<Terms>),
    /// No kind is given: TCP where there is a TCP port, else ping.
    ByPort {
        /// The terms of TCP.
        tcp: Arc<Terms>,
        /// The terms of ping.
        ping: Arc<Terms>,
    },
}

/// The check of objects that say nothing of it.
static DEFAULT_CHECK: LazyLock<Check> = LazyLock::new(|| Check::parse(&HealthCheck::default()));

impl Check {
    /// The check of objects that say nothing of it.
    pub fn of_nothing_said() -> &'static Self {
        &DEFAULT_CHECK
    }

    /// From a health check that keeps every rule.
    pub(crate) fn parse(check: &HealthCheck) -> Self {
        let HealthCheck {
            tcp,
            http,
            https,
            grpc,
            dns,
            udp,
            ping,
            none,
            interval_seconds,
            timeout_seconds,
            fall,
            rise,
            port,
            source_address,
            firewall_mark,
        } = check;
        let seconds = |count: i32| Duration::from_secs(count.try_into().expect("a time is in range"));
        let times = |count: i32| count.try_into().expect("a count is in range");
        let interval = seconds(*interval_seconds);
        let terms = |kind: CheckKind| {
            Arc::new(Terms {
                kind,
                interval,
                timeout: timeout_seconds.map_or(Duration::from_secs(2).min(interval), seconds),
                fall: times(*fall),
                rise: times(*rise),
                source: source_address.as_ref().map(|address| address.parse().expect("it is an address")),
                mark: firewall_mark.map(|mark| mark.try_into().expect("the mark is in range")),
            })
        };
        let tcp = tcp.as_ref().map(|TcpCheck {}| CheckKind::Tcp);
        let kind = tcp
            .or_else(|| http.as_deref().cloned().map(CheckKind::Http))
            .or_else(|| https.as_deref().cloned().map(CheckKind::Https))
            .or_else(|| grpc.as_deref().cloned().map(CheckKind::Grpc))
            .or_else(|| dns.as_deref().cloned().map(CheckKind::Dns))
            .or_else(|| udp.as_deref().cloned().map(CheckKind::Udp))
            .or_else(|| ping.as_ref().map(|_| CheckKind::Ping));
        let subject = match kind {
            Some(kind) => Subject::Kind(terms(kind)),
            None if none.is_some() => Subject::Nothing,
            None => Subject::ByPort { tcp: terms(CheckKind::Tcp), ping: terms(CheckKind::Ping) },
        };
        Self { port: port.map(|port| port.try_into().expect("the port is in range")), subject }
    }
}
