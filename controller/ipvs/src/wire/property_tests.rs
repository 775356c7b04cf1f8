//! Every value that the types allow reads as it was written, and no bytes make the decoder panic.

use std::net::IpAddr;

use neli::consts::nl::NlmF;
use proptest::prelude::*;

use super::{
    Header, decode, encode,
    frame::{self, Answer, Message},
};
use crate::{
    Command, Daemon, Destination, DestinationKey, DestinationSettings, Family, Forwarding, Netmask,
    Persistence, Protocol, SchedulerFlags, Service, ServiceKey, ServiceSettings, Tunnel, TunnelChecksum,
    TunnelKind, daemon::Role,
};

const HEADER: Header = Header { family: 0x23, flags: NlmF::ACK, sequence: 7 };

/// What the kernel would read in a request.
fn attributes(request: &[u8]) -> &[u8] {
    let mut messages = frame::messages(request);
    let Some(Ok(Message { answer: Answer::Data(data), sequence: 7 })) = messages.next() else {
        panic!("one message of ours")
    };
    assert!(messages.next().is_none(), "one message only");
    data
}

prop_compose! {
    fn key()(
        address in any::<IpAddr>(), number in any::<u16>(), port in any::<u16>(), mark in 1..=u32::MAX,
        v6 in any::<bool>(), marked in any::<bool>(),
    ) -> ServiceKey {
        let protocol = match number {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            132 => Protocol::Sctp,
            number => [Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Other(number)][usize::from(number) % 4],
        };
        if marked {
            ServiceKey::FirewallMark { mark, family: if v6 { Family::Ipv6 } else { Family::Ipv4 } }
        } else {
            ServiceKey::Address { address, protocol, port }
        }
    }
}

prop_compose! {
    fn service()(
        key in key(), scheduler in "[a-z]{0,15}", bits in 0_u8..8, one_packet in any::<bool>(),
        persistence in proptest::option::of((any::<u32>(), any::<u32>(), any::<u8>())),
        engine in proptest::option::of("[a-z]{1,15}"),
    ) -> Service {
        let persistence = persistence.map(|(timeout_seconds, mask, length)| Persistence {
            timeout_seconds,
            netmask: match key.family() {
                Family::Ipv4 => Netmask::Ipv4(mask.into()),
                Family::Ipv6 => Netmask::Ipv6(length),
            },
        });
        let scheduler_flags = SchedulerFlags::from_bits_truncate(bits);
        Service { key, settings: ServiceSettings { scheduler, scheduler_flags, one_packet, persistence, engine } }
    }
}

fn forwarding() -> impl Strategy<Value = Forwarding> {
    let kind = prop_oneof![
        Just(TunnelKind::IpIp),
        Just(TunnelKind::Gue),
        Just(TunnelKind::Gre),
        (3..=u8::MAX).prop_map(TunnelKind::Other)
    ];
    let checksum = prop_oneof![
        Just(TunnelChecksum::Off),
        Just(TunnelChecksum::On),
        Just(TunnelChecksum::Remote),
        (3..=u16::MAX).prop_map(TunnelChecksum::Other)
    ];
    let tunnel =
        (kind, any::<u16>(), checksum).prop_map(|(kind, port, checksum)| Tunnel { kind, port, checksum });
    prop_oneof![
        Just(Forwarding::Masquerade),
        Just(Forwarding::Local),
        Just(Forwarding::Direct),
        Just(Forwarding::Bypass),
        (5..=7_u32).prop_map(Forwarding::Other),
        tunnel.prop_map(Forwarding::Tunnel)
    ]
}

prop_compose! {
    fn destination()(
        address in any::<IpAddr>(), port in any::<u16>(), forwarding in forwarding(),
        (weight, upper_threshold, lower_threshold) in any::<(u32, u32, u32)>(),
    ) -> Destination {
        Destination {
            key: DestinationKey { address, port },
            settings: DestinationSettings { forwarding, weight, upper_threshold, lower_threshold },
        }
    }
}

