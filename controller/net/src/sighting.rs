//! What a received frame says about an address: that somebody holds it, or is about to take it. Pure.

use std::net::IpAddr;

use crate::{
    arp,
    ethernet::Mac,
    ndp::{Advertisement, Solicitation},
};

/// Somebody named an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The address.
    pub address: IpAddr,
    /// Who.
    pub mac: Mac,
    /// To what end.
    pub claim: Claim,
}

/// What a station claims about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It has it: any ARP packet with the address as its sender, whoever it is for (RFC 5227 sections 2.1.1
    /// and 2.4), an advertisement of it, or a solicitation from it.
    Holds,
    /// It would like to have it and asks whether anybody has: an ARP probe (RFC 5227 section 2.1.1), a
    /// solicitation of duplicate address detection (RFC 4862 section 5.4.3).
    Asks,
}

impl Sighting {
    /// `None` for a frame that is neither ARP nor neighbour discovery.
    pub fn read(frame: &[u8]) -> Option<Self> {
        if let Some(packet) = arp::Packet::parse(frame) {
            let mac = packet.sender_mac;
            return if !packet.sender_ip.is_unspecified() {
                Some(Self { address: packet.sender_ip.into(), mac, claim: Claim::Holds })
            } else if packet.operation == arp::Operation::Request {
                Some(Self { address: packet.target_ip.into(), mac, claim: Claim::Asks })
            } else {
                None
            };
        }
        if let Some(advertisement) = Advertisement::parse(frame) {
            let (address, mac) = (advertisement.target.into(), advertisement.holder());
            return Some(Self { address, mac, claim: Claim::Holds });
        }
        let Solicitation { mac, source, target } = Solicitation::parse(frame)?;
        Some(if source.is_unspecified() {
            Self { address: target.into(), mac, claim: Claim::Asks }
        } else {
            Self { address: source.into(), mac, claim: Claim::Holds }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ndp;

    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    fn seen(frame: &[u8]) -> Option<(IpAddr, Claim)> {
        let sighting = Sighting::read(frame)?;
        assert_eq!(sighting.mac, MAC);
        Some((sighting.address, sighting.claim))
    }

    #[test]
    fn announcements_of_both_families_claim_their_address() {
        let v4 = "172.16.21.10".parse().unwrap();
        let v6 = "2001:db8::10".parse().unwrap();
        assert_eq!(seen(&arp::gratuitous_request(MAC, v4)), Some((v4.into(), Claim::Holds)));
        assert_eq!(seen(&arp::gratuitous_reply(MAC, v4)), Some((v4.into(), Claim::Holds)));
        assert_eq!(seen(&ndp::unsolicited_advertisement(MAC, v6)), Some((v6.into(), Claim::Holds)));
    }

    #[test]
    fn questions_of_both_families_ask_for_their_target() {
        let v4 = "172.16.21.10".parse().unwrap();
        let v6 = "2001:db8::10".parse().unwrap();
        assert_eq!(seen(&arp::probe(MAC, v4)), Some((v4.into(), Claim::Asks)));
        assert_eq!(seen(&ndp::solicitation(MAC, v6)), Some((v6.into(), Claim::Asks)));
    }

    #[test]
    fn a_question_asked_from_an_address_claims_that_and_not_what_it_asks_for() {
        let packet = arp::Packet {
            operation: arp::Operation::Request,
            sender_mac: MAC,
            sender_ip: [172, 16, 21, 10].into(),
            target_mac: [0; 6],
            target_ip: [192, 168, 40, 254].into(),
        };
        let leak = packet.encode(crate::ethernet::BROADCAST);
        assert_eq!(seen(&leak), Some(([172, 16, 21, 10].into(), Claim::Holds)));
    }

    #[test]
    fn a_reply_from_nobody_says_nothing() {
        let packet = arp::Packet {
            operation: arp::Operation::Reply,
            sender_mac: MAC,
            sender_ip: [0, 0, 0, 0].into(),
            target_mac: MAC,
            target_ip: [172, 16, 21, 10].into(),
        };
        assert_eq!(seen(&packet.encode(MAC)), None);
    }
}
