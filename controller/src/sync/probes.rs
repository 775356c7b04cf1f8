//! What the network was asked about VIPs and what it answered. Pure: the time is passed in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lvs_net::probe::back_off;
use lvs_plan::diff::Probe;

/// How long a "nobody answered" may be built on.
const FREE_VALID: Duration = Duration::from_secs(5);
/// How often a VIP that a stranger holds, or that could not be asked for, is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// An answer that did not come by then never will: the link went away, say.
const LOST: Duration = Duration::from_secs(5);

/// VIPs that wait to be bound.
#[derive(Debug, Default)]
pub(super) struct Probes {
    known: BTreeMap<IpAddr, Known>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    answer: Option<(Probe, Instant)>,
    /// How long after the answer it is asked for again.
    again_after: Duration,
    /// How often in a row somebody else asked for it at the same time.
    contended: u32,
    /// A question is on its way since then.
    asked: Option<Instant>,
    /// The Ethernet address that asked last.
    station: [u8; 6],
}

impl Probes {
    /// What may be built on now. That a stranger holds the VIP counts until the next answer, also while it is
    /// asked again: otherwise its condition would change every few seconds.
    pub(super) fn current(&self, vip: IpAddr, now: Instant) -> Probe {
        match self.known.get(&vip).and_then(|known| known.answer) {
            Some((Probe::Free, at)) if now.duration_since(at) < FREE_VALID => Probe::Free,
            Some((taken @ (Probe::Taken(_) | Probe::Contended { .. }), _)) => taken,
            _ => Probe::Unknown,
        }
    }

    /// Whether to ask now: not while an answer is on its way, nor soon after one that did not help.
    pub(super) fn may_ask(&self, vip: IpAddr, now: Instant) -> bool {
        self.known.get(&vip).is_none_or(|known| known.next_question().is_none_or(|at| at <= now))
    }

    /// Whether an answer is on its way.
    pub(super) fn is_asked(&self, vip: IpAddr) -> bool {
        self.known.get(&vip).is_some_and(|known| known.asked.is_some())
    }

    /// The network is asked now. `station` is the Ethernet address that asks: who else asks at the same time waits
    /// another time than we do.
    pub(super) fn ask(&mut self, vip: IpAddr, station: [u8; 6], now: Instant) {
        let known = self.known.entry(vip).or_default();
        (known.asked, known.station) = (Some(now), station);
    }

    /// The network answered. An answer to what is no longer asked is dropped.
    pub(super) fn answered(&mut self, vip: IpAddr, answer: Probe, now: Instant) {
        if let Some(known) = self.known.get_mut(&vip) {
            let (contended, again_after) = match answer {
                Probe::Free => (0, FREE_VALID),
                Probe::Taken(_) | Probe::Unknown => (0, ASK_AGAIN),
                Probe::Contended { .. } => {
                    (known.contended + 1, back_off(known.station, vip, known.contended))
                }
            };
            *known = Known { answer: Some((answer, now)), again_after, contended, asked: None, ..*known };
        }
    }

    /// The VIP no longer waits to be bound.
    pub(super) fn forget(&mut self, vip: IpAddr) {
        self.known.remove(&vip);
    }

    /// Links changed: what could not be asked may be asked at once.
    pub(super) fn links_changed(&mut self) {
        for known in self.known.values_mut() {
            if matches!(known.answer, Some((Probe::Unknown, _))) {
                known.answer = None;
            }
        }
    }

    /// VIPs that should be asked for again.
    pub(super) fn due(&self, now: Instant) -> impl Iterator<Item = IpAddr> {
        let due =
            self.known.iter().filter(move |(_, known)| known.next_question().is_some_and(|at| at <= now));
        due.map(|(vip, _)| *vip)
    }

    /// When the next VIP should be asked for again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.known.values().filter_map(Known::next_question).min()
    }
}

