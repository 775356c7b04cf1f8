//! The rules of `spec.healthCheck`, which virtual services and real servers have alike.

use super::{Check, Rule, rules};

/// Most entries in `headers` and in `expectedStatuses`.
pub const MAX_ENTRIES: u64 = 16;

/// Longest `udp.send`, in bytes: it fits one packet on every link.
pub const MAX_DATAGRAM: usize = 512;

/// Longest `dns.expectedAnswer`, in bytes: so much of an answer is read.
pub const MAX_ANSWER: usize = 4096;

/// Longest `ca`, in characters.
pub const MAX_CA: u64 = 65_536;

/// Longest `bodyRegex`, in characters.
pub const MAX_REGEX: u64 = 1024;

/// Most bytes of memory that a compiled `bodyRegex` may take. Searching takes time in proportion to it and to the
/// text, so this also bounds for how long a search can hold up other checks.
pub const MAX_REGEX_MEMORY: usize = 256 * 1024;

rules! {
    /// The rules of a health check's own fields and of the small kinds.
    HealthCheckRule

    /// A check is of one kind.
    AtMostOneKind {
        at: "spec.healthCheck", field: "spec.healthCheck",
        Check::Cel(
            "(has(self.tcp) ? 1 : 0) + (has(self.http) ? 1 : 0) + (has(self.https) ? 1 : 0) + (has(self.grpc) ? 1 : 0) + (has(self.dns) ? 1 : 0) + (has(self.udp) ? 1 : 0) + (has(self.ping) ? 1 : 0) + (has(self.none) ? 1 : 0) <= 1"
        ),
        "healthCheck must have at most one of tcp, http, https, grpc, dns, udp, ping and none: remove the others"
    }

    /// An hour without a look is no check.
    IntervalInRange {
        at: "spec.healthCheck.intervalSeconds", field: "spec.healthCheck.intervalSeconds",
        Check::Range(1, 3_600),
        "intervalSeconds must be 1..3600: use none to have no check"
    }

    /// See `TimeoutWithinInterval`.
    TimeoutInRange {
        at: "spec.healthCheck.timeoutSeconds", field: "spec.healthCheck.timeoutSeconds",
        Check::Range(1, 3_600),
        "timeoutSeconds must be 1..3600 and at most intervalSeconds"
    }

    /// One check ends before the next begins.
    TimeoutWithinInterval {
        at: "spec.healthCheck", field: "spec.healthCheck.timeoutSeconds",
        Check::Cel(
            "!has(self.timeoutSeconds) || self.timeoutSeconds > 3600 || self.intervalSeconds < 1 || self.timeoutSeconds <= self.intervalSeconds"
        ),
        "timeoutSeconds must be at most intervalSeconds: a check ends before the next one begins"
    }

    /// No failure at all is not what `fall` means.
    FallInRange {
        at: "spec.healthCheck.fall", field: "spec.healthCheck.fall",
        Check::Range(1, 100),
        "fall must be 1..100 failures in a row: use none to have no check"
    }

    /// See `FallInRange`.
    RiseInRange {
        at: "spec.healthCheck.rise", field: "spec.healthCheck.rise",
        Check::Range(1, 100),
        "rise must be 1..100 successes in a row"
    }

    /// Port 0 is none.
    CheckPortInRange {
        at: "spec.healthCheck.port", field: "spec.healthCheck.port",
        Check::Range(1, 65_535),
        "port must be 1..65535: leave it out to check each destination's own port"
    }

    /// See `VipIsAddress` and `VipIsCanonical`. Whether it is one of the Director's own only the Director
    /// knows.
    SourceAddressIsAddress {
        at: "spec.healthCheck.sourceAddress", field: "spec.healthCheck.sourceAddress",
        Check::Cel("isIP(self) && ip.isCanonical(self)"),
        "sourceAddress must be one IPv4 or IPv6 address in canonical form (RFC 5952), one of the Director's own: leave it out to let its routes decide"
    }

    /// See `FirewallMarkInRange`.
    CheckMarkInRange {
        at: "spec.healthCheck.firewallMark", field: "spec.healthCheck.firewallMark",
        Check::Range(1, 4_294_967_295),
        "firewallMark must be 1..4294967295: leave it out to mark nothing"
    }

    /// RFC 1035, section 2.3.4; `_` as in the names of SRV records.
    DnsNameIsValid {
        at: "spec.healthCheck.dns.name", field: "spec.healthCheck.dns.name",
        Check::Text(254, "self == '.' || self.matches('^[A-Za-z0-9_-]{1,63}([.][A-Za-z0-9_-]{1,63})*[.]?$') && (size(self) < 254 || self.endsWith('.'))"),
        "name must be a DNS name of at most 253 characters: labels of 1..63 letters, digits, hyphens and underscores, such as example.com"
    }

    /// Every answer contains nothing, and none is read further than to 4 KiB.
    ExpectedAnswerHasALength {
        at: "spec.healthCheck.dns.expectedAnswer", field: "spec.healthCheck.dns.expectedAnswer",
        Check::Text(4_096, "size(self) > 0 && size(bytes(self)) <= 4096"),
        "expectedAnswer must have 1..4096 bytes: leave it out to take any answer"
    }

    /// RFC 2308, section 2.1: where a name does not exist there is no record of it.
    ExpectedAnswerNeedsNoerror {
        at: "spec.healthCheck.dns", field: "spec.healthCheck.dns.expectedAnswer",
        Check::Cel("!has(self.expectedAnswer) || self.expectedRcode != 'NXDOMAIN'"),
        "expectedAnswer must be left out beside expectedRcode NXDOMAIN, which is the answer for a name without records"
    }

    /// What no record of that type can say is never answered. Of names: RFC 1035, section 2.3.4, of any printable
    /// characters (RFC 2317 has slashes). IPv4-mapped IPv6 addresses are left to IPv4, as `isIP` does.
    ExpectedAnswerIsOfTheType {
        at: "spec.healthCheck.dns", field: "spec.healthCheck.dns.expectedAnswer",
        Check::Cel(
            "!has(self.expectedAnswer) || size(self.expectedAnswer) < 1 || size(bytes(self.expectedAnswer)) > 4096 || self.type == 'TXT' || (self.type == 'A' || self.type == 'AAAA' ? isIP(self.expectedAnswer) && ip(self.expectedAnswer).family() == (self.type == 'A' ? 4 : 6) : self.expectedAnswer == '.' || (self.expectedAnswer.matches('^[!-,/-~-]{1,63}([.][!-,/-~-]{1,63})*[.]?$') && (size(self.expectedAnswer) < 254 || (size(self.expectedAnswer) == 254 && self.expectedAnswer.endsWith('.')))))"
        ),
        "expectedAnswer must be what a record of the type says: an IPv4 address for A, an IPv6 address for AAAA, any text for TXT, a name for the others"
    }

    /// See [`MAX_DATAGRAM`].
    SendFitsADatagram {
        at: "spec.healthCheck.udp.send", field: "spec.healthCheck.udp.send",
        Check::Text(512, "size(bytes(self)) <= 512"),
        "send must be at most 512 bytes: it is one datagram"
    }

    /// Every answer contains nothing.
    ExpectIsNotEmpty {
        at: "spec.healthCheck.udp.expect", field: "spec.healthCheck.udp.expect",
        Check::Cel("size(self) > 0"),
        "expect must not be empty: leave it out to wait for no answer"
    }
}

