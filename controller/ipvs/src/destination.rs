//! Destinations: the real servers of a service.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use crate::Stats;

/// What identifies a destination within its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationKey {
    /// The real server's address (RIP). Its family may differ from the service's when the packets are
    /// tunnelled; the kernel refuses that while its sync daemon runs.
    pub address: IpAddr,
    /// The real server's port. Only masquerading uses it: with the other methods the kernel keeps it, and
    /// the packet keeps its own. 0 for a service of every port or of a firewall mark.
    pub port: u16,
}

impl From<SocketAddr> for DestinationKey {
    fn from(address: SocketAddr) -> Self {
        Self { address: address.ip(), port: address.port() }
    }
}

impl fmt::Display for DestinationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// How packets reach a destination (`IP_VS_CONN_F_FWD_MASK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forwarding {
    /// `IP_VS_CONN_F_MASQ`: network address translation.
    Masquerade,
    /// `IP_VS_CONN_F_LOCALNODE`: delivered on this host. Old kernels reported this for every address
    /// of the host itself; later ones report what was asked for, and deliver here all the same.
    Local,
    /// `IP_VS_CONN_F_TUNNEL`: encapsulated.
    Tunnel(Tunnel),
    /// `IP_VS_CONN_F_DROUTE`: direct routing; only the destination MAC address changes.
    Direct,
    /// `IP_VS_CONN_F_BYPASS`: sent on to where it was addressed.
    Bypass,
    /// A method that this library does not know.
    Other(u32),
}

/// How packets are wrapped for a tunnel. A `SET_DEST` without it would make it IP in IP again, so it is
/// always sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tunnel {
    /// The kind of encapsulation.
    pub kind: TunnelKind,
    /// The UDP port of GUE; 0 otherwise.
    pub port: u16,
    /// Checksums of GUE and GRE.
    pub checksum: TunnelChecksum,
}

/// The encapsulation of a tunnel (`IP_VS_CONN_F_TUNNEL_TYPE_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TunnelKind {
    /// IP in IP.
    #[default]
    IpIp,
    /// Generic UDP encapsulation (Linux 5.3 and later).
    Gue,
    /// Generic routing encapsulation (Linux 5.3 and later).
    Gre,
    /// A kind that this library does not know.
    Other(u8),
}

/// Checksums of a tunnel (`IP_VS_TUNNEL_ENCAP_FLAG_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TunnelChecksum {
    /// None.
    #[default]
    Off,
    /// The outer header carries a checksum.
    On,
    /// Remote checksum offload, GUE only.
    Remote,
    /// A combination of flags that this library does not know.
    Other(u16),
}

/// What can be changed about a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DestinationSettings {
    /// How packets reach it.
    pub forwarding: Forwarding,
    /// Its share of new connections, 0..=2^31-1 (`ERANGE` above); 0 takes no new ones.
    pub weight: u32,
    /// At this number of connections it takes no new ones; 0 = off.
    pub upper_threshold: u32,
    /// Below this number it takes new ones again; 0 = three quarters of the upper one. Not above it (`ERANGE`).
    pub lower_threshold: u32,
}

impl DestinationSettings {
    /// Direct routing with this weight and no thresholds.
    pub fn direct(weight: u32) -> Self {
        Self { forwarding: Forwarding::Direct, weight, upper_threshold: 0, lower_threshold: 0 }
    }
}

/// A destination: its key and its settings, which is all that has to agree for two to be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// What identifies it.
    pub key: DestinationKey,
    /// What can be changed about it.
    pub settings: DestinationSettings,
}

/// A destination as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationEntry {
    /// The destination.
    pub destination: Destination,
    /// Connections that are established.
    pub active_connections: u32,
    /// Connections in any other state.
    pub inactive_connections: u32,
    /// Persistence templates.
    pub persistent_connections: u32,
    /// Its counters and rates.
    pub stats: Stats,
}