prop_compose! {
    fn daemon()(
        master in any::<bool>(), interface in "[a-z0-9.]{1,15}", sync_id in any::<u32>(),
        max_payload in any::<Option<u16>>(), group in any::<Option<IpAddr>>(), port in any::<Option<u16>>(),
        ttl in any::<Option<u8>>(),
    ) -> Daemon {
        let role = if master { Role::Master } else { Role::Backup };
        Daemon { role, interface, sync_id, max_payload, group, port, ttl }
    }
}

proptest! {
    #[test]
    fn a_service_reads_as_it_was_written(service in service()) {
        let mut request = Vec::new();
        encode::command(&mut request, HEADER, &Command::NewService(service.clone()));
        prop_assert_eq!(request.len() % 4, 0);
        prop_assert_eq!(decode::service(attributes(&request)).unwrap().service, service);
    }

    #[test]
    fn a_destination_reads_as_it_was_written(service in key(), destination in destination()) {
        let mut request = Vec::new();
        encode::command(&mut request, HEADER, &Command::SetDestination { service, destination });
        let entry = decode::destination(attributes(&request), service.family()).unwrap();
        prop_assert_eq!(entry.destination, destination);
    }

    #[test]
    fn a_daemon_reads_as_it_was_written(daemon in daemon()) {
        let mut request = Vec::new();
        encode::command(&mut request, HEADER, &Command::NewDaemon(daemon.clone()));
        prop_assert_eq!(decode::daemon(attributes(&request)).unwrap(), daemon);
    }

    #[test]
    fn every_command_of_a_batch_is_found_again(services in proptest::collection::vec(service(), 0..20)) {
        let mut request = Vec::new();
        for (sequence, service) in (0_u32..).zip(&services) {
            let header = Header { sequence, ..HEADER };
            encode::command(&mut request, header, &Command::SetService(service.clone()));
        }
        let found: Vec<Service> = (0_u32..)
            .zip(frame::messages(&request))
            .map(|(sequence, message)| {
                let message = message.unwrap();
                assert_eq!(message.sequence, sequence);
                let Answer::Data(data) = message.answer else { panic!("{message:?}") };
                decode::service(data).unwrap().service
            })
            .collect();
        prop_assert_eq!(found, services);
    }

    #[test]
    fn noise_is_refused_and_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..400)) {
        for message in frame::messages(&noise).flatten() {
            if let Answer::Data(data) = message.answer {
                let _ = decode::service(data);
            }
        }
        let _ = decode::service(&noise);
        let _ = decode::destination(&noise, Family::Ipv4);
        let _ = decode::daemon(&noise);
        let _ = decode::info(&noise);
        let _ = decode::timeouts(&noise);
        let _ = decode::family(&noise);
    }

    #[test]
    fn an_error_or_end_of_any_shape_never_panics(
        done in any::<bool>(), flags in any::<u16>(), number in any::<i32>(),
        echoed in prop_oneof![any::<u32>(), 0..100_u32],
        rest in proptest::collection::vec(any::<u8>(), 0..80), cut in 0..100_usize,
    ) {
        let body = [&number.to_ne_bytes()[..], &echoed.to_ne_bytes(), &rest].concat();
        let body = &body[..cut.min(body.len())];
        let (length, kind) = ((16 + body.len()) as u32, if done { 3_u16 } else { 2 });
        let start = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
        prop_assert_eq!(frame::messages(&[&start, body].concat()).count(), 1);
    }

    #[test]
    fn a_message_that_was_cut_or_bent_never_panics(
        service in service(), destination in destination(), cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        for command in [
            Command::NewDestination { service: service.key, destination },
            Command::NewService(service),
        ] {
            let mut request = Vec::new();
            encode::command(&mut request, HEADER, &command);
            let index = at.index(request.len());
            request[index] = byte;
            request.truncate(cut.index(request.len()) + 1);
            for message in frame::messages(&request).flatten() {
                if let Answer::Data(data) = message.answer {
                    let _ = decode::service(data);
                    let _ = decode::destination(data, Family::Ipv4);
                }
            }
        }
    }
}
