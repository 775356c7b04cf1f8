//! The tutorial's network.

use lvs_lab::eventually::eventually_is;
use lvs_lab::table::{self, Table};
use lvs_lab::topology::{Topology, tutorial};

use crate::{ask, counts};

fn program(network: &Topology) {
    let director = &network["director"];
    director.exec(&format!("ip address add {}/32 dev eth0", tutorial::VIP)).unwrap();
    director.exec(&format!("ipvsadm -A -t {}:80 -s rr", tutorial::VIP)).unwrap();
    for address in tutorial::REAL_SERVERS {
        director.exec(&format!("ipvsadm -a -t {}:80 -r {address} -g", tutorial::VIP)).unwrap();
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn near_and_far_clients_are_answered_by_both_servers_which_see_them_and_replies_pass_the_director_by() {
    let network = Topology::tutorial().unwrap();
    program(&network);
    let url = format!("http://{}/", tutorial::VIP);
    for (host, address) in [("client", tutorial::CLIENT), ("far-client", tutorial::FAR_CLIENT)] {
        let report = ask(&network[host], &url, 4);
        assert_eq!(report.answers, counts([("rs1", 2), ("rs2", 2)]), "{host}: {report:?}");
        assert_eq!(report.seen_as, counts([(address, 4)]), "{host}");
    }
    let service = format!("TCP {}:80", tutorial::VIP);
    eventually_is("eight connections and no packet to a client", &(8, 0), || {
        let counters = table::counters(&network["director"]).unwrap()[&service];
        (counters.connections, counters.packets_out)
    });
    network.teardown().unwrap();
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn real_servers_are_silent_in_arp_for_the_vip_and_without_a_director_nobody_answers() {
    let network = Topology::tutorial().unwrap();
    let asked = network["client"].output(&format!("ping -c1 -W2 {}", tutorial::VIP)).unwrap();
    assert!(!asked.status.success(), "{asked:?}");
    let neighbours = network["client"].exec(&format!("ip neighbour show {}", tutorial::VIP)).unwrap();
    assert!(!neighbours.contains("lladdr"), "{neighbours}");
    // They do hold it: each of them answers on it to itself.
    let report = ask(&network["rs1"], &format!("http://{}/", tutorial::VIP), 1);
    assert_eq!(report.answers, counts([("rs1", 1)]), "{report:?}");
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn networks_beside_each_other_have_nothing_to_do_with_each_other_and_leave_nothing_behind() {
    let namespaces = || {
        let listing = std::process::Command::new("ip").args(["netns", "list"]).output().unwrap();
        String::from_utf8(listing.stdout).unwrap()
    };
    let (one, other) = (Topology::tutorial().unwrap(), Topology::tutorial().unwrap());
    program(&one);
    assert_eq!(Table::read(&one["director"]).unwrap().0.len(), 1);
    assert_eq!(Table::read(&other["director"]).unwrap(), Table::default());
    let names: Vec<_> = [&one, &other]
        .iter()
        .flat_map(|network| {
            ["switch", "director", "far-client"].map(|host| network[host].namespace().to_owned())
        })
        .collect();
    assert!(names.iter().all(|name| namespaces().contains(name)));
    one.teardown().unwrap();
    other.teardown().unwrap();
    assert!(names.iter().all(|name| !namespaces().contains(name)), "{}", namespaces());
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn taking_down_a_broken_network_goes_on_to_the_end_and_tells_of_each_thing_that_failed() {
    let network = Topology::tutorial().unwrap();
    let [first, second, last] = ["rs1", "client", "switch"].map(|host| network[host].namespace().to_owned());
    for name in [&first, &second] {
        std::process::Command::new("ip").args(["netns", "delete", name]).status().unwrap();
    }
    let error = network.teardown().unwrap_err().to_string();
    assert!(error.contains(&first) && error.contains(&second), "{error}");
    assert!(!std::path::Path::new("/run/netns").join(last).exists());
}
