//! Addresses as Kubernetes' CEL functions see them (`k8s.io/apiserver/pkg/cel/library/ip.go`).

use std::net::IpAddr;

use crate::service::{Family, family_of};

/// What `isIP(text)` accepts: no zone, no IPv4-mapped IPv6.
pub(super) fn parse(text: &str) -> Option<IpAddr> {
    match text.parse().ok()? {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => None,
        address => Some(address),
    }
}

/// `isIP(text) && !ip.isCanonical(text)`.
pub(super) fn is_not_canonical(text: &str) -> bool {
    parse(text).is_some_and(|address| address.to_string() != text)
}

/// `isIP(text) && ip.isCanonical(text) && !ip(text).isGlobalUnicast()`.
pub(super) fn is_not_global_unicast(text: &str) -> bool {
    parse(text).is_some_and(|address| address.to_string() == text && !is_global_unicast(address))
}

/// Go's `netip.Addr.IsGlobalUnicast`: private ranges are global in this sense.
fn is_global_unicast(address: IpAddr) -> bool {
    let elsewhere = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(elsewhere || address.is_unspecified() || address.is_loopback() || address.is_multicast())
}

/// The family of an address in text.
pub(super) fn family(text: &str) -> Option<Family> {
    parse(text).map(family_of)
}
