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
//! | option type   | length in 8 B | option: 2 = target's MAC      |
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
        if fixed[0] != ADVERTISEMENT || fixed[1] != 0 || checksum(source, destination, message) != 0 {
            return None;
        }
        let target = Ipv6Addr::from_octets(*fixed[8..].first_chunk()?);
        let solicited = fixed[4] & FLAG_SOLICITED != 0;
        if target.is_multicast() || (destination.is_multicast() && solicited) {
            return None;
        }
        Some(Self {
            source_mac: frame.source,
            target,
            target_mac: target_mac(options).ok()?,
            router: fixed[4] & FLAG_ROUTER != 0,
            solicited,
            overrides: fixed[4] & FLAG_OVERRIDE != 0,
        })
    }
}

/// An option has length zero or reaches beyond the message.
struct MalformedOption;

fn target_mac(mut options: &[u8]) -> Result<Option<Mac>, MalformedOption> {
    let mut found = None;
    while !options.is_empty() {
        let length = usize::from(*options.get(1).ok_or(MalformedOption)?) * 8;
        if length == 0 {
            return Err(MalformedOption);
        }
        let (option, rest) = options.split_at_checked(length).ok_or(MalformedOption)?;
        if option[0] == OPTION_TARGET_MAC && length == MAC_OPTION_LEN && found.is_none() {
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = [0x02, 0x42, 0xac, 0x10, 0x15, 0x0a];
    const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x21, 0x10);

    #[test]
    fn an_advertisement_goes_to_all_nodes_with_override_set_and_router_clear() {
        let expected = [
            0x33, 0x33, 0, 0, 0, 1, 0x02, 0x42, 0xac, 0x10, 0x15, 0x0a, 0x86, 0xdd, // Ethernet
            0x60, 0, 0, 0, 0, 32, 58, 255, // IPv6
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 0x10, // from the VIP
            0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // to all nodes
            136, 0, 0x37, 0x6f, 0x20, 0, 0, 0, // advertisement, override
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 0x10, // target
            2, 1, 0x02, 0x42, 0xac, 0x10, 0x15, 0x0a, // its MAC
        ];
        assert_eq!(unsolicited_advertisement(MAC, VIP), expected);
    }

    #[test]
    fn a_solicitation_comes_from_nobody_and_goes_to_the_solicited_node_group() {
        let expected = [
            0x33, 0x33, 0xff, 0x21, 0, 0x10, 0x02, 0x42, 0xac, 0x10, 0x15, 0x0a, 0x86, 0xdd, // Ethernet
            0x60, 0, 0, 0, 0, 24, 58, 255, // IPv6
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // from ::
            0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x21, 0, 0x10, // to ff02::1:ff21:10
            135, 0, 0x4c, 0x8d, 0, 0, 0, 0, // solicitation
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 0x10, // target
        ];
        assert_eq!(solicitation(MAC, VIP), expected);
    }

    #[test]
    fn our_own_advertisement_is_read_back_padded_or_not() {
        let frame = unsolicited_advertisement(MAC, VIP);
        let read = Advertisement {
            source_mac: MAC,
            target: VIP,
            target_mac: Some(MAC),
            router: false,
            solicited: false,
            overrides: true,
        };
        assert_eq!(Advertisement::parse(&frame), Some(read));
        let padded: Vec<u8> = frame.iter().copied().chain([0xaa; 9]).collect();
        assert_eq!(Advertisement::parse(&padded), Some(read));
    }

    #[test]
    fn one_changed_bit_anywhere_in_the_message_fails_its_checksum() {
        for at in HEADER_LEN + IPV6_HEADER_LEN..ADVERTISEMENT_LEN {
            let mut frame = unsolicited_advertisement(MAC, VIP);
            frame[at] ^= 1;
            assert_eq!(Advertisement::parse(&frame), None, "byte {at}");
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_not_read() {
        let frame = unsolicited_advertisement(MAC, VIP);
        for length in 0..frame.len() {
            assert_eq!(Advertisement::parse(&frame[..length]), None, "{length} bytes");
        }
    }

    /// The frame of an advertisement with this message, checksum put in place.
    fn advertisement<const MESSAGE: usize, const FRAME: usize>(
        change: impl FnOnce(&mut [u8; MESSAGE]),
    ) -> [u8; FRAME] {
        let mut message = [0; MESSAGE];
        message[0] = ADVERTISEMENT;
        message[8..24].copy_from_slice(&VIP.octets());
        change(&mut message);
        frame(MAC, VIP, ALL_NODES, &mut message)
    }

    #[test]
    fn an_advertisement_that_passed_a_router_is_not_read() {
        let mut frame = unsolicited_advertisement(MAC, VIP);
        frame[HEADER_LEN + 7] = 254;
        assert_eq!(Advertisement::parse(&frame), None);
    }

    #[test]
    fn without_the_option_the_holder_is_the_source_of_the_frame() {
        let frame: [u8; 78] = advertisement::<24, 78>(|_| ());
        let read = Advertisement::parse(&frame).unwrap();
        assert_eq!((read.target_mac, read.holder(), read.target), (None, MAC, VIP));
    }

    #[test]
    fn an_option_of_length_zero_or_longer_than_the_message_spoils_it() {
        for length in [0, 2, 255] {
            let frame: [u8; 86] = advertisement::<32, 86>(|message| {
                message[24] = OPTION_TARGET_MAC;
                message[25] = length;
            });
            assert_eq!(Advertisement::parse(&frame), None, "length {length}");
        }
    }

    #[test]
    fn a_multicast_target_and_a_solicited_answer_to_all_nodes_are_refused() {
        let multicast: [u8; 78] = advertisement::<24, 78>(|message| message[8] = 0xff);
        assert_eq!(Advertisement::parse(&multicast), None);
        let solicited: [u8; 78] = advertisement::<24, 78>(|message| message[4] = FLAG_SOLICITED);
        assert_eq!(Advertisement::parse(&solicited), None);
    }

    proptest! {
        #[test]
        fn an_encoded_advertisement_says_what_was_put_in(mac in any::<Mac>(), vip in any::<Ipv6Addr>()) {
            let read = Advertisement::parse(&unsolicited_advertisement(mac, vip));
            if vip.is_multicast() {
                prop_assert_eq!(read, None);
            } else {
                let read = read.expect("our own frame is valid");
                prop_assert_eq!((read.holder(), read.target, read.overrides), (mac, vip, true));
            }
        }

        #[test]
        fn no_bytes_after_a_valid_head_make_the_parser_panic(
            tail in proptest::collection::vec(any::<u8>(), 0..120),
            length in any::<u16>(),
        ) {
            let mut frame = unsolicited_advertisement(MAC, VIP)[..HEADER_LEN + IPV6_HEADER_LEN].to_vec();
            frame[HEADER_LEN + 4..HEADER_LEN + 6].copy_from_slice(&length.to_be_bytes());
            frame.extend(&tail);
            // Parsed or not, it is only ever about bytes that are there.
            if let Some(read) = Advertisement::parse(&frame) {
                prop_assert!(usize::from(length) <= tail.len());
                prop_assert!(!read.target.is_multicast());
            }
        }

        #[test]
        fn random_options_with_a_right_checksum_never_panic_and_never_invent_a_mac(
            options in any::<[u8; 32]>(),
        ) {
            let frame: [u8; 110] = advertisement::<56, 110>(|message| message[24..].copy_from_slice(&options));
            if let Some(mac) = Advertisement::parse(&frame).and_then(|read| read.target_mac) {
                prop_assert!(options.windows(8).any(|window| window[..2] == [2, 1] && window[2..] == mac));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Advertisement::parse(&bytes).is_some() && bytes.len() < SOLICITATION_LEN, false);
        }
    }
}
