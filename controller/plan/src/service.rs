//! IPVS services and destinations as values: what should exist and what the kernel reports share these types.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

pub use lvs_crds::{IpFamily as Family, Protocol};

/// What identifies a service in the kernel's table (`ip_vs_ctl.c`, `__ip_vs_service_find`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKey {
    /// A VIP, a transport protocol and a port.
    Address {
        /// The virtual IP address.
        vip: IpAddr,
        /// The transport protocol.
        protocol: Protocol,
        /// The port, 1..65535.
        port: u16,
    },
    /// A firewall mark.
    FirewallMark {
        /// The mark, 1..2^32-1.
        mark: u32,
        /// The family of the packets.
        family: Family,
    },
}

/// By VIP, protocol and port, and then the firewall marks. Compared as numbers: the maps of a pass compare keys more
/// often than they do anything else, and an address compares its bytes by a call.
impl Ord for ServiceKey {
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Some(one), Some(other)) = (self.short(), other.short()) {
            return one.cmp(&other);
        }
        let rank = |key: &Self| match *key {
            Self::Address { vip, protocol, port } => {
                let (family, address) = number(vip);
                (0, family, address, (protocol as u32) << 16 | u32::from(port))
            }
            Self::FirewallMark { mark, family } => (1, family as u8, 0, mark),
        };
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for ServiceKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As few numbers as tell keys apart, not byte by byte.
impl Hash for ServiceKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match *self {
            Self::Address { vip: IpAddr::V6(vip), protocol, port } => {
                state.write_u128(vip.into());
                state.write_u32((protocol as u32) << 16 | u32::from(port));
            }
            Self::FirewallMark { mark, family } => {
                state.write_u32(mark);
                state.write_u8(family as u8);
            }
            Self::Address { .. } => state.write_u64(self.short().unwrap_or_default()),
        }
    }
}

/// An address in the order of addresses.
fn number(address: IpAddr) -> (u8, u128) {
    match address {
        IpAddr::V4(address) => (Family::IPv4 as u8, u32::from(address).into()),
        IpAddr::V6(address) => (Family::IPv6 as u8, address.into()),
    }
}

impl ServiceKey {
    /// Most keys as one number, in their order: those of an IPv4 address.
    fn short(&self) -> Option<u64> {
        match *self {
            Self::Address { vip: IpAddr::V4(vip), protocol, port } => {
                Some(u64::from(u32::from(vip)) << 32 | (protocol as u64) << 16 | u64::from(port))
            }
            Self::Address { vip: IpAddr::V6(_), .. } | Self::FirewallMark { .. } => None,
        }
    }

    /// The address family of the service.
    pub fn family(&self) -> Family {
        match self {
            Self::Address { vip, .. } => family_of(*vip),
            Self::FirewallMark { family, .. } => *family,
        }
    }

    /// The VIP, unless it is a firewall mark's service.
    pub fn vip(&self) -> Option<IpAddr> {
        match self {
            Self::Address { vip, .. } => Some(*vip),
            Self::FirewallMark { .. } => None,
        }
    }

    /// The port that destinations of this service have. Direct routing cannot map ports; a firewall mark's
    /// service has none (0).
    pub fn port(&self) -> u16 {
        match self {
            Self::Address { port, .. } => *port,
            Self::FirewallMark { .. } => 0,
        }
    }
}

/// The protocol as `ipvsadm` and the API spell it.
pub fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}

/// The family of an address.
pub fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::IPv4 } else { Family::IPv6 }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { vip, protocol, port } => {
                write!(f, "{} {}", protocol_name(*protocol), std::net::SocketAddr::new(*vip, *port))
            }
            Self::FirewallMark { mark, family: Family::IPv4 } => write!(f, "FWM {mark}"),
            Self::FirewallMark { mark, family: Family::IPv6 } => write!(f, "FWM {mark} IPv6"),
        }
    }
}

