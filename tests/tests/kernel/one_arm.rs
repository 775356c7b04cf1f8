//! The one-armed network.

use lvs_lab::topology::{Topology, one_arm};

use crate::{ask, counts};

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn both_families_are_answered_on_the_segment_and_from_beyond_the_router() {
    let network = Topology::one_arm().unwrap();
    let director = &network["director"];
    let (vip, vip6) = (one_arm::VIP, format!("[{}]", one_arm::VIP6));
    director.exec(&format!("ip address add {vip}/32 dev eth0")).unwrap();
    director.exec(&format!("ip address add {}/128 dev eth0 nodad preferred_lft 0", one_arm::VIP6)).unwrap();
    for service in [vip, &vip6] {
        director.exec(&format!("ipvsadm -A -t {service}:80 -s rr")).unwrap();
    }
    for (four, six) in one_arm::REAL_SERVERS.into_iter().zip(one_arm::REAL_SERVERS6) {
        director.exec(&format!("ipvsadm -a -t {vip}:80 -r {four}:80 -g")).unwrap();
        director.exec(&format!("ipvsadm -a -t {vip6}:80 -r [{six}]:80 -g")).unwrap();
    }
    for (host, addresses) in [("client", one_arm::CLIENT), ("far-client", one_arm::FAR_CLIENT)] {
        for (vip, address) in [vip, &vip6].into_iter().zip(addresses) {
            let report = ask(&network[host], &format!("http://{vip}/"), 4);
            assert_eq!(report.answers, counts([("rs1", 2), ("rs2", 2)]), "{host} {vip}: {report:?}");
            assert_eq!(report.seen_as, counts([(address, 4)]), "{host} {vip}");
        }
    }
    network.teardown().unwrap();
}
