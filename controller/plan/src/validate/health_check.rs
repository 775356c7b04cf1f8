//! The rules of `spec.healthCheck`.

use lvs_crds::rules::{
    Check, HealthCheckRule, HttpRule, MAX_ANSWER, MAX_DATAGRAM, Rule, Scheme, TlsPlace, TlsRule,
};
use lvs_crds::{DnsRcode, DnsType, HealthCheck, HttpCheck, HttpMethod, HttpsCheck, TlsOptions};

use super::{Breach, address, items, out_of_range, too_long, violations};
use crate::Family;
use crate::health::texts;
use crate::validate::Violation;

/// All rules that a health check breaks, in the order of the rules.
pub(super) fn broken(check: Option<&HealthCheck>) -> Vec<Violation> {
    let Some(check) = check else { return Vec::new() };
    let mut broken = Vec::new();
    let mut look = |rule: Rule, breach: Breach| broken.extend(violations(rule, breach));
    for rule in HealthCheckRule::ALL {
        look(rule.rule(), own_breach(*rule, check));
    }
    let https = check.https.as_deref().map(HttpsCheck::request);
    for (scheme, request) in [(Scheme::Http, check.http.as_deref()), (Scheme::Https, https.as_ref())] {
        for rule in HttpRule::ALL {
            let rule_here = rule.rule(scheme);
            look(rule_here, request.map_or(Breach::None, |request| http_breach(*rule, rule_here, request)));
        }
    }
    let of_https = check.https.as_ref().map(|https| &https.tls);
    let of_grpc = check.grpc.as_ref().and_then(|grpc| grpc.tls.as_ref());
    for (place, tls) in [(TlsPlace::Https, of_https), (TlsPlace::Grpc, of_grpc)] {
        for rule in TlsRule::ALL {
            let rule_here = rule.rule(place);
            look(rule_here, tls.map_or(Breach::None, |tls| tls_breach(*rule, rule_here, tls).into()));
        }
    }
    broken
}

/// Whether the source address is one in canonical form, but of another family than this address.
pub(super) fn source_is_of_another_family(check: Option<&HealthCheck>, family: Option<Family>) -> bool {
    let source = check.and_then(|check| check.source_address.as_deref());
    let source = source.filter(|source| !address::is_not_canonical(source)).and_then(address::family);
    source.zip(family).is_some_and(|(source, family)| source != family)
}

/// Whether the check asks a port. Without a kind it does only where there is one.
pub(super) fn asks_a_port(check: &HealthCheck) -> bool {
    let HealthCheck { tcp, http, https, grpc, dns, udp, .. } = check;
    tcp.is_some() || http.is_some() || https.is_some() || grpc.is_some() || dns.is_some() || udp.is_some()
}

/// Where a health check breaks a rule of its own. Destructured, so that a new field cannot be forgotten.
fn own_breach(rule: HealthCheckRule, check: &HealthCheck) -> Breach {
    use HealthCheckRule as Own;
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
    let broken = match rule {
        Own::AtMostOneKind => {
            let small = [tcp.is_some(), ping.is_some(), none.is_some(), udp.is_some(), dns.is_some()];
            let big = [http.is_some(), https.is_some(), grpc.is_some()];
            small.iter().chain(&big).filter(|is_set| **is_set).count() > 1
        }
        Own::IntervalInRange => out_of_range(rule.rule(), *interval_seconds),
        Own::TimeoutInRange => timeout_seconds.is_some_and(|it| out_of_range(rule.rule(), it)),
        Own::TimeoutWithinInterval => {
            timeout_seconds.is_some_and(|it| it <= 3_600 && *interval_seconds >= 1 && it > *interval_seconds)
        }
        Own::FallInRange => out_of_range(rule.rule(), *fall),
        Own::RiseInRange => out_of_range(rule.rule(), *rise),
        Own::CheckPortInRange => port.is_some_and(|port| out_of_range(rule.rule(), port)),
        Own::SourceAddressIsAddress => source_address
            .as_deref()
            .is_some_and(|text| address::parse(text).is_none() || address::is_not_canonical(text)),
        Own::CheckMarkInRange => firewall_mark.is_some_and(|mark| out_of_range(rule.rule(), mark)),
        Own::DnsNameIsValid => dns.as_ref().is_some_and(|dns| !is_dns_name(&dns.name)),
        Own::ExpectedAnswerHasALength => {
            let answer = dns.as_ref().and_then(|dns| dns.expected_answer.as_deref());
            answer.is_some_and(|answer| !(1..=MAX_ANSWER).contains(&answer.len()))
        }
        Own::ExpectedAnswerNeedsNoerror => dns
            .as_ref()
            .is_some_and(|dns| dns.expected_answer.is_some() && dns.expected_rcode == DnsRcode::Nxdomain),
        Own::ExpectedAnswerIsOfTheType => dns.as_ref().is_some_and(|dns| {
            let answer = dns.expected_answer.as_deref();
            let answer = answer.filter(|answer| (1..=MAX_ANSWER).contains(&answer.len()));
            answer.is_some_and(|answer| !is_answer(dns.type_, answer))
        }),
        Own::SendFitsADatagram => udp.as_ref().is_some_and(|udp| udp.send.len() > MAX_DATAGRAM),
        Own::ExpectIsNotEmpty => {
            udp.as_ref().and_then(|udp| udp.expect.as_deref()).is_some_and(str::is_empty)
        }
    };
    broken.into()
}

