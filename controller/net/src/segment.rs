//! Whether a real server shares a layer-2 segment with the Director, which direct routing needs: only the
//! destination MAC address is rewritten, so a router in between would send the packet back to the VIP. IPVS takes
//! a destination behind a router, or without any route, all the same (`ip_vs_new_dest` looks only at the kind of
//! the address).

use std::net::IpAddr;

/// Where the kernel sends a packet next ([`crate::Net::next_hop`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NextHop {
    /// This host itself has the address.
    Local,
    /// The destination, on a link of this host.
    OnLink,
    /// A router.
    Router(IpAddr),
    /// Nowhere.
    NoRoute,
}

/// Why a real server cannot be reached by its MAC address, in words that say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OffSegment {
    /// Nothing leads there.
    #[error(
        "no route leads to {real_server}: give the Director an address in its network, or set the link up"
    )]
    NoRoute {
        /// The RIP.
        real_server: IpAddr,
    },
    /// A router is in between.
    #[error(
        "{real_server} is behind the router {gateway}, and direct routing needs it on a link of this Director: give \
         the Director an address in its network, or a route to it without a gateway"
    )]
    BehindRouter {
        /// The RIP.
        real_server: IpAddr,
        /// The next hop.
        gateway: IpAddr,
    },
}

/// Judges a real server by its next hop. An address of this host is its own neighbour.
///
/// # Errors
/// If the real server is not on a link of this host.
pub fn shared_with(real_server: IpAddr, next_hop: NextHop) -> Result<(), OffSegment> {
    match next_hop {
        NextHop::Local | NextHop::OnLink => Ok(()),
        // A route by way of the destination itself is one without a router.
        NextHop::Router(gateway) if gateway == real_server => Ok(()),
        NextHop::Router(gateway) => Err(OffSegment::BehindRouter { real_server, gateway }),
        NextHop::NoRoute => Err(OffSegment::NoRoute { real_server }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_router_or_no_route_stands_between() {
        let real_server: IpAddr = "192.168.40.12".parse().unwrap();
        let gateway: IpAddr = "192.168.40.254".parse().unwrap();
        for (next_hop, expected) in [
            (NextHop::Local, Ok(())),
            (NextHop::OnLink, Ok(())),
            (NextHop::Router(real_server), Ok(())),
            (NextHop::Router(gateway), Err(OffSegment::BehindRouter { real_server, gateway })),
            (NextHop::NoRoute, Err(OffSegment::NoRoute { real_server })),
        ] {
            assert_eq!(shared_with(real_server, next_hop), expected, "{next_hop:?}");
        }
    }
}
