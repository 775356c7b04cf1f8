//! Cases of `spec.healthCheck`, which both kinds have.

use serde_json::{Value, json};

use super::{Breach, Case, Expected};
use crate::rules::{HealthCheckRule as Own, HttpRule, Rule, Scheme, TlsPlace, TlsRule};

const EXPECTED_ANSWER: &str = ".dns.expectedAnswer";

/// A certificate authority that signed nothing anywhere.
const CA: &str = include_str!("ca.pem");

/// Of both kinds, whose health checks are the same. Of a real server's one breach of each rule is enough: it
/// shows that the rule is in the schema of that kind too.
pub(super) fn cases() -> Vec<Case> {
    let kinds = [
        ("VirtualService", json!({"vip": "172.16.21.10", "ports": [{"port": 80}]})),
        ("RealServer", json!({"address": "192.168.40.12"})),
    ];
    let of_kind = |(kind, least): (&'static str, Value)| {
        let case = move |name, check, expected| {
            let mut spec = least.clone();
            spec["healthCheck"] = check;
            Case { name, kind, spec, expected }
        };
        let mut cases: Vec<Case> =
            accepted().into_iter().map(|(name, check)| case(name, check, Expected::Accepted)).collect();
        let mut broken = broken();
        if kind == "RealServer" {
            broken.dedup_by_key(|(_, _, rule, _)| *rule);
        }
        cases.extend(broken.into_iter().map(|(name, check, rule, field)| {
            let breach = Breach { rule, field: format!("spec.healthCheck{field}") };
            case(name, check, Expected::Broken(vec![breach]))
        }));
        cases.extend(
            wrong_type()
                .into_iter()
                .map(|(name, check, field, words)| case(name, check, Expected::WrongType { field, words })),
        );
        cases
    };
    kinds.into_iter().flat_map(of_kind).collect()
}

/// One kind of check with some fields.
fn one(kind: &str, fields: &Value) -> Value {
    json!({kind: fields})
}

fn http(fields: &Value) -> Value {
    one("http", fields)
}

/// `https` with its certificate authority.
fn https(fields: &Value) -> Value {
    let mut fields = fields.clone();
    fields["tls"] = json!({"ca": CA});
    one("https", &fields)
}

fn tls(fields: &Value) -> Value {
    one("https", &json!({"tls": fields}))
}

fn statuses(statuses: &Value) -> Value {
    http(&json!({"expectedStatuses": statuses}))
}

fn headers(count: usize) -> Value {
    (0..count).map(|index| json!({"name": format!("x-{index}"), "value": "1"})).collect()
}

fn header(name: &str, value: &str) -> Value {
    http(&json!({"headers": [{"name": "accept", "value": "*/*"}, {"name": name, "value": value}]}))
}

fn asking(name: &str) -> Value {
    one("dns", &json!({"name": name}))
}

fn answer(record: &str, answer: &str) -> Value {
    one("dns", &json!({"name": "example.com", "type": record, "expectedAnswer": answer}))
}

/// A DNS name of so many characters, in labels of at most 50.
fn name_of(length: usize) -> String {
    let mut name = "a".repeat(length);
    (49..length - 1).step_by(50).for_each(|dot| name.replace_range(dot..=dot, "."));
    name
}

