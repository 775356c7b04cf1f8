//! Neighbour discovery for IPv6 (RFC 4861): the advertisement that announces a VIP, and the solicitation
//! that asks whether somebody holds it already.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! | type: 135 NS, | code = 0      | checksum, with the IPv6       |
//! |       136 NA  |               | pseudo header (RFC 8200 8.1)  |
//! +-+-+-+---------+---------------+-------------------------------+
//! |R|S|O| reserved (all of the word in NS)                        |
//! +-+-+-+---------------------------------------------------------+
//! |                                                               |
//! +                                                               +
//! | target address                                                |
//! +                                                               +
//! |                                                               |
//! +                                                               +
//! |                                                               |
//! +---------------+---------------+-------------------------------+
//! | option type   | length in 8 B | option: 1 source's MAC, 2     |
//! |               |               | target's MAC                  |
//! +---------------+---------------+-------------------------------+
//! ```

use std::net::Ipv6Addr;

use crate::ethernet::{self, Frame, HEADER_LEN, Mac};

/// Length of [`unsolicited_advertisement`] in bytes.
pub const ADVERTISEMENT_LEN: usize = HEADER_LEN + IPV6_HEADER_LEN + MESSAGE_LEN + MAC_OPTION_LEN;

/// Length of [`solicitation`] in bytes.
pub const SOLICITATION_LEN: usize = HEADER_LEN + IPV6_HEADER_LEN + MESSAGE_LEN;

const IPV6_HEADER_LEN: usize = 40;
const MESSAGE_LEN: usize = 24;
const MAC_OPTION_LEN: usize = 8;

const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const OPTION_SOURCE_MAC: u8 = 1;
const OPTION_TARGET_MAC: u8 = 2;
/// A router lowers the hop limit, so 255 proves that the sender is on the link (RFC 4861 section 7.1).
const HOP_LIMIT: u8 = 255;

const FLAG_ROUTER: u8 = 0x80;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A neighbour advertisement as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// Source of the Ethernet frame.
    pub source_mac: Mac,
    /// The address it is about.
    pub target: Ipv6Addr,
    /// The target's MAC by the option, when it is there.
    pub target_mac: Option<Mac>,
    /// The R flag: the sender is a router.
    pub router: bool,
    /// The S flag: an answer to a solicitation of ours.
    pub solicited: bool,
    /// The O flag: replace a cached MAC.
    pub overrides: bool,
}

impl Advertisement {
    /// Who holds the target: the MAC of the option, else that of the frame.
    pub fn holder(&self) -> Mac {
        self.target_mac.unwrap_or(self.source_mac)
    }

    /// `None` when the frame isn't an advertisement that passes the checks of RFC 4861 section 7.1.2.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let Message { source_mac, destination, target, flags, options, .. } =
            Message::parse(frame, ADVERTISEMENT)?;
        let solicited = flags & FLAG_SOLICITED != 0;
        if destination.is_multicast() && solicited {
            return None;
        }
        Some(Self {
            source_mac,
            target,
            target_mac: mac_option(options, OPTION_TARGET_MAC).ok()?,
            router: flags & FLAG_ROUTER != 0,
            solicited,
            overrides: flags & FLAG_OVERRIDE != 0,
        })
    }
}

/// A neighbour solicitation as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// Who asks: the MAC of the option, else that of the frame.
    pub mac: Mac,
    /// The address it asks from; unspecified in duplicate address detection (RFC 4862 section 5.4.2).
    pub source: Ipv6Addr,
    /// The address it asks for.
    pub target: Ipv6Addr,
}

impl Solicitation {
    /// `None` when the frame isn't a solicitation that passes the checks of RFC 4861 section 7.1.1.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let Message { source_mac, source, destination, target, options, .. } =
            Message::parse(frame, SOLICITATION)?;
        let sender = mac_option(options, OPTION_SOURCE_MAC).ok()?;
        if source.is_unspecified() && (destination != solicited_node(target) || sender.is_some()) {
            return None;
        }
        Some(Self { mac: sender.unwrap_or(source_mac), source, target })
    }
}

/// What both kinds of message have in common.
struct Message<'a> {
    source_mac: Mac,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    target: Ipv6Addr,
    flags: u8,
    options: &'a [u8],
}

