//! What is not ours, and that a change of it is noticed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lvs_lab::foreign::Foreign;
use lvs_lab::topology::{Host, Topology};

fn notices(host: &Host, foreign: &Foreign, change: &str, undo: &str) {
    host.exec(change).unwrap();
    let noticed = catch_unwind(AssertUnwindSafe(|| foreign.assert_untouched())).is_err();
    assert!(noticed, "not noticed: {change}");
    host.exec(undo).unwrap();
    foreign.assert_untouched();
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_change_of_anything_foreign_is_noticed_and_what_is_ours_is_not() {
    let network = Topology::tutorial().unwrap();
    let director = &network["director"];
    let foreign = Foreign::plant(director).unwrap();
    director.exec("ipvsadm -A -t 172.16.21.10:80 -s rr && ip address add 172.16.21.10/32 dev eth0").unwrap();
    foreign.assert_untouched();
    for (change, undo) in [
        (
            "ipvsadm -e -t 10.99.0.1:99 -r 10.99.0.1:99 -m -w 8",
            "ipvsadm -e -t 10.99.0.1:99 -r 10.99.0.1:99 -m -w 7",
        ),
        ("ipvsadm -E -f 99 -s rr", "ipvsadm -E -f 99 -s sh -b sh-port"),
        ("ipvsadm -D -u 10.99.0.1:99", "ipvsadm -A -u 10.99.0.1:99 -s rr -o"),
        ("ipvsadm -a -f 99 -r 192.168.40.12 -g", "ipvsadm -d -f 99 -r 192.168.40.12"),
        ("ip address delete fd00:99::1/128 dev eth0", "ip address add fd00:99::1/128 dev eth0 nodad"),
    ] {
        notices(director, &foreign, change, undo);
    }
    network.teardown().unwrap();
}