fn accepted() -> Vec<(&'static str, Value)> {
    vec![
        ("a check as it comes", json!({})),
        ("tcp", one("tcp", &json!({}))),
        ("ping", one("ping", &json!({}))),
        ("no check", one("none", &json!({}))),
        ("a check of another port", json!({"tcp": {}, "port": 65_535})),
        ("a port and no kind", json!({"port": 1})),
        ("the shortest interval", json!({"intervalSeconds": 1, "timeoutSeconds": 1, "fall": 1, "rise": 1})),
        ("the longest", json!({"intervalSeconds": 3_600, "timeoutSeconds": 3_600, "fall": 100, "rise": 100})),
        ("marked checks", json!({"firewallMark": 4_294_967_295_i64})),
        ("http", http(&json!({}))),
        (
            "http with everything",
            http(
                &json!({"method": "POST", "path": "/a%20b;@:?c=[d]&e=~|{f}$g'(*),+!_-.", "host": "[2001:db8::1]:8080",
                "headers": [{"name": "X-A_b.1", "value": ""}, {"name": "Accept", "value": "text/html; q=\"1\""}],
                "expectedStatuses": ["100", "204-204", "300-599"], "bodyContains": "ö", "bodyRegex": "^(?i)ok\\b"}),
            ),
        ),
        ("16 headers", http(&json!({"headers": headers(16)}))),
        ("16 statuses", statuses(&vec!["204"; 16].into())),
        ("the longest path", http(&json!({"path": format!("/{}", "a".repeat(2_047))}))),
        ("https", https(&json!({"path": "/healthz"}))),
        ("https that trusts anybody", tls(&json!({"insecureSkipVerify": true, "serverName": "web.example"}))),
        ("two authorities and text around", tls(&json!({"ca": format!("first\n{CA}second\n{CA}")}))),
        ("the name of an address", tls(&json!({"ca": CA, "serverName": "2001:db8::1"}))),
        ("grpc", one("grpc", &json!({}))),
        ("grpc over TLS", one("grpc", &json!({"service": "a.B", "tls": {"ca": CA}}))),
        ("dns", asking("example.com")),
        (
            "dns with everything",
            one(
                "dns",
                &json!({"name": "_sip._udp.example.com.", "type": "SRV", "expectedRcode": "NOERROR",
                "expectedAnswer": "a"}),
            ),
        ),
        ("dns of a name that must not be", {
            one("dns", &json!({"name": "web.example", "expectedRcode": "NXDOMAIN"}))
        }),
        ("an address, in answer to the type that is the default", {
            one("dns", &json!({"name": "example.com", "expectedAnswer": "192.0.2.1"}))
        }),
        ("an IPv6 address in answer", answer("AAAA", "2001:DB8:0::1")),
        ("the longest text", answer("TXT", &"ö".repeat(2_048))),
        ("a name with a slash", answer("CNAME", "1.0/25.2.0.192.in-addr.arpa.")),
        ("the longest name as an answer", answer("PTR", &format!("{}.", name_of(253)))),
        ("the root as an answer", answer("NS", ".")),
        ("the root of all names", asking(".")),
        ("the longest name", asking(&name_of(253))),
        ("the longest name with its dot", asking(&format!("{}.", name_of(253)))),
        ("udp", one("udp", &json!({}))),
        ("udp with everything", one("udp", &json!({"send": "ö".repeat(256), "expect": "pong"}))),
    ]
}

