//! `healthCheck`: how it is found out whether a real server works.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a real server is asked whether it works. At most one of `tcp`, `http`, `https`, `grpc`, `dns`, `udp`,
/// `ping` and `none` is set; without one it is `tcp` for services with a TCP port (or if `port` is set), else
/// `ping`. The check goes to the real server's own address (RIP), each TCP destination at its own port unless
/// `port` is set.
// Kinds are boxed: ten thousand objects that say `none` need no room for a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// Works if the port accepts a TCP connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpCheck>,
    /// Works if an HTTP request is answered as expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Box<HttpCheck>>,
    /// Works if an HTTP request over TLS is answered as expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<Box<HttpsCheck>>,
    /// Works if `grpc.health.v1.Health/Check` says SERVING.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<Box<GrpcCheck>>,
    /// Works if a DNS question over UDP is answered as expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Box<DnsCheck>>,
    /// Works if a UDP datagram is answered as expected, or not refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<Box<UdpCheck>>,
    /// Works if an ICMP echo request is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ping: Option<PingCheck>,
    /// Is not checked and counts as working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<NoCheck>,
    /// Seconds from the start of one check to the start of the next, 1..3600. Default: 5.
    #[serde(default = "default_interval_seconds")]
    pub interval_seconds: i32,
    /// Seconds until a check that has no result counts as failed: at least 1, at most `intervalSeconds`.
    /// Default: 2, or `intervalSeconds` if that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<i32>,
    /// So many failures in a row take a real server that works out of service, 1..100. Default: 3.
    #[serde(default = "default_fall")]
    pub fall: i32,
    /// So many successes in a row bring a failed real server back, 1..100. Default: 2.
    #[serde(default = "default_rise")]
    pub rise: i32,
    /// Checks this port instead of each destination's own, 1..65535: one check then decides for all ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// The source address of the checks, of the real server's family and one of the Director's own. Default:
    /// what the Director's routes give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<String>,
    /// The firewall mark (`SO_MARK`) of the checks' packets, 1..4294967295, for policy routing. Default:
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall_mark: Option<i64>,
}

/// As if every field were left out.
impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            tcp: None,
            http: None,
            https: None,
            grpc: None,
            dns: None,
            udp: None,
            ping: None,
            none: None,
            interval_seconds: default_interval_seconds(),
            timeout_seconds: None,
            fall: default_fall(),
            rise: default_rise(),
            port: None,
            source_address: None,
            firewall_mark: None,
        }
    }
}

fn default_interval_seconds() -> i32 {
    5
}

fn default_fall() -> i32 {
    3
}

fn default_rise() -> i32 {
    2
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// The port accepts a TCP connection.
    Tcp,
    /// An HTTP request is answered as expected.
    Http(HttpCheck),
    /// An HTTP request over TLS is answered as expected.
    Https(HttpsCheck),
    /// `grpc.health.v1.Health/Check` says SERVING.
    Grpc(GrpcCheck),
    /// A DNS question over UDP is answered as expected.
    Dns(DnsCheck),
    /// A UDP datagram is answered as expected, or not refused.
    Udp(UdpCheck),
    /// An ICMP echo request is answered.
    Ping,
}

impl CheckKind {
    /// The kind as `healthCheck` spells it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http(_) => "http",
            Self::Https(_) => "https",
            Self::Grpc(_) => "grpc",
            Self::Dns(_) => "dns",
            Self::Udp(_) => "udp",
            Self::Ping => "ping",
        }
    }
}

/// A TCP connection; it has no settings of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpCheck {}

/// An HTTP/1.1 request and what its answer must look like. Redirects are not followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpCheck {
    /// The method: GET, HEAD, OPTIONS or POST (without a body). Default: GET.
    #[serde(default)]
    pub method: HttpMethod,
    /// The path, with its query if any; starts with `/`. Default: `/`.
    #[serde(default = "default_path")]
    pub path: String,
    /// The `Host` header. Default: the real server's address, with the port unless it is the scheme's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// More headers, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpHeader>,
    /// The statuses that count as working, each one status (`204`) or a range (`200-399`), within 100..599;
    /// at most 16 entries. Default: 200-399.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expected_statuses: Vec<String>,
    /// Text that the first 64 KiB of the body must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,
    /// A regular expression (of Rust's `regex`: no look-around, no back-references) that the first 64 KiB of
    /// the body must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_regex: Option<String>,
}

/// As if every field were left out.
impl Default for HttpCheck {
    fn default() -> Self {
        Self {
            method: HttpMethod::default(),
            path: default_path(),
            host: None,
            headers: Vec::new(),
            expected_statuses: Vec::new(),
            body_contains: None,
            body_regex: None,
        }
    }
}

