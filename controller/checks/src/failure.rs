//! Why a check failed: in words for people, and as a label for metrics.

mod words;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;
use tokio_rustls::rustls;

pub(crate) use words::excerpt;
use words::{LookedAt, Os, Took};

/// Every value that [`Failure::reason`] can have.
pub const REASONS: &[&str] = &[
    "refused",
    "timeout",
    "reset",
    "closed",
    "unreachable",
    "tls",
    "protocol",
    "status",
    "body",
    "rcode",
    "answer",
    "not_serving",
    "source",
    "local",
];

/// Why a check failed.
///
/// Texts that come from a server are short and printable in here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody listens: TCP by a reset in answer to the first packet, UDP by ICMP "port unreachable".
    #[error("connection refused by {peer}")]
    Refused {
        /// Who.
        peer: Peer,
    },
    /// What was waited for did not come in time.
    #[error("no {awaited} {peer} within {}", Took(*timeout))]
    Timeout {
        /// What was waited for.
        awaited: Awaited,
        /// From whom.
        peer: Peer,
        /// For how long.
        timeout: Duration,
    },
    /// The connection was reset after it had been accepted.
    #[error("connection reset by {peer}")]
    Reset {
        /// By whom.
        peer: Peer,
    },
    /// The server ended the connection before its answer was complete.
    #[error("{peer} closed the connection before the end of its answer")]
    Closed {
        /// Who.
        peer: Peer,
    },
    /// A router on the way, or this host's routes, say that there is no way there.
    #[error("{peer} is unreachable: {}", Os(*errno))]
    Unreachable {
        /// Who.
        peer: Peer,
        /// The system's error number.
        errno: i32,
    },
    /// The server speaks TLS, but its certificate does not convince.
    #[error("certificate of {peer}: {fault}")]
    Certificate {
        /// Whose.
        peer: Peer,
        /// What is wrong with it.
        fault: String,
    },
    /// TLS did not come about.
    #[error("no TLS with {peer}: {fault}")]
    Tls {
        /// With whom.
        peer: Peer,
        /// What went wrong.
        fault: String,
    },
    /// What came is not the protocol.
    #[error("{peer} does not speak {protocol}: {fault}")]
    Protocol {
        /// Who.
        peer: Peer,
        /// The protocol that was expected.
        protocol: &'static str,
        /// What is wrong with what came.
        fault: String,
    },
    /// An HTTP status that is not expected.
    #[error("HTTP {status} from {method} {path} in {}", Took(*after))]
    HttpStatus {
        /// The status.
        status: u16,
        /// The method of the request.
        method: String,
        /// The path of the request.
        path: String,
        /// The time from the start of the check.
        after: Duration,
    },
    /// A gRPC status other than OK.
    #[error("gRPC status {status} from {peer}: {explanation}")]
    GrpcStatus {
        /// The status, by its name or number.
        status: String,
        /// From whom.
        peer: Peer,
        /// What it means here, or what the server says about it.
        explanation: String,
    },
    /// The body is not as expected.
    #[error("{looked_at} {expected}", looked_at = LookedAt(*looked_at))]
    Body {
        /// How many bytes of it were looked at.
        looked_at: usize,
        /// The expectation that is not met, with a verb: `do not contain "ok"`.
        expected: String,
    },
    /// A DNS response code that is not expected.
    #[error("DNS response {rcode} from {peer} for {question}, expected {expected}")]
    Rcode {
        /// The code, by its name or number.
        rcode: String,
        /// From whom.
        peer: Peer,
        /// Type and name.
        question: String,
        /// The code that would do.
        expected: &'static str,
    },
    /// An answer that is not the expected one.
    #[error("{peer} answered {answer}, expected {expected}")]
    Answer {
        /// Who.
        peer: Peer,
        /// What came.
        answer: String,
        /// What would do.
        expected: String,
    },
    /// gRPC health that is not SERVING.
    #[error("{peer} says {status} for {service}")]
    NotServing {
        /// Who.
        peer: Peer,
        /// What it says.
        status: String,
        /// The service asked for, or the server as a whole.
        service: String,
    },
    /// Checks cannot be sent from the source address: it is not this host's, most likely.
    #[error("cannot send from {source_address}: {}", Os(*errno))]
    Source {
        /// The source address.
        source_address: IpAddr,
        /// The system's error number.
        errno: i32,
    },
    /// This host could not do its part.
    #[error("this host cannot {action}: {}", Os(*errno))]
    Local {
        /// What could not be done.
        action: &'static str,
        /// The system's error number; 0 if it gave none.
        errno: i32,
    },
}