impl<'a> Message<'a> {
    /// The checks that RFC 4861 sections 7.1.1 and 7.1.2 share.
    fn parse(frame: &'a [u8], kind: u8) -> Option<Self> {
        let frame = Frame::parse(frame)?;
        if frame.ethertype != ethernet::IPV6 {
            return None;
        }
        let (header, rest) = frame.payload.split_first_chunk::<IPV6_HEADER_LEN>()?;
        if header[0] >> 4 != 6 || header[6] != ICMPV6 || header[7] != HOP_LIMIT {
            return None;
        }
        // What follows the IPv6 payload is Ethernet padding.
        let message = rest.get(..usize::from(u16::from_be_bytes([header[4], header[5]])))?;
        let source = Ipv6Addr::from_octets(*header[8..24].first_chunk()?);
        let destination = Ipv6Addr::from_octets(*header[24..].first_chunk()?);
        let (fixed, options) = message.split_first_chunk::<MESSAGE_LEN>()?;
        if fixed[0] != kind || fixed[1] != 0 || checksum(source, destination, message) != 0 {
            return None;
        }
        let target = Ipv6Addr::from_octets(*fixed[8..].first_chunk()?);
        (!target.is_multicast()).then_some(Self {
            source_mac: frame.source,
            source,
            destination,
            target,
            flags: fixed[4],
            options,
        })
    }
}

/// An option has length zero or reaches beyond the message.
struct MalformedOption;

fn mac_option(mut options: &[u8], kind: u8) -> Result<Option<Mac>, MalformedOption> {
    let mut found = None;
    while !options.is_empty() {
        let length = usize::from(*options.get(1).ok_or(MalformedOption)?) * 8;
        if length == 0 {
            return Err(MalformedOption);
        }
        let (option, rest) = options.split_at_checked(length).ok_or(MalformedOption)?;
        if option[0] == kind && length == MAC_OPTION_LEN && found.is_none() {
            found = option[2..].first_chunk().copied();
        }
        options = rest;
    }
    Ok(found)
}

/// Tells all nodes that `vip` is at `mac` and that they should replace what they have cached (RFC 4861
/// section 7.2.6). The router flag is 0: nobody routes through a VIP.
pub fn unsolicited_advertisement(mac: Mac, vip: Ipv6Addr) -> [u8; ADVERTISEMENT_LEN] {
    let mut message = [0; MESSAGE_LEN + MAC_OPTION_LEN];
    message[0] = ADVERTISEMENT;
    message[4] = FLAG_OVERRIDE;
    message[8..24].copy_from_slice(&vip.octets());
    message[24] = OPTION_TARGET_MAC;
    message[25] = 1;
    message[26..].copy_from_slice(&mac);
    frame(mac, vip, ALL_NODES, &mut message)
}

/// Asks as in duplicate address detection (RFC 4862 section 5.4.2) whether somebody holds `target`: from
/// the unspecified address, so no cache changes and the answer goes to all nodes. The sender's MAC must
/// not be in it (RFC 4861 section 4.3).
pub fn solicitation(mac: Mac, target: Ipv6Addr) -> [u8; SOLICITATION_LEN] {
    let mut message = [0; MESSAGE_LEN];
    message[0] = SOLICITATION;
    message[8..].copy_from_slice(&target.octets());
    frame(mac, Ipv6Addr::UNSPECIFIED, solicited_node(target), &mut message)
}

/// The multicast address on which the holder of `target` listens (RFC 4291 section 2.7.1).
pub fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = target.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// RFC 2464 section 7.
fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

fn frame<const MESSAGE: usize, const FRAME: usize>(
    mac: Mac,
    source: Ipv6Addr,
    group: Ipv6Addr,
    message: &mut [u8; MESSAGE],
) -> [u8; FRAME] {
    const { assert!(FRAME == HEADER_LEN + IPV6_HEADER_LEN + MESSAGE) };
    let sum = checksum(source, group, message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut bytes = [0; FRAME];
    bytes[..HEADER_LEN].copy_from_slice(&ethernet::header(multicast_mac(group), mac, ethernet::IPV6));
    let header = &mut bytes[HEADER_LEN..HEADER_LEN + IPV6_HEADER_LEN];
    header[0] = 6 << 4;
    header[4..6].copy_from_slice(&(MESSAGE as u16).to_be_bytes());
    header[6] = ICMPV6;
    header[7] = HOP_LIMIT;
    header[8..24].copy_from_slice(&source.octets());
    header[24..].copy_from_slice(&group.octets());
    bytes[HEADER_LEN + IPV6_HEADER_LEN..].copy_from_slice(message);
    bytes
}

/// The Internet checksum (RFC 1071) over the pseudo header and the message; 0 for a message that has its
/// checksum in place.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let pseudo = (message.len() as u64) + u64::from(ICMPV6);
    let words = |bytes: &[u8]| -> u64 {
        bytes
            .chunks(2)
            .map(|pair| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
            .sum()
    };
    let mut sum = pseudo + words(&source.octets()) + words(&destination.octets()) + words(message);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests;