/// What frames the message.
const OUR_HEADERS: [&str; 3] = ["connection", "content-length", "transfer-encoding"];

/// RFC 3986, appendix A: path and query, with the brackets, braces and bars that everybody sends.
fn is_sent_in_a_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-./:;=?@[]_{|}~".contains(&byte)
}

/// Where an HTTP request breaks a rule.
fn http_breach(rule: HttpRule, here: Rule, request: &HttpCheck) -> Breach {
    let HttpCheck { method, path, host, headers, expected_statuses, body_contains, body_regex } = request;
    match rule {
        HttpRule::PathIsValid => {
            let rest = path.strip_prefix('/');
            (too_long_text(here, path) || !rest.is_some_and(|rest| rest.bytes().all(is_sent_in_a_path)))
                .into()
        }
        HttpRule::HostIsValid => host
            .as_deref()
            .is_some_and(|host| too_long_text(here, host) || !consists_of(host, b"._:%[]-"))
            .into(),
        HttpRule::AtMostHeaders => too_long(here, headers).into(),
        HttpRule::HeaderIsNotOurs => {
            items(headers, |header| OUR_HEADERS.iter().any(|ours| header.name.eq_ignore_ascii_case(ours)))
        }
        HttpRule::HeaderNameIsValid => items(headers, |header| {
            too_long_text(here, &header.name) || !consists_of(&header.name, b"!#$%&*+.^_|~-")
        }),
        HttpRule::HeaderValueIsValid => items(headers, |header| {
            let value = &header.value;
            too_long_text(here, value) || !value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        }),
        HttpRule::AtMostStatuses => too_long(here, expected_statuses).into(),
        HttpRule::StatusIsValid => items(expected_statuses, |entry| HttpCheck::statuses(entry).is_none()),
        HttpRule::BodyContainsIsNotEmpty => body_contains.as_deref().is_some_and(str::is_empty).into(),
        HttpRule::BodyRegexIsValid => {
            body_regex.as_deref().is_some_and(|text| texts::body_regex(text).is_none()).into()
        }
        HttpRule::HeadHasNoBody => {
            (*method == HttpMethod::Head && (body_contains.is_some() || body_regex.is_some())).into()
        }
    }
}

fn tls_breach(rule: TlsRule, here: Rule, tls: &TlsOptions) -> bool {
    let TlsOptions { server_name, ca, insecure_skip_verify } = tls;
    match rule {
        TlsRule::CaIsNeeded => ca.is_none() && !insecure_skip_verify,
        TlsRule::CaIsNotTooLong => ca.as_deref().is_some_and(|ca| too_long_text(here, ca)),
        TlsRule::CaHasCertificates => ca.as_deref().is_some_and(|ca| {
            let judged_already = ca.chars().count() as u64 > lvs_crds::rules::MAX_CA;
            !judged_already && texts::authorities(ca).is_none()
        }),
        TlsRule::ServerNameIsValid => server_name.as_deref().is_some_and(|name| !texts::is_server_name(name)),
    }
}

/// Whether text is longer than the rule allows.
fn too_long_text(rule: Rule, text: &str) -> bool {
    let (Check::MaxLength(most) | Check::Text(most, _)) = rule.check else {
        unreachable!("{} has no length", rule.field)
    };
    text.chars().count() as u64 > most
}

/// Whether text is not empty and has only letters, digits and these.
fn consists_of(text: &str, others: &[u8]) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
}

fn is_dns_name(name: &str) -> bool {
    is_name_of(name, |label| consists_of(label, b"_-"))
}

/// Whether a record of this type can say this.
fn is_answer(type_: DnsType, text: &str) -> bool {
    match type_ {
        DnsType::A => address::family(text) == Some(Family::IPv4),
        DnsType::Aaaa => address::family(text) == Some(Family::IPv6),
        DnsType::Txt => true,
        DnsType::Cname | DnsType::Mx | DnsType::Ns | DnsType::Ptr | DnsType::Soa | DnsType::Srv => {
            is_name_of(text, |label| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_graphic()))
        }
    }
}

/// Such labels of at most 63 characters, 253 in all; a dot at the end and the root's lone dot are fine.
fn is_name_of(name: &str, label: impl Fn(&str) -> bool) -> bool {
    let relative = name.strip_suffix('.').unwrap_or(name);
    name == "." || (relative.len() <= 253 && relative.split('.').all(|part| part.len() <= 63 && label(part)))
}
