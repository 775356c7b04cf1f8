//! From values to requests.

use std::{io::Cursor, net::IpAddr};

use neli::{
    Size, ToBytes,
    consts::{
        genl::CtrlCmd,
        nl::{GenlId, NlmF},
    },
    genl::{AttrType, AttrTypeBuilder, Genlmsghdr, GenlmsghdrBuilder},
    nl::{NlPayload, NlmsghdrBuilder},
};

use super::{
    Header,
    attrs::{
        self, AF_INET, AF_INET6, Attr, checksum, cmd, ctrl, daemon, dest, forwarding, protocol, service_flag,
        state, svc, top, tunnel,
    },
};
use crate::{
    Command, Daemon, Destination, DestinationKey, Family, Forwarding, Netmask, Protocol, Service, ServiceKey,
    Timeouts, Tunnel, TunnelChecksum, TunnelKind, daemon::Role,
};

/// Appends the request that carries out a command.
pub(crate) fn command(out: &mut Vec<u8>, header: Header, command: &Command) {
    match command {
        Command::NewService(service) => {
            message(out, header, cmd::NEW_SERVICE, |out| full_service(out, service));
        }
        Command::SetService(service) => {
            message(out, header, cmd::SET_SERVICE, |out| full_service(out, service));
        }
        Command::DelService(key) => message(out, header, cmd::DEL_SERVICE, |out| service_key(out, key)),
        Command::NewDestination { service, destination } => message(out, header, cmd::NEW_DEST, |out| {
            service_key(out, service);
            full_destination(out, destination);
        }),
        Command::SetDestination { service, destination } => message(out, header, cmd::SET_DEST, |out| {
            service_key(out, service);
            full_destination(out, destination);
        }),
        Command::DelDestination { service, destination } => message(out, header, cmd::DEL_DEST, |out| {
            service_key(out, service);
            nest(out, top::DEST, |out| destination_attrs(out, destination));
        }),
        Command::Zero(key) => message(out, header, cmd::ZERO, |out| {
            if let Some(key) = key {
                service_key(out, key);
            }
        }),
        Command::SetTimeouts(changes) => message(out, header, cmd::SET_CONFIG, |out| timeouts(out, changes)),
        Command::NewDaemon(daemon) => message(out, header, cmd::NEW_DAEMON, |out| full_daemon(out, daemon)),
        Command::DelDaemon(role) => message(out, header, cmd::DEL_DAEMON, |out| {
            nest(out, top::DAEMON, |out| put(out, daemon::STATE, daemon_state(*role)));
        }),
    }
}

/// Appends a request that asks, about a service or about everything.
pub(crate) fn question(out: &mut Vec<u8>, header: Header, command: u8, about: Option<&ServiceKey>) {
    message(out, header, command, |out| {
        if let Some(key) = about {
            service_key(out, key);
        }
    });
}

/// Appends the request for the number of a generic netlink family.
pub(crate) fn family(out: &mut Vec<u8>, sequence: u32, flags: NlmF, family: &str) {
    let header = Header { family: GenlId::Ctrl.into(), flags, sequence };
    message(out, header, CtrlCmd::Getfamily.into(), |out| name(out, ctrl::FAMILY_NAME, family));
}

/// Whole messages, and the one that is being written.
type Out = Cursor<Vec<u8>>;

/// An attribute, laid out as neli's `Nlattr`. That one can only be built around a buffer of its own, which takes
/// longer than all the rest of a message.
#[derive(Debug, Size, ToBytes)]
#[neli(padding)]
struct Attribute<V> {
    length: u16,
    kind: AttrType<u16>,
    value: V,
}

impl<V: Size + ToBytes> Attribute<V> {
    /// No value is longer than a name, so its length fits 16 bits.
    fn new(attr: Attr, nested: bool, value: V) -> Self {
        let kind = AttrTypeBuilder::default().nla_type(attr.number).nla_nested(nested).build();
        let mut attribute = Self { length: 0, kind: kind.expect("the type is set"), value };
        attribute.length = attribute.unpadded_size() as u16;
        attribute
    }
}

