//! Where a real server is asked.

use std::net::{IpAddr, SocketAddr};

use crate::failure::Peer;

/// Where and how: everything that a check needs besides its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The real server's own address.
    pub address: IpAddr,
    /// Its port; none only for a ping.
    pub port: Option<u16>,
    /// The source address, of the same family and one of this host's own. Without it the routes give one:
    /// that this is not a VIP is the caller's business.
    pub source: Option<IpAddr>,
    /// `SO_MARK` of every packet, for policy routing; needs `CAP_NET_ADMIN` or `CAP_NET_RAW`.
    pub mark: Option<u32>,
}

impl Target {
    pub(crate) fn peer(&self) -> Peer {
        Peer { address: self.address, port: self.port }
    }

    /// Port 0 stands for none. [`crate::Prepared::new`] refuses a target without a port where one is needed.
    pub(crate) fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port.unwrap_or(0))
    }

    /// The address as an URL has it, with the port unless it is the scheme's own.
    pub(crate) fn authority(&self, scheme_port: u16) -> String {
        match (self.address, self.port) {
            (_, Some(port)) if port != scheme_port => self.socket_address().to_string(),
            (IpAddr::V6(address), _) => format!("[{address}]"),
            (address, _) => address.to_string(),
        }
    }
}
