use super::*;
use crate::service::Family;

use Setting::{ConnReuseMode, Conntrack, ExpireNodestConn, ExpireQuiescentTemplate, TcpTimeout, UdpTimeout};

/// What a kernel begins with.
fn fresh() -> Values {
    let values = [(ExpireNodestConn, 0), (ExpireQuiescentTemplate, 0), (Conntrack, 0), (ConnReuseMode, 1)];
    let timeouts = [(TcpTimeout, 900), (Setting::TcpFinTimeout, 120), (UdpTimeout, 300)];
    values.into_iter().chain(timeouts).collect()
}

fn foreign() -> ServiceKey {
    ServiceKey::FirewallMark { mark: 99, family: Family::IPv4 }
}

/// `KernelReady`: whether it holds, reason and message.
fn said(standing: &Standing) -> (bool, Reason, String) {
    let [kernel_ready, ready] = &conditions(standing, &[])[..] else { panic!("two conditions") };
    assert_eq!((kernel_ready.type_, ready.type_), ("KernelReady", "Ready"));
    assert_eq!((kernel_ready.status, &kernel_ready.reason), (ready.status, &ready.reason));
    (kernel_ready.holds(), kernel_ready.reason, kernel_ready.message.clone())
}

#[test]
fn only_what_differs_is_written_and_only_where_nobody_else_has_a_service() {
    let change = |setting, from, to| Difference { setting, from, to };
    let nodest = change(ExpireNodestConn, 0, 1);
    let template = change(ExpireQuiescentTemplate, 0, 1);
    let right = || {
        let mut right = fresh();
        right.extend([(ExpireNodestConn, 1), (ExpireQuiescentTemplate, 1)]);
        right
    };
    let with = |mut values: Values, changes: &[(Setting, i64)]| {
        values.extend(changes.iter().copied());
        values
    };
    let without = |mut values: Values, setting| {
        values.remove(&setting);
        values
    };
    let udp_30 = Values::from([(UdpTimeout, 30)]);
    let none = Values::new();
    let table: [(&str, Values, &Values, Vec<Difference>); 9] = [
        ("a fresh kernel", fresh(), &none, vec![nodest, template]),
        ("all as it must be", right(), &none, vec![]),
        ("kube-proxy's conntrack", with(right(), &[(Conntrack, 1)]), &none, vec![change(Conntrack, 1, 0)]),
        ("no reuse", with(right(), &[(ConnReuseMode, 0)]), &none, vec![change(ConnReuseMode, 0, 1)]),
        ("a kernel without conntrack", without(right(), Conntrack), &none, vec![]),
        ("an old kernel", without(fresh(), ConnReuseMode), &none, vec![nodest, template]),
        ("a timeout nobody asks for", with(right(), &[(TcpTimeout, 7)]), &none, vec![]),
        ("a timeout that is asked for", right(), &udp_30, vec![change(UdpTimeout, 300, 30)]),
        ("a timeout that is there", with(right(), &[(UdpTimeout, 30)]), &udp_30, vec![]),
    ];
    for (name, found, timeouts, expected) in table {
        let differing = differences(&wanted(timeouts), &found);
        assert_eq!(differing, expected, "{name}");
        let alone = decide(differing.clone(), None);
        let beside = decide(differing, Some(foreign()));
        if expected.is_empty() {
            assert_eq!(
                (alone, beside),
                (Decision::Leave(Standing::InForce), Decision::Leave(Standing::InForce))
            );
        } else {
            assert_eq!(alone, Decision::Write(expected.clone()), "{name}");
            assert_eq!(beside, Decision::Leave(Standing::Foreign(foreign(), expected)), "{name}");
        }
    }
}

#[test]
fn what_is_not_written_beside_others_is_named_with_one_of_their_services_and_the_cure() {
    let timeouts = Values::from([(UdpTimeout, 30)]);
    let differing = differences(&wanted(&timeouts), &fresh());
    let (holds, reason, message) = said(&Standing::Foreign(foreign(), differing));
    assert_eq!((holds, reason), (false, Reason::ForeignIPVS));
    for words in [
        "net.ipv4.vs.expire_nodest_conn is 0 instead of 1 (and 2 more settings)",
        &foreign().to_string(),
        "kube-proxy",
        "`sysctl -w net.ipv4.vs.expire_nodest_conn=1 net.ipv4.vs.expire_quiescent_template=1`",
        "`ipvsadm --set 0 0 30`",
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[test]
fn what_cannot_be_written_is_named_with_the_command_and_the_mount() {
    let differing = differences(&wanted(&Values::new()), &fresh());
    let denied = |error: fn(String) -> WriteError| {
        let results = differing.iter().map(|write| (*write, Err(error("read-only file system".to_owned()))));
        said(&after(results.collect()))
    };
    let (holds, reason, message) = denied(WriteError::NotAllowed);
    assert_eq!((holds, reason), (false, Reason::SettingsNotWritable));
    for words in ["sysctl -w net.ipv4.vs.expire_nodest_conn=1", "/host/proc/sys/net", "read-only file system"]
    {
        assert!(message.contains(words), "{words}: {message}");
    }
    let (holds, reason, message) = denied(WriteError::Refused);
    assert_eq!((holds, reason), (false, Reason::KernelRefused));
    assert!(message.contains("read-only file system"), "{message}");
}

#[test]
fn one_failure_among_writes_is_the_one_that_is_told() {
    let [first, second] = &differences(&wanted(&Values::new()), &fresh())[..] else { panic!("two differ") };
    let results = vec![(*first, Ok(())), (*second, Err(WriteError::NotAllowed("no".to_owned())))];
    let (_, _, message) = said(&after(results));
    assert!(message.starts_with(&second.to_string()), "{message}");
    assert!(!message.contains("expire_nodest_conn"), "{message}");
    assert_eq!(after(vec![(*first, Ok(())), (*second, Ok(()))]), Standing::InForce);
}

#[test]
fn all_as_it_must_be_is_ready_and_a_spec_that_breaks_a_rule_is_not() {
    assert_eq!(said(&Standing::InForce), (true, Reason::Ready, String::new()));
    let unreadable = Standing::Unreadable("no such file".to_owned());
    assert_eq!(said(&unreadable), (false, Reason::KernelUnreadable, "no such file".to_owned()));
    let violation = Violation { field: "spec.timeouts.udp".to_owned(), message: "udp must be".to_owned() };
    let [kernel_ready, _] = &conditions(&Standing::InForce, &[violation])[..] else {
        panic!("two conditions")
    };
    assert_eq!((kernel_ready.holds(), kernel_ready.reason), (false, Reason::Invalid));
    assert!(kernel_ready.message.starts_with("spec.timeouts.udp: udp must be"), "{}", kernel_ready.message);
}

#[test]
fn a_kernel_that_shows_none_of_its_settings_is_not_taken_for_one_in_order() {
    let timeouts_only = Values::from([(UdpTimeout, 300)]);
    assert!(matches!(unseen(&timeouts_only), Some(Standing::Unreadable(_))));
    assert_eq!(unseen(&Values::from([(ExpireNodestConn, 1)])), None);
}
