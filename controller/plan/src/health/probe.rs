//! Which probe decides about a destination.

#[cfg(test)]
mod tests;

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lvs_crds::{CheckKind, Protocol};

use super::policy::{Check, Subject};
use crate::object::{ValidRealServer, ValidVirtualService};
use crate::service::ServiceKey;

/// One thing to be found out again and again. Equal ones are one: destinations that share a probe share its
/// result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// Who is asked: the real server's own address.
    pub address: IpAddr,
    /// The port; none for ping.
    pub port: Option<u16>,
    /// What is asked, and how often; shared by all probes of one spec.
    pub terms: Arc<Terms>,
}

/// What is asked and how often, and what the results mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What is asked.
    pub kind: CheckKind,
    /// From the start of one check to the start of the next, 1 s..1 h.
    pub interval: Duration,
    /// When a check without a result has failed, 1 s..interval.
    pub timeout: Duration,
    /// Failures in a row that take a destination out of service, 1..100.
    pub fall: u32,
    /// Successes in a row that bring it back, 1..100.
    pub rise: u32,
    /// The source address of the checks, if it is not left to the routes.
    pub source: Option<IpAddr>,
    /// The mark of the checks' packets (`SO_MARK`).
    pub mark: Option<u32>,
}

/// Only what is cheap, and tells nearly all apart that are asked of one address and port: a certificate
/// authority need not be hashed at each look.
impl Hash for Terms {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(&self.kind).hash(state);
        self.interval.hash(state);
    }
}

/// A real server's check is of a kind that asks a port, and there is none: the service is a firewall mark's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "spec.healthCheck.port: a check of kind {kind} needs a port beside a firewall mark, whose service has none: set port, or use ping or none"
)]
pub struct NeedsPort {
    /// The kind.
    pub kind: &'static str,
}

/// The probe that decides about the destination of a real server in one service of a virtual service;
/// `Ok(None)` if it is not checked.
///
/// - The real server's `healthCheck` stands in for the virtual service's as a whole.
/// - A kind and no `port`: each destination's own port is asked.
/// - No kind: TCP. A UDP or SCTP port follows the TCP port of the same number, else the lowest one, among
///   those that the real server serves; where there is none, ping.
/// - `port`: that port is asked for every service, by TCP if no kind is given.
///
/// # Errors
/// If the check needs a port and there is none. Only a real server's own check can: a virtual service has its
/// port or breaks a rule.
pub fn probe(
    virtual_service: &ValidVirtualService,
    real_server: &ValidRealServer,
    key: &ServiceKey,
) -> Result<Option<Probe>, NeedsPort> {
    let address = real_server.address;
    let own = real_server.check.as_deref();
    let check = own.or(virtual_service.policy().check.as_deref()).unwrap_or_else(|| Check::of_nothing_said());
    let asking =
        |port: u16, terms: &Arc<Terms>| Probe { address, port: Some(port), terms: Arc::clone(terms) };
    let pinging = |terms: &Arc<Terms>| Probe { address, port: None, terms: Arc::clone(terms) };
    let own_port = match key {
        ServiceKey::Address { port, .. } => Some(*port),
        ServiceKey::FirewallMark { .. } => None,
    };
    Ok(Some(match &check.subject {
        Subject::Nothing => return Ok(None),
        Subject::Kind(terms) if terms.kind == CheckKind::Ping => pinging(terms),
        Subject::Kind(terms) => {
            let port = check.port.or(own_port).ok_or(NeedsPort { kind: terms.kind.as_str() })?;
            asking(port, terms)
        }
        Subject::ByPort { tcp, ping } => {
            match check.port.or_else(|| tcp_port(virtual_service, real_server, key)) {
                Some(port) => asking(port, tcp),
                None => pinging(ping),
            }
        }
    }))
}

/// The TCP port that decides about a service: its own number, else the lowest one that the real server
/// serves.
fn tcp_port(
    virtual_service: &ValidVirtualService,
    real_server: &ValidRealServer,
    key: &ServiceKey,
) -> Option<u16> {
    let tcp = virtual_service.services.iter().filter_map(|service| match service {
        ServiceKey::Address { protocol: Protocol::Tcp, port, .. } => Some(*port),
        _ => None,
    });
    let served = tcp.filter(|port| real_server.port.is_none_or(|only| only == *port));
    // The port's own number first, then the lowest.
    served.min_by_key(|port| (*port != key.port(), *port))
}
