//! Joining the groups in which neighbours talk about an IPv6 address that this host does not have: otherwise the
//! network card, and switches that snoop MLD, keep their solicitations away.

use std::net::{IpAddr, Ipv6Addr};

use socket2::{Domain, Socket, Type};

use crate::ndp::solicited_node;

/// Each membership costs memory of its socket, of which there is `net.core.optmem_max` (20 kB on older kernels).
const PER_SOCKET: usize = 128;

/// Memberships, left when dropped.
pub(crate) struct Membership {
    _sockets: Vec<Socket>,
}

impl Membership {
    /// Joins the solicited-node group of every IPv6 address. A group that cannot be joined is passed over: the
    /// frames may come all the same, and on a link without IPv6 binding the address says what is wrong.
    pub(crate) fn join(link: u32, addresses: &[IpAddr]) -> Self {
        let mut groups: Vec<Ipv6Addr> = addresses
            .iter()
            .filter_map(|address| match address {
                IpAddr::V4(_) => None,
                IpAddr::V6(ip) => Some(solicited_node(*ip)),
            })
            .collect();
        groups.sort_unstable();
        groups.dedup();
        let sockets = groups.chunks(PER_SOCKET).filter_map(|groups| {
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, None).ok()?;
            for group in groups {
                let _ = socket.join_multicast_v6(group, link);
            }
            Some(socket)
        });
        Self { _sockets: sockets.collect() }
    }
}