rules! {
    /// The rules of an HTTP request and its answer, which `http` and `https` have alike.
    HttpRule of Scheme { Http = "spec.healthCheck.http", Https = "spec.healthCheck.https" }

    /// It is sent as it is, so nothing in it may end the request line (RFC 9112, section 3) or stand in no URL
    /// (RFC 3986, appendix A, with the brackets and bars that everybody sends).
    PathIsValid {
        at: ".path", field: ".path",
        Check::Text(2_048, "self.matches('^/[!$-;=?-Z\\\\[\\\\]_a-z{|}~]*$')"),
        "path must begin with / and have at most 2048 characters of a URL's path and query: write others as %20"
    }

    /// It is sent as it is (RFC 9110, section 7.2).
    HostIsValid {
        at: ".host", field: ".host",
        Check::Text(261, "self.matches('^[0-9A-Za-z._:%\\\\[\\\\]-]+$')"),
        "host must be a name or an address, with a port if need be, of at most 261 characters: leave it out to send the real server's address"
    }

    /// Enough for a check.
    AtMostHeaders {
        at: ".headers", field: ".headers",
        Check::MaxItems(MAX_ENTRIES),
        "headers must have at most 16 entries"
    }

    /// What frames the message is ours to say: a check has no body, and its connection ends with it.
    HeaderIsNotOurs {
        at: ".headers[]", field: ".headers[].name",
        Check::Cel("!self.name.matches('^(?i)(connection|content-length|transfer-encoding)$')"),
        "name must not be Connection, Content-Length or Transfer-Encoding, which the check sets itself"
    }

    /// A token (RFC 9110, section 5.6.2), without the two quotation marks.
    HeaderNameIsValid {
        at: ".headers[].name", field: ".headers[].name",
        Check::Text(256, "self.matches('^[0-9A-Za-z!#$%&*+.^_|~-]+$')"),
        "name must be a header's name: 1..256 letters, digits and !#$%&*+-.^_|~"
    }

    /// It is sent as it is, so nothing in it may end the line.
    HeaderValueIsValid {
        at: ".headers[].value", field: ".headers[].value",
        Check::Text(4_096, "self.matches('^[ -~]*$')"),
        "value must have at most 4096 printable ASCII characters and spaces"
    }

    /// Enough for a check.
    AtMostStatuses {
        at: ".expectedStatuses", field: ".expectedStatuses",
        Check::MaxItems(MAX_ENTRIES),
        "expectedStatuses must have at most 16 entries: use a range such as 200-399"
    }

    /// RFC 9110, section 15: 100..599. Three digits sort as text as they do as numbers.
    StatusIsValid {
        at: ".expectedStatuses[]", field: ".expectedStatuses[]",
        Check::Text(
            7,
            "self.matches('^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$') && (size(self) == 3 || self.substring(0, 3) <= self.substring(4))"
        ),
        "expectedStatuses must be statuses such as 204 or ranges such as 200-399, within 100..599, the lower one first"
    }

    /// Every body contains nothing.
    BodyContainsIsNotEmpty {
        at: ".bodyContains", field: ".bodyContains",
        Check::Cel("size(self) > 0"),
        "bodyContains must not be empty: leave it out to take any body"
    }

    /// CEL has another dialect (RE2), so the API server cannot say.
    BodyRegexIsValid {
        at: ".bodyRegex", field: ".bodyRegex",
        Check::Ours,
        "bodyRegex must be a regular expression of Rust's regex crate, at most 1024 characters and small when compiled: no look-around, no back-references"
    }

    /// RFC 9110, section 9.3.2.
    HeadHasNoBody {
        at: "", field: ".method",
        Check::Cel("self.method != 'HEAD' || !(has(self.bodyContains) || has(self.bodyRegex))"),
        "method must not be HEAD beside bodyContains or bodyRegex, because its answer has no body: use GET"
    }
}

