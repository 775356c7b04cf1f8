//! Everything that can be set, compared with `ipvsadm` setting the same.

use lvs_ipvs::{
    Command, Destination, DestinationSettings, Family, Forwarding, Netmask, Persistence, SchedulerFlags,
    Service, ServiceKey, ServiceSettings, Tunnel, TunnelChecksum, TunnelKind,
};

use crate::{
    host::{Host, destination},
    list,
};

const WEB: &str = "-t 192.0.2.10:80";

fn web() -> ServiceKey {
    ServiceKey::tcp(([192, 0, 2, 10], 80))
}

/// Our commands and the rules of `ipvsadm`, each in a namespace of its own, must come to the same; and what we
/// read must be what was asked for.
fn same(commands: &[Command], rules: &str) {
    let (ours, theirs) = (Host::new(), Host::new());
    theirs.restore(rules);
    let mut client = ours.client();
    for (command, result) in commands.iter().zip(client.batch(commands).unwrap()) {
        assert_eq!(result, Ok(()), "{command}");
    }
    assert_eq!(ours.everything(), theirs.everything());
    for host in [&ours, &theirs] {
        let mut client = host.client();
        for command in commands {
            match command {
                Command::NewService(service) => {
                    assert_eq!(client.service(&service.key).unwrap().unwrap().service, *service);
                }
                Command::NewDestination { service, destination } => {
                    let read = client.destinations(service).unwrap();
                    assert!(
                        read.iter().any(|entry| entry.destination == *destination),
                        "{destination:?} in {read:?}"
                    );
                }
                _ => {}
            }
        }
    }
}

fn service(key: ServiceKey, settings: ServiceSettings) -> Command {
    Command::NewService(Service { key, settings })
}

