//! Hearing a second holder of a VIP.

use std::{net::IpAddr, time::Duration};

use lvs_net::{Listener, Net, announce::Announcer};

use crate::segment::{D0, N0, Segment, link, run_in};

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_claim_of_another_station_is_heard_and_neither_our_own_nor_one_of_another_address() {
    let segment = Segment::new();
    for held in ["172.16.21.10", "fd00:21::10"] {
        let vip: IpAddr = held.parse().unwrap();
        let beside: IpAddr = held.replace("::10", "::11").replace(".10", ".11").parse().unwrap();
        segment.on_director(async || {
            let d0 = link(&Net::connect().unwrap(), "d0").await;
            let listener = Listener::open(&d0, &[vip]).unwrap();
            for (mac, address) in [(N0, beside), (D0, vip), (N0, vip)] {
                run_in(&segment.neighbour, async || {
                    let n0 = link(&Net::connect().unwrap(), "n0").await;
                    Announcer::open().unwrap().send(n0.index, mac, address).unwrap();
                });
            }
            let heard = tokio::time::timeout(Duration::from_secs(5), listener.next(&[D0])).await;
            assert_eq!(heard.unwrap().unwrap(), (vip, N0), "the first that counts");
        });
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo lab test"]
fn a_silent_second_holder_answers_when_it_is_asked() {
    let segment = Segment::new();
    segment.n("address add 172.16.21.10/32 dev n0");
    segment.n("address add fd00:21::10/128 dev n0 nodad");
    for held in ["172.16.21.10", "fd00:21::10"] {
        let vip: IpAddr = held.parse().unwrap();
        segment.on_director(async || {
            let net = Net::connect().unwrap();
            let d0 = link(&net, "d0").await;
            net.bind_vip(d0.index, vip).await.unwrap();
            let listener = Listener::open(&d0, &[vip]).unwrap();
            Announcer::open().unwrap().ask(d0.index, D0, vip).unwrap();
            let heard = tokio::time::timeout(Duration::from_secs(5), listener.next(&[D0])).await;
            assert_eq!(heard.unwrap().unwrap(), (vip, N0));
        });
    }
}
