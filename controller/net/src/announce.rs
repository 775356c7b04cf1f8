//! Telling the neighbours where a VIP lives: when, and with which frames.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    arp,
    ethernet::{self, Mac},
    ndp,
    packet::PacketSocket,
};

/// When to announce after a takeover: a burst against loss, then repeats for neighbours that were slow,
/// rate-limited or just starting.
const AFTER_TAKEOVER: [Duration; 9] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// A VIP is announced again at least this often, for a neighbour that restarted or was poisoned.
pub const REFRESH: Duration = Duration::from_mins(1);

/// Refreshes happen on whole slots, so that many VIPs share a wake-up, and different VIPs use different
/// slots, so that they are never all sent at once.
const SLOT: Duration = Duration::from_secs(1);

const SLOTS: u64 = REFRESH.as_secs() / SLOT.as_secs();

/// A VIP on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Announced {
    /// Link index.
    pub link: u32,
    /// The VIP.
    pub vip: IpAddr,
}

/// When each VIP is to be announced. Pure: the time is passed in.
///
/// A takeover is announced five times at once, 100 ms apart, then 1, 2, 5 and 10 s after it, then every
/// 60 s. 1,000 VIPs taken over together are refreshed 16 or 17 a second.
#[derive(Clone, Debug)]
pub struct Schedule {
    epoch: Instant,
    entries: BTreeMap<Announced, Entry>,
    /// Counts the VIPs ever started; spreads them over the slots.
    started: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    next: Instant,
    taken_over: Instant,
    /// Index into [`AFTER_TAKEOVER`] of `next`; past its end, `next` is a refresh.
    step: usize,
    slot: u64,
}

impl Schedule {
    /// An empty schedule.
    pub fn new(now: Instant) -> Self {
        Self { epoch: now, entries: BTreeMap::new(), started: 0 }
    }

    /// A VIP was bound just now: the whole sequence begins, anew if it was running.
    pub fn take_over(&mut self, what: Announced, now: Instant) {
        let slot = self.slot(what);
        self.entries.insert(what, Entry { next: now, taken_over: now, step: 0, slot });
    }

    /// A VIP was found bound already, by an agent before us: it is only refreshed. Does nothing when the
    /// VIP is in the schedule.
    pub fn adopt(&mut self, what: Announced, now: Instant) {
        if !self.entries.contains_key(&what) {
            let slot = self.slot(what);
            let next = self.refresh_after(now, slot);
            self.entries.insert(what, Entry { next, taken_over: now, step: AFTER_TAKEOVER.len(), slot });
        }
    }

    /// The VIP is not ours any more. Returns whether it was in the schedule.
    pub fn release(&mut self, what: Announced) -> bool {
        self.entries.remove(&what).is_some()
    }

    /// Whether the VIP is in the schedule.
    pub fn contains(&self, what: Announced) -> bool {
        self.entries.contains_key(&what)
    }

    /// When the next announcement is due; may be in the past. `None` when there is nothing to announce.
    pub fn next(&self) -> Option<Instant> {
        self.entries.values().map(|entry| entry.next).min()
    }

    /// What is to be announced now. Each is returned once, however many of its moments have passed, and
    /// waits for its next moment after `now`.
    pub fn due(&mut self, now: Instant) -> Vec<Announced> {
        let due: Vec<_> =
            self.entries.iter().filter(|(_, entry)| entry.next <= now).map(|(what, _)| *what).collect();
        for what in &due {
            let Some(entry) = self.entries.get(what).copied() else { continue };
            let coming = AFTER_TAKEOVER
                .iter()
                .enumerate()
                .skip(entry.step + 1)
                .map(|(step, after)| (step, entry.taken_over + *after))
                .find(|(_, at)| *at > now);
            let (step, next) =
                coming.unwrap_or_else(|| (AFTER_TAKEOVER.len(), self.refresh_after(now, entry.slot)));
            self.entries.insert(*what, Entry { next, step, ..entry });
        }
        due
    }

