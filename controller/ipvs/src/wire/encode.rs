//! From values to requests.

use std::{io::Cursor, net::IpAddr};

use neli::{
    Size, ToBytes,
    consts::{
        genl::CtrlCmd,
        nl::{GenlId, NlmF},
    },
    genl::{AttrTypeBuilder, GenlmsghdrBuilder, Nlattr, NlattrBuilder},
    nl::{NlPayload, NlmsghdrBuilder},
    types::{Buffer, GenlBuffer},
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

/// The attributes of one level.
type Attributes = GenlBuffer<u16, Buffer>;

/// `out` holds whole messages, so this one starts at a multiple of 4, as neli's padding wants it.
fn message(out: &mut Vec<u8>, header: Header, command: u8, body: impl FnOnce(&mut Attributes)) {
    let mut attributes = Attributes::new();
    body(&mut attributes);
    let payload = GenlmsghdrBuilder::default()
        .cmd(command)
        .version(attrs::FAMILY_VERSION)
        .attrs(attributes)
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
    let end = out.len() as u64;
    let mut cursor = Cursor::new(std::mem::take(out));
    cursor.set_position(end);
    message.to_bytes(&mut cursor).expect("memory takes every message");
    *out = cursor.into_inner();
}

fn put(out: &mut Attributes, attr: Attr, value: impl Size + ToBytes) {
    out.push(attribute(attr, false, value));
}

fn nest(out: &mut Attributes, attr: Attr, body: impl FnOnce(&mut Attributes)) {
    let mut inner = Attributes::new();
    body(&mut inner);
    out.push(attribute(attr, true, inner));
}

/// No value is longer than a name, and no nest longer than a few dozen attributes, so a length fits 16 bits.
fn attribute(attr: Attr, nested: bool, value: impl Size + ToBytes) -> Nlattr<u16, Buffer> {
    let kind =
        AttrTypeBuilder::default().nla_type(attr.number).nla_nested(nested).build().expect("the type is set");
    NlattrBuilder::default().nla_type(kind).nla_payload(value).build().expect("type and payload are set")
}

/// A name with its NUL. One that is too long is cut where the kernel still sees that it is, and refuses it.
fn name(out: &mut Attributes, attr: Attr, name: &str) {
    let mut bytes = name.as_bytes()[..name.len().min(attrs::NAME_MAX + 1)].to_vec();
    bytes.push(0);
    put(out, attr, &bytes[..]);
}

/// `union nf_inet_addr`: 16 bytes, of which an IPv4 address takes the first four.
fn address(out: &mut Attributes, attr: Attr, address: IpAddr) {
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

fn service_key(out: &mut Attributes, key: &ServiceKey) {
    nest(out, top::SERVICE, |out| service_key_attrs(out, key));
}

fn service_key_attrs(out: &mut Attributes, key: &ServiceKey) {
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
fn full_service(out: &mut Attributes, service: &Service) {
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
fn destination_attrs(out: &mut Attributes, key: &DestinationKey) {
    put(out, dest::ADDR_FAMILY, family_number(Family::of(key.address)));
    address(out, dest::ADDR, key.address);
    put(out, dest::PORT, key.port.to_be_bytes());
}

fn full_destination(out: &mut Attributes, destination: &Destination) {
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

fn timeouts(out: &mut Attributes, timeouts: &Timeouts) {
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

fn full_daemon(out: &mut Attributes, daemon: &Daemon) {
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
