//! Virtual services: what identifies one, and what can be changed about it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::BitOr,
};

use crate::Stats;

/// The address family of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// `AF_INET`.
    Ipv4,
    /// `AF_INET6`.
    Ipv6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

/// The transport protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// `IPPROTO_TCP`, 6.
    Tcp,
    /// `IPPROTO_UDP`, 17.
    Udp,
    /// `IPPROTO_SCTP`, 132.
    Sctp,
    /// Any other number. `ipvsadm` makes no such service, but a program that speaks netlink can.
    Other(u16),
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("TCP"),
            Self::Udp => f.write_str("UDP"),
            Self::Sctp => f.write_str("SCTP"),
            Self::Other(number) => write!(f, "protocol {number}"),
        }
    }
}

/// What identifies a service in the kernel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceKey {
    /// A virtual address, a protocol and a port.
    Address {
        /// The virtual address (VIP).
        address: IpAddr,
        /// The transport protocol.
        protocol: Protocol,
        /// The port; 0 takes every port and is allowed with persistence only.
        port: u16,
    },
    /// A firewall mark: packets that netfilter marked, whatever their address and port.
    FirewallMark {
        /// The mark, from 1.
        mark: u32,
        /// The family of the packets: a mark can have one service of each.
        family: Family,
    },
}

impl ServiceKey {
    /// The key of a TCP service.
    pub fn tcp(address: impl Into<SocketAddr>) -> Self {
        Self::socket(Protocol::Tcp, address.into())
    }

    /// The key of a UDP service.
    pub fn udp(address: impl Into<SocketAddr>) -> Self {
        Self::socket(Protocol::Udp, address.into())
    }

    /// The key of an SCTP service.
    pub fn sctp(address: impl Into<SocketAddr>) -> Self {
        Self::socket(Protocol::Sctp, address.into())
    }

    fn socket(protocol: Protocol, address: SocketAddr) -> Self {
        Self::Address { address: address.ip(), protocol, port: address.port() }
    }

    /// The family of the service.
    pub fn family(&self) -> Family {
        match self {
            Self::Address { address, .. } => Family::of(*address),
            Self::FirewallMark { family, .. } => *family,
        }
    }
}

/// As `ipvsadm -Ln` writes it.
impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, protocol, port } => {
                write!(f, "{protocol} {}", SocketAddr::new(*address, *port))
            }
            Self::FirewallMark { mark, family: Family::Ipv4 } => write!(f, "FWM {mark}"),
            Self::FirewallMark { mark, family: Family::Ipv6 } => write!(f, "FWM {mark} IPv6"),
        }
    }
}

/// The three bits that a service hands to its scheduler (`IP_VS_SVC_F_SCHED1..3`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SchedulerFlags(u8);

impl SchedulerFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// `IP_VS_SVC_F_SCHED1`.
    pub const SCHED_1: Self = Self(1);
    /// `IP_VS_SVC_F_SCHED2`.
    pub const SCHED_2: Self = Self(2);
    /// `IP_VS_SVC_F_SCHED3`, which no scheduler uses so far.
    pub const SCHED_3: Self = Self(4);
    /// `sh-fallback` and `mh-fallback`: if the hash leads to a server of weight 0, take another.
    pub const FALLBACK: Self = Self::SCHED_1;
    /// `sh-port` and `mh-port`: the source port is part of the hash.
    pub const PORT: Self = Self::SCHED_2;

    /// Bit 0 is `SCHED_1`, bit 1 `SCHED_2`, bit 2 `SCHED_3`; other bits are dropped.
    pub fn from_bits_truncate(bits: u8) -> Self {
        Self(bits & 0b111)
    }

    /// Bit 0 is `SCHED_1`, bit 1 `SCHED_2`, bit 2 `SCHED_3`.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether all flags of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for SchedulerFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Which clients count as one client of a persistent service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Netmask {
    /// A mask for IPv4 clients. The kernel takes any, also one with holes.
    Ipv4(Ipv4Addr),
    /// A prefix length for IPv6 clients, 1..=128. The kernel refuses others with `EINVAL`.
    Ipv6(u8),
}

