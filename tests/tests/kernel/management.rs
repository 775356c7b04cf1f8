//! The management network.

use lvs_lab::topology::Topology;

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn directors_reach_the_host_of_the_guest_each_with_an_address_of_its_own_and_others_do_not() {
    let (one, other) = (Topology::tutorial().unwrap(), Topology::one_arm().unwrap());
    // QEMU answers echo requests to 10.0.2.2 itself.
    for network in [&one, &other] {
        network["director"].exec("ping -c1 -W20 10.0.2.2").unwrap();
        assert!(!network["rs1"].output("ping -c1 -W1 10.0.2.2").unwrap().status.success());
    }
    let address = |network: &Topology| network["director"].exec("ip -brief address show dev mgmt").unwrap();
    assert_ne!(address(&one), address(&other));
    one.teardown().unwrap();
    other.teardown().unwrap();
}
