use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lvs_crds::{Protocol, RealServerSpec, Scheduler, VirtualServiceSpec};

use super::super::tree::documents;
use super::*;

fn node(text: &str) -> Node {
    let mut found = None;
    documents(text.as_bytes(), |document| found = Some(document.expect("the test's YAML is good")));
    found.expect("the test has a document")
}

fn read_as<T: DeserializeOwned>(text: &str) -> (Option<T>, Vec<Fault>) {
    let mut faults = Vec::new();
    let value = read(&node(text), &Path::Key(&Path::Root, "spec"), &mut faults);
    (value, faults)
}

fn places(faults: &[Fault]) -> Vec<(u64, u64, &str)> {
    faults.iter().map(|fault| (fault.at.line, fault.at.column, fault.field.as_str())).collect()
}

#[test]
fn a_good_spec_is_read_whole() {
    let (spec, faults) = read_as::<VirtualServiceSpec>(
        "vip: 172.16.21.10\nports:\n- {port: 80}\n- {port: 53, protocol: UDP, name: dns}\nscheduler: wrr\n\
         realServerSelector:\n  matchLabels: {app: web}\n  matchExpressions:\n  - {key: t, operator: Exists}\n",
    );
    assert_eq!(faults, []);
    let spec = spec.unwrap();
    assert_eq!(spec.vip.as_deref(), Some("172.16.21.10"));
    assert_eq!((spec.ports[1].protocol, spec.ports[1].port), (Protocol::Udp, 53));
    assert_eq!(spec.scheduler, Scheduler::Wrr);
    let selector = spec.real_server_selector.unwrap();
    assert_eq!(selector.match_labels.unwrap().get("app"), Some("web"));
    assert_eq!(selector.match_expressions.unwrap()[0].operator, "Exists");
}

#[test]
fn every_unknown_field_is_a_fault_with_place_and_path_at_any_depth() {
    let (spec, faults) = read_as::<VirtualServiceSpec>(
        "vip: 172.16.21.10\nvipp: x\nports:\n- port: 80\n  prot: {deep: [1]}\nrealServerSelector:\n  \
         matchLables: {app: web}\n",
    );
    assert!(spec.is_some(), "unknown fields do not stop the reading");
    assert_eq!(
        places(&faults),
        [(2, 1, "spec.vipp"), (5, 3, "spec.ports[0].prot"), (7, 3, "spec.realServerSelector.matchLables")]
    );
    assert_eq!(faults[1].message, "unknown field; known here: name, protocol, port");
}

#[test]
fn a_wrong_type_names_the_field_and_its_place() {
    for (text, line, column, field, words) in [
        ("vip: 5\n", 1, 6, "spec.vip", "expected a string"),
        ("ports:\n- port: \"80\"\n", 2, 9, "spec.ports[0].port", "expected i32"),
        ("ports:\n- port: 99999999999\n", 2, 9, "spec.ports[0].port", "99999999999"),
        ("ports: {port: 80}\n", 1, 8, "spec.ports", "expected a sequence"),
        ("ports:\n- 80\n", 2, 3, "spec.ports[0]", "not a mapping"),
        ("ports:\n- {protocol: TCP}\n", 2, 3, "spec.ports[0]", "`port` is missing"),
        ("scheduler: wrrr\n", 1, 12, "spec.scheduler", "unknown variant `wrrr`"),
        ("scheduler: [wrr]\n", 1, 12, "spec.scheduler", "this is a list"),
        ("onePacket: on\n", 1, 12, "spec.onePacket", "expected a boolean"),
        (
            "realServerSelector: {matchLabels: {app: 1}}\n",
            1,
            41,
            "spec.realServerSelector.matchLabels.app",
            "expected a string",
        ),
    ] {
        let (spec, faults) = read_as::<VirtualServiceSpec>(text);
        assert!(spec.is_none(), "{text}");
        assert_eq!(places(&faults), [(line, column, field)], "{text}: {faults:?}");
        assert!(faults[0].message.contains(words), "{text}: {faults:?}");
    }
}

#[test]
fn a_known_field_that_is_null_counts_as_left_out_an_unknown_one_does_not() {
    let (spec, faults) = read_as::<VirtualServiceSpec>("vip: null\nports:\nscheduler: ~\n");
    assert_eq!((spec, faults), (Some(VirtualServiceSpec::default()), vec![]));
    let (spec, faults) = read_as::<RealServerSpec>("address: null\n");
    assert!(spec.is_none());
    assert!(faults[0].message.contains("`address` is missing"), "{faults:?}");
    let (_, faults) = read_as::<RealServerSpec>("address: 192.0.2.1\nwieght: null\n");
    assert_eq!(places(&faults), [(2, 1, "spec.wieght")]);
}

#[test]
fn a_list_is_not_taken_for_a_struct() {
    let (spec, faults) = read_as::<RealServerSpec>("[192.0.2.1, 2]\n");
    assert!(spec.is_none());
    assert_eq!(faults[0].message, "this is a list, not a mapping");
}

#[test]
fn metadata_is_checked_by_its_own_type() {
    let (meta, faults) = read_as::<ObjectMeta>(
        "name: web\nlables: {a: b}\nlabels: {app.kubernetes.io/name: x}\ncreationTimestamp: null\n",
    );
    assert_eq!(meta.unwrap().labels.unwrap()["app.kubernetes.io/name"], "x");
    assert_eq!(places(&faults), [(2, 1, "spec.lables")]);
    let (_, faults) = read_as::<ObjectMeta>("labels: {app.kubernetes.io/name: 1}\n");
    assert_eq!(places(&faults), [(1, 34, "spec.labels[\"app.kubernetes.io/name\"]")]);
}
