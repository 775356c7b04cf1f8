//! From rtnetlink's messages to our values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    link::{LinkAttribute, LinkFlags, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteType, RouteVia},
};

use crate::{
    link::{Address, Link, Route},
    segment::NextHop,
};

/// `None` for a message that isn't about a link itself: bridges send `RTM_NEWLINK` and `RTM_DELLINK` of
/// family `AF_BRIDGE` when a port joins or leaves, and the port lives on.
pub(crate) fn link(message: &LinkMessage) -> Option<Link> {
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let loopback = message.header.flags.contains(LinkFlags::Loopback);
    let mut name = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name = Some(value.clone()),
            LinkAttribute::Address(bytes) if !loopback => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            _ => {}
        }
    }
    Some(Link {
        index: message.header.index,
        name: name?,
        mac,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        loopback,
    })
}

/// `None` for families other than IPv4 and IPv6.
pub(crate) fn address(message: &AddressMessage) -> Option<Address> {
    let mut local = None;
    let mut peer = None;
    let mut protocol = None;
    // The header has room for the lower eight flags only; `IFA_FLAGS`, when present, has all of them.
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => peer = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::Protocol(value) => protocol = Some(u8::from(*value)),
            _ => {}
        }
    }
    Some(Address {
        link: message.header.index,
        // IPv6 states IFA_LOCAL only when there is a peer, which is then IFA_ADDRESS.
        ip: local.or(peer)?,
        prefix: message.header.prefix_len,
        protocol: protocol.filter(|protocol| *protocol != 0),
        deprecated: flags.contains(AddressFlags::Deprecated),
        permanent: flags.contains(AddressFlags::Permanent),
    })
}

/// The next hops of a unicast route of the main table; empty for anything else.
pub(crate) fn routes(message: &RouteMessage) -> Vec<Route> {
    if !in_main_table(message) || message.header.kind != RouteType::Unicast {
        return Vec::new();
    }
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return Vec::new(),
    };
    let mut network = unspecified;
    let mut metric = 0;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => network = ip(to).unwrap_or(unspecified),
            RouteAttribute::Priority(value) => metric = *value,
            _ => {}
        }
    }
    let Ok(destination) = IpNet::new(network, message.header.destination_prefix_length) else {
        return Vec::new();
    };
    let route = |link, gateway: Option<IpAddr>| Route {
        destination,
        gateway,
        link,
        connected: gateway.is_none(),
        metric,
    };
    let outgoing = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(link) => Some(*link),
        _ => None,
    });
    let hops = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops.as_slice()),
        _ => None,
    });
    let single = outgoing.map(|link| route(link, gateway(&message.attributes)));
    let several =
        hops.unwrap_or_default().iter().map(|hop| route(hop.interface_index, gateway(&hop.attributes)));
    single.into_iter().chain(several).collect()
}

/// The kernel's answer to a route lookup. IPv6 answers with a route of kind unreachable where IPv4 refuses.
pub(crate) fn next_hop(message: &RouteMessage) -> NextHop {
    match message.header.kind {
        RouteType::Local => NextHop::Local,
        RouteType::Unicast => gateway(&message.attributes).map_or(NextHop::OnLink, NextHop::Router),
        _ => NextHop::NoRoute,
    }
}

/// Whether the message is about the main table and not about a cached clone of a route.
pub(crate) fn in_main_table(message: &RouteMessage) -> bool {
    // Table numbers above 255 don't fit the header; RTA_TABLE always has the number.
    let table = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    table.unwrap_or(u32::from(message.header.table)) == u32::from(RouteHeader::RT_TABLE_MAIN)
        && !message.header.flags.contains(RouteFlags::Cloned)
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(to) => ip(to),
        // An IPv4 route by way of an IPv6 neighbour (RFC 5549).
        RouteAttribute::Via(RouteVia::Inet(to)) => Some(IpAddr::V4(*to)),
        RouteAttribute::Via(RouteVia::Inet6(to)) => Some(IpAddr::V6(*to)),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}
