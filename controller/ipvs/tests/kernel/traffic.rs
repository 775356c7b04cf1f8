//! Counters after real traffic.
//!
//! The host is client, Director and real server in one: the VIP is on its `lo`, the destination is its own
//! address, so IPVS schedules the packets and hands them to the socket that is bound to the VIP.

use std::{net::UdpSocket, time::Duration};

use lvs_ipvs::{
    Client, Command, Destination, DestinationEntry, DestinationSettings, Service, ServiceKey,
    ServiceSettings, Stats,
};

use crate::host::{Host, destination, eventually};

const VIP: &str = "192.0.2.100:5353";

fn dns() -> ServiceKey {
    ServiceKey::udp(([192, 0, 2, 100], 5353))
}

/// A service that has seen traffic: `datagrams` of 100 bytes from one client.
fn used(host: &Host, datagrams: usize) -> Client {
    host.ip("address add 192.0.2.100/32 dev lo");
    let mut client = host.client();
    let service = Service { key: dns(), settings: ServiceSettings::new("wlc") };
    let server =
        Destination { key: destination("192.0.2.1", 5353), settings: DestinationSettings::direct(1) };
    client.execute(&Command::NewService(service)).unwrap();
    client.execute(&Command::NewDestination { service: dns(), destination: server }).unwrap();
    host.run(|| {
        let server = UdpSocket::bind(VIP).unwrap();
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let client = UdpSocket::bind("192.0.2.1:0").unwrap();
        for _ in 0..datagrams {
            client.send_to(&[7; 100], VIP).unwrap();
            let (length, from) = server.recv_from(&mut [0; 200]).unwrap();
            assert_eq!((length, from), (100, client.local_addr().unwrap()));
        }
    });
    // The kernel adds up what its CPUs counted every 2 s.
    let packets = datagrams as u64;
    eventually("the packets are counted", || (only(&mut client).stats.in_packets == packets).then_some(()));
    client
}

fn only(client: &mut Client) -> DestinationEntry {
    let mut entries = client.destinations(&dns()).unwrap();
    assert_eq!(entries.len(), 1);
    entries.remove(0)
}

/// The counters as `ipvsadm -Ln --stats --exact` has them in the line of `name`.
fn exact(host: &Host, name: &str) -> Vec<u64> {
    let text = host.ipvsadm("-Ln --stats --exact");
    let line = text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    let numbers = line.split_whitespace().skip_while(|word| !word.contains(name)).skip(1);
    numbers.map(|number| number.parse().unwrap()).collect()
}

fn counters(stats: &Stats) -> Vec<u64> {
    vec![stats.connections, stats.in_packets, stats.out_packets, stats.in_bytes, stats.out_bytes]
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn counters_are_what_ipvsadm_prints() {
    let host = Host::new();
    let mut client = used(&host, 5);

    let service = client.service(&dns()).unwrap().unwrap().stats;
    // A UDP header is 8 bytes, an IPv4 header 20.
    assert_eq!((service.connections, service.in_packets, service.in_bytes), (1, 5, 5 * 128));
    assert_eq!(counters(&service), exact(&host, VIP));
    let entry = only(&mut client);
    assert_eq!(counters(&entry.stats), exact(&host, "192.0.2.1:5353"));
    assert_eq!(
        client.services().unwrap().into_iter().find(|entry| entry.service.key == dns()).unwrap().stats,
        service
    );

    let text = host.ipvsadm("-Ln");
    let line = text.lines().find(|line| line.contains("192.0.2.1:5353")).unwrap();
    let numbers: Vec<u32> = line.split_whitespace().skip(4).map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers, [entry.active_connections, entry.inactive_connections]);
    assert_eq!(entry.active_connections + entry.inactive_connections, 1);

    let rates = eventually("a packet rate", || {
        let stats = client.service(&dns()).unwrap().unwrap().stats;
        (stats.in_packet_rate > 0).then_some(stats)
    });
    assert!(rates.in_byte_rate > rates.in_packet_rate, "{rates:?}");
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn a_change_keeps_connections_and_counters() {
    let host = Host::new();
    let mut client = used(&host, 3);
    let before = only(&mut client);

    let settings = DestinationSettings { upper_threshold: 10, ..DestinationSettings::direct(0) };
    let drained = Destination { key: before.destination.key, settings };
    client
        .execute(&Command::SetService(Service { key: dns(), settings: ServiceSettings::new("rr") }))
        .unwrap();
    client.execute(&Command::SetDestination { service: dns(), destination: drained }).unwrap();

    let after = only(&mut client);
    assert_eq!((after.destination.settings.weight, after.destination.settings.upper_threshold), (0, 10));
    assert_eq!(after.inactive_connections, before.inactive_connections);
    assert_eq!(counters(&after.stats), counters(&before.stats));
    assert_eq!(client.service(&dns()).unwrap().unwrap().stats.connections, 1);
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn zeroing_one_service_or_all_clears_the_counters() {
    for which in [Some(dns()), None] {
        let host = Host::new();
        let mut client = used(&host, 2);
        assert_ne!(exact(&host, VIP), [0; 5]);

        client.execute(&Command::Zero(which)).unwrap();

        assert_eq!(exact(&host, VIP), [0; 5]);
        assert_eq!(counters(&only(&mut client).stats), [0; 5]);
        assert_eq!(only(&mut client).inactive_connections, 1, "connections stay");
    }
}
