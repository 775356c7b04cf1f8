//! Cases of `VirtualService`.

use serde_json::{Map, Value, json};

use super::{Breach, Case, Expected};
use crate::rules::VirtualServiceRule as Rule;

/// A spec that keeps every rule, with some fields changed; `null` takes a field away.
fn web(changes: &Value) -> Value {
    changed(&json!({"vip": "172.16.21.10", "ports": [{"port": 80}]}), changes)
}

/// The same with a firewall mark.
fn marked(changes: &Value) -> Value {
    changed(&json!({"firewallMark": 7, "family": "IPv4"}), changes)
}

fn changed(spec: &Value, changes: &Value) -> Value {
    let both = spec.as_object().into_iter().chain(changes.as_object()).flatten();
    let mut fields: Map<String, Value> = both.map(|(name, value)| (name.clone(), value.clone())).collect();
    fields.retain(|_, value| !value.is_null());
    Value::Object(fields)
}

fn selecting(expression: &Value) -> Value {
    web(
        &json!({"realServerSelector": {"matchExpressions": [{"key": "zone", "operator": "Exists"}, expression]}}),
    )
}

fn ports(count: u16) -> Value {
    (1..=count).map(|port| json!({"port": port})).collect()
}

fn expressions(count: usize) -> Value {
    (0..count).map(|index| json!({"key": format!("label{index}"), "operator": "Exists"})).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let kind = "VirtualService";
    let mut cases: Vec<Case> = accepted()
        .into_iter()
        .map(|(name, spec)| Case { name, kind, spec, expected: Expected::Accepted })
        .collect();
    cases.extend(broken().into_iter().map(|(name, spec, rules)| {
        let breach = |(rule, field): (Rule, &str)| Breach { rule: rule.rule(), field: field.to_owned() };
        Case { name, kind, spec, expected: Expected::Broken(rules.into_iter().map(breach).collect()) }
    }));
    cases.extend(wrong_type().into_iter().map(|(name, spec, field, words)| Case {
        name,
        kind,
        spec,
        expected: Expected::WrongType { field, words },
    }));
    cases
}

fn accepted() -> Vec<(&'static str, Value)> {
    let udp = json!([{"port": 53, "protocol": "UDP"}]);
    vec![
        ("the least that works", web(&json!({}))),
        ("an IPv6 VIP", web(&json!({"vip": "2001:db8::10"}))),
        ("a unique local IPv6 VIP", web(&json!({"vip": "fd00::10"}))),
        ("an address of the old class E", web(&json!({"vip": "240.0.0.1"}))),
        (
            "one port in three protocols",
            web(&json!({"ports": [
            {"port": 443}, {"port": 443, "protocol": "UDP"}, {"name": "sig", "port": 443, "protocol": "SCTP"}]})),
        ),
        ("the first and the last port", web(&json!({"ports": [{"port": 1}, {"port": 65535}]}))),
        ("64 ports", web(&json!({"ports": ports(64)}))),
        ("the first firewall mark", marked(&json!({"firewallMark": 1}))),
        ("the last firewall mark", marked(&json!({"firewallMark": 4_294_967_295_i64, "family": "IPv6"}))),
        ("no ports beside a firewall mark", marked(&json!({"ports": []}))),
        ("sh with its flags", web(&json!({"scheduler": "sh", "schedulerFlags": ["sh-fallback", "sh-port"]}))),
        ("mh with its flags", web(&json!({"scheduler": "mh", "schedulerFlags": ["mh-port", "mh-fallback"]}))),
        ("no flags", web(&json!({"schedulerFlags": []}))),
        ("persistence as it comes", web(&json!({"persistence": {}}))),
        (
            "the shortest and widest persistence",
            web(&json!({"persistence": {"timeoutSeconds": 1, "prefixLength": 1}})),
        ),
        (
            "the longest and narrowest persistence",
            web(&json!({"vip": "2001:db8::10",
            "persistence": {"timeoutSeconds": 2_678_400, "prefixLength": 128}})),
        ),
        ("the whole IPv4 address", web(&json!({"persistence": {"prefixLength": 32}}))),
        (
            "a long prefix of an IPv6 mark",
            marked(&json!({"family": "IPv6", "persistence": {"prefixLength": 64}})),
        ),
        (
            "SIP",
            web(&json!({"ports": [{"port": 5060, "protocol": "UDP"}], "persistence": {"engine": "sip"}})),
        ),
        ("SIP by a firewall mark", marked(&json!({"persistence": {"engine": "sip"}}))),
        ("one packet at a time", web(&json!({"ports": udp, "onePacket": true}))),
        ("one packet at a time by a firewall mark", marked(&json!({"onePacket": true}))),
        ("no one-packet scheduling", web(&json!({"onePacket": false}))),
        ("every real server of the namespace", web(&json!({"realServerSelector": {}}))),
        (
            "every operator",
            web(&json!({"realServerSelector": {"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["1", "2"]}, {"key": "b", "operator": "NotIn", "values": ["1"]},
            {"key": "c", "operator": "Exists"}, {"key": "d", "operator": "DoesNotExist", "values": []}]}})),
        ),
        ("checks from an address", web(&json!({"healthCheck": {"sourceAddress": "172.16.21.2"}}))),
        (
            "checks from an address of a mark's family",
            marked(&json!({"family": "IPv6", "healthCheck": {"sourceAddress": "2001:db8::1"}})),
        ),
        ("a mark's check by ping", marked(&json!({"healthCheck": {"ping": {}}}))),
        ("a mark without a check", marked(&json!({"healthCheck": {"none": {}}}))),
        ("a mark's check as it comes", marked(&json!({"healthCheck": {"fall": 1}}))),
        ("a mark's check of a port", marked(&json!({"healthCheck": {"http": {}, "port": 80}}))),
        ("removal at once", web(&json!({"onFailure": "Remove", "drainTimeoutSeconds": 0}))),
        ("removal after a day", web(&json!({"onFailure": "Quiesce", "drainTimeoutSeconds": 86_400}))),
        ("a sorry server", web(&json!({"sorryServer": {"address": "192.168.40.99"}}))),
        (
            "an IPv6 mark's sorry server",
            marked(&json!({"family": "IPv6", "sorryServer": {"address": "2001:db8::99"}})),
        ),
        ("no panic", web(&json!({"panicThresholdPercent": 0}))),
        ("panic at the first failure", web(&json!({"panicThresholdPercent": 100}))),
        ("no slow start", web(&json!({"slowStartSeconds": 0, "scheduler": "rr"}))),
        ("the fastest slow start", web(&json!({"slowStartSeconds": 20}))),
        ("the slowest", web(&json!({"slowStartSeconds": 3_600, "scheduler": "sh"}))),
        ("64 expressions", web(&json!({"realServerSelector": {"matchExpressions": expressions(64)}}))),
    ]
}

