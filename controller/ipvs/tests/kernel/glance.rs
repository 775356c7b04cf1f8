//! What a glance at the table shows, and what it does not.

use std::collections::{BTreeMap, BTreeSet};

use lvs_ipvs::{Family, Protocol, ServiceKey};

use crate::host::Host;

type Fingerprints = BTreeMap<ServiceKey, u64>;

const RULES: &str = "-A -t 192.0.2.10:80 -s wlc\n\
                     -a -t 192.0.2.10:80 -r 192.0.2.11:80 -g -w 1\n\
                     -a -t 192.0.2.10:80 -r 192.0.2.12:80 -g -w 2\n\
                     -A -u [2001:db8::10]:53 -s rr\n\
                     -a -u [2001:db8::10]:53 -r [2001:db8::11]:53 -g -w 1\n\
                     -A --sctp-service 192.0.2.10:3868 -s sh\n\
                     -A -f 7 -s wrr\n\
                     -A -f 7 -6 -s wrr\n";

fn glance(host: &Host) -> Fingerprints {
    host.run(|| lvs_ipvs::glance(Some)).unwrap().into_iter().collect()
}

/// Those whose fingerprint differs, and those that are in one of the two only.
fn changed(before: &Fingerprints, after: &Fingerprints) -> BTreeSet<ServiceKey> {
    let keys = before.keys().chain(after.keys());
    keys.filter(|key| before.get(key) != after.get(key)).copied().collect()
}

/// A mark stands under both families.
fn as_shown(key: ServiceKey) -> Vec<ServiceKey> {
    match key {
        ServiceKey::Address { .. } => vec![key],
        ServiceKey::FirewallMark { mark, .. } => {
            [Family::Ipv4, Family::Ipv6].map(|family| ServiceKey::FirewallMark { mark, family }).into()
        }
    }
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn a_glance_shows_every_service_that_a_dump_has() {
    let host = Host::new();
    host.restore(RULES);
    let dump = host.client().services().unwrap();
    let dumped: BTreeSet<ServiceKey> = dump.iter().flat_map(|entry| as_shown(entry.service.key)).collect();
    assert_eq!(dumped, glance(&host).into_keys().collect());
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn every_edit_that_the_kernels_text_shows_changes_the_fingerprint_of_its_service_alone() {
    let host = Host::new();
    host.restore(RULES);
    let web = ServiceKey::tcp(([192, 0, 2, 10], 80));
    let dns =
        ServiceKey::Address { address: "2001:db8::10".parse().unwrap(), protocol: Protocol::Udp, port: 53 };
    let mark = ServiceKey::FirewallMark { mark: 7, family: Family::Ipv4 };
    for (key, edit) in [
        (web, "-E -t 192.0.2.10:80 -s rr"),
        (web, "-E -t 192.0.2.10:80 -s rr -p 60"),
        (web, "-E -t 192.0.2.10:80 -s rr -p 61"),
        (web, "-E -t 192.0.2.10:80 -s rr -p 61 -M 255.255.255.0"),
        (web, "-e -t 192.0.2.10:80 -r 192.0.2.11:80 -g -w 9"),
        (web, "-e -t 192.0.2.10:80 -r 192.0.2.11:80 -m -w 9"),
        (web, "-d -t 192.0.2.10:80 -r 192.0.2.12:80"),
        (web, "-a -t 192.0.2.10:80 -r 192.0.2.13:80 -g -w 2"),
        (dns, "-e -u [2001:db8::10]:53 -r [2001:db8::11]:53 -g -w 5"),
        (mark, "-E -f 7 -6 -s rr"),
        (mark, "-a -f 7 -r 192.0.2.11 -g -w 1"),
        (web, "-D -t 192.0.2.10:80"),
    ] {
        let before = glance(&host);
        host.ipvsadm(edit);
        assert_eq!(changed(&before, &glance(&host)), BTreeSet::from_iter(as_shown(key)), "{edit}");
    }
}

/// Why a glance is no proof. If the kernel's text ever shows these, the documentation of `glance` is out of date.
#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn thresholds_and_the_flags_of_schedulers_do_not_show() {
    let host = Host::new();
    host.restore(RULES);
    let before = glance(&host);
    for edit in [
        "-e -t 192.0.2.10:80 -r 192.0.2.11:80 -g -w 1 -x 100 -y 50",
        "-E --sctp-service 192.0.2.10:3868 -s sh -b sh-fallback",
        "-E -u [2001:db8::10]:53 -s rr -o",
    ] {
        let table = host.everything();
        host.ipvsadm(edit);
        assert_ne!(host.everything(), table, "{edit} changes nothing");
        assert_eq!(changed(&before, &glance(&host)), BTreeSet::new(), "{edit}");
    }
}