/// `out` holds whole messages, so this one starts at a multiple of 4, as neli's padding wants it.
fn message(out: &mut Vec<u8>, header: Header, command: u8, attributes: impl FnOnce(&mut Out)) {
    let start = out.len() as u64;
    let mut cursor = Out::new(std::mem::take(out));
    cursor.set_position(start);
    let payload: Genlmsghdr<u8, u16> = GenlmsghdrBuilder::default()
        .cmd(command)
        .version(attrs::FAMILY_VERSION)
        .build()
        .expect("command and version are set");
    // The sender's port stays 0: the kernel fills it in.
    let message = NlmsghdrBuilder::default()
        .nl_type(header.family)
        .nl_flags(NlmF::REQUEST | header.flags)
        .nl_seq(header.sequence)
        .nl_payload(NlPayload::Payload(payload))
        .build()
        .expect("type, flags and payload are set");
    write(&mut cursor, &message);
    attributes(&mut cursor);
    let length = cursor.position() - start;
    write_at(&mut cursor, start, &(length as u32));
    *out = cursor.into_inner();
}

fn put(out: &mut Out, attr: Attr, value: impl Size + ToBytes) {
    write(out, &Attribute::new(attr, false, value));
}

/// No nest holds more than a few dozen attributes, so its length fits 16 bits.
fn nest(out: &mut Out, attr: Attr, attributes: impl FnOnce(&mut Out)) {
    let start = out.position();
    write(out, &Attribute::new(attr, true, ()));
    attributes(out);
    let length = out.position() - start;
    write_at(out, start, &(length as u16));
}

fn write(out: &mut Out, value: &impl ToBytes) {
    value.to_bytes(out).expect("memory takes every value");
}

/// A length, once it is known: netlink's headers begin with it.
fn write_at(out: &mut Out, start: u64, length: &impl ToBytes) {
    let end = out.position();
    out.set_position(start);
    write(out, length);
    out.set_position(end);
}

/// A name with its NUL. One that is too long is cut where the kernel still sees that it is, and refuses it.
fn name(out: &mut Out, attr: Attr, name: &str) {
    let length = name.len().min(attrs::NAME_MAX + 1);
    let mut bytes = [0; attrs::NAME_MAX + 2];
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    put(out, attr, &bytes[..=length]);
}

/// `union nf_inet_addr`: 16 bytes, of which an IPv4 address takes the first four.
fn address(out: &mut Out, attr: Attr, address: IpAddr) {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(v4) => bytes[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => bytes = v6.octets(),
    }
    put(out, attr, bytes);
}

fn family_number(family: Family) -> u16 {
    match family {
        Family::Ipv4 => AF_INET,
        Family::Ipv6 => AF_INET6,
    }
}

fn service_key(out: &mut Out, key: &ServiceKey) {
    nest(out, top::SERVICE, |out| service_key_attrs(out, key));
}

fn service_key_attrs(out: &mut Out, key: &ServiceKey) {
    put(out, svc::AF, family_number(key.family()));
    match key {
        ServiceKey::Address { address: vip, protocol, port } => {
            put(out, svc::PROTOCOL, protocol_number(*protocol));
            address(out, svc::ADDR, *vip);
            put(out, svc::PORT, port.to_be_bytes());
        }
        ServiceKey::FirewallMark { mark, .. } => put(out, svc::FWMARK, *mark),
    }
}

fn protocol_number(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Tcp => protocol::TCP,
        Protocol::Udp => protocol::UDP,
        Protocol::Sctp => protocol::SCTP,
        Protocol::Other(number) => number,
    }
}

/// The kernel wants scheduler, flags, timeout and netmask each time (`ip_vs_genl_parse_service`). An engine
/// that is not named is taken away.
fn full_service(out: &mut Out, service: &Service) {
    let Service { key, settings } = service;
    nest(out, top::SERVICE, |out| {
        service_key_attrs(out, key);
        name(out, svc::SCHED_NAME, &settings.scheduler);
        if let Some(engine) = &settings.engine {
            name(out, svc::PE_NAME, engine);
        }
        let mut flags = u32::from(settings.scheduler_flags.bits()) << service_flag::SCHED_SHIFT;
        if settings.persistence.is_some() {
            flags |= service_flag::PERSISTENT;
        }
        if settings.one_packet {
            flags |= service_flag::ONE_PACKET;
        }
        // `struct ip_vs_flags`: values, then a mask of those that are to change. Others stay as they are.
        let mut value = [0; 8];
        value[..4].copy_from_slice(&flags.to_ne_bytes());
        value[4..].copy_from_slice(&service_flag::KNOWN.to_ne_bytes());
        put(out, svc::FLAGS, value);
        let timeout = settings.persistence.map_or(0, |persistence| persistence.timeout_seconds);
        put(out, svc::TIMEOUT, timeout);
        let host = Netmask::host(key.family());
        match settings.persistence.map_or(host, |persistence| persistence.netmask) {
            Netmask::Ipv4(mask) => put(out, svc::NETMASK, mask.octets()),
            Netmask::Ipv6(length) => put(out, svc::NETMASK, u32::from(length)),
        }
    });
}