impl Failure {
    /// A label for metrics, one of [`REASONS`].
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Timeout { .. } => "timeout",
            Self::Reset { .. } => "reset",
            Self::Closed { .. } => "closed",
            Self::Unreachable { .. } => "unreachable",
            Self::Certificate { .. } | Self::Tls { .. } => "tls",
            Self::Protocol { .. } => "protocol",
            Self::HttpStatus { .. } | Self::GrpcStatus { .. } => "status",
            Self::Body { .. } => "body",
            Self::Rcode { .. } => "rcode",
            Self::Answer { .. } => "answer",
            Self::NotServing { .. } => "not_serving",
            Self::Source { .. } => "source",
            Self::Local { .. } => "local",
        }
    }

    /// Whether it is this host that failed, so that nothing is known of the server: no file descriptor, no
    /// port, no memory, a source address that is not ours, a mark that may not be set, a packet filter that
    /// forbids sending.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Source { .. } | Self::Local { .. })
    }

    /// From an error of a call that acts on this host alone.
    pub(crate) fn local(action: &'static str, error: &io::Error) -> Self {
        Self::Local { action, errno: error.raw_os_error().unwrap_or(0) }
    }

    /// From an error of the call that sends, which also tells what ICMP said before. What is not known to
    /// come from the network is ours, such as `EPERM` (packet filter), `EACCES` (a "prohibit" route),
    /// `EINVAL`, `ENOBUFS`, and `EADDRNOTAVAIL`: no port is left, or no address of this family.
    pub(crate) fn sending(peer: Peer, action: &'static str, error: &io::Error) -> Self {
        Self::from_network(peer, error).unwrap_or_else(|| Self::local(action, error))
    }

    /// From an error that comes with what was received. What is not known to be ours is the server's.
    pub(crate) fn receiving(peer: Peer, error: &io::Error) -> Self {
        if let Some(failure) = Self::from_network(peer, error) {
            return failure;
        }
        let Some(errno) = error.raw_os_error() else {
            return Self::Closed { peer };
        };
        match Errno::from_raw_os_error(errno) {
            Errno::NOMEM | Errno::NOBUFS | Errno::MFILE | Errno::NFILE | Errno::PERM => {
                Self::local("receive", error)
            }
            _ => Self::Unreachable { peer, errno },
        }
    }

    fn from_network(peer: Peer, error: &io::Error) -> Option<Self> {
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Some(crate::tls::failure(peer, error));
        }
        let errno = error.raw_os_error()?;
        match Errno::from_raw_os_error(errno) {
            Errno::CONNREFUSED => Some(Self::Refused { peer }),
            Errno::CONNRESET | Errno::CONNABORTED | Errno::PIPE => Some(Self::Reset { peer }),
            Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN | Errno::NONET | Errno::TIMEDOUT => {
                Some(Self::Unreachable { peer, errno })
            }
            _ => None,
        }
    }
}

/// What a check was waiting for when its time was over; with the peer it makes a phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The TCP connection: nothing came at all, or the server's queue is full.
    Connection,
    /// The TLS handshake.
    Handshake,
    /// The answer, or its head.
    Answer,
    /// The rest of the answer.
    End,
}

impl fmt::Display for Awaited {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connection => "connection to",
            Self::Handshake => "TLS handshake with",
            Self::Answer => "answer from",
            Self::End => "end of the answer from",
        })
    }
}

/// Whom a failure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The address.
    pub address: IpAddr,
    /// The port; none for a ping.
    pub port: Option<u16>,
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(formatter),
            None => self.address.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Peer =
        Peer { address: IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 40, 12)), port: Some(80) };

    fn os(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn errors_of_this_host_are_not_the_servers() {
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::NOMEM,
            Errno::ADDRNOTAVAIL,
            Errno::ADDRINUSE,
            Errno::PERM,
            Errno::ACCESS,
        ] {
            assert!(Failure::sending(PEER, "connect", &os(errno)).is_ours(), "{errno:?}");
        }
        for errno in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::HOSTUNREACH, Errno::NETUNREACH] {
            assert!(!Failure::sending(PEER, "connect", &os(errno)).is_ours(), "{errno:?}");
            assert!(!Failure::receiving(PEER, &os(errno)).is_ours(), "{errno:?}");
        }
        // A router's "administratively prohibited" comes as EACCES for IPv6.
        assert!(!Failure::receiving(PEER, &os(Errno::ACCESS)).is_ours());
        assert!(Failure::receiving(PEER, &os(Errno::NOMEM)).is_ours());
    }

    #[test]
    fn failures_read_as_sentences() {
        let status = Failure::HttpStatus {
            status: 503,
            method: "GET".to_owned(),
            path: "/healthz".to_owned(),
            after: Duration::from_micros(12_345),
        };
        let timeout =
            Failure::Timeout { awaited: Awaited::Answer, peer: PEER, timeout: Duration::from_secs(2) };
        let looked_at = crate::http::BODY_LIMIT;
        let body = Failure::Body { looked_at, expected: "do not contain \"ok\"".to_owned() };
        let ours = Failure::Local { action: "open a socket", errno: Errno::MFILE.raw_os_error() };
        for (failure, sentence) in [
            (Failure::Refused { peer: PEER }, "connection refused by 192.168.40.12:80"),
            (status, "HTTP 503 from GET /healthz in 12 ms"),
            (timeout, "no answer from 192.168.40.12:80 within 2 s"),
            (body, "the answer's first 64 KiB do not contain \"ok\""),
            (ours, "this host cannot open a socket: Too many open files (os error 24)"),
        ] {
            assert_eq!(failure.to_string(), sentence);
            assert!(REASONS.contains(&failure.reason()));
        }
    }
}