    /// The slot of a VIP: multiples of 60 / golden ratio, rounded to 37 (which shares no factor with 60),
    /// fall on all slots evenly and put neighbours far apart.
    fn slot(&mut self, what: Announced) -> u64 {
        if let Some(entry) = self.entries.get(&what) {
            return entry.slot;
        }
        self.started += 1;
        self.started.wrapping_mul(37) % SLOTS
    }

    /// The first moment of `slot` after `now`.
    fn refresh_after(&self, now: Instant, slot: u64) -> Instant {
        let passed = now.saturating_duration_since(self.epoch).as_secs() / SLOT.as_secs();
        let wait = (slot + SLOTS - passed % SLOTS) % SLOTS;
        let slots = passed + if wait == 0 { SLOTS } else { wait };
        self.epoch + SLOT * u32::try_from(slots).unwrap_or(u32::MAX)
    }
}

/// Why an announcement was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No packet socket; mostly because `CAP_NET_RAW` is missing.
    #[error("cannot open a packet socket for announcements (CAP_NET_RAW is needed)")]
    Open(#[source] io::Error),
    /// The link did not take the question.
    #[error("cannot ask for {vip} on link {link}")]
    Ask {
        /// Link index.
        link: u32,
        /// The VIP.
        vip: IpAddr,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The link did not take the frame.
    #[error("cannot announce {vip} on link {link}")]
    Send {
        /// Link index.
        link: u32,
        /// The VIP.
        vip: IpAddr,
        /// The kernel's answer: `ENETDOWN` for a link that is down, `ENXIO` for none.
        #[source]
        source: io::Error,
    },
}

/// Sends announcements. One socket serves all links.
#[derive(Debug)]
pub struct Announcer {
    socket: PacketSocket,
}

impl Announcer {
    /// Opens the socket. Needs `CAP_NET_RAW`.
    pub fn open() -> Result<Self, Error> {
        let socket = PacketSocket::sender().map_err(Error::Open)?;
        // A send waits only while the link's queue is full; a link that is stuck must not stop the rest.
        socket.set_send_timeout(Duration::from_millis(200)).map_err(Error::Open)?;
        Ok(Self { socket })
    }

    /// Announces once that `vip` is at `mac`: for IPv4 with a gratuitous request and a gratuitous reply,
    /// because some routers ignore one of them; for IPv6 with an unsolicited advertisement. Takes
    /// microseconds, and at most 0.4 s when the link is stuck.
    pub fn send(&self, link: u32, mac: Mac, vip: IpAddr) -> Result<(), Error> {
        let sent = match vip {
            IpAddr::V4(ip) => self
                .socket
                .send(link, ethernet::ARP, &arp::gratuitous_request(mac, ip))
                .and_then(|()| self.socket.send(link, ethernet::ARP, &arp::gratuitous_reply(mac, ip))),
            IpAddr::V6(ip) => {
                self.socket.send(link, ethernet::IPV6, &ndp::unsolicited_advertisement(mac, ip))
            }
        };
        sent.map_err(|source| Error::Send { link, vip, source })
    }

    /// Asks once who has `vip`, claiming nothing: nobody answers, unless another host holds it too. The answer is
    /// for a [`crate::Listener`].
    pub fn ask(&self, link: u32, mac: Mac, vip: IpAddr) -> Result<(), Error> {
        let sent = match vip {
            IpAddr::V4(ip) => self.socket.send(link, ethernet::ARP, &arp::probe(mac, ip)),
            IpAddr::V6(ip) => self.socket.send(link, ethernet::IPV6, &ndp::solicitation(mac, ip)),
        };
        sent.map_err(|source| Error::Ask { link, vip, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(number: u32) -> Announced {
        Announced { link: 2, vip: IpAddr::from((0xac10_0000 + number).to_be_bytes()) }
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Runs the schedule as a driver does, waking at each `next`, and returns when what was announced.
    fn run(schedule: &mut Schedule, start: Instant, until: Duration) -> Vec<(Duration, Vec<Announced>)> {
        let mut sent = Vec::new();
        while let Some(next) = schedule.next().filter(|next| *next <= start + until) {
            let due = schedule.due(next);
            assert!(!due.is_empty(), "a wake-up with nothing to do at {:?}", next - start);
            sent.push((next - start, due));
        }
        sent
    }

    #[test]
    fn a_takeover_is_announced_five_times_at_once_then_at_1_2_5_and_10_seconds() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.take_over(vip(1), start);
        let times: Vec<_> = run(&mut schedule, start, ms(10_000)).into_iter().map(|(at, _)| at).collect();
        assert_eq!(times, [0, 100, 200, 300, 400, 1000, 2000, 5000, 10_000].map(ms));
    }

    #[test]
    fn after_that_no_gap_is_longer_than_a_minute() {
        let start = Instant::now();
        for number in 0..70 {
            let mut schedule = Schedule::new(start);
            for earlier in 0..number {
                schedule.take_over(vip(earlier), start);
                schedule.release(vip(earlier));
            }
            schedule.take_over(vip(number), start + ms(130));
            let times: Vec<_> =
                run(&mut schedule, start, ms(400_000)).into_iter().map(|(at, _)| at).collect();
            assert!(times.len() >= 9 + 6, "{times:?}");
            for pair in times.windows(2) {
                assert!(pair[1] <= pair[0] + REFRESH, "{times:?}");
            }
            let last = times[times.len() - 2..].to_vec();
            assert_eq!(last[1], last[0] + REFRESH);
        }
    }

    #[test]
    fn a_thousand_vips_are_refreshed_17_at_most_at_a_time_and_one_wakeup_a_second() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        for number in 0..1000 {
            schedule.take_over(vip(number), start + ms(3));
        }
        let steady: Vec<_> =
            run(&mut schedule, start, ms(180_000)).into_iter().filter(|(at, _)| *at > ms(120_000)).collect();
        assert_eq!(steady.len(), 60, "wake-ups in a minute");
        assert_eq!(steady.iter().map(|(_, due)| due.len()).sum::<usize>(), 1000);
        assert!(steady.iter().all(|(_, due)| due.len() <= 17));
    }

    #[test]
    fn a_driver_that_was_stopped_announces_once_and_does_not_catch_up() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.take_over(vip(1), start);
        assert_eq!(schedule.due(start + ms(1500)), [vip(1)]);
        assert_eq!(schedule.due(start + ms(1500)), []);
        assert_eq!(schedule.next(), Some(start + ms(2000)));
        assert_eq!(schedule.due(start + ms(3_600_000)), [vip(1)]);
        let next = schedule.next().unwrap() - start;
        assert!(next > ms(3_600_000) && next <= ms(3_660_000), "{next:?}");
    }

    #[test]
    fn an_adopted_vip_is_only_refreshed_and_a_takeover_starts_its_burst_anew() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.adopt(vip(1), start);
        assert_eq!(schedule.due(start), []);
        let refresh = schedule.next().unwrap();
        assert!(refresh > start && refresh <= start + REFRESH);
        schedule.take_over(vip(1), start + ms(500));
        assert_eq!(schedule.due(start + ms(500)), [vip(1)]);
        // Adopting what is running disturbs nothing.
        schedule.adopt(vip(1), start + ms(550));
        assert_eq!(schedule.next(), Some(start + ms(600)));
    }

    #[test]
    fn a_released_vip_is_never_announced_again() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.take_over(vip(1), start);
        schedule.take_over(vip(2), start);
        assert!(schedule.contains(vip(1)) && schedule.release(vip(1)));
        assert!(!schedule.contains(vip(1)) && !schedule.release(vip(1)));
        let announced: Vec<_> =
            run(&mut schedule, start, ms(100_000)).into_iter().flat_map(|(_, due)| due).collect();
        assert!(announced.len() > 9 && announced.iter().all(|what| *what == vip(2)));
        schedule.release(vip(2));
        assert_eq!(schedule.next(), None);
    }
}