fn persistent(scheduler: &str, timeout_seconds: u32, netmask: Netmask) -> ServiceSettings {
    ServiceSettings {
        persistence: Some(Persistence { timeout_seconds, netmask }),
        ..ServiceSettings::new(scheduler)
    }
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn scheduler_flags_and_one_packet_are_set() {
    let flagged =
        |scheduler, scheduler_flags| ServiceSettings { scheduler_flags, ..ServiceSettings::new(scheduler) };
    let both = SchedulerFlags::FALLBACK | SchedulerFlags::PORT;
    let one_packet = ServiceSettings { one_packet: true, ..ServiceSettings::new("rr") };
    same(
        &[
            service(ServiceKey::tcp(([192, 0, 2, 10], 1)), flagged("sh", SchedulerFlags::FALLBACK)),
            service(ServiceKey::tcp(([192, 0, 2, 10], 2)), flagged("sh", SchedulerFlags::PORT)),
            service(ServiceKey::tcp(([192, 0, 2, 10], 3)), flagged("mh", both)),
            service(ServiceKey::tcp(([192, 0, 2, 10], 4)), flagged("wlc", SchedulerFlags::SCHED_3)),
            service(ServiceKey::udp(([192, 0, 2, 10], 5)), one_packet),
        ],
        "-A -t 192.0.2.10:1 -s sh -b sh-fallback\n\
         -A -t 192.0.2.10:2 -s sh -b sh-port\n\
         -A -t 192.0.2.10:3 -s mh -b mh-fallback,mh-port\n\
         -A -t 192.0.2.10:4 -s wlc -b flag-3\n\
         -A -u 192.0.2.10:5 -s rr -o\n",
    );
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn persistence_has_a_timeout_a_mask_and_an_engine() {
    let v6 = |port| ServiceKey::Address {
        address: "2001:db8::10".parse().unwrap(),
        protocol: lvs_ipvs::Protocol::Tcp,
        port,
    };
    let sip = ServiceSettings {
        engine: Some("sip".to_owned()),
        ..persistent("rr", 300, Netmask::host(Family::Ipv4))
    };
    same(
        &[
            service(web(), persistent("rr", 360, Netmask::host(Family::Ipv4))),
            service(
                ServiceKey::tcp(([192, 0, 2, 10], 0)),
                persistent("wlc", 60, Netmask::from_prefix_length(Family::Ipv4, 24).unwrap()),
            ),
            service(
                ServiceKey::tcp(([192, 0, 2, 10], 81)),
                persistent("wlc", 1, Netmask::Ipv4([255, 0, 255, 0].into())),
            ),
            service(v6(80), persistent("rr", 86400, Netmask::host(Family::Ipv6))),
            service(v6(81), persistent("rr", 60, Netmask::from_prefix_length(Family::Ipv6, 48).unwrap())),
            service(ServiceKey::udp(([192, 0, 2, 10], 5060)), sip),
        ],
        "-A -t 192.0.2.10:80 -s rr -p 360\n\
         -A -t 192.0.2.10:0 -s wlc -p 60 -M 255.255.255.0\n\
         -A -t 192.0.2.10:81 -s wlc -p 1 -M 255.0.255.0\n\
         -A -t [2001:db8::10]:80 -s rr -p 86400\n\
         -A -t [2001:db8::10]:81 -s rr -p 60 -M 48\n\
         -A -u 192.0.2.10:5060 -s rr -p 300 --pe sip\n",
    );
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn one_firewall_mark_has_a_service_of_each_family() {
    let mark = |mark, family| ServiceKey::FirewallMark { mark, family };
    let to = |service, address, weight| Command::NewDestination {
        service,
        destination: Destination {
            key: destination(address, 0),
            settings: DestinationSettings::direct(weight),
        },
    };
    same(
        &[
            service(mark(1, Family::Ipv4), ServiceSettings::new("rr")),
            service(mark(1, Family::Ipv6), ServiceSettings::new("wrr")),
            service(mark(u32::MAX, Family::Ipv4), persistent("wlc", 9, Netmask::host(Family::Ipv4))),
            to(mark(1, Family::Ipv4), "192.0.2.11", 1),
            to(mark(1, Family::Ipv6), "2001:db8::11", 2),
        ],
        "-A -f 1 -s rr\n\
         -A -f 1 -6 -s wrr\n\
         -A -f 4294967295 -s wlc -p 9\n\
         -a -f 1 -r 192.0.2.11 -g -w 1\n\
         -a -f 1 -6 -r [2001:db8::11]:0 -g -w 2\n",
    );
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn forwarding_methods_weights_and_thresholds_are_set() {
    let to = |last: u8, settings| Command::NewDestination {
        service: web(),
        destination: Destination { key: destination(&format!("192.0.2.{last}"), 80), settings },
    };
    let by = |forwarding, weight| DestinationSettings { forwarding, ..DestinationSettings::direct(weight) };
    let tunnel = |kind, port, checksum| Forwarding::Tunnel(Tunnel { kind, port, checksum });
    let bounded =
        DestinationSettings { upper_threshold: 1000, lower_threshold: 999, ..DestinationSettings::direct(1) };
    same(
        &[
            service(web(), ServiceSettings::new("wlc")),
            to(11, DestinationSettings::direct(0)),
            to(12, by(Forwarding::Masquerade, 65535)),
            to(13, by(tunnel(TunnelKind::IpIp, 0, TunnelChecksum::Off), 3)),
            to(14, by(tunnel(TunnelKind::Gue, 6080, TunnelChecksum::Off), 4)),
            to(15, by(tunnel(TunnelKind::Gue, 6081, TunnelChecksum::On), 5)),
            to(16, by(tunnel(TunnelKind::Gue, 6082, TunnelChecksum::Remote), 6)),
            to(17, by(tunnel(TunnelKind::Gre, 0, TunnelChecksum::On), 7)),
            to(18, bounded),
        ],
        &format!(
            "-A {WEB} -s wlc\n\
             -a {WEB} -r 192.0.2.11 -g -w 0\n\
             -a {WEB} -r 192.0.2.12 -m -w 65535\n\
             -a {WEB} -r 192.0.2.13 -i -w 3\n\
             -a {WEB} -r 192.0.2.14 -i -w 4 --tun-type gue --tun-port 6080 --tun-nocsum\n\
             -a {WEB} -r 192.0.2.15 -i -w 5 --tun-type gue --tun-port 6081 --tun-csum\n\
             -a {WEB} -r 192.0.2.16 -i -w 6 --tun-type gue --tun-port 6082 --tun-remcsum\n\
             -a {WEB} -r 192.0.2.17 -i -w 7 --tun-type gre --tun-csum\n\
             -a {WEB} -r 192.0.2.18 -g -w 1 -x 1000 -y 999\n"
        ),
    );
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn an_address_of_the_host_itself_keeps_the_method_that_was_asked_for() {
    // Old kernels made it "local".
    let to = |forwarding| Command::NewDestination {
        service: web(),
        destination: Destination {
            key: destination(if forwarding == Forwarding::Direct { "192.0.2.1" } else { "127.0.0.1" }, 80),
            settings: DestinationSettings { forwarding, ..DestinationSettings::direct(1) },
        },
    };
    same(
        &[service(web(), ServiceSettings::new("rr")), to(Forwarding::Direct), to(Forwarding::Masquerade)],
        &format!("-A {WEB} -s rr\n-a {WEB} -r 192.0.2.1 -g -w 1\n-a {WEB} -r 127.0.0.1 -m -w 1\n"),
    );
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn local_and_bypass_which_ipvsadm_cannot_ask_for_are_set() {
    let host = Host::new();
    let mut client = host.client();
    client.execute(&service(web(), ServiceSettings::new("rr"))).unwrap();
    let mut add = |address, forwarding| {
        let settings = DestinationSettings { forwarding, ..DestinationSettings::direct(1) };
        let destination = Destination { key: destination(address, 80), settings };
        client.execute(&Command::NewDestination { service: web(), destination }).unwrap();
        let read = client.destinations(&web()).unwrap();
        assert!(read.iter().any(|entry| entry.destination == destination), "{read:?}");
        list::list(&mut client).unwrap()
    };
    assert_eq!(add("192.0.2.11", Forwarding::Local), host.ipvsadm("-Ln"));
    // It has no name for this one.
    assert_eq!(add("192.0.2.12", Forwarding::Bypass).replace("Bypass", "(null)"), host.ipvsadm("-Ln"));
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn a_change_is_made_in_place_and_takes_back_what_is_no_longer_asked() {
    let (ours, theirs) = (Host::new(), Host::new());
    let mut client = ours.client();
    let sip = ServiceKey::udp(([192, 0, 2, 10], 5060));
    let before = ServiceSettings {
        scheduler_flags: SchedulerFlags::PORT,
        one_packet: true,
        engine: Some("sip".to_owned()),
        ..persistent("sh", 300, Netmask::from_prefix_length(Family::Ipv4, 24).unwrap())
    };
    let key = destination("192.0.2.11", 5060);
    let settings =
        DestinationSettings { upper_threshold: 9, lower_threshold: 4, ..DestinationSettings::direct(5) };
    let gue = Tunnel { kind: TunnelKind::Gue, port: 6080, checksum: TunnelChecksum::On };
    let tunnelled = DestinationSettings { forwarding: Forwarding::Tunnel(gue), ..settings };
    for command in [
        service(sip, before),
        Command::NewDestination { service: sip, destination: Destination { key, settings: tunnelled } },
        Command::SetService(Service { key: sip, settings: ServiceSettings::new("wrr") }),
        // The tunnel stays what it was when only the weight changes.
        Command::SetDestination {
            service: sip,
            destination: Destination { key, settings: DestinationSettings { weight: 6, ..tunnelled } },
        },
    ] {
        client.execute(&command).unwrap();
    }
    theirs.restore(
        "-A -u 192.0.2.10:5060 -s wrr\n\
         -a -u 192.0.2.10:5060 -r 192.0.2.11 -i -w 6 -x 9 -y 4 --tun-type gue --tun-port 6080 --tun-csum\n",
    );
    assert_eq!(ours.everything(), theirs.everything());
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn deleting_takes_one_entry_and_no_other() {
    let (ours, theirs) = (Host::new(), Host::new());
    let rules = format!(
        "-A {WEB} -s rr\n-a {WEB} -r 192.0.2.11 -g -w 1\n-a {WEB} -r 192.0.2.12 -g -w 1\n\
         -A -u 192.0.2.10:80 -s rr\n-A -t [2001:db8::10]:80 -s rr\n"
    );
    ours.restore(&rules);
    theirs.restore(&rules);

    let mut client = ours.client();
    client
        .execute(&Command::DelDestination { service: web(), destination: destination("192.0.2.11", 80) })
        .unwrap();
    theirs.ipvsadm(&format!("-d {WEB} -r 192.0.2.11"));
    assert_eq!(ours.everything(), theirs.everything());

    client.execute(&Command::DelService(web())).unwrap();
    theirs.ipvsadm(&format!("-D {WEB}"));
    assert_eq!(ours.everything(), theirs.everything());
    assert_eq!(client.service(&web()).unwrap(), None);
    assert_eq!(client.destinations(&web()).unwrap(), []);
}