impl Netmask {
    /// Each client is its own: /32 or /128. This is what a service without a mask has.
    pub fn host(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::Ipv4(Ipv4Addr::BROADCAST),
            Family::Ipv6 => Self::Ipv6(128),
        }
    }

    /// The mask of this length, 1..=32 or 1..=128; `None` outside of that.
    pub fn from_prefix_length(family: Family, length: u8) -> Option<Self> {
        match family {
            Family::Ipv4 if (1..=32).contains(&length) => {
                Some(Self::Ipv4(Ipv4Addr::from_bits(u32::MAX << (32 - u32::from(length)))))
            }
            Family::Ipv6 if (1..=128).contains(&length) => Some(Self::Ipv6(length)),
            Family::Ipv4 | Family::Ipv6 => None,
        }
    }

    /// The length of the prefix; `None` if an IPv4 mask has holes.
    pub fn prefix_length(self) -> Option<u8> {
        match self {
            Self::Ipv4(mask) => {
                let ones = mask.to_bits().leading_ones();
                (mask.to_bits().count_ones() == ones).then_some(ones as u8)
            }
            Self::Ipv6(length) => Some(length),
        }
    }
}

/// Persistence: connections of one client go to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Persistence {
    /// Seconds after the client's last connection.
    pub timeout_seconds: u32,
    /// Which clients count as one. Its family is the service's; the kernel refuses or misreads another.
    pub netmask: Netmask,
}

/// What can be changed about a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceSettings {
    /// The scheduler's name, at most 15 bytes: `rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh twos`. The
    /// kernel loads its module. `none` leaves the service without one (Linux 4.3 and later).
    pub scheduler: String,
    /// Flags for the scheduler.
    pub scheduler_flags: SchedulerFlags,
    /// `IP_VS_SVC_F_ONEPACKET`: every packet is scheduled on its own; UDP only.
    pub one_packet: bool,
    /// Persistence, if any. What the kernel keeps of timeout and mask without it has no effect, and is not
    /// reported here.
    pub persistence: Option<Persistence>,
    /// The persistence engine's name, at most 15 bytes; the kernel's only one is `sip`, for UDP.
    pub engine: Option<String>,
}

impl ServiceSettings {
    /// Settings with this scheduler and nothing else.
    pub fn new(scheduler: impl Into<String>) -> Self {
        Self {
            scheduler: scheduler.into(),
            scheduler_flags: SchedulerFlags::NONE,
            one_packet: false,
            persistence: None,
            engine: None,
        }
    }
}

/// A service: its key and its settings, which is all that has to agree for two to be equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// What identifies it.
    pub key: ServiceKey,
    /// What can be changed about it.
    pub settings: ServiceSettings,
}

/// A service as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// The service.
    pub service: Service,
    /// Its counters and rates.
    pub stats: Stats,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_length_reads_back_from_its_mask() {
        for (family, longest) in [(Family::Ipv4, 32), (Family::Ipv6, 128)] {
            for length in 1..=longest {
                assert_eq!(
                    Netmask::from_prefix_length(family, length).unwrap().prefix_length(),
                    Some(length)
                );
            }
            assert_eq!(Netmask::from_prefix_length(family, 0), None);
            assert_eq!(Netmask::from_prefix_length(family, longest + 1), None);
            assert_eq!(Netmask::from_prefix_length(family, longest), Some(Netmask::host(family)));
        }
    }

    #[test]
    fn a_mask_with_holes_has_no_length() {
        for (mask, length) in [([255, 255, 255, 0], Some(24)), ([255, 0, 255, 0], None), ([0, 0, 0, 1], None)]
        {
            assert_eq!(Netmask::Ipv4(mask.into()).prefix_length(), length, "{mask:?}");
        }
    }

    #[test]
    fn keys_are_written_as_ipvsadm_writes_them() {
        let v6 = ServiceKey::udp((std::net::Ipv6Addr::LOCALHOST, 53));
        for (key, text) in [
            (ServiceKey::tcp(([172, 16, 21, 10], 80)), "TCP 172.16.21.10:80"),
            (v6, "UDP [::1]:53"),
            (ServiceKey::FirewallMark { mark: 7, family: Family::Ipv4 }, "FWM 7"),
            (ServiceKey::FirewallMark { mark: 7, family: Family::Ipv6 }, "FWM 7 IPv6"),
        ] {
            assert_eq!(key.to_string(), text);
        }
    }
}