/// The address family is named in deletions too: without it the kernel takes the service's.
fn destination_attrs(out: &mut Out, key: &DestinationKey) {
    put(out, dest::ADDR_FAMILY, family_number(Family::of(key.address)));
    address(out, dest::ADDR, key.address);
    put(out, dest::PORT, key.port.to_be_bytes());
}

fn full_destination(out: &mut Out, destination: &Destination) {
    let Destination { key, settings } = destination;
    let (method, tunnel) = match settings.forwarding {
        Forwarding::Masquerade => (forwarding::MASQ, None),
        Forwarding::Local => (forwarding::LOCALNODE, None),
        Forwarding::Tunnel(tunnel) => (forwarding::TUNNEL, Some(tunnel)),
        Forwarding::Direct => (forwarding::DROUTE, None),
        Forwarding::Bypass => (forwarding::BYPASS, None),
        Forwarding::Other(method) => (method, None),
    };
    nest(out, top::DEST, |out| {
        destination_attrs(out, key);
        put(out, dest::FWD_METHOD, method);
        put(out, dest::WEIGHT, settings.weight);
        if let Some(Tunnel { kind, port, checksum }) = tunnel {
            put(out, dest::TUN_TYPE, tunnel_type(kind));
            put(out, dest::TUN_PORT, port.to_be_bytes());
            put(out, dest::TUN_FLAGS, tunnel_flags(checksum));
        }
        put(out, dest::U_THRESH, settings.upper_threshold);
        put(out, dest::L_THRESH, settings.lower_threshold);
    });
}

fn tunnel_type(kind: TunnelKind) -> u8 {
    match kind {
        TunnelKind::IpIp => tunnel::IPIP,
        TunnelKind::Gue => tunnel::GUE,
        TunnelKind::Gre => tunnel::GRE,
        TunnelKind::Other(number) => number,
    }
}

fn tunnel_flags(checksum: TunnelChecksum) -> u16 {
    match checksum {
        TunnelChecksum::Off => checksum::NONE,
        TunnelChecksum::On => checksum::CSUM,
        TunnelChecksum::Remote => checksum::REMCSUM,
        TunnelChecksum::Other(flags) => flags,
    }
}

fn timeouts(out: &mut Out, timeouts: &Timeouts) {
    let Timeouts { tcp_seconds, tcp_fin_seconds, udp_seconds } = *timeouts;
    for (attr, seconds) in [
        (top::TIMEOUT_TCP, tcp_seconds),
        (top::TIMEOUT_TCP_FIN, tcp_fin_seconds),
        (top::TIMEOUT_UDP, udp_seconds),
    ] {
        if seconds != 0 {
            put(out, attr, seconds);
        }
    }
}

fn daemon_state(role: Role) -> u32 {
    match role {
        Role::Master => state::MASTER,
        Role::Backup => state::BACKUP,
    }
}

fn full_daemon(out: &mut Out, daemon: &Daemon) {
    let Daemon { role, interface, sync_id, max_payload, group, port, ttl } = daemon;
    nest(out, top::DAEMON, |out| {
        put(out, daemon::STATE, daemon_state(*role));
        name(out, daemon::MCAST_IFN, interface);
        put(out, daemon::SYNC_ID, *sync_id);
        if let Some(bytes) = max_payload {
            put(out, daemon::SYNC_MAXLEN, *bytes);
        }
        match group {
            Some(IpAddr::V4(group)) => put(out, daemon::MCAST_GROUP, group.octets()),
            Some(IpAddr::V6(group)) => put(out, daemon::MCAST_GROUP6, group.octets()),
            None => {}
        }
        if let Some(port) = port {
            put(out, daemon::MCAST_PORT, *port);
        }
        if let Some(ttl) = ttl {
            put(out, daemon::MCAST_TTL, *ttl);
        }
    });
}