/// A name, a spec, and the rules that it breaks with the fields that break them.
type Broken = (&'static str, Value, Vec<(Rule, &'static str)>);

fn broken() -> Vec<Broken> {
    let vip = |vip: &str| web(&json!({"vip": vip}));
    let is_not_global = || vec![(Rule::VipIsGlobalUnicast, "spec.vip")];
    let is_no_address = || vec![(Rule::VipIsAddress, "spec.vip")];
    let is_not_canonical = || vec![(Rule::VipIsCanonical, "spec.vip")];
    let tcp = json!([{"port": 53, "protocol": "UDP"}, {"port": 53}]);
    vec![
        ("nothing at all", json!({}), vec![(Rule::VipOrFirewallMark, "spec")]),
        ("neither a VIP nor a mark", web(&json!({"vip": null})), vec![(Rule::VipOrFirewallMark, "spec")]),
        ("a family and nothing else", json!({"family": "IPv4"}), vec![(Rule::VipOrFirewallMark, "spec")]),
        ("a VIP and a mark", web(&json!({"firewallMark": 7})), vec![(Rule::VipOrFirewallMark, "spec")]),
        (
            "a VIP, a mark and its family",
            web(&json!({"firewallMark": 7, "family": "IPv4"})),
            vec![(Rule::VipOrFirewallMark, "spec")],
        ),
        ("a host name for a VIP", vip("web.example"), is_no_address()),
        ("an empty VIP", vip(""), is_no_address()),
        ("a VIP with a prefix length", vip("172.16.21.10/32"), is_no_address()),
        ("a VIP with a port", vip("172.16.21.10:80"), is_no_address()),
        ("a VIP in brackets", vip("[2001:db8::10]"), is_no_address()),
        ("a VIP with a zone", vip("fe80::1%eth0"), is_no_address()),
        ("a VIP with a leading zero", vip("172.16.021.10"), is_no_address()),
        ("a VIP with a blank", vip("172.16.21.10 "), is_no_address()),
        ("an IPv4-mapped VIP", vip("::ffff:172.16.21.10"), is_no_address()),
        ("an IPv4-mapped VIP in hexadecimal", vip("::ffff:ac10:150a"), is_no_address()),
        ("a VIP in capitals", vip("2001:DB8::10"), is_not_canonical()),
        ("a VIP with zeros written out", vip("2001:db8:0:0:0:0:0:10"), is_not_canonical()),
        ("a VIP with leading zeros in a group", vip("2001:0db8::10"), is_not_canonical()),
        ("a VIP that shortens a single zero", vip("2001:db8:1:2:3:4::10"), is_not_canonical()),
        ("a VIP with an IPv4 tail", vip("64:ff9b::172.16.21.10"), is_not_canonical()),
        ("a link-local VIP in capitals", vip("FE80::1"), is_not_canonical()),
        ("a loopback VIP", vip("127.0.0.1"), is_not_global()),
        ("another loopback VIP", vip("127.8.8.8"), is_not_global()),
        ("an IPv6 loopback VIP", vip("::1"), is_not_global()),
        ("a link-local VIP", vip("169.254.1.1"), is_not_global()),
        ("an IPv6 link-local VIP", vip("fe80::1"), is_not_global()),
        ("a multicast VIP", vip("224.0.0.18"), is_not_global()),
        ("an IPv6 multicast VIP", vip("ff02::12"), is_not_global()),
        ("an unspecified VIP", vip("0.0.0.0"), is_not_global()),
        ("an unspecified IPv6 VIP", vip("::"), is_not_global()),
        ("the broadcast address", vip("255.255.255.255"), is_not_global()),
        ("a VIP without ports", web(&json!({"ports": null})), vec![(Rule::VipNeedsPorts, "spec.ports")]),
        (
            "a VIP with an empty list of ports",
            web(&json!({"ports": []})),
            vec![(Rule::VipNeedsPorts, "spec.ports")],
        ),
        ("65 ports", web(&json!({"ports": ports(65)})), vec![(Rule::AtMostPorts, "spec.ports")]),
        (
            "a port twice",
            web(&json!({"ports": [{"port": 80}, {"port": 80}]})),
            vec![(Rule::PortsAreUnique, "spec.ports[1]")],
        ),
        (
            "a port twice under two names",
            web(&json!({"ports": [
            {"name": "a", "port": 80}, {"port": 81}, {"name": "b", "port": 80, "protocol": "TCP"}]})),
            vec![(Rule::PortsAreUnique, "spec.ports[2]")],
        ),
        (
            "port 0",
            web(&json!({"ports": [{"port": 80}, {"port": 0}]})),
            vec![(Rule::PortInRange, "spec.ports[1].port")],
        ),
        (
            "port 65536",
            web(&json!({"ports": [{"port": 65536}]})),
            vec![(Rule::PortInRange, "spec.ports[0].port")],
        ),
        (
            "a negative port",
            web(&json!({"ports": [{"port": -80}]})),
            vec![(Rule::PortInRange, "spec.ports[0].port")],
        ),
        (
            "a mark with ports",
            marked(&json!({"ports": [{"port": 80}]})),
            vec![(Rule::FirewallMarkWithoutPorts, "spec.ports")],
        ),
        (
            "mark 0",
            marked(&json!({"firewallMark": 0})),
            vec![(Rule::FirewallMarkInRange, "spec.firewallMark")],
        ),
        (
            "mark 2^32",
            marked(&json!({"firewallMark": 4_294_967_296_i64})),
            vec![(Rule::FirewallMarkInRange, "spec.firewallMark")],
        ),
        (
            "a mark without a family",
            marked(&json!({"family": null})),
            vec![(Rule::FirewallMarkNeedsFamily, "spec.family")],
        ),
        (
            "a VIP with a family",
            web(&json!({"family": "IPv4"})),
            vec![(Rule::FamilyOnlyWithFirewallMark, "spec.family")],
        ),
        (
            "flags without their scheduler",
            web(&json!({"schedulerFlags": ["sh-port"]})),
            vec![(Rule::FlagsFitTheScheduler, "spec.schedulerFlags")],
        ),
        (
            "a flag of sh with mh",
            web(&json!({"scheduler": "mh", "schedulerFlags": ["mh-port", "sh-fallback"]})),
            vec![(Rule::FlagsFitTheScheduler, "spec.schedulerFlags")],
        ),
        (
            "a flag twice",
            web(&json!({"scheduler": "sh", "schedulerFlags": ["sh-port", "sh-port"]})),
            vec![(Rule::FlagsAreUnique, "spec.schedulerFlags[1]")],
        ),
        (
            "no time to persist",
            web(&json!({"persistence": {"timeoutSeconds": 0}})),
            vec![(Rule::PersistenceTimeoutInRange, "spec.persistence.timeoutSeconds")],
        ),
        (
            "32 days to persist",
            web(&json!({"persistence": {"timeoutSeconds": 2_764_800}})),
            vec![(Rule::PersistenceTimeoutInRange, "spec.persistence.timeoutSeconds")],
        ),
        (
            "prefix length 0",
            web(&json!({"persistence": {"prefixLength": 0}})),
            vec![(Rule::PrefixLengthInRange, "spec.persistence.prefixLength")],
        ),
        (
            "prefix length 129",
            web(&json!({"persistence": {"prefixLength": 129}})),
            vec![(Rule::PrefixLengthInRange, "spec.persistence.prefixLength")],
        ),
        (
            "prefix length 33 of an IPv4 VIP",
            web(&json!({"persistence": {"prefixLength": 33}})),
            vec![(Rule::PrefixLengthFitsFamily, "spec.persistence.prefixLength")],
        ),
        (
            "prefix length 64 of an IPv4 mark",
            marked(&json!({"persistence": {"prefixLength": 64}})),
            vec![(Rule::PrefixLengthFitsFamily, "spec.persistence.prefixLength")],
        ),
        (
            "SIP over TCP",
            web(&json!({"persistence": {"engine": "sip"}})),
            vec![(Rule::SipNeedsUdp, "spec.persistence.engine")],
        ),
        (
            "SIP over TCP too",
            web(&json!({"ports": tcp, "persistence": {"engine": "sip"}})),
            vec![(Rule::SipNeedsUdp, "spec.persistence.engine")],
        ),
        (
            "one packet of TCP",
            web(&json!({"onePacket": true})),
            vec![(Rule::OnePacketNeedsUdp, "spec.onePacket")],
        ),
        (
            "one packet of TCP too",
            web(&json!({"ports": tcp, "onePacket": true})),
            vec![(Rule::OnePacketNeedsUdp, "spec.onePacket")],
        ),
        (
            "65 expressions",
            web(&json!({"realServerSelector": {"matchExpressions": expressions(65)}})),
            vec![(Rule::AtMostExpressions, "spec.realServerSelector.matchExpressions")],
        ),
        (
            "an unknown operator",
            selecting(&json!({"key": "app", "operator": "Gt", "values": ["1"]})),
            vec![(Rule::OperatorIsKnown, "spec.realServerSelector.matchExpressions[1].operator")],
        ),
        (
            "In without values",
            selecting(&json!({"key": "app", "operator": "In"})),
            vec![(Rule::OperatorNeedsValues, "spec.realServerSelector.matchExpressions[1].values")],
        ),
        (
            "NotIn with an empty list",
            selecting(&json!({"key": "app", "operator": "NotIn", "values": []})),
            vec![(Rule::OperatorNeedsValues, "spec.realServerSelector.matchExpressions[1].values")],
        ),
        (
            "Exists with values",
            selecting(&json!({"key": "app", "operator": "Exists", "values": ["web"]})),
            vec![(Rule::OperatorWithoutValues, "spec.realServerSelector.matchExpressions[1].values")],
        ),
        (
            "a mark's check without its port",
            marked(&json!({"healthCheck": {"tcp": {}}})),
            vec![(Rule::CheckNeedsPort, "spec.healthCheck.port")],
        ),
        (
            "a mark's DNS check without its port",
            marked(&json!({"healthCheck": {"dns": {"name": "a"}}})),
            vec![(Rule::CheckNeedsPort, "spec.healthCheck.port")],
        ),
        (
            "checks from another family",
            web(&json!({"healthCheck": {"sourceAddress": "2001:db8::1"}})),
            vec![(Rule::SourceAddressFitsFamily, "spec.healthCheck.sourceAddress")],
        ),
        (
            "checks from another family than a mark's",
            marked(&json!({"healthCheck": {"sourceAddress": "2001:db8::1"}})),
            vec![(Rule::SourceAddressFitsFamily, "spec.healthCheck.sourceAddress")],
        ),
        (
            "removal before the failure",
            web(&json!({"drainTimeoutSeconds": -1})),
            vec![(Rule::DrainTimeoutInRange, "spec.drainTimeoutSeconds")],
        ),
        (
            "removal after more than a day",
            web(&json!({"drainTimeoutSeconds": 86_401})),
            vec![(Rule::DrainTimeoutInRange, "spec.drainTimeoutSeconds")],
        ),
        (
            "a sorry server by name",
            web(&json!({"sorryServer": {"address": "sorry.example"}})),
            vec![(Rule::SorryIsAddress, "spec.sorryServer.address")],
        ),
        (
            "a sorry server in capitals",
            web(&json!({"vip": "2001:db8::10", "sorryServer": {"address": "2001:DB8::99"}})),
            vec![(Rule::SorryIsCanonical, "spec.sorryServer.address")],
        ),
        (
            "a loopback sorry server",
            web(&json!({"sorryServer": {"address": "127.0.0.1"}})),
            vec![(Rule::SorryIsGlobalUnicast, "spec.sorryServer.address")],
        ),
        (
            "a sorry server of another family",
            web(&json!({"sorryServer": {"address": "2001:db8::99"}})),
            vec![(Rule::SorryFitsFamily, "spec.sorryServer.address")],
        ),
        (
            "a sorry server of another family than a mark's",
            marked(&json!({"sorryServer": {"address": "2001:db8::99"}})),
            vec![(Rule::SorryFitsFamily, "spec.sorryServer.address")],
        ),
        (
            "panic below nothing",
            web(&json!({"panicThresholdPercent": -1})),
            vec![(Rule::PanicThresholdInRange, "spec.panicThresholdPercent")],
        ),
        (
            "panic below more than all",
            web(&json!({"panicThresholdPercent": 101})),
            vec![(Rule::PanicThresholdInRange, "spec.panicThresholdPercent")],
        ),
        (
            "a slow start of 19 s",
            web(&json!({"slowStartSeconds": 19})),
            vec![(Rule::SlowStartInRange, "spec.slowStartSeconds")],
        ),
        (
            "a slow start of over an hour",
            web(&json!({"slowStartSeconds": 3_601})),
            vec![(Rule::SlowStartInRange, "spec.slowStartSeconds")],
        ),
        (
            "a slow start backwards",
            web(&json!({"slowStartSeconds": -20})),
            vec![(Rule::SlowStartInRange, "spec.slowStartSeconds")],
        ),
        (
            "a slow start of rr",
            web(&json!({"scheduler": "rr", "slowStartSeconds": 60})),
            vec![(Rule::SlowStartNeedsWeights, "spec.slowStartSeconds")],
        ),
        (
            "a slow start of lc",
            web(&json!({"scheduler": "lc", "slowStartSeconds": 60})),
            vec![(Rule::SlowStartNeedsWeights, "spec.slowStartSeconds")],
        ),
        (
            "a slow start of dh",
            web(&json!({"scheduler": "dh", "slowStartSeconds": 60})),
            vec![(Rule::SlowStartNeedsWeights, "spec.slowStartSeconds")],
        ),
        (
            "several mistakes at once",
            json!({"vip": "127.0.0.1", "ports": [{"port": 0}], "onePacket": true}),
            vec![
                (Rule::VipIsGlobalUnicast, "spec.vip"),
                (Rule::PortInRange, "spec.ports[0].port"),
                (Rule::OnePacketNeedsUdp, "spec.onePacket"),
            ],
        ),
    ]
}

