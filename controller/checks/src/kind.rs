//! What is asked, and where.

use std::net::{IpAddr, SocketAddr};

use lvs_crds::{DnsCheck, GrpcCheck, HttpCheck, HttpsCheck, UdpCheck};

use crate::failure::Peer;

/// What a real server is asked; the settings are the API's own, with its rules taken as kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Works if the port accepts a TCP connection.
    Tcp,
    /// Works if an HTTP request is answered as expected.
    Http(HttpCheck),
    /// Works if an HTTP request over TLS is answered as expected.
    Https(HttpsCheck),
    /// Works if `grpc.health.v1.Health/Check` says SERVING.
    Grpc(GrpcCheck),
    /// Works if a DNS question over UDP is answered as expected.
    Dns(DnsCheck),
    /// Works if a UDP datagram is answered as expected, or not refused.
    Udp(UdpCheck),
    /// Works if an ICMP echo request is answered.
    Ping,
}

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
