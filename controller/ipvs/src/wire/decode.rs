//! From attributes to values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    attrs::{
        AF_INET, AF_INET6, Attr, checksum, ctrl, daemon, dest, forwarding, info, protocol, service_flag,
        state, stats, svc, top, tunnel,
    },
    frame::{Attributes, Malformed, invalid, text},
};
use crate::{
    Daemon, Destination, DestinationEntry, DestinationKey, DestinationSettings, Family, Forwarding, Info,
    Netmask, Persistence, Protocol, SchedulerFlags, Service, ServiceEntry, ServiceKey, ServiceSettings,
    Stats, Timeouts, Tunnel, TunnelChecksum, TunnelKind, Version, daemon::Role,
};

/// The number of a family, from the controller's answer.
pub(crate) fn family(data: &[u8]) -> Result<u16, Malformed> {
    Attributes::parse(data)?.u16(ctrl::FAMILY_ID)
}

/// A service, from `IPVS_CMD_NEW_SERVICE`.
pub(crate) fn service(data: &[u8]) -> Result<ServiceEntry, Malformed> {
    let attributes = Attributes::parse(data)?.nested(top::SERVICE)?;
    let family = family_from(svc::AF, attributes.u16(svc::AF)?)?;
    let flags: [u8; 8] = attributes.bytes(svc::FLAGS)?;
    let [f0, f1, f2, f3, ..] = flags;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let persistence = if flags & service_flag::PERSISTENT == 0 {
        None
    } else {
        Some(Persistence {
            timeout_seconds: attributes.u32(svc::TIMEOUT)?,
            netmask: netmask(&attributes, family)?,
        })
    };
    let settings = ServiceSettings {
        scheduler: text(attributes.need(svc::SCHED_NAME)?),
        scheduler_flags: SchedulerFlags::from_bits_truncate(
            (flags >> service_flag::SCHED_SHIFT & 0b111) as u8,
        ),
        one_packet: flags & service_flag::ONE_PACKET != 0,
        persistence,
        engine: attributes.get(svc::PE_NAME).map(text),
    };
    Ok(ServiceEntry {
        service: Service { key: service_key(&attributes, family)?, settings },
        stats: statistics(&attributes, svc::STATS64, svc::STATS)?,
    })
}

fn service_key(attributes: &Attributes<'_>, family: Family) -> Result<ServiceKey, Malformed> {
    if let Some(mark) = attributes.find(svc::FWMARK)? {
        return Ok(ServiceKey::FirewallMark { mark: u32::from_ne_bytes(mark), family });
    }
    Ok(ServiceKey::Address {
        address: address(attributes, svc::ADDR, family)?,
        protocol: match attributes.u16(svc::PROTOCOL)? {
            protocol::TCP => Protocol::Tcp,
            protocol::UDP => Protocol::Udp,
            protocol::SCTP => Protocol::Sctp,
            other => Protocol::Other(other),
        },
        port: attributes.be16(svc::PORT)?,
    })
}

fn netmask(attributes: &Attributes<'_>, family: Family) -> Result<Netmask, Malformed> {
    match family {
        Family::Ipv4 => Ok(Netmask::Ipv4(Ipv4Addr::from(attributes.bytes::<4>(svc::NETMASK)?))),
        Family::Ipv6 => {
            let length = attributes.u32(svc::NETMASK)?;
            Ok(Netmask::Ipv6(u8::try_from(length).map_err(|_| invalid(svc::NETMASK, length))?))
        }
    }
}

fn family_from(attr: Attr, number: u16) -> Result<Family, Malformed> {
    match number {
        AF_INET => Ok(Family::Ipv4),
        AF_INET6 => Ok(Family::Ipv6),
        other => Err(invalid(attr, other)),
    }
}

fn address(attributes: &Attributes<'_>, attr: Attr, family: Family) -> Result<IpAddr, Malformed> {
    let bytes: [u8; 16] = attributes.bytes(attr)?;
    let [a, b, c, d, ..] = bytes;
    Ok(match family {
        Family::Ipv4 => Ipv4Addr::new(a, b, c, d).into(),
        Family::Ipv6 => Ipv6Addr::from(bytes).into(),
    })
}

/// A destination of a service of this family, from `IPVS_CMD_NEW_DEST`.
pub(crate) fn destination(data: &[u8], service: Family) -> Result<DestinationEntry, Malformed> {
    let attributes = Attributes::parse(data)?.nested(top::DEST)?;
    // Kernels before 3.18 do not send the family, and have none but the service's.
    let family = match attributes.find(dest::ADDR_FAMILY)? {
        Some(number) => family_from(dest::ADDR_FAMILY, u16::from_ne_bytes(number))?,
        None => service,
    };
    let method = attributes.u32(dest::FWD_METHOD)? & forwarding::MASK;
    let settings = DestinationSettings {
        forwarding: match method {
            forwarding::MASQ => Forwarding::Masquerade,
            forwarding::LOCALNODE => Forwarding::Local,
            forwarding::TUNNEL => Forwarding::Tunnel(tunnel_of(&attributes)?),
            forwarding::DROUTE => Forwarding::Direct,
            forwarding::BYPASS => Forwarding::Bypass,
            other => Forwarding::Other(other),
        },
        weight: attributes.u32(dest::WEIGHT)?,
        upper_threshold: attributes.u32(dest::U_THRESH)?,
        lower_threshold: attributes.u32(dest::L_THRESH)?,
    };
    let key = DestinationKey {
        address: address(&attributes, dest::ADDR, family)?,
        port: attributes.be16(dest::PORT)?,
    };
    let connections = |attr| Ok(attributes.find(attr)?.map_or(0, u32::from_ne_bytes));
    Ok(DestinationEntry {
        destination: Destination { key, settings },
        active_connections: connections(dest::ACTIVE_CONNS)?,
        inactive_connections: connections(dest::INACT_CONNS)?,
        persistent_connections: connections(dest::PERSIST_CONNS)?,
        stats: statistics(&attributes, dest::STATS64, dest::STATS)?,
    })
}

