//! Links, addresses and routes as plain values.

use std::net::IpAddr;

use ipnet::IpNet;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// The kernel's interface index, unique in the network namespace.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// The Ethernet address. `None` on links whose hardware address isn't six bytes, and on the loopback
    /// link: neither can carry ARP for a VIP.
    pub mac: Option<[u8; 6]>,
    /// Administratively up (`IFF_UP`). The carrier may still be missing.
    pub up: bool,
    /// The driver has a carrier (`IFF_LOWER_UP`). Only a link that is up can have one.
    pub carrier: bool,
    /// The loopback link.
    pub loopback: bool,
}

/// Why nobody hears what a link sends, in words that say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Silent {
    /// Somebody set it down.
    #[error("interface {link} is down: set it up (ip link set {link} up)")]
    Down {
        /// Link name.
        link: String,
    },
    /// Nothing is connected to it.
    #[error(
        "interface {link} has no carrier: look at its cable and the switch port, or at the links below it"
    )]
    NoCarrier {
        /// Link name.
        link: String,
    },
}

impl Link {
    /// Why nobody hears what this link sends.
    ///
    /// # Errors
    /// If it is down or has no carrier.
    pub fn is_heard(&self) -> Result<(), Silent> {
        match (self.up, self.carrier) {
            (true, true) => Ok(()),
            (true, false) => Err(Silent::NoCarrier { link: self.name.clone() }),
            (false, _) => Err(Silent::Down { link: self.name.clone() }),
        }
    }
}

/// An address bound to a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Index of the link that holds it.
    pub link: u32,
    /// The address itself (`IFA_LOCAL`, so on a point-to-point link it is our end).
    pub ip: IpAddr,
    /// Prefix length, 0..=32 or 0..=128.
    pub prefix: u8,
    /// `IFA_PROTO`: who bound it. `None` when unmarked or when the kernel is older than 5.18.
    pub protocol: Option<u8>,
    /// Not to be chosen as a source address (`IFA_F_DEPRECATED`).
    pub deprecated: bool,
    /// Valid forever (`IFA_F_PERMANENT`).
    pub permanent: bool,
}

impl Address {
    /// Whether this project's mark is on the address.
    pub fn is_ours(&self) -> bool {
        self.protocol == Some(crate::OUR_PROTOCOL)
    }

    /// Whether the prefix covers this one address only: /32 or /128.
    pub fn is_host_prefix(&self) -> bool {
        self.prefix == host_prefix(self.ip)
    }
}

/// One way to a destination. A route with several next hops appears once for each of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Destination; the default route is the one with prefix length 0.
    pub destination: IpNet,
    /// Next hop; `None` means that the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Index of the outgoing link.
    pub link: u32,
    /// On-link, with no gateway in between.
    pub connected: bool,
    /// Priority: the lowest wins among equally long prefixes. 0 when the kernel states none.
    pub metric: u32,
}

/// What the kernel said about one network namespace, in one reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All links.
    pub links: Vec<Link>,
    /// All addresses, of both families.
    pub addresses: Vec<Address>,
    /// Unicast routes of the main table, of both families.
    pub routes: Vec<Route>,
}

impl Snapshot {
    /// The link with this index.
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// The link with this name.
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// Every place where `ip` is bound, whoever bound it.
    pub fn holders(&self, ip: IpAddr) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(move |address| address.ip == ip)
    }
}

/// The prefix length which covers one address only.
pub(crate) fn host_prefix(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// The family of an address.
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}
