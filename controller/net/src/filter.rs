//! Classic BPF programs for packet sockets: what nobody waits for doesn't wake the process. Offsets count from
//! the Ethernet header.

use std::net::IpAddr;

use socket2::SockFilter;

/// Sender IP of an ARP packet.
const ARP_SENDER: u32 = 28;
/// Target IP of an ARP packet.
const ARP_TARGET: u32 = 38;
/// Next header of an IPv6 packet; ICMP is 58.
const NEXT_HEADER: u32 = 20;
/// The last 32 bits of the IPv6 source address.
const SOURCE_TAIL: u32 = 34;
/// Type of an ICMP message behind an IPv6 header: 135 solicitation, 136 advertisement.
const ICMP_TYPE: u32 = 54;
/// The same for the target address of a neighbour discovery message.
const TARGET_TAIL: u32 = 74;

/// A program's size counts against `net.core.optmem_max`, 20 kB on older kernels (`sk_filter_charge`), and each
/// address costs up to four instructions of 8 bytes.
const LISTED: usize = 256;

/// `BPF_LD | BPF_B | BPF_ABS`.
const LOAD_BYTE: u16 = 0x30;
/// `BPF_LD | BPF_W | BPF_ABS`.
const LOAD_WORD: u16 = 0x20;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
const JUMP_IF_EQUAL: u16 = 0x15;
/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;

const PASS: SockFilter = SockFilter::new(RETURN, 0, 0, u32::MAX);
const DROP: SockFilter = SockFilter::new(RETURN, 0, 0, 0);

/// Lets solicitations and advertisements pass: a busy Director's other IPv6 traffic must not fill the socket.
pub(crate) fn neighbour_discovery() -> Vec<SockFilter> {
    let mut program = is_neighbour_discovery();
    program.push(PASS);
    program
}

/// Lets ARP packets pass whose sender IP is one of these. Empty, so everything passes, when they are too many.
pub(crate) fn arp_from(addresses: &[IpAddr]) -> Vec<SockFilter> {
    let words = tails(addresses, IpAddr::is_ipv4);
    if words.len() > LISTED {
        return Vec::new();
    }
    let mut program = one_of(ARP_SENDER, &words);
    program.push(DROP);
    program
}

/// Lets ARP packets pass whose sender IP is one of these, and questions by nobody (ARP probes) for one of these.
/// Empty, so everything passes, when they are too many.
pub(crate) fn arp_about(addresses: &[IpAddr]) -> Vec<SockFilter> {
    let words = tails(addresses, IpAddr::is_ipv4);
    if words.len() > LISTED {
        return Vec::new();
    }
    let mut program = one_of(ARP_SENDER, &words);
    program.extend([SockFilter::new(JUMP_IF_EQUAL, 1, 0, 0), DROP]);
    program.extend(one_of(ARP_TARGET, &words));
    program.push(DROP);
    program
}

/// Lets neighbour discovery pass whose source or target ends as one of these does (32 bits are compared); all of
/// it when they are too many.
pub(crate) fn neighbour_discovery_about(addresses: &[IpAddr]) -> Vec<SockFilter> {
    let words = tails(addresses, IpAddr::is_ipv6);
    if words.len() > LISTED {
        return neighbour_discovery();
    }
    let mut program = is_neighbour_discovery();
    program.extend(one_of(TARGET_TAIL, &words));
    program.extend(one_of(SOURCE_TAIL, &words));
    program.push(DROP);
    program
}

fn is_neighbour_discovery() -> Vec<SockFilter> {
    vec![
        SockFilter::new(LOAD_BYTE, 0, 0, NEXT_HEADER),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, 58),
        DROP,
        SockFilter::new(LOAD_BYTE, 0, 0, ICMP_TYPE),
        SockFilter::new(JUMP_IF_EQUAL, 2, 0, 135),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, 136),
        DROP,
    ]
}

fn one_of(offset: u32, words: &[u32]) -> Vec<SockFilter> {
    let mut program = vec![SockFilter::new(LOAD_WORD, 0, 0, offset)];
    for word in words {
        program.extend([SockFilter::new(JUMP_IF_EQUAL, 0, 1, *word), PASS]);
    }
    program
}

fn tails(addresses: &[IpAddr], family: impl Fn(&IpAddr) -> bool) -> Vec<u32> {
    let of_family = addresses.iter().filter(|address| family(address));
    let mut words: Vec<u32> = of_family
        .map(|address| match address {
            IpAddr::V4(ip) => ip.to_bits(),
            IpAddr::V6(ip) => (ip.to_bits() & u128::from(u32::MAX)) as u32,
        })
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::{arp, ethernet::BROADCAST, ndp};

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
    const VIP: Ipv4Addr = Ipv4Addr::new(172, 16, 21, 10);
    const OTHER: Ipv4Addr = Ipv4Addr::new(172, 16, 21, 11);
    const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
    const OTHER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11);

    /// Whether the kernel lets a frame pass. It runs the same programs on a Unix socket, which needs no capability.
    fn passes(program: &[SockFilter], frame: &[u8]) -> bool {
        let (sender, receiver) = Socket::pair(Domain::UNIX, Type::DGRAM, None).unwrap();
        receiver.attach_filter(program).unwrap();
        receiver.set_nonblocking(true).unwrap();
        assert_eq!(sender.send(frame).unwrap(), frame.len());
        rustix::net::recv(&receiver, &mut [0; 256][..], rustix::net::RecvFlags::empty()).is_ok()
    }

    fn asks_from(sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Vec<u8> {
        let operation = arp::Operation::Request;
        let packet = arp::Packet { operation, sender_mac: MAC, sender_ip, target_mac: [0; 6], target_ip };
        packet.encode(BROADCAST).to_vec()
    }

    #[test]
    fn of_arp_only_what_holds_or_probes_for_one_of_the_addresses_wakes_a_probe() {
        let others = (0..200).map(|last| IpAddr::from([10, 0, 0, last]));
        let addresses: Vec<IpAddr> = others.chain([VIP.into()]).collect();
        let program = arp_about(&addresses);
        for (frame, expected) in [
            (arp::gratuitous_reply(MAC, VIP).to_vec(), true),
            (asks_from(VIP, OTHER), true),
            (arp::probe(MAC, VIP).to_vec(), true),
            (arp::probe(MAC, OTHER).to_vec(), false),
            (asks_from(OTHER, VIP), false),
            (arp::gratuitous_reply(MAC, OTHER).to_vec(), false),
        ] {
            assert_eq!(passes(&program, &frame), expected, "{frame:?}");
        }
        assert!(!passes(&arp_from(&addresses), &arp::probe(MAC, VIP)), "who holds it need not hear who asks");
    }

    #[test]
    fn of_neighbour_discovery_only_what_is_about_one_of_the_addresses_wakes_a_listener() {
        let about = neighbour_discovery_about(&[VIP6.into()]);
        for (frame, expected) in [
            (ndp::unsolicited_advertisement(MAC, VIP6).to_vec(), true),
            (ndp::solicitation(MAC, VIP6).to_vec(), true),
            (ndp::solicitation(MAC, OTHER6).to_vec(), false),
        ] {
            assert_eq!(passes(&about, &frame), expected, "{frame:?}");
            assert!(passes(&neighbour_discovery(), &frame));
        }
    }

    #[test]
    fn too_many_addresses_for_a_program_let_everything_pass() {
        let many: Vec<IpAddr> =
            (0..300u32).map(|number| Ipv4Addr::from_bits(0x0a00_0000 + number).into()).collect();
        assert!(arp_about(&many).is_empty() && arp_from(&many).is_empty());
    }
}