impl HttpCheck {
    /// The statuses that one entry of `expectedStatuses` stands for, within 100..599: those of a range (`200-399`), or
    /// one (`204`). None if it is neither.
    pub fn statuses(entry: &str) -> Option<RangeInclusive<u16>> {
        // `u16::from_str` would take a sign and leading zeros.
        let status = |text: &str| -> Option<u16> {
            let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|status| digits && (100..=599).contains(status))
        };
        let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
        let (first, last) = (status(first)?, status(last)?);
        (first <= last).then_some(first..=last)
    }
}

fn default_path() -> String {
    "/".to_owned()
}

/// The methods of an HTTP check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// GET.
    #[default]
    Get,
    /// HEAD: the answer has no body.
    Head,
    /// OPTIONS.
    Options,
    /// POST, without a body.
    Post,
}

/// A header of an HTTP check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpHeader {
    /// The header's name (RFC 9110, section 5.1).
    pub name: String,
    /// The header's value, printable ASCII and spaces.
    pub value: String,
}

// The fields of `HttpCheck` are written out: serde does not say which fields it passed over in a struct with
// flattened ones, and a file's unknown fields have to be named.
/// An HTTP request over TLS (1.2 or 1.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpsCheck {
    /// The method: GET, HEAD, OPTIONS or POST (without a body). Default: GET.
    #[serde(default)]
    pub method: HttpMethod,
    /// The path, with its query if any; starts with `/`. Default: `/`.
    #[serde(default = "default_path")]
    pub path: String,
    /// The `Host` header. Default: the real server's address, with the port unless it is the scheme's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// More headers, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpHeader>,
    /// The statuses that count as working, each one status (`204`) or a range (`200-399`), within 100..599;
    /// at most 16 entries. Default: 200-399.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expected_statuses: Vec<String>,
    /// Text that the first 64 KiB of the body must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,
    /// A regular expression (of Rust's `regex`: no look-around, no back-references) that the first 64 KiB of
    /// the body must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_regex: Option<String>,
    /// How the server's certificate is verified: `ca`, or `insecureSkipVerify`, is needed.
    pub tls: TlsOptions,
}

impl HttpsCheck {
    /// The request and what its answer must look like.
    pub fn request(&self) -> HttpCheck {
        let Self { method, path, host, headers, expected_statuses, body_contains, body_regex, tls: _ } = self;
        HttpCheck {
            method: *method,
            path: path.clone(),
            host: host.clone(),
            headers: headers.clone(),
            expected_statuses: expected_statuses.clone(),
            body_contains: body_contains.clone(),
            body_regex: body_regex.clone(),
        }
    }
}

/// How a server's certificate is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsOptions {
    /// The name in the certificate, also sent as SNI. Default: the host of the check, else the real server's
    /// address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The certificates of the authorities to trust, PEM, at most 64 KiB. Default: none is trusted, so this
    /// or
    /// `insecureSkipVerify` is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Takes any certificate: the check then shows that somebody answers, not who. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_verify: bool,
}

/// A gRPC health check (grpc.health.v1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrpcCheck {
    /// The service asked for. Default: empty, the server as a whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// Set to speak TLS. Default: plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsOptions>,
}

/// A DNS question over UDP and what its answer must look like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsCheck {
    /// The name asked for, such as `example.com`.
    pub name: String,
    /// The type asked for: A, AAAA, CNAME, MX, NS, PTR, SOA, SRV or TXT. Default: A.
    #[serde(rename = "type", default)]
    pub type_: DnsType,
    /// The response code that counts as working: NOERROR or NXDOMAIN. Default: NOERROR.
    #[serde(default)]
    pub expected_rcode: DnsRcode,
    /// One of the answers must be this, as text of 1..4096 bytes, not beside NXDOMAIN: an IPv4 address for A, an IPv6 address for
    /// AAAA, the text of a TXT record, a name for the others. Default: any answer, also none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_answer: Option<String>,
}

/// The types that a DNS check asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum DnsType {
    /// An IPv4 address.
    #[default]
    A,
    /// An IPv6 address.
    Aaaa,
    /// An alias.
    Cname,
    /// A mail exchange.
    Mx,
    /// A name server.
    Ns,
    /// A pointer, for reverse lookups.
    Ptr,
    /// The start of authority.
    Soa,
    /// A service location.
    Srv,
    /// Text.
    Txt,
}

/// The response codes that a DNS check may expect (RFC 1035, section 4.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum DnsRcode {
    /// No error.
    #[default]
    Noerror,
    /// The name does not exist.
    Nxdomain,
}

/// A UDP datagram and what its answer must look like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UdpCheck {
    /// What is sent, at most 512 bytes as text. Default: an empty datagram.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub send: String,
    /// Text that an answer must contain. Default: no answer is waited for; the check fails only if the port
    /// is reported as unreachable (ICMP) within the timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
}

/// An ICMP echo request; it has no settings of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PingCheck {}

/// No check at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoCheck {}