/// Kernels before 5.3 do not say how they tunnel, and know IP in IP only.
fn tunnel_of(attributes: &Attributes<'_>) -> Result<Tunnel, Malformed> {
    let [kind] = attributes.find(dest::TUN_TYPE)?.unwrap_or([tunnel::IPIP]);
    Ok(Tunnel {
        kind: match kind {
            tunnel::IPIP => TunnelKind::IpIp,
            tunnel::GUE => TunnelKind::Gue,
            tunnel::GRE => TunnelKind::Gre,
            other => TunnelKind::Other(other),
        },
        port: attributes.find(dest::TUN_PORT)?.map_or(0, u16::from_be_bytes),
        checksum: match attributes.find(dest::TUN_FLAGS)?.map_or(checksum::NONE, u16::from_ne_bytes) {
            checksum::NONE => TunnelChecksum::Off,
            checksum::CSUM => TunnelChecksum::On,
            checksum::REMCSUM => TunnelChecksum::Remote,
            other => TunnelChecksum::Other(other),
        },
    })
}

/// Statistics in 64 bits, or in the older 32 bits where the kernel (before 4.1) has no others.
fn statistics(attributes: &Attributes<'_>, wide: Attr, narrow: Attr) -> Result<Stats, Malformed> {
    let Some(nested) = attributes.get(wide).or_else(|| attributes.get(narrow)) else {
        return Ok(Stats::default());
    };
    let nested = Attributes::parse(nested)?;
    Ok(Stats {
        connections: nested.counter(stats::CONNS)?,
        in_packets: nested.counter(stats::INPKTS)?,
        out_packets: nested.counter(stats::OUTPKTS)?,
        in_bytes: nested.counter(stats::INBYTES)?,
        out_bytes: nested.counter(stats::OUTBYTES)?,
        connection_rate: nested.counter(stats::CPS)?,
        in_packet_rate: nested.counter(stats::INPPS)?,
        out_packet_rate: nested.counter(stats::OUTPPS)?,
        in_byte_rate: nested.counter(stats::INBPS)?,
        out_byte_rate: nested.counter(stats::OUTBPS)?,
    })
}

/// From `IPVS_CMD_SET_INFO`, which is what answers `GET_INFO`.
pub(crate) fn info(data: &[u8]) -> Result<Info, Malformed> {
    let attributes = Attributes::parse(data)?;
    Ok(Info {
        version: Version(attributes.u32(info::VERSION)?),
        connection_table_size: attributes.u32(info::CONN_TAB_SIZE)?,
    })
}

/// From `IPVS_CMD_SET_CONFIG`, which is what answers `GET_CONFIG`. A kernel without a protocol leaves its
/// timeouts out.
pub(crate) fn timeouts(data: &[u8]) -> Result<Timeouts, Malformed> {
    let attributes = Attributes::parse(data)?;
    let seconds = |attr| Ok(attributes.find(attr)?.map_or(0, u32::from_ne_bytes));
    Ok(Timeouts {
        tcp_seconds: seconds(top::TIMEOUT_TCP)?,
        tcp_fin_seconds: seconds(top::TIMEOUT_TCP_FIN)?,
        udp_seconds: seconds(top::TIMEOUT_UDP)?,
    })
}

/// A synchronisation daemon, from `IPVS_CMD_NEW_DAEMON`.
pub(crate) fn daemon(data: &[u8]) -> Result<Daemon, Malformed> {
    let attributes = Attributes::parse(data)?.nested(top::DAEMON)?;
    let role = match attributes.u32(daemon::STATE)? {
        state::MASTER => Role::Master,
        state::BACKUP => Role::Backup,
        other => return Err(invalid(daemon::STATE, other)),
    };
    let group =
        match (attributes.find::<4>(daemon::MCAST_GROUP)?, attributes.find::<16>(daemon::MCAST_GROUP6)?) {
            (Some(group), _) => Some(IpAddr::from(group)),
            (None, Some(group)) => Some(IpAddr::from(group)),
            (None, None) => None,
        };
    Ok(Daemon {
        role,
        interface: text(attributes.need(daemon::MCAST_IFN)?),
        sync_id: attributes.u32(daemon::SYNC_ID)?,
        max_payload: attributes.find(daemon::SYNC_MAXLEN)?.map(u16::from_ne_bytes),
        group,
        port: attributes.find(daemon::MCAST_PORT)?.map(u16::from_ne_bytes),
        ttl: attributes.find(daemon::MCAST_TTL)?.map(|[ttl]| ttl),
    })
}
