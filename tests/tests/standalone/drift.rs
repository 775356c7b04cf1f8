//! Somebody else's changes to what is ours.

use lvs_lab::eventually::{eventually, eventually_is};
use lvs_lab::topology::tutorial;

use crate::TUTORIAL;
use crate::director::{Director, mac};

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn every_change_by_somebody_else_is_undone_and_counted() {
    let director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    let declared = director.our_table();
    let service = "-t 172.16.21.10:80";
    for (change, kinds) in [
        (format!("ipvsadm -d {service} -r 192.168.40.12"), &["destination_missing"][..]),
        (format!("ipvsadm -e {service} -r 192.168.40.13 -g -w 9"), &["destination_changed"]),
        (format!("ipvsadm -e {service} -r 192.168.40.13 -m -w 1"), &["destination_changed"]),
        (format!("ipvsadm -a {service} -r 192.168.40.77 -g -w 5"), &["destination_extra"]),
        (format!("ipvsadm -e {service} -r 192.168.40.13 -g -w 1 -x 9"), &["destination_changed"]),
        (format!("ipvsadm -E {service} -s rr -p 60"), &["service_changed"]),
        (format!("ipvsadm -D {service}"), &["service_missing", "destination_missing"]),
    ] {
        let before = kinds.iter().map(|kind| director.repaired(kind)).collect::<Vec<_>>();
        director.host().exec(&change).unwrap();
        eventually(&format!("counted after {change}"), || {
            let now = kinds.iter().map(|kind| director.repaired(kind)).collect::<Vec<_>>();
            let all = now.iter().zip(&before).all(|(now, before)| now > before);
            if all { Ok(()) } else { Err(format!("{now:?}, before {before:?}; {}", director.logged())) }
        });
        assert_eq!(director.our_table(), declared, "after {change}");
    }
    assert!(director.logged().contains("DriftRepaired"), "{}", director.logged());
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_removed_vip_comes_back_and_is_announced_at_once() {
    let director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    let client = &director.network["client"];
    client.exec(&format!("ping -c1 -W5 {}", tutorial::VIP)).unwrap();
    // A neighbour that was told something else must learn again where the VIP is.
    client
        .exec(&format!("ip neighbour replace {} lladdr 02:00:00:00:00:99 dev eth0 nud stale", tutorial::VIP))
        .unwrap();
    director.host().exec(&format!("ip address delete {}/32 dev eth0", tutorial::VIP)).unwrap();
    eventually_is("the VIP is back", &true, || director.holds(tutorial::VIP));
    eventually_is("it is counted", &1, || director.repaired("address_missing"));
    let mac = mac(director.host());
    eventually("the neighbour knows", || {
        let neighbour = client.exec(&format!("ip neighbour show {}", tutorial::VIP)).unwrap();
        if neighbour.contains(&mac) { Ok(()) } else { Err(neighbour) }
    });
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn after_a_flush_ours_comes_back_and_nothing_else() {
    let director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    let declared = director.our_table();
    director.host().exec("ipvsadm -C").unwrap();
    eventually_is("our table is back", &declared, || director.our_table());
    let whole = lvs_lab::table::Table::read(director.host()).unwrap();
    assert_eq!(whole, declared, "what was not ours is for others to restore");
    assert_eq!(director.repaired("service_missing"), 1);
    // The foreign services went with the flush, so they are not compared here.
    director.network.teardown().unwrap();
}