fn wrong_type() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let unsupported = "Unsupported value";
    vec![
        (
            "a scheduler that the kernel does not have",
            web(&json!({"scheduler": "wwr"})),
            "spec.scheduler",
            unsupported,
        ),
        (
            "a protocol in small letters",
            web(&json!({"ports": [{"port": 80, "protocol": "tcp"}]})),
            "spec.ports[0].protocol",
            unsupported,
        ),
        ("a failure that is forgiven", web(&json!({"onFailure": "Ignore"})), "spec.onFailure", unsupported),
        (
            "a sorry server without an address",
            web(&json!({"sorryServer": {}})),
            "spec.sorryServer.address",
            "Required value",
        ),
        ("a family in capitals", marked(&json!({"family": "IPV4"})), "spec.family", unsupported),
        (
            "a flag that is none",
            web(&json!({"schedulerFlags": ["port"]})),
            "spec.schedulerFlags[0]",
            unsupported,
        ),
        (
            "an engine that the kernel does not have",
            web(&json!({"persistence": {"engine": "http"}})),
            "spec.persistence.engine",
            unsupported,
        ),
        (
            "a port in quotes",
            web(&json!({"ports": [{"port": "80"}]})),
            "spec.ports[0].port",
            "must be of type integer",
        ),
        (
            "a port by name only",
            web(&json!({"ports": [{"name": "http"}]})),
            "spec.ports[0].port",
            "Required value",
        ),
    ]
}
