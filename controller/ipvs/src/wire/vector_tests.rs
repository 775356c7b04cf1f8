//! Byte for byte: what `ipvsadm` 1.31 and Linux 6.1 said to each other on a little-endian machine, or pieces of it
//! put together.

#![cfg(target_endian = "little")]

use std::net::IpAddr;

use neli::consts::nl::NlmF;

use super::{
    Header,
    attrs::cmd,
    decode, encode,
    frame::{self, Answer, Malformed, Message},
};
use crate::{
    Command, CommandError, Daemon, Destination, DestinationKey, DestinationSettings, Family, Forwarding,
    Info, Netmask, Persistence, Protocol, SchedulerFlags, Service, ServiceKey, ServiceSettings, Stats,
    Timeouts, Tunnel, TunnelChecksum, TunnelKind, Version, daemon::Role,
};

const HEADER: Header = Header { family: 0x23, flags: NlmF::ACK, sequence: 7 };

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// An attribute around others.
fn nest(number: u16, body: &str) -> Vec<u8> {
    let body = hex(body);
    let length = (4 + body.len()) as u16;
    [&length.to_le_bytes()[..], &number.to_le_bytes()[..], &body].concat()
}

/// A message of the kernel's: type and flags, and what comes after the header.
fn answer(kind_and_flags: &str, body: &str) -> Vec<u8> {
    let rest = hex(&format!("{kind_and_flags} 09000000 05000000 {body}"));
    let length = (4 + rest.len()) as u32;
    [&length.to_le_bytes()[..], &rest].concat()
}

/// What follows the netlink header.
fn payload(command: &Command) -> Vec<u8> {
    let mut out = Vec::new();
    encode::command(&mut out, HEADER, command);
    out.split_off(16)
}