rules! {
    /// The rules of verification by TLS, which `https` and `grpc` have alike.
    TlsRule of TlsPlace { Https = "spec.healthCheck.https.tls", Grpc = "spec.healthCheck.grpc.tls" }

    /// Nobody's certificates are trusted unless somebody says whose.
    CaIsNeeded {
        at: "", field: ".ca",
        Check::Cel("has(self.ca) || (has(self.insecureSkipVerify) && self.insecureSkipVerify)"),
        "ca must be given, the certificates of the authorities to trust: or set insecureSkipVerify to take any certificate"
    }

    /// See [`MAX_CA`].
    CaIsNotTooLong {
        at: ".ca", field: ".ca",
        Check::MaxLength(MAX_CA),
        "ca must be at most 65536 characters: leave out certificates that signed nothing here"
    }

    /// CEL cannot read certificates.
    CaHasCertificates {
        at: ".ca", field: ".ca",
        Check::Ours,
        "ca must be one or more certificates in PEM, each readable: from `-----BEGIN CERTIFICATE-----` to `-----END CERTIFICATE-----`"
    }

    /// The form of names is the TLS library's matter, and CEL knows it only in part.
    ServerNameIsValid {
        at: ".serverName", field: ".serverName",
        Check::Ours,
        "serverName must be a DNS name or an address, without a port: leave it out to take the host of the check"
    }
}

/// All rules of a health check, in the order in which they are reported.
pub fn of_health_check() -> impl Iterator<Item = Rule> {
    let own = HealthCheckRule::ALL.iter().map(|rule| rule.rule());
    let http = Scheme::ALL.iter().flat_map(|scheme| HttpRule::ALL.iter().map(|rule| rule.rule(*scheme)));
    let tls = TlsPlace::ALL.iter().flat_map(|place| TlsRule::ALL.iter().map(|rule| rule.rule(*place)));
    own.chain(http).chain(tls)
}
