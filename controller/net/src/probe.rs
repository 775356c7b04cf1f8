//! Does somebody else hold a VIP? Asked before the first binding: taking an address that a stranger uses
//! would break the stranger and, half of the time, us.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockFilter;

use crate::{
    arp,
    ethernet::{self, Mac},
    link::Link,
    ndp,
    packet::PacketSocket,
};

/// How often each VIP is asked for.
const ROUNDS: u32 = 3;

/// Answers are read after this many questions, so that they never fill the receive buffer.
const BATCH: usize = 64;

/// Room for answers in bytes.
const RECEIVE_BUFFER: usize = 1 << 20;

/// What the probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeVerdict {
    /// Nobody answered.
    Free,
    /// Another station answered.
    Taken {
        /// Who.
        mac: Mac,
    },
}

/// Why a probe gave no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The link has no Ethernet address, so nobody can be asked on it.
    #[error("cannot probe on interface {link}: it has no Ethernet address")]
    NoMac {
        /// Link name.
        link: String,
    },
    /// The link is down, where silence would prove nothing.
    #[error("cannot probe on interface {link}: it is down")]
    Down {
        /// Link name.
        link: String,
    },
    /// No packet socket; mostly because `CAP_NET_RAW` is missing.
    #[error("cannot open a packet socket on interface {link} (CAP_NET_RAW is needed)")]
    Open {
        /// Link name.
        link: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A question could not be sent.
    #[error("cannot ask for {vip} on interface {link}")]
    Ask {
        /// Link name.
        link: String,
        /// The VIP.
        vip: IpAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Answers could not be read.
    #[error("cannot read answers on interface {link}")]
    Listen {
        /// Link name.
        link: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// [`vip_holders`] for one VIP.
pub fn vip_holder(link: &Link, vip: IpAddr, timeout: Duration) -> Result<ProbeVerdict, Error> {
    let verdicts = vip_holders(link, &[vip], timeout)?;
    Ok(verdicts.get(&vip).copied().unwrap_or(ProbeVerdict::Free))
}

/// Asks the link's segment three times within the first half of `timeout` for each VIP, by ARP probes and
/// by solicitations as in duplicate address detection, and listens until its end, or until every VIP has
/// been answered for. All VIPs share the one timeout. Blocks the calling thread.
///
/// Don't ask for a VIP that this host holds itself: its own kernel's answers don't count, so the verdict
/// would be `Free`.
pub fn vip_holders(
    link: &Link,
    vips: &[IpAddr],
    timeout: Duration,
) -> Result<BTreeMap<IpAddr, ProbeVerdict>, Error> {
    let mut probe = Probe::open(link, vips)?;
    let start = Instant::now();
    let end = start + timeout;
    for round in 0..ROUNDS {
        probe.ask()?;
        let until = if round + 1 == ROUNDS { end } else { start + timeout * (round + 1) / 4 };
        if probe.listen_until(until)? {
            break;
        }
    }
    Ok(probe.verdicts)
}
struct Probe<'a> {
    link: &'a Link,
    mac: Mac,
    arp: Option<PacketSocket>,
    ndp: Option<PacketSocket>,
    verdicts: BTreeMap<IpAddr, ProbeVerdict>,
}

impl<'a> Probe<'a> {
    fn open(link: &'a Link, vips: &[IpAddr]) -> Result<Self, Error> {
        let mac = link.mac.ok_or_else(|| Error::NoMac { link: link.name.clone() })?;
        if !link.up {
            return Err(Error::Down { link: link.name.clone() });
        }
        let open = |ethertype, filter: &[SockFilter]| {
            let socket = PacketSocket::receiver(link.index, ethertype, filter)
                .map_err(|source| Error::Open { link: link.name.clone(), source })?;
            socket
                .set_receive_buffer(RECEIVE_BUFFER)
                .map_err(|source| Error::Open { link: link.name.clone(), source })?;
            Ok(socket)
        };
        Ok(Self {
            link,
            mac,
            arp: vips.iter().any(IpAddr::is_ipv4).then(|| open(ethernet::ARP, &[])).transpose()?,
            ndp: vips
                .iter()
                .any(IpAddr::is_ipv6)
                .then(|| open(ethernet::IPV6, &ADVERTISEMENTS))
                .transpose()?,
            verdicts: vips.iter().map(|vip| (*vip, ProbeVerdict::Free)).collect(),
        })
    }

    /// One question for each VIP that nobody has answered for.
    fn ask(&mut self) -> Result<(), Error> {
        let open: Vec<IpAddr> = self
            .verdicts
            .iter()
            .filter(|(_, verdict)| **verdict == ProbeVerdict::Free)
            .map(|(vip, _)| *vip)
            .collect();
        for batch in open.chunks(BATCH) {
            for vip in batch {
                self.ask_for(*vip).map_err(|source| Error::Ask {
                    link: self.link.name.clone(),
                    vip: *vip,
                    source,
                })?;
            }
            self.listen()?;
        }
        Ok(())
    }

    fn ask_for(&self, vip: IpAddr) -> io::Result<()> {
        match (vip, &self.arp, &self.ndp) {
            (IpAddr::V4(ip), Some(socket), _) => {
                send(socket, self.link.index, ethernet::ARP, &arp::probe(self.mac, ip))
            }
            (IpAddr::V6(ip), _, Some(socket)) => {
                send(socket, self.link.index, ethernet::IPV6, &ndp::solicitation(self.mac, ip))
            }
            _ => Ok(()),
        }
    }

    /// Whether every VIP has been answered for by `end`.
    fn listen_until(&mut self, end: Instant) -> Result<bool, Error> {
        loop {
            self.listen()?;
            if self.verdicts.values().all(|verdict| *verdict != ProbeVerdict::Free) {
                return Ok(true);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let mut ready: Vec<_> = [&self.arp, &self.ndp]
                .into_iter()
                .flatten()
                .map(|socket| PollFd::new(socket, PollFlags::IN))
                .collect();
            wait(&mut ready, left)
                .map_err(|source| Error::Listen { link: self.link.name.clone(), source })?;
        }
    }

    /// Reads what waits.
    fn listen(&mut self) -> Result<(), Error> {
        let mut buffer = [0; 2048];
        for socket in [&self.arp, &self.ndp].into_iter().flatten() {
            while let Some(frame) = socket
                .receive(&mut buffer)
                .map_err(|source| Error::Listen { link: self.link.name.clone(), source })?
            {
                if let Some((vip, mac)) = claim(frame)
                    && mac != self.mac
                    && let Some(verdict) = self.verdicts.get_mut(&vip)
                {
                    *verdict = ProbeVerdict::Taken { mac };
                }
            }
        }
        Ok(())
    }
}

fn wait(ready: &mut [PollFd<'_>], left: Duration) -> io::Result<()> {
    let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
    match poll(ready, Some(&left)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The sockets don't block, so a full queue of the link shows as `EAGAIN` or `ENOBUFS`: it empties within
/// milliseconds.
fn send(socket: &PacketSocket, link: u32, ethertype: u16, frame: &[u8]) -> io::Result<()> {
    for _ in 0..20 {
        match socket.send(link, ethertype, frame) {
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    || error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Which address the sender of a frame claims. Any ARP packet with the VIP as its sender counts, not only
/// the reply to us (RFC 5227 section 2.1.1).
fn claim(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    if let Some(packet) = arp::Packet::parse(frame) {
        return Some((packet.sender_ip.into(), packet.sender_mac));
    }
    let advertisement = ndp::Advertisement::parse(frame)?;
    Some((advertisement.target.into(), advertisement.holder()))
}

/// A classic BPF program that lets neighbour advertisements pass: a busy Director's other IPv6 traffic
/// must not fill the socket. Offsets count from the Ethernet header: 20 is the IPv6 next header (58
/// for ICMP), 54 the ICMP type (136).
static ADVERTISEMENTS: [SockFilter; 6] = [
    SockFilter::new(LOAD_BYTE, 0, 0, 20),
    SockFilter::new(JUMP_IF_EQUAL, 0, 3, 58),
    SockFilter::new(LOAD_BYTE, 0, 0, 54),
    SockFilter::new(JUMP_IF_EQUAL, 0, 1, 136),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
    SockFilter::new(RETURN, 0, 0, 0),
];

/// `BPF_LD | BPF_B | BPF_ABS`.
const LOAD_BYTE: u16 = 0x30;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
const JUMP_IF_EQUAL: u16 = 0x15;
/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    #[test]
    fn a_probe_of_another_claims_only_the_unspecified_address() {
        let other = arp::probe(MAC, [172, 16, 21, 10].into());
        assert_eq!(claim(&other), Some(([0, 0, 0, 0].into(), MAC)));
    }

    #[test]
    fn announcements_of_both_families_claim_their_address() {
        let v4 = "172.16.21.10".parse().unwrap();
        let v6 = "2001:db8::10".parse().unwrap();
        assert_eq!(claim(&arp::gratuitous_request(MAC, v4)), Some((v4.into(), MAC)));
        assert_eq!(claim(&arp::gratuitous_reply(MAC, v4)), Some((v4.into(), MAC)));
        assert_eq!(claim(&ndp::unsolicited_advertisement(MAC, v6)), Some((v6.into(), MAC)));
    }

    #[test]
    fn a_solicitation_of_another_claims_nothing() {
        assert_eq!(claim(&ndp::solicitation(MAC, "2001:db8::10".parse().unwrap())), None);
    }

    #[test]
    fn a_link_that_is_down_or_without_mac_is_refused_before_any_socket() {
        let link = Link { index: 9, name: "eth9".to_owned(), mac: Some(MAC), up: false, loopback: false };
        let vip = "172.16.21.10".parse().unwrap();
        let down = vip_holder(&link, vip, Duration::ZERO);
        assert!(matches!(down, Err(Error::Down { .. })), "{down:?}");
        let no_mac = vip_holder(&Link { mac: None, up: true, ..link }, vip, Duration::ZERO);
        assert!(matches!(no_mac, Err(Error::NoMac { .. })), "{no_mac:?}");
    }
}