fn web() -> ServiceKey {
    ServiceKey::tcp(([172, 16, 21, 10], 80))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_request_starts_with_its_length_family_flags_and_number() {
    let mut out = vec![0xaa; 4];
    encode::question(
        &mut out,
        Header { family: 0x23, flags: NlmF::DUMP, sequence: 0x0102_0304 },
        cmd::GET_SERVICE,
        None,
    );
    assert_eq!(out, hex("aaaaaaaa 14000000 2300 0103 04030201 00000000 04010000"));
}

#[test]
fn the_family_is_asked_for_by_name() {
    let mut out = Vec::new();
    encode::family(&mut out, 7, NlmF::ACK, "IPVS");
    assert_eq!(out, hex("20000000 1000 0500 07000000 00000000 03010000 0900 0200 4950565300 000000"));
}

#[test]
fn services_are_sent_as_ipvsadm_sends_them() {
    // ipvsadm sets the mask of the flags to ffffffff; ours names the flags that we know, so that a SET leaves
    // others alone.
    let key = "0600010002000000 0600020006000000 14000300ac10150a000000000000000000000000 0600040000500000";
    let persistent = ServiceSettings {
        persistence: Some(Persistence {
            timeout_seconds: 360,
            netmask: Netmask::Ipv4([255, 255, 255, 0].into()),
        }),
        ..ServiceSettings::new("wrr")
    };
    assert_eq!(
        payload(&Command::NewService(Service { key: web(), settings: persistent })),
        hex(&format!(
            "01010000 54000180 {key} 0800060077727200 0c000700010000003d000000 0800080068010000 08000900ffffff00"
        ))
    );

    let sip = ServiceSettings {
        scheduler_flags: SchedulerFlags::FALLBACK | SchedulerFlags::PORT,
        one_packet: true,
        persistence: Some(Persistence { timeout_seconds: 300, netmask: Netmask::host(Family::Ipv4) }),
        engine: Some("sip".to_owned()),
        ..ServiceSettings::new("sh")
    };
    assert_eq!(
        payload(&Command::SetService(Service {
            key: ServiceKey::udp(([172, 16, 21, 10], 5060)),
            settings: sip
        })),
        hex("02010000 5c000180 0600010002000000 0600020011000000 14000300ac10150a000000000000000000000000 \
             0600040013c40000 0700060073680000 08000b0073697000 0c0007001d0000003d000000 080008002c010000 \
             08000900ffffffff")
    );

    let marked = ServiceKey::FirewallMark { mark: 7, family: Family::Ipv6 };
    assert_eq!(
        payload(&Command::NewService(Service { key: marked, settings: ServiceSettings::new("mh") })),
        hex("01010000 38000180 060001000a000000 0800050007000000 070006006d680000 0c000700000000003d000000 \
             0800080000000000 0800090080000000")
    );

    let v6 = ServiceKey::Address { address: ip("2001:db8::10"), protocol: Protocol::Tcp, port: 443 };
    let network = Some(Persistence { timeout_seconds: 60, netmask: Netmask::Ipv6(64) });
    assert_eq!(
        payload(&Command::NewService(Service {
            key: v6,
            settings: ServiceSettings { persistence: network, ..ServiceSettings::new("rr") },
        })),
        hex("01010000 54000180 060001000a000000 0600020006000000 1400030020010db8000000000000000000000010 \
             0600040001bb0000 0700060072720000 0c000700010000003d000000 080008003c000000 0800090040000000")
    );
}

/// The identifying half of a service, and a destination as `ipvsadm` sends it.
const WEB_KEY: &str = "30000180 0600010002000000 0600020006000000 14000300ac10150a000000000000000000000000 \
                       0600040000500000";

#[test]
fn destinations_are_sent_as_ipvsadm_sends_them() {
    let direct = Destination {
        key: DestinationKey { address: ip("192.0.2.12"), port: 80 },
        settings: DestinationSettings {
            upper_threshold: 100,
            lower_threshold: 50,
            ..DestinationSettings::direct(2)
        },
    };
    assert_eq!(
        payload(&Command::NewDestination { service: web(), destination: direct }),
        hex(&format!(
            "05010000 {WEB_KEY} 48000280 06000b0002000000 14000100c000020c000000000000000000000000 \
             0600020000500000 0800030003000000 0800040002000000 0800050064000000 0800060032000000"
        ))
    );

    let tunnel = Tunnel { kind: TunnelKind::Gue, port: 6080, checksum: TunnelChecksum::On };
    let tunnelled = Destination {
        key: DestinationKey { address: ip("192.0.2.13"), port: 80 },
        settings: DestinationSettings {
            forwarding: Forwarding::Tunnel(tunnel),
            ..DestinationSettings::direct(1)
        },
    };
    assert_eq!(
        payload(&Command::SetDestination { service: web(), destination: tunnelled }),
        hex(&format!(
            "06010000 {WEB_KEY} 60000280 06000b0002000000 14000100c000020d000000000000000000000000 \
             0600020000500000 0800030002000000 0800040001000000 05000d0001000000 06000e0017c00000 \
             06000f0001000000 0800050000000000 0800060000000000"
        ))
    );

    assert_eq!(
        payload(&Command::DelDestination { service: web(), destination: tunnelled.key }),
        hex(&format!(
            "07010000 {WEB_KEY} 28000280 06000b0002000000 14000100c000020d000000000000000000000000 0600020000500000"
        ))
    );
}

#[test]
fn the_rest_is_sent_as_ipvsadm_sends_it() {
    let timeouts = Timeouts { tcp_seconds: 901, tcp_fin_seconds: 121, udp_seconds: 301 };
    assert_eq!(
        payload(&Command::SetTimeouts(timeouts)),
        hex("0c010000 0800040085030000 0800050079000000 080006002d010000")
    );
    let udp = Timeouts { udp_seconds: 301, ..Timeouts::default() };
    assert_eq!(payload(&Command::SetTimeouts(udp)), hex("0c010000 080006002d010000"));
    assert_eq!(payload(&Command::DelService(web())), hex(&format!("03010000 {WEB_KEY}")));
    assert_eq!(payload(&Command::Zero(None)), hex("10010000"));
    assert_eq!(payload(&Command::Zero(Some(web()))), hex(&format!("10010000 {WEB_KEY}")));
    assert_eq!(payload(&Command::DelDaemon(Role::Backup)), hex("0a010000 0c000380 0800010002000000"));
    assert_eq!(
        payload(&Command::NewDaemon(Daemon::new(Role::Master, "d0", 7))),
        hex("09010000 1c000380 0800010001000000 0700020064300000 0800030007000000")
    );
}

#[test]
fn a_name_that_is_too_long_stays_too_long() {
    let settings = ServiceSettings::new("x".repeat(70_000));
    let sent = payload(&Command::NewService(Service { key: web(), settings }));
    // 4 bytes of header, 16 of the name, NUL: one more than IP_VS_SCHEDNAME_MAXLEN.
    assert!(sent.windows(5).any(|window| window == [21, 0, 6, 0, b'x']), "{sent:x?}");
}

#[test]
fn a_services_report_is_read() {
    let report = hex(concat!(
        "34010100 0600010002000000 0600020011000000 14000300ac10150a000000000000000000000000 0600040013c40000 ",
        "0700060073680000 08000b0073697000 0c0007001f000000ffffffff 080008002c010000 08000900ffffffff ",
        "5c000a00 0800010001000000 0800020002000000 0800030003000000 0c0004000400000000000000 ",
        "0c0005000500000000000000 0800060006000000 0800070007000000 0800080008000000 0800090009000000 ",
        "08000a000a000000 ",
        "7c000c00 0c0001000b00000001000000 0c0002000c00000000000000 0c0003000d00000000000000 ",
        "0c0004000e00000000000000 0c0005000f00000000000000 0c0006001000000000000000 0c0007001100000000000000 ",
        "0c0008001200000000000000 0c0009001300000000000000 0c000a001400000000000000",
    ));
    let entry = decode::service(&report).unwrap();
    assert_eq!(
        entry.service,
        Service {
            key: ServiceKey::udp(([172, 16, 21, 10], 5060)),
            settings: ServiceSettings {
                scheduler: "sh".to_owned(),
                scheduler_flags: SchedulerFlags::FALLBACK | SchedulerFlags::PORT,
                one_packet: true,
                persistence: Some(Persistence { timeout_seconds: 300, netmask: Netmask::host(Family::Ipv4) }),
                engine: Some("sip".to_owned()),
            },
        }
    );
    assert_eq!(
        entry.stats,
        Stats {
            connections: 0x1_0000_000b,
            in_packets: 12,
            out_packets: 13,
            in_bytes: 14,
            out_bytes: 15,
            connection_rate: 16,
            in_packet_rate: 17,
            out_packet_rate: 18,
            in_byte_rate: 19,
            out_byte_rate: 20,
        }
    );

    // The same from a kernel that counts in 32 bits: without STATS64, which is the last attribute.
    let mut old = report[..report.len() - 0x7c].to_vec();
    old[..2].copy_from_slice(&(0x134_u16 - 0x7c).to_le_bytes());
    let stats = decode::service(&old).unwrap().stats;
    assert_eq!(
        stats,
        Stats {
            connections: 1,
            in_packets: 2,
            out_packets: 3,
            in_bytes: 4,
            out_bytes: 5,
            connection_rate: 6,
            in_packet_rate: 7,
            out_packet_rate: 8,
            in_byte_rate: 9,
            out_byte_rate: 10,
        }
    );
}

#[test]
fn a_destinations_report_is_read() {
    // The last attribute is of a kernel to come.
    let report = nest(
        2,
        "14000100c000020d000000000000000000000000 0600020000500000 0800030002000000 0800040001000000 \
         05000d0001000000 06000e0017c00000 06000f0001000000 0800050064000000 0800060032000000 \
         0800070003000000 0800080002000000 0800090001000000 06000b0002000000 0800ff00ffffffff",
    );
    let entry = decode::destination(&report, Family::Ipv6).unwrap();
    let tunnel = Tunnel { kind: TunnelKind::Gue, port: 6080, checksum: TunnelChecksum::On };
    assert_eq!(
        entry.destination,
        Destination {
            key: DestinationKey { address: ip("192.0.2.13"), port: 80 },
            settings: DestinationSettings {
                forwarding: Forwarding::Tunnel(tunnel),
                weight: 1,
                upper_threshold: 100,
                lower_threshold: 50,
            },
        }
    );
    assert_eq!(
        (entry.active_connections, entry.inactive_connections, entry.persistent_connections),
        (3, 2, 1)
    );
}

#[test]
fn without_its_own_family_a_destination_has_the_services() {
    let report = nest(
        2,
        "1400010020010db8000000000000000000000012 0600020001bb0000 0800030000000000 0800040003000000 \
         0800050000000000 0800060000000000",
    );
    let entry = decode::destination(&report, Family::Ipv6).unwrap();
    assert_eq!(entry.destination.key, DestinationKey { address: ip("2001:db8::12"), port: 443 });
}

#[test]
fn info_timeouts_and_daemons_are_read() {
    let info = decode::info(&hex("0800010001020100 0800020000100000")).unwrap();
    assert_eq!(info, Info { version: Version(0x0001_0201), connection_table_size: 4096 });
    assert_eq!(info.version.to_string(), "1.2.1");

    let timeouts = decode::timeouts(&hex("0800040084030000 0800050078000000 080006002c010000")).unwrap();
    assert_eq!(timeouts, Timeouts { tcp_seconds: 900, tcp_fin_seconds: 120, udp_seconds: 300 });

    let daemon = decode::daemon(&hex("3c000300 0800010001000000 0700020064300000 0800030007000000 \
                                      0600040078050000 0600070028230000 0500080003000000 08000500e0000063"));
    assert_eq!(
        daemon.unwrap(),
        Daemon {
            role: Role::Master,
            interface: "d0".to_owned(),
            sync_id: 7,
            max_payload: Some(1400),
            group: Some(ip("224.0.0.99")),
            port: Some(9000),
            ttl: Some(3),
        }
    );
}

fn only(datagram: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut messages = frame::messages(datagram);
    let message = messages.next().unwrap();
    assert!(messages.next().is_none());
    message
}

#[test]
fn an_acknowledgement_names_its_request() {
    let ack = answer("0200 0001", "00000000 14000000 2300 0500 09000000 05000000");
    assert_eq!(only(&ack), Ok(Message { sequence: 9, answer: Answer::Done }));
}

#[test]
fn a_refusal_has_its_errno_and_the_kernels_words() {
    let refused = |message: Option<&str>| {
        let error = CommandError::Refused { errno: 17, message: message.map(str::to_owned) };
        Ok(Message { sequence: 9, answer: Answer::Refused(error) })
    };
    let echo = "efffffff 18000000 2300 0500 09000000 05000000";
    let words = "0b00 0100 696e2075736500 00"; // NLMSGERR_ATTR_MSG, "in use"

    // NLM_F_CAPPED is 0x100: only the request's header comes back. NLM_F_ACK_TLVS is 0x200.
    assert_eq!(only(&answer("0200 0003", &format!("{echo} {words}"))), refused(Some("in use")));
    assert_eq!(only(&answer("0200 0001", echo)), refused(None));
    let whole = format!("{echo} 01010000 deadbeef {words}");
    assert_eq!(only(&answer("0200 0002", &whole)), refused(Some("in use")));
}

#[test]
fn a_dump_ends_with_done_or_with_its_error() {
    assert_eq!(only(&answer("0300 0200", "00000000")).unwrap().answer, Answer::Done);
    assert_eq!(
        only(&answer("0300 0200", "ffffffff")).unwrap().answer,
        Answer::Refused(CommandError::Refused { errno: 1, message: None })
    );
}

#[test]
fn what_is_missing_or_misshapen_is_named() {
    assert_eq!(decode::service(&[]), Err(Malformed::Missing("IPVS_CMD_ATTR_SERVICE")));
    assert_eq!(decode::service(&hex("04000100")), Err(Malformed::Missing("IPVS_SVC_ATTR_AF")));
    assert_eq!(
        decode::service(&hex("0c000100 0800010002000000")),
        Err(Malformed::Length { name: "IPVS_SVC_ATTR_AF", length: 4 })
    );
    assert_eq!(
        decode::service(&hex("0c000100 0600010001000000")),
        Err(Malformed::Value { name: "IPVS_SVC_ATTR_AF", value: 1 })
    );
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    for attribute in ["03000100", "0c000100 06000100", "040001", "05000100 00"] {
        let read = decode::service(&hex(attribute));
        assert!(matches!(read, Err(Malformed::Framing(_))), "{attribute}: {read:?}");
    }
    // Shorter than a header, and longer than the datagram.
    for (length, body) in [(15_u32, "00000000"), (0, "00000000"), (21, "00000000"), (u32::MAX, "")] {
        let mut message = answer("0200 0000", body);
        message[..4].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(only(&message), Err(Malformed::Length { name: "nlmsghdr", length: length as usize }));
    }
    assert!(matches!(only(&[0x14, 0, 0]), Err(Malformed::Framing(_))));
}