/// A name, a health check, the rule that it breaks and the field below `spec.healthCheck` that breaks it.
fn broken() -> Vec<(&'static str, Value, Rule, &'static str)> {
    let plain = |rule: HttpRule| rule.rule(Scheme::Http);
    let over_tls = |rule: HttpRule| rule.rule(Scheme::Https);
    let https_tls = |rule: TlsRule| rule.rule(TlsPlace::Https);
    let grpc_tls = |rule: TlsRule| rule.rule(TlsPlace::Grpc);
    let grpc = |fields: &Value| one("grpc", &json!({"tls": fields}));
    let status = || plain(HttpRule::StatusIsValid);
    let name = || Own::DnsNameIsValid.rule();
    let (length, of_the_type) =
        (|| Own::ExpectedAnswerHasALength.rule(), || Own::ExpectedAnswerIsOfTheType.rule());
    let no_certificate = CA.replace("CERTIFICATE", "PUBLIC KEY");
    let (no_base64, cut) = (CA.replace("MII", "!!!"), CA.replace("MII", "MIH"));
    vec![
        ("two kinds", json!({"tcp": {}, "ping": {}}), Own::AtMostOneKind.rule(), ""),
        ("a kind and none", json!({"udp": {}, "none": {}}), Own::AtMostOneKind.rule(), ""),
        ("no interval", json!({"intervalSeconds": 0}), Own::IntervalInRange.rule(), ".intervalSeconds"),
        ("over an hour", json!({"intervalSeconds": 3_601}), Own::IntervalInRange.rule(), ".intervalSeconds"),
        ("no timeout", json!({"timeoutSeconds": 0}), Own::TimeoutInRange.rule(), ".timeoutSeconds"),
        (
            "a timeout over an hour",
            json!({"timeoutSeconds": 3_601}),
            Own::TimeoutInRange.rule(),
            ".timeoutSeconds",
        ),
        (
            "a timeout of six",
            json!({"timeoutSeconds": 6}),
            Own::TimeoutWithinInterval.rule(),
            ".timeoutSeconds",
        ),
        ("no failure", json!({"fall": 0}), Own::FallInRange.rule(), ".fall"),
        ("101 failures", json!({"fall": 101}), Own::FallInRange.rule(), ".fall"),
        ("no success", json!({"rise": 0}), Own::RiseInRange.rule(), ".rise"),
        ("101 successes", json!({"rise": 101}), Own::RiseInRange.rule(), ".rise"),
        ("a check of port 0", json!({"port": 0}), Own::CheckPortInRange.rule(), ".port"),
        ("a check of port 65536", json!({"port": 65_536}), Own::CheckPortInRange.rule(), ".port"),
        (
            "a source by name",
            json!({"sourceAddress": "d1"}),
            Own::SourceAddressIsAddress.rule(),
            ".sourceAddress",
        ),
        (
            "a source in capitals",
            json!({"sourceAddress": "2001:DB8::1"}),
            Own::SourceAddressIsAddress.rule(),
            ".sourceAddress",
        ),
        ("check mark 0", json!({"firewallMark": 0}), Own::CheckMarkInRange.rule(), ".firewallMark"),
        (
            "check mark 2^32",
            json!({"firewallMark": 4_294_967_296_i64}),
            Own::CheckMarkInRange.rule(),
            ".firewallMark",
        ),
        ("no name", asking(""), name(), ".dns.name"),
        ("a blank in a name", asking("web example"), name(), ".dns.name"),
        ("two dots", asking("web..example"), name(), ".dns.name"),
        ("a label of 64", asking(&"a".repeat(64)), name(), ".dns.name"),
        ("a name of 254", asking(&name_of(254)), name(), ".dns.name"),
        ("a name of 255", asking(&name_of(255)), name(), ".dns.name"),
        (
            "an empty answer",
            one("dns", &json!({"name": "web.example", "expectedAnswer": ""})),
            length(),
            EXPECTED_ANSWER,
        ),
        ("an answer of 4097 bytes", answer("TXT", &"a".repeat(4_097)), length(), EXPECTED_ANSWER),
        (
            "an answer of 4098 bytes in 2049 letters",
            { answer("TXT", &"ö".repeat(2_049)) },
            length(),
            EXPECTED_ANSWER,
        ),
        (
            "an answer of a name that must not be",
            one(
                "dns",
                &json!({"name": "web.example", "expectedRcode": "NXDOMAIN", "expectedAnswer": "192.0.2.1"}),
            ),
            Own::ExpectedAnswerNeedsNoerror.rule(),
            EXPECTED_ANSWER,
        ),
        ("a name in answer to A", answer("A", "web.example"), of_the_type(), EXPECTED_ANSWER),
        ("an IPv6 address in answer to A", answer("A", "2001:db8::1"), of_the_type(), EXPECTED_ANSWER),
        ("an IPv4 address in answer to AAAA", answer("AAAA", "192.0.2.1"), of_the_type(), EXPECTED_ANSWER),
        ("a blank in the name of an answer", answer("CNAME", "web example"), of_the_type(), EXPECTED_ANSWER),
        ("a label of 64 in an answer", answer("MX", &"a".repeat(64)), of_the_type(), EXPECTED_ANSWER),
        ("an answer of two dots", answer("NS", ".."), of_the_type(), EXPECTED_ANSWER),
        ("a name of 254 as an answer", answer("SRV", &name_of(254)), of_the_type(), EXPECTED_ANSWER),
        (
            "a name of 254 with its dot as an answer",
            { answer("SOA", &format!("{}.", name_of(254))) },
            of_the_type(),
            EXPECTED_ANSWER,
        ),
        (
            "513 bytes",
            one("udp", &json!({"send": "a".repeat(513)})),
            Own::SendFitsADatagram.rule(),
            ".udp.send",
        ),
        (
            "514 bytes in 257 letters",
            one("udp", &json!({"send": "ö".repeat(257)})),
            Own::SendFitsADatagram.rule(),
            ".udp.send",
        ),
        ("nothing expected", one("udp", &json!({"expect": ""})), Own::ExpectIsNotEmpty.rule(), ".udp.expect"),
        (
            "a path without its slash",
            http(&json!({"path": "healthz"})),
            plain(HttpRule::PathIsValid),
            ".http.path",
        ),
        ("an empty path", http(&json!({"path": ""})), plain(HttpRule::PathIsValid), ".http.path"),
        ("a path with a blank", http(&json!({"path": "/a b"})), plain(HttpRule::PathIsValid), ".http.path"),
        (
            "a path with a fragment",
            http(&json!({"path": "/a#b"})),
            plain(HttpRule::PathIsValid),
            ".http.path",
        ),
        (
            "a path in quotation marks",
            http(&json!({"path": "/\"a\""})),
            plain(HttpRule::PathIsValid),
            ".http.path",
        ),
        (
            "a backslash in a path",
            http(&json!({"path": "/a\\b"})),
            plain(HttpRule::PathIsValid),
            ".http.path",
        ),
        ("a path with a line", http(&json!({"path": "/a\r\nb"})), plain(HttpRule::PathIsValid), ".http.path"),
        (
            "a path that ends a line",
            http(&json!({"path": "/a\n"})),
            plain(HttpRule::PathIsValid),
            ".http.path",
        ),
        (
            "a path of 2049",
            http(&json!({"path": format!("/{}", "a".repeat(2_048))})),
            plain(HttpRule::PathIsValid),
            ".http.path",
        ),
        ("an empty host", http(&json!({"host": ""})), plain(HttpRule::HostIsValid), ".http.host"),
        ("a host with a path", http(&json!({"host": "web/a"})), plain(HttpRule::HostIsValid), ".http.host"),
        (
            "17 headers",
            http(&json!({"headers": headers(17)})),
            plain(HttpRule::AtMostHeaders),
            ".http.headers",
        ),
        ("no header name", header("", "1"), plain(HttpRule::HeaderNameIsValid), ".http.headers[1].name"),
        (
            "the length of a body",
            header("content-Length", "1"),
            plain(HttpRule::HeaderIsNotOurs),
            ".http.headers[1].name",
        ),
        ("a colon in a name", header("a:", "1"), plain(HttpRule::HeaderNameIsValid), ".http.headers[1].name"),
        (
            "a line in a value",
            header("a", "1\r\n"),
            plain(HttpRule::HeaderValueIsValid),
            ".http.headers[1].value",
        ),
        (
            "a letter beyond ASCII",
            header("a", "ö"),
            plain(HttpRule::HeaderValueIsValid),
            ".http.headers[1].value",
        ),
        (
            "17 statuses",
            statuses(&vec!["204"; 17].into()),
            plain(HttpRule::AtMostStatuses),
            ".http.expectedStatuses",
        ),
        ("status 600", statuses(&json!(["204", "600"])), status(), ".http.expectedStatuses[1]"),
        ("statuses up to 600", statuses(&json!(["200-600"])), status(), ".http.expectedStatuses[0]"),
        ("status 99", statuses(&json!(["099"])), status(), ".http.expectedStatuses[0]"),
        ("statuses out of order", statuses(&json!(["400-399"])), status(), ".http.expectedStatuses[0]"),
        ("statuses with blanks", statuses(&json!(["200 - 399"])), status(), ".http.expectedStatuses[0]"),
        ("a class of statuses", statuses(&json!(["2xx"])), status(), ".http.expectedStatuses[0]"),
        (
            "no text in a body",
            http(&json!({"bodyContains": ""})),
            plain(HttpRule::BodyContainsIsNotEmpty),
            ".http.bodyContains",
        ),
        (
            "half a class",
            http(&json!({"bodyRegex": "[a"})),
            plain(HttpRule::BodyRegexIsValid),
            ".http.bodyRegex",
        ),
        (
            "look-around",
            http(&json!({"bodyRegex": "(?=a)"})),
            plain(HttpRule::BodyRegexIsValid),
            ".http.bodyRegex",
        ),
        (
            "a huge regular expression",
            http(&json!({"bodyRegex": "(\\w{100}){100}"})),
            plain(HttpRule::BodyRegexIsValid),
            ".http.bodyRegex",
        ),
        (
            "a long regular expression",
            http(&json!({"bodyRegex": "a".repeat(1_025)})),
            plain(HttpRule::BodyRegexIsValid),
            ".http.bodyRegex",
        ),
        (
            "the body of a HEAD",
            http(&json!({"method": "HEAD", "bodyContains": "ok"})),
            plain(HttpRule::HeadHasNoBody),
            ".http.method",
        ),
        (
            "a path over TLS",
            https(&json!({"path": "healthz"})),
            over_tls(HttpRule::PathIsValid),
            ".https.path",
        ),
        ("a host over TLS", https(&json!({"host": "a b"})), over_tls(HttpRule::HostIsValid), ".https.host"),
        (
            "17 headers over TLS",
            https(&json!({"headers": headers(17)})),
            over_tls(HttpRule::AtMostHeaders),
            ".https.headers",
        ),
        (
            "a header's name over TLS",
            https(&json!({"headers": [{"name": "a b", "value": ""}]})),
            over_tls(HttpRule::HeaderNameIsValid),
            ".https.headers[0].name",
        ),
        (
            "a header that is ours over TLS",
            https(&json!({"headers": [{"name": "Connection", "value": "close"}]})),
            over_tls(HttpRule::HeaderIsNotOurs),
            ".https.headers[0].name",
        ),
        (
            "a header's value over TLS",
            https(&json!({"headers": [{"name": "a", "value": "\u{7f}"}]})),
            over_tls(HttpRule::HeaderValueIsValid),
            ".https.headers[0].value",
        ),
        (
            "17 statuses over TLS",
            https(&json!({"expectedStatuses": vec!["204"; 17]})),
            over_tls(HttpRule::AtMostStatuses),
            ".https.expectedStatuses",
        ),
        (
            "a status over TLS",
            https(&json!({"expectedStatuses": ["20"]})),
            over_tls(HttpRule::StatusIsValid),
            ".https.expectedStatuses[0]",
        ),
        (
            "no text in a body over TLS",
            https(&json!({"bodyContains": ""})),
            over_tls(HttpRule::BodyContainsIsNotEmpty),
            ".https.bodyContains",
        ),
        (
            "a back-reference over TLS",
            https(&json!({"bodyRegex": "(a)\\1"})),
            over_tls(HttpRule::BodyRegexIsValid),
            ".https.bodyRegex",
        ),
        (
            "the body of a HEAD over TLS",
            https(&json!({"method": "HEAD", "bodyRegex": "ok"})),
            over_tls(HttpRule::HeadHasNoBody),
            ".https.method",
        ),
        ("nobody to trust", tls(&json!({})), https_tls(TlsRule::CaIsNeeded), ".https.tls.ca"),
        (
            "nobody to trust, said",
            tls(&json!({"insecureSkipVerify": false})),
            https_tls(TlsRule::CaIsNeeded),
            ".https.tls.ca",
        ),
        (
            "an authority of 65537 characters",
            tls(&json!({"ca": "a".repeat(65_537)})),
            https_tls(TlsRule::CaIsNotTooLong),
            ".https.tls.ca",
        ),
        (
            "an empty authority",
            tls(&json!({"ca": ""})),
            https_tls(TlsRule::CaHasCertificates),
            ".https.tls.ca",
        ),
        (
            "a key for an authority",
            tls(&json!({"ca": no_certificate})),
            https_tls(TlsRule::CaHasCertificates),
            ".https.tls.ca",
        ),
        ("no base64", tls(&json!({"ca": no_base64})), https_tls(TlsRule::CaHasCertificates), ".https.tls.ca"),
        (
            "no certificate inside",
            tls(&json!({"ca": cut})),
            https_tls(TlsRule::CaHasCertificates),
            ".https.tls.ca",
        ),
        (
            "a server name with a port",
            tls(&json!({"ca": CA, "serverName": "web.example:443"})),
            https_tls(TlsRule::ServerNameIsValid),
            ".https.tls.serverName",
        ),
        ("grpc that trusts nobody", grpc(&json!({})), grpc_tls(TlsRule::CaIsNeeded), ".grpc.tls.ca"),
        (
            "grpc's authority of 65537 characters",
            grpc(&json!({"ca": "a".repeat(65_537)})),
            grpc_tls(TlsRule::CaIsNotTooLong),
            ".grpc.tls.ca",
        ),
        ("grpc's authority", grpc(&json!({"ca": "x"})), grpc_tls(TlsRule::CaHasCertificates), ".grpc.tls.ca"),
        (
            "grpc's server name",
            grpc(&json!({"ca": CA, "serverName": ""})),
            grpc_tls(TlsRule::ServerNameIsValid),
            ".grpc.tls.serverName",
        ),
    ]
}

fn wrong_type() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let unsupported = "Unsupported value";
    vec![
        (
            "a method in small letters",
            http(&json!({"method": "get"})),
            "spec.healthCheck.http.method",
            unsupported,
        ),
        (
            "an unknown type",
            one("dns", &json!({"name": "a", "type": "ANY"})),
            "spec.healthCheck.dns.type",
            unsupported,
        ),
        ("dns without a name", one("dns", &json!({})), "spec.healthCheck.dns.name", "Required value"),
        ("https without tls", one("https", &json!({})), "spec.healthCheck.https.tls", "Required value"),
        ("a kind that is a word", json!({"tcp": "yes"}), "spec.healthCheck.tcp", "must be of type object"),
        (
            "a status as a number",
            statuses(&json!([204])),
            "spec.healthCheck.http.expectedStatuses[0]",
            "string",
        ),
    ]
}
