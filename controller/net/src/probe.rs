//! Does somebody else hold a VIP? Asked before the first binding: taking an address that a stranger uses
//! would break the stranger and, half of the time, us.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockFilter;

use crate::{
    arp,
    ethernet::{self, Mac},
    filter,
    link::{Link, Silent},
    membership::Membership,
    ndp,
    packet::PacketSocket,
    sighting::{Claim, Sighting},
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
    /// Another station asks for it too, so neither may take it (RFC 5227 section 2.1.1, RFC 4862 section
    /// 5.4.3). Ask again after [`back_off`].
    Contended {
        /// Who.
        mac: Mac,
    },
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
    /// The link is down or has no carrier, where silence would prove nothing.
    #[error("cannot probe: {0}")]
    Unheard(Silent),
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

/// How long to wait before a VIP is asked for again that another station asked for at the same time: 1..=7 s. Two
/// stations that waited the same would meet again, so the wait depends on who waits (RFC 5227 wants it random) and
/// on the attempt; it is always the same for the same arguments.
pub fn back_off(station: Mac, vip: IpAddr, attempt: u32) -> Duration {
    // Its keys are fixed, unlike those of a `HashMap`.
    let mut hasher = DefaultHasher::new();
    (station, vip, attempt).hash(&mut hasher);
    Duration::from_millis(1000 + hasher.finish() % 6001)
}

/// Asks the link's segment three times within the first half of `timeout` for each VIP, by ARP probes and
/// by solicitations as in duplicate address detection, and listens until its end, or until every VIP has
/// been answered for. All VIPs share the one timeout. Blocks the calling thread.
///
/// `own` are the Ethernet addresses of all links of this host: what they send is no stranger's, also when it comes
/// back by a switch or a second link on the same segment.
///
/// Of two stations that ask at once at most one finds the VIP `Free`: each hears the other's questions, unless
/// one began after the other's last question, and then that other alone is told so.
pub fn vip_holders(
    link: &Link,
    own: &[Mac],
    vips: &[IpAddr],
    timeout: Duration,
) -> Result<BTreeMap<IpAddr, ProbeVerdict>, Error> {
    let mut probe = Probe::open(link, own, vips)?;
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
    own: &'a [Mac],
    mac: Mac,
    /// Held, so that others' solicitations reach this host.
    _groups: Membership,
    arp: Option<PacketSocket>,
    ndp: Option<PacketSocket>,
    verdicts: BTreeMap<IpAddr, ProbeVerdict>,
}

impl<'a> Probe<'a> {
    fn open(link: &'a Link, own: &'a [Mac], vips: &[IpAddr]) -> Result<Self, Error> {
        let mac = link.mac.ok_or_else(|| Error::NoMac { link: link.name.clone() })?;
        link.is_heard().map_err(Error::Unheard)?;
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
            own,
            mac,
            _groups: Membership::join(link.index, vips),
            arp: vips
                .iter()
                .any(IpAddr::is_ipv4)
                .then(|| open(ethernet::ARP, &filter::arp_about(vips)))
                .transpose()?,
            ndp: vips
                .iter()
                .any(IpAddr::is_ipv6)
                .then(|| open(ethernet::IPV6, &filter::neighbour_discovery_about(vips)))
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
                if let Some(Sighting { address, mac, claim }) = Sighting::read(frame)
                    && mac != self.mac
                    && !self.own.contains(&mac)
                    && let Some(verdict) = self.verdicts.get_mut(&address)
                {
                    match claim {
                        Claim::Holds => *verdict = ProbeVerdict::Taken { mac },
                        Claim::Asks if *verdict == ProbeVerdict::Free => {
                            *verdict = ProbeVerdict::Contended { mac };
                        }
                        Claim::Asks => {}
                    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    #[test]
    fn a_link_that_is_unheard_or_without_mac_is_refused_before_any_socket() {
        let link = Link {
            index: 9,
            name: "eth9".to_owned(),
            mac: Some(MAC),
            up: false,
            carrier: false,
            loopback: false,
        };
        let ask = |link: &Link| vip_holders(link, &[], &[[172, 16, 21, 10].into()], Duration::ZERO);
        let down = ask(&link);
        assert!(matches!(down, Err(Error::Unheard(Silent::Down { .. }))), "{down:?}");
        let link = Link { up: true, ..link };
        let unplugged = ask(&link);
        assert!(matches!(unplugged, Err(Error::Unheard(Silent::NoCarrier { .. }))), "{unplugged:?}");
        let no_mac = ask(&Link { mac: None, ..link });
        assert!(matches!(no_mac, Err(Error::NoMac { .. })), "{no_mac:?}");
    }

    #[test]
    fn stations_that_met_wait_differently_and_each_always_the_same() {
        let vip = IpAddr::from([172, 16, 21, 10]);
        let mut apart = 0;
        for attempt in 0..100 {
            let [one, other] =
                [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]].map(|mac| back_off(mac, vip, attempt));
            assert_eq!(one, back_off([2, 0, 0, 0, 0, 1], vip, attempt));
            for wait in [one, other] {
                assert!((1000..=7000).contains(&wait.as_millis()), "{wait:?}");
            }
            apart += u32::from(one.abs_diff(other) > Duration::from_millis(500));
        }
        assert!(apart > 70, "they would meet again {} times of 100", 100 - apart);
    }
}