/// How a service spreads connections: everything of it that `SET_SERVICE` can change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceSettings {
    /// The scheduler's name as the kernel knows it.
    pub scheduler: Cow<'static, str>,
    /// `IP_VS_SVC_F_ONEPACKET`: each packet is scheduled on its own.
    pub one_packet: bool,
    /// `IP_VS_SVC_F_SCHED1..3` as bits 0..2: fallback is bit 0 and port bit 1, for `sh` and `mh` alike.
    pub scheduler_flags: u8,
    /// Persistence, if any.
    pub persistence: Option<PersistenceSettings>,
}

/// Persistence as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PersistenceSettings {
    /// Seconds after the last connection.
    pub timeout_seconds: u32,
    /// Clients of one network of this length are one client: 1..=32 or 1..=128.
    pub prefix_length: u8,
    /// The persistence engine's name, if any.
    pub engine: Option<Cow<'static, str>>,
}

/// What identifies a destination within its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DestinationKey {
    /// The real server's address (RIP).
    pub address: IpAddr,
    /// The service's own port, or 0 with a firewall mark.
    pub port: u16,
}

/// By address and port, compared as numbers like [`ServiceKey`].
impl Ord for DestinationKey {
    fn cmp(&self, other: &Self) -> Ordering {
        (number(self.address), self.port).cmp(&(number(other.address), other.port))
    }
}

impl PartialOrd for DestinationKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for DestinationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// How packets reach a destination (`IP_VS_CONN_F_FWD_MASK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Forwarding {
    /// Direct routing: only the destination MAC changes.
    Direct,
    /// Delivered on this host; the kernel reports it for every address of its own, whatever was asked.
    Local,
    /// IP in IP, GUE or GRE.
    Tunnel,
    /// Masquerading (NAT).
    Masquerade,
    /// A cache's bypass entry.
    Bypass,
}

/// Everything of a destination that `SET_DEST` can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DestinationSettings {
    /// The share of new connections; 0 takes no new ones.
    pub weight: u32,
    /// The forwarding method.
    pub forwarding: Forwarding,
    /// Connections at which no new ones are sent; 0 = off.
    pub upper_threshold: u32,
    /// Connections below which they are again; 0 = off.
    pub lower_threshold: u32,
}

impl DestinationSettings {
    /// Whether the kernel's report says what was asked: for an address of the host itself it always says
    /// `Local` (`ip_vs_ctl.c`, `__ip_vs_update_dest`).
    pub fn agrees_with_report(&self, reported: &Self) -> bool {
        self.agrees_in_forwarding(reported)
            && self.weight == reported.weight
            && self.upper_threshold == reported.upper_threshold
            && self.lower_threshold == reported.lower_threshold
    }

    /// Whether the reported forwarding method is what was asked.
    pub fn agrees_in_forwarding(&self, reported: &Self) -> bool {
        reported.forwarding == self.forwarding
            || (self.forwarding == Forwarding::Direct && reported.forwarding == Forwarding::Local)
    }
}

/// A service and its destinations, as the kernel reports them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// How it spreads connections.
    pub settings: ServiceSettings,
    /// Its destinations.
    pub destinations: BTreeMap<DestinationKey, DestinationSettings>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_sort_by_family_address_protocol_and_port_and_marks_come_last() {
        let address = |vip: &str, protocol, port| {
            let vip = vip.parse().expect("a test's address");
            ServiceKey::Address { vip, protocol, port }
        };
        let sorted = [
            address("9.0.0.1", Protocol::Udp, 65535),
            address("10.0.0.1", Protocol::Tcp, 80),
            address("10.0.0.1", Protocol::Tcp, 443),
            address("10.0.0.1", Protocol::Udp, 53),
            address("240.0.0.1", Protocol::Tcp, 1),
            address("::1", Protocol::Tcp, 1),
            address("2001:db8::1", Protocol::Sctp, 1),
            ServiceKey::FirewallMark { mark: 1, family: Family::IPv4 },
            ServiceKey::FirewallMark { mark: 2, family: Family::IPv4 },
            ServiceKey::FirewallMark { mark: 1, family: Family::IPv6 },
        ];
        for (place, one) in sorted.iter().enumerate() {
            for (other_place, other) in sorted.iter().enumerate() {
                assert_eq!(one.cmp(other), place.cmp(&other_place), "{one} and {other}");
            }
        }
    }
}
