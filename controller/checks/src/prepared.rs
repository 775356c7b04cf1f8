//! A check with all that can be made once.

use std::sync::Arc;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::dns::DnsProbe;
use crate::failure::Failure;
use crate::grpc::GrpcProbe;
use crate::http::HttpProbe;
use crate::tls::Tls;
use crate::udp::UdpProbe;
use crate::{Kind, Sockets, Target};
use crate::{dns, grpc, http, ping, tcp, tls, udp};

/// Why a check cannot be made: each is a fault of its settings, to be shown to who wrote them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// All kinds but ping need a port.
    #[error("the check needs a port")]
    NoPort,
    /// An IPv4 source for an IPv6 server, or the other way round.
    #[error("the check's source address is not of the real server's family")]
    SourceFamily,
    /// The path is no path of an URL.
    #[error("path {0:?} cannot be part of a URL")]
    Path(String),
    /// The `Host` cannot be sent.
    #[error("host {0:?} cannot be sent as a header")]
    Host(String),
    /// A header cannot be sent, or says something about a body.
    #[error("header {0:?} cannot be sent")]
    Header(String),
    /// An entry of `expectedStatuses`.
    #[error("expected status {0:?} is neither a status (204) nor a range of them (200-399) within 100-599")]
    Status(String),
    /// `bodyRegex` is none, or is too large when compiled.
    #[error("bodyRegex: {0}")]
    Regex(String),
    /// Neither `ca` nor `insecureSkipVerify`.
    #[error("tls needs ca, or insecureSkipVerify: true")]
    NothingTrusted,
    /// `ca` holds no certificate, or one that cannot be used.
    #[error("tls.ca: {0}")]
    Ca(String),
    /// The name that the certificate is to hold is not one.
    #[error("{0:?} cannot be a name in a certificate: set tls.serverName")]
    ServerName(String),
    /// The name that DNS is asked for.
    #[error("{0:?} is not a DNS name")]
    DnsName(String),
    /// `expectedAnswer` cannot be an answer of that type.
    #[error("expectedAnswer {0:?} cannot be the answer to a question of type {1}")]
    DnsAnswer(String, &'static str),
}

/// A kind of check with what can be prepared once: bytes of the request, regular expression, TLS settings.
///
/// It is made for one target, whose address stands in `Host` headers and certificates, and cloning it is
/// cheap. TLS settings and regular expressions are shared by all preparations of the process that have the
/// same options, for as long as one of them lives.
#[derive(Clone, Debug)]
pub struct Prepared(Probe);

#[derive(Clone, Debug)]
enum Probe {
    Tcp,
    Http(Arc<HttpProbe>),
    Https(Arc<(HttpProbe, Tls)>),
    Grpc(Arc<GrpcProbe>),
    Dns(Arc<DnsProbe>),
    Udp(Arc<UdpProbe>),
    Ping,
}

impl Prepared {
    /// Prepares checks of this kind of this target.
    pub fn new(kind: &Kind, target: &Target) -> Result<Self, PrepareError> {
        if target.port.is_none_or(|port| port == 0) && *kind != Kind::Ping {
            return Err(PrepareError::NoPort);
        }
        if target.source.is_some_and(|source| source.is_ipv4() != target.address.is_ipv4()) {
            return Err(PrepareError::SourceFamily);
        }
        Ok(Self(match kind {
            Kind::Tcp => Probe::Tcp,
            Kind::Http(check) => Probe::Http(Arc::new(HttpProbe::new(check, target, http::Scheme::Http)?)),
            Kind::Https(check) => {
                let probe = HttpProbe::new(&check.request(), target, http::Scheme::Https)?;
                let tls = Tls::new(&check.tls, check.host.as_deref(), target, tls::Speaks::Http1)?;
                Probe::Https(Arc::new((probe, tls)))
            }
            Kind::Grpc(check) => Probe::Grpc(Arc::new(GrpcProbe::new(check, target)?)),
            Kind::Dns(check) => Probe::Dns(Arc::new(DnsProbe::new(check)?)),
            Kind::Udp(check) => Probe::Udp(Arc::new(UdpProbe::new(check))),
            Kind::Ping => Probe::Ping,
        }))
    }
}

/// Asks once. It ends after `timeout` at the latest, and nothing of it lives on after that but sockets without a
/// connection, for other checks, in `sockets`.
///
/// # Panics
/// Outside of a tokio runtime that has I/O and time enabled.
pub async fn check(
    prepared: &Prepared,
    target: &Target,
    timeout: Duration,
    sockets: &Sockets,
) -> Result<(), Failure> {
    let deadline = Deadline::after(timeout, target.peer());
    // The larger futures are boxed, so that the many TCP checks are small.
    match &prepared.0 {
        Probe::Tcp => tcp::check(target, &deadline, sockets).await,
        Probe::Http(probe) => Box::pin(http::check(probe, None, target, &deadline)).await,
        Probe::Https(both) => Box::pin(http::check(&both.0, Some(&both.1), target, &deadline)).await,
        Probe::Grpc(probe) => Box::pin(grpc::check(probe, target, &deadline)).await,
        Probe::Dns(probe) => Box::pin(dns::check(probe, target, &deadline)).await,
        Probe::Udp(probe) => Box::pin(udp::check(probe, target, &deadline)).await,
        Probe::Ping => Box::pin(ping::check(target, &deadline)).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_can_be_sent_to_another_thread_and_is_small() {
        fn is_send<T: Send>(_: &T) {}

        let target = Target { address: [192, 0, 2, 1].into(), port: Some(80), source: None, mark: None };
        let prepared = Prepared::new(&Kind::Tcp, &target).unwrap();
        let sockets = Sockets::default();
        let check = check(&prepared, &target, Duration::from_secs(1), &sockets);
        is_send(&check);
        // Ten thousand at a time are not unheard of.
        assert!(size_of_val(&check) <= 1024, "{} bytes", size_of_val(&check));
    }
}