impl Known {
    fn next_question(&self) -> Option<Instant> {
        match (self.asked, self.answer) {
            (Some(since), _) => Some(since + LOST),
            (None, Some((_, at))) => Some(at + self.again_after),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use lvs_plan::diff::Holder;

    use super::*;

    const TAKEN: Probe = Probe::Taken(Holder { mac: [2, 0, 0, 0, 0, 9], real_server: None });
    const STATION: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn vip() -> IpAddr {
        IpAddr::from([172, 16, 21, 10])
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn asked(now: Instant) -> Probes {
        let mut probes = Probes::default();
        assert!(probes.may_ask(vip(), now));
        probes.ask(vip(), STATION, now);
        probes
    }

    #[test]
    fn nothing_is_asked_twice_while_an_answer_is_on_its_way() {
        let start = Instant::now();
        let probes = asked(start);
        assert!(!probes.may_ask(vip(), start + seconds(4)));
        assert_eq!(probes.current(vip(), start), Probe::Unknown);
    }

    #[test]
    fn an_answer_that_never_comes_is_asked_for_again() {
        let start = Instant::now();
        let probes = asked(start);
        assert_eq!(probes.next(), Some(start + LOST));
        assert!(probes.may_ask(vip(), start + LOST));
        assert_eq!(probes.due(start + LOST).count(), 1);
    }

    #[test]
    fn free_counts_for_a_few_seconds_only() {
        let start = Instant::now();
        let mut probes = asked(start);
        probes.answered(vip(), Probe::Free, start);
        assert_eq!(probes.current(vip(), start + seconds(4)), Probe::Free);
        assert_eq!(probes.current(vip(), start + seconds(5)), Probe::Unknown);
        assert!(probes.may_ask(vip(), start + seconds(5)));
    }

    #[test]
    fn a_stranger_counts_until_another_answer_and_is_asked_for_every_ten_seconds() {
        let start = Instant::now();
        let mut probes = asked(start);
        probes.answered(vip(), TAKEN, start);
        assert!(!probes.may_ask(vip(), start + seconds(9)));
        let again = start + ASK_AGAIN;
        assert!(probes.may_ask(vip(), again));
        probes.ask(vip(), STATION, again);
        assert_eq!(probes.current(vip(), again), TAKEN, "while it is asked again");
        probes.answered(vip(), Probe::Free, again);
        assert_eq!(probes.current(vip(), again), Probe::Free);
    }

    #[test]
    fn what_could_not_be_asked_is_asked_at_once_when_links_change() {
        let start = Instant::now();
        let mut probes = asked(start);
        probes.answered(vip(), Probe::Unknown, start);
        assert!(!probes.may_ask(vip(), start + seconds(1)));
        probes.links_changed();
        assert!(probes.may_ask(vip(), start + seconds(1)));
    }

    #[test]
    fn what_is_forgotten_wakes_nobody_and_a_late_answer_brings_nothing_back() {
        let start = Instant::now();
        let mut probes = asked(start);
        probes.forget(vip());
        assert_eq!(probes.next(), None);
        probes.answered(vip(), TAKEN, start);
        assert_eq!((probes.next(), probes.current(vip(), start)), (None, Probe::Unknown));
    }

    #[test]
    fn two_that_asked_at_once_wait_apart_and_only_one_of_them_is_free() {
        let start = Instant::now();
        let stations = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
        let both = Probe::Contended { mac: [2, 0, 0, 0, 0, 9] };
        let mut attempts = 0;
        let mut waits = [start; 2];
        while waits[0].max(waits[1]) - waits[0].min(waits[1]) < Duration::from_millis(500) {
            attempts += 1;
            assert!(attempts < 10, "they meet for ever");
            let mut probes = stations.map(|_| asked(start));
            for (index, station) in stations.into_iter().enumerate() {
                for _ in 0..attempts {
                    probes[index].ask(vip(), station, start);
                    probes[index].answered(vip(), both, start);
                }
                assert_eq!(probes[index].current(vip(), start + seconds(5)), both);
                waits[index] = probes[index].next().unwrap();
                assert!((start + seconds(1)..=start + seconds(7)).contains(&waits[index]));
            }
        }
    }
}
