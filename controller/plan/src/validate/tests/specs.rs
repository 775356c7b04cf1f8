//! Random specs that break and keep each rule often.

use proptest::prelude::*;
use serde_json::{Value, json};

/// Values near the edges of every rule, so that random specs break and keep each of them often.
fn edge(values: &'static [i64]) -> impl Strategy<Value = i64> {
    prop_oneof![8 => prop::sample::select(values), 1 => i64::from(i32::MIN)..=i64::from(i32::MAX)]
}

fn text(values: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(values)
}

/// One address for each way to be right or wrong.
const ADDRESSES: &[&str] = &[
    "172.16.21.10",
    "2001:db8::10",
    "2001:DB8::10",
    "::ffff:1.2.3.4",
    "127.0.0.1",
    "fe80::1",
    "fe80::1%1",
    "224.0.0.1",
    "255.255.255.255",
    "0.0.0.0",
    "::",
    "::1",
    "::1.2.3.4",
    "01.2.3.4",
    "1.2.3",
    "",
    "web",
];

fn any_address() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(ADDRESSES).prop_map(str::to_owned),
        2 => any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
        2 => any::<std::net::Ipv6Addr>().prop_map(|address| address.to_string()),
        1 => "[0-9a-f:.%/ ]{0,20}",
    ]
}

/// A field with a value, or without one.
fn maybe<T: Into<Value> + std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Value> {
    prop::option::weighted(0.6, value.prop_map(Into::into)).prop_map(|value| value.unwrap_or(Value::Null))
}

fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let set = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(set.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn any_ports() -> impl Strategy<Value = Value> {
    let protocol = maybe(text(&["TCP", "UDP", "UDP", "UDP", "SCTP"]));
    let entry = (edge(&[0, 1, 53, 80, 65_535, 65_536]), protocol)
        .prop_map(|(port, protocol)| object([("port", port.into()), ("protocol", protocol)]))
        .boxed();
    let lengths = prop_oneof![9 => 0..4_usize, 1 => 63..67_usize];
    lengths.prop_flat_map(move |length| prop::collection::vec(entry.clone(), length)).prop_map(Value::from)
}

fn any_selector() -> impl Strategy<Value = Value> {
    let values = maybe(prop::collection::vec(text(&["a", "b", ""]), 0..3).prop_map(Value::from));
    let expression = (text(&["In", "NotIn", "Exists", "DoesNotExist", "in", ""]), values).prop_map(
        |(operator, values)| object([("key", "k".into()), ("operator", operator.into()), ("values", values)]),
    );
    let labels = maybe(text(&["a", "b"]).prop_map(|value| json!({"app": value})));
    (labels, maybe(prop::collection::vec(expression, 0..4).prop_map(Value::from))).prop_map(
        |(labels, expressions)| object([("matchLabels", labels), ("matchExpressions", expressions)]),
    )
}

/// Text in which each of these may be.
fn words_of(pattern: &'static str, values: &'static [&'static str]) -> BoxedStrategy<String> {
    prop_oneof![2 => text(values).prop_map(str::to_owned), 2 => pattern, 1 => "\\PC{0,12}"].boxed()
}

fn any_request() -> BoxedStrategy<Value> {
    let header = (words_of("[a-zA-Z!#%_ :-]{0,8}", &["accept", ""]), words_of("[ -~]{0,8}", &["1", "a\n"]))
        .prop_map(|(name, value)| json!({"name": name, "value": value}))
        .boxed();
    let lengths = || prop_oneof![9 => 0..3_usize, 1 => 16..18_usize];
    let headers = lengths().prop_flat_map(move |length| prop::collection::vec(header.clone(), length));
    let status = words_of("[0-6][0-9]{2}(-[0-6][0-9]{2})?", &["204", "600", "200-399", "399-200", "2xx", ""]);
    let status = status.boxed();
    let statuses = lengths().prop_flat_map(move |length| prop::collection::vec(status.clone(), length));
    let fields = (
        maybe(text(&["GET", "HEAD", "POST"])),
        maybe(words_of("/[!-~ ]{0,8}", &["/", "a", "/a\r\n", "/\u{7f}"])),
        maybe(words_of("[a-z.:%/\\[\\]]{0,8}", &["web", "[::1]:80", ""])),
        maybe(headers.prop_map(Value::from)),
        maybe(statuses.prop_map(Value::from)),
        maybe(text(&["", "ok"])),
        maybe(text(&["", "ok", "["])),
    );
    let names = ["method", "path", "host", "headers", "expectedStatuses", "bodyContains", "bodyRegex"];
    fields.prop_map(move |(a, b, c, d, e, f, g)| object(names.into_iter().zip([a, b, c, d, e, f, g]))).boxed()
}

fn any_tls() -> BoxedStrategy<Value> {
    let ca = maybe(prop_oneof![Just(String::new()), Just("x".repeat(65_536)), Just("x".repeat(65_537))]);
    (ca, maybe(any::<bool>()), maybe(text(&["a", "a:1"])))
        .prop_map(|(ca, insecure, name)| {
            object([("ca", ca), ("insecureSkipVerify", insecure), ("serverName", name)])
        })
        .boxed()
}

fn any_health_check() -> BoxedStrategy<Value> {
    let nothing = || prop_oneof![4 => Just(Value::Null), 1 => Just(json!({}))];
    let rarely = |value: BoxedStrategy<Value>| prop_oneof![4 => Just(Value::Null), 1 => value];
    let https = (any_request(), any_tls()).prop_map(|(mut request, tls)| {
        request["tls"] = tls;
        request
    });
    let grpc = maybe(any_tls()).prop_map(|tls| object([("tls", tls)]));
    let long = "a".repeat(63);
    let long = [
        format!("{long}.{long}.{long}.{}", "a".repeat(61)),
        format!("{long}.{long}.{long}.{}.", "a".repeat(61)),
        format!("{long}.{long}.{long}.{}", "a".repeat(62)),
        format!("{long}a"),
    ];
    let name = prop_oneof![3 => words_of("[a-z0-9_.-]{0,9}", &[".", "..", "a.", "a b"]), 1 => prop::sample::select(long.to_vec()).boxed()];
    let answer =
        maybe(text(&["", "a", ".", "a b", "0/25.a.", "192.0.2.1", "2001:DB8::1", "::ffff:192.0.2.1"]));
    let kinds = (maybe(text(&["A", "AAAA", "CNAME", "TXT"])), maybe(text(&["NOERROR", "NXDOMAIN"])));
    let dns = (name, answer, kinds).prop_map(|(name, answer, (record, rcode))| {
        let fields = [("expectedAnswer", answer), ("type", record), ("expectedRcode", rcode)];
        object([("name", name.into())].into_iter().chain(fields))
    });
    let send = prop_oneof![
        Just(String::new()),
        prop::sample::select(vec![256_usize, 257, 512]).prop_map(|count| "ö".repeat(count)),
        prop::sample::select(vec![512_usize, 513]).prop_map(|count| "a".repeat(count)),
    ];
    let udp = (maybe(send), maybe(text(&["", "a"])))
        .prop_map(|(send, expect)| object([("send", send), ("expect", expect)]));
    let kinds = (
        nothing(),
        rarely(any_request()),
        rarely(https.boxed()),
        rarely(grpc.boxed()),
        rarely(dns.boxed()),
        rarely(udp.boxed()),
        nothing(),
        nothing(),
    )
        .prop_map(|(tcp, http, https, grpc, dns, udp, ping, none)| {
            let kinds = [("tcp", tcp), ("http", http), ("https", https), ("grpc", grpc)];
            kinds.into_iter().chain([("dns", dns), ("udp", udp), ("ping", ping), ("none", none)])
        });
    let terms = (
        maybe(edge(&[0, 1, 5, 3_600, 3_601]).prop_map(|it| it as i32)),
        maybe(edge(&[0, 1, 2, 5, 6, 3_600, 3_601]).prop_map(|it| it as i32)),
        maybe(edge(&[0, 1, 3, 100, 101]).prop_map(|it| it as i32)),
        maybe(edge(&[0, 1, 2, 100, 101]).prop_map(|it| it as i32)),
        maybe(edge(&[0, 1, 80, 65_535, 65_536]).prop_map(|it| it as i32)),
        maybe(any_address()),
        maybe(edge(&[0, 1, 4_294_967_295, 4_294_967_296])),
    )
        .prop_map(|(interval, timeout, fall, rise, port, source, mark)| {
            let often =
                [("intervalSeconds", interval), ("timeoutSeconds", timeout), ("fall", fall), ("rise", rise)];
            often.into_iter().chain([("port", port), ("sourceAddress", source), ("firewallMark", mark)])
        });
    (kinds, terms).prop_map(|(kinds, terms)| object(kinds.chain(terms))).boxed()
}

fn any_policy() -> BoxedStrategy<Vec<(&'static str, Value)>> {
    (
        maybe(any_health_check()),
        maybe(text(&["Quiesce", "Remove"])),
        maybe(edge(&[-1, 0, 300, 86_400, 86_401])),
        maybe(any_address().prop_map(|address| json!({"address": address}))),
        maybe(edge(&[-1, 0, 50, 100, 101])),
        maybe(edge(&[-1, 0, 1, 19, 20, 3_600, 3_601])),
    )
        .prop_map(|(check, failure, drain, sorry, panic, slow)| {
            vec![
                ("healthCheck", check),
                ("onFailure", failure),
                ("drainTimeoutSeconds", drain),
                ("sorryServer", sorry),
                ("panicThresholdPercent", panic),
                ("slowStartSeconds", slow),
            ]
        })
        .boxed()
}

pub(super) fn any_virtual_service() -> impl Strategy<Value = Value> {
    let persistence = (
        maybe(edge(&[0, 1, 300, 2_678_400, 2_678_401])),
        maybe(edge(&[0, 1, 32, 33, 128, 129])),
        maybe(Just("sip")),
    )
        .prop_map(|(timeout, prefix, engine)| {
            object([("timeoutSeconds", timeout), ("prefixLength", prefix), ("engine", engine)])
        });
    let who = (
        maybe(any_address()),
        maybe(any_ports()),
        maybe(edge(&[0, 1, 7, 4_294_967_295, 4_294_967_296])),
        maybe(text(&["IPv4", "IPv6"])),
    );
    let flags = prop::collection::vec(text(&["sh-port", "sh-fallback", "mh-port", "mh-fallback"]), 0..4);
    let how = (
        maybe(text(&["sh", "mh", "wlc", "rr", "lc", "dh"])),
        maybe(flags.prop_map(Value::from)),
        maybe(persistence),
        maybe(any::<bool>()),
        maybe(any_selector()),
    );
    let policy = prop_oneof![1 => Just(Vec::new()), 2 => any_policy()];
    (who, how, policy).prop_map(
        |((vip, ports, mark, family), (scheduler, flags, persistence, one_packet, selector), policy)| {
            let fields = [
                ("vip", vip),
                ("ports", ports),
                ("firewallMark", mark),
                ("family", family),
                ("scheduler", scheduler),
                ("schedulerFlags", flags),
                ("persistence", persistence),
                ("onePacket", one_packet),
                ("realServerSelector", selector),
            ];
            object(fields.into_iter().chain(policy))
        },
    )
}

pub(super) fn any_real_server() -> impl Strategy<Value = Value> {
    let threshold = || maybe(edge(&[-1, 0, 1, 5, 2_147_483_647, 2_147_483_648]));
    let weight = maybe(edge(&[-1, 0, 1, 65_535, 65_536]));
    let port = maybe(edge(&[0, 1, 80, 65_535, 65_536]));
    let flags = (maybe(any::<bool>()), maybe(any::<bool>()));
    let check = prop_oneof![1 => Just(Value::Null), 2 => any_health_check()];
    (any_address(), weight, flags, threshold(), threshold(), port, check).prop_map(
        |(address, weight, (drain, maintenance), upper, lower, port, check)| {
            object([
                ("address", address.into()),
                ("weight", weight),
                ("drain", drain),
                ("upperThreshold", upper),
                ("lowerThreshold", lower),
                ("port", port),
                ("maintenance", maintenance),
                ("healthCheck", check),
            ])
        },
    )
}
