//! ARP for IPv4 over Ethernet (RFC 826) and its uses for address conflicts and announcements (RFC 5227).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! | hardware type = 1 (Ethernet)  | protocol type = 0x0800 (IPv4) |
//! +---------------+---------------+-------------------------------+
//! | hw length = 6 | pr length = 4 | operation: 1 request, 2 reply |
//! +---------------+---------------+-------------------------------+
//! | sender MAC                                                    |
//! +                               +-------------------------------+
//! |                               | sender IP                     |
//! +-------------------------------+-------------------------------+
//! |                               | target MAC                    |
//! +-------------------------------+                               +
//! |                                                               |
//! +---------------------------------------------------------------+
//! | target IP                                                     |
//! +---------------------------------------------------------------+
//! ```

use std::net::Ipv4Addr;

use crate::ethernet::{self, BROADCAST, Frame, HEADER_LEN, Mac};

/// Length of an ARP frame in bytes, Ethernet header included and padding not.
pub const FRAME_LEN: usize = HEADER_LEN + PACKET_LEN;

const PACKET_LEN: usize = 28;
const HARDWARE_ETHERNET: [u8; 2] = [0, 1];
const PROTOCOL_IPV4: [u8; 2] = [0x08, 0x00];
const LENGTHS: [u8; 2] = [6, 4];
const NO_MAC: Mac = [0; 6];

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target IP?
    Request,
    /// The sender IP is at the sender MAC.
    Reply,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Request or reply.
    pub operation: Operation,
    /// Who speaks.
    pub sender_mac: Mac,
    /// The address it claims; 0.0.0.0 in a probe, which claims none.
    pub sender_ip: Ipv4Addr,
    /// Whom it speaks to; of no meaning in a request.
    pub target_mac: Mac,
    /// The address asked for.
    pub target_ip: Ipv4Addr,
}

impl Packet {
    /// The whole Ethernet frame.
    pub fn encode(&self, destination: Mac) -> [u8; FRAME_LEN] {
        let operation = match self.operation {
            Operation::Request => [0, 1],
            Operation::Reply => [0, 2],
        };
        let mut frame = [0; FRAME_LEN];
        let parts: [&[u8]; 9] = [
            &ethernet::header(destination, self.sender_mac, ethernet::ARP),
            &HARDWARE_ETHERNET,
            &PROTOCOL_IPV4,
            &LENGTHS,
            &operation,
            &self.sender_mac,
            &self.sender_ip.octets(),
            &self.target_mac,
            &self.target_ip.octets(),
        ];
        let mut at = 0;
        for part in parts {
            frame[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        frame
    }

    /// `None` when the frame is anything but a request or reply for IPv4 over Ethernet. Bytes after the
    /// packet are padding.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let frame = Frame::parse(frame)?;
        if frame.ethertype != ethernet::ARP {
            return None;
        }
        let (packet, _padding) = frame.payload.split_first_chunk::<PACKET_LEN>()?;
        let (head, rest) = packet.split_first_chunk::<8>()?;
        if head[..2] != HARDWARE_ETHERNET || head[2..4] != PROTOCOL_IPV4 || head[4..6] != LENGTHS {
            return None;
        }
        let operation = match head[6..] {
            [0, 1] => Operation::Request,
            [0, 2] => Operation::Reply,
            _ => return None,
        };
        let (sender_mac, rest) = rest.split_first_chunk::<6>()?;
        let (sender_ip, rest) = rest.split_first_chunk::<4>()?;
        let (target_mac, rest) = rest.split_first_chunk::<6>()?;
        let (target_ip, _) = rest.split_first_chunk::<4>()?;
        Some(Self {
            operation,
            sender_mac: *sender_mac,
            sender_ip: Ipv4Addr::from_octets(*sender_ip),
            target_mac: *target_mac,
            target_ip: Ipv4Addr::from_octets(*target_ip),
        })
    }
}

/// The request form of an announcement (RFC 5227 section 1.1): sender and target IP are the VIP.
pub fn gratuitous_request(mac: Mac, vip: Ipv4Addr) -> [u8; FRAME_LEN] {
    Packet {
        operation: Operation::Request,
        sender_mac: mac,
        sender_ip: vip,
        target_mac: NO_MAC,
        target_ip: vip,
    }
    .encode(BROADCAST)
}

/// The reply form of an announcement. The target MAC equals the sender's (RFC 5944 section 4.6); with any
/// other, Linux doesn't take it for gratuitous (`arp_is_garp` in `net/ipv4/arp.c`) and may ignore it.
pub fn gratuitous_reply(mac: Mac, vip: Ipv4Addr) -> [u8; FRAME_LEN] {
    Packet { operation: Operation::Reply, sender_mac: mac, sender_ip: vip, target_mac: mac, target_ip: vip }
        .encode(BROADCAST)
}

/// A probe (RFC 5227 section 2.1.1): asks who has `ip` and claims nothing, so no cache changes.
pub fn probe(mac: Mac, ip: Ipv4Addr) -> [u8; FRAME_LEN] {
    Packet {
        operation: Operation::Request,
        sender_mac: mac,
        sender_ip: Ipv4Addr::UNSPECIFIED,
        target_mac: NO_MAC,
        target_ip: ip,
    }
    .encode(BROADCAST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = [0x02, 0x42, 0xac, 0x10, 0x15, 0x0a];
    const VIP: Ipv4Addr = Ipv4Addr::new(172, 16, 21, 10);

    #[test]
    fn a_gratuitous_request_has_the_vip_as_sender_and_target_and_no_target_mac() {
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x42, 0xac, 0x10, 0x15, 0x0a, 0x08,
            0x06, // Ethernet
            0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, // request
            0x02, 0x42, 0xac, 0x10, 0x15, 0x0a, 172, 16, 21, 10, // sender
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 172, 16, 21, 10, // target
        ];
        assert_eq!(gratuitous_request(MAC, VIP), expected);
    }

    #[test]
    fn a_gratuitous_reply_names_its_own_mac_as_target_too() {
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x42, 0xac, 0x10, 0x15, 0x0a, 0x08,
            0x06, // Ethernet
            0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x02, // reply
            0x02, 0x42, 0xac, 0x10, 0x15, 0x0a, 172, 16, 21, 10, // sender
            0x02, 0x42, 0xac, 0x10, 0x15, 0x0a, 172, 16, 21, 10, // target
        ];
        assert_eq!(gratuitous_reply(MAC, VIP), expected);
    }

    #[test]
    fn a_probe_claims_no_address() {
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x42, 0xac, 0x10, 0x15, 0x0a, 0x08,
            0x06, // Ethernet
            0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, // request
            0x02, 0x42, 0xac, 0x10, 0x15, 0x0a, 0, 0, 0, 0, // sender
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 172, 16, 21, 10, // target
        ];
        assert_eq!(probe(MAC, VIP), expected);
    }

    #[test]
    fn a_padded_frame_is_read_and_a_frame_one_byte_short_is_not() {
        let frame = gratuitous_reply(MAC, VIP);
        let mut padded = frame.to_vec();
        padded.resize(60, 0);
        assert_eq!(Packet::parse(&padded), Packet::parse(&frame));
        assert_eq!(Packet::parse(&frame).unwrap().sender_ip, VIP);
        assert_eq!(Packet::parse(&frame[..FRAME_LEN - 1]), None);
    }

    #[test]
    fn other_hardware_protocol_lengths_and_operations_are_not_read() {
        // Offsets of: EtherType, hardware type, protocol type, both lengths, operation.
        for at in [12, 13, 14, 15, 16, 17, 18, 19, 20, 21] {
            let mut frame = gratuitous_request(MAC, VIP);
            frame[at] ^= 0x40;
            assert_eq!(Packet::parse(&frame), None, "byte {at}");
        }
    }

    fn packets() -> impl Strategy<Value = Packet> {
        let operation = prop_oneof![Just(Operation::Request), Just(Operation::Reply)];
        (operation, any::<Mac>(), any::<Ipv4Addr>(), any::<Mac>(), any::<Ipv4Addr>()).prop_map(
            |(operation, sender_mac, sender_ip, target_mac, target_ip)| Packet {
                operation,
                sender_mac,
                sender_ip,
                target_mac,
                target_ip,
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_what_is_parsed(packet in packets(), destination in any::<Mac>()) {
            prop_assert_eq!(Packet::parse(&packet.encode(destination)), Some(packet));
        }

        #[test]
        fn whatever_parses_encodes_to_the_same_packet_bytes(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..80),
            shaped in any::<bool>(),
        ) {
            // Random bytes hardly ever are ARP, so half of the cases get a valid head.
            if shaped && bytes.len() >= 22 {
                bytes[12..22].copy_from_slice(&[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]);
            }
            match Packet::parse(&bytes) {
                Some(packet) => {
                    prop_assert_eq!(&packet.encode(BROADCAST)[HEADER_LEN..], &bytes[HEADER_LEN..FRAME_LEN]);
                }
                None => prop_assert!(!shaped || bytes.len() < FRAME_LEN),
            }
        }
    }
}
