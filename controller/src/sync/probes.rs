//! What the network was asked about VIPs and what it answered. Pure: the time is passed in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lvs_net::probe::back_off;
use lvs_plan::diff::{Asked, Probe};

use crate::kernel::Answer;

/// How long a "nobody answered" may be built on.
const FREE_VALID: Duration = Duration::from_secs(5);
/// How often a VIP that a stranger holds, or that could not be asked for, is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// An answer that did not come by then never will: the link went away, say.
const LOST: Duration = Duration::from_secs(5);

/// VIPs that wait to be bound, or to be announced again.
#[derive(Debug, Default)]
pub(super) struct Probes {
    known: BTreeMap<IpAddr, Known>,
    /// So many questions have been asked.
    questions: u64,
}

/// A question that goes out on one link, for any number of VIPs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    /// Its answers carry it.
    pub(super) number: u64,
    /// The index of the link.
    link: u32,
    /// The Ethernet address that asks: who else asks at the same time waits another time than we do.
    station: [u8; 6],
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// The newest one. An answer to an older one may be from before the link went away and came back.
    question: Question,
    /// It is on its way since then.
    asked: Option<Instant>,
    answer: Option<(Probe, Instant)>,
    /// How long after the answer it is asked for again.
    again_after: Duration,
    /// How often in a row somebody else asked for it at the same time.
    contended: u32,
    /// How often in a row nobody knows who holds it, for this or another reason.
    in_vain: u32,
    /// When that was counted last. Links that change, and with each of them a question that fails at once, tell
    /// no more than one.
    counted: Option<Instant>,
}

impl Probes {
    /// What may be built on now, and on which link. That a stranger holds the VIP counts until the next
    /// answer, also while it is asked again: otherwise its condition would change every few seconds.
    pub(super) fn current(&self, vip: IpAddr, now: Instant) -> Option<Asked> {
        let known = self.known.get(&vip)?;
        let probe = match known.answer {
            Some((Probe::Free, at)) if now.duration_since(at) < FREE_VALID => Probe::Free,
            Some((taken @ (Probe::Taken(_) | Probe::Contended { .. }), _)) => taken,
            _ => Probe::Unknown,
        };
        Some(Asked { link_index: known.question.link, probe, in_vain: known.in_vain })
    }

    /// Whether to ask on this link now: not while an answer is on its way, nor soon after one that did not
    /// help.
    pub(super) fn may_ask(&self, vip: IpAddr, link: u32, now: Instant) -> bool {
        self.known.get(&vip).is_none_or(|known| {
            known.question.link != link || known.next_question().is_none_or(|at| at <= now)
        })
    }

    /// Whether an answer is on its way.
    pub(super) fn is_asked(&self, vip: IpAddr) -> bool {
        self.known.get(&vip).is_some_and(|known| known.asked.is_some())
    }

    /// The next question, for a link with this index that has this Ethernet address.
    pub(super) fn question(&mut self, link: u32, station: [u8; 6]) -> Question {
        self.questions += 1;
        Question { number: self.questions, link, station }
    }

    /// The network is asked now.
    pub(super) fn ask(&mut self, vip: IpAddr, question: Question, now: Instant) {
        let before = self.known.get(&vip).filter(|known| known.question.link == question.link);
        let known = match before {
            Some(known) => {
                let mut known = *known;
                // The answer to the one before may have been lost.
                if known.asked.is_some() {
                    known.was_in_vain(now);
                }
                Known { question, asked: Some(now), ..known }
            }
            None => Known {
                question,
                asked: Some(now),
                answer: None,
                again_after: ASK_AGAIN,
                contended: 0,
                in_vain: 0,
                counted: None,
            },
        };
        self.known.insert(vip, known);
    }

    /// The network answered. Says whether that counts: an answer to what is no longer asked does not.
    pub(super) fn answered(&mut self, answer: Answer, now: Instant) -> bool {
        let Answer { question, vip, probe } = answer;
        let known = self.known.get_mut(&vip);
        let Some(known) = known.filter(|known| known.asked.is_some() && known.question.number == question)
        else {
            return false;
        };
        match probe {
            Probe::Free | Probe::Taken(_) => (known.in_vain, known.counted) = (0, None),
            Probe::Unknown | Probe::Contended { .. } => known.was_in_vain(now),
        }
        (known.contended, known.again_after) = match probe {
            Probe::Free => (0, FREE_VALID),
            Probe::Taken(_) | Probe::Unknown => (0, ASK_AGAIN),
            Probe::Contended { .. } => {
                (known.contended + 1, back_off(known.question.station, vip, known.contended))
            }
        };
        (known.asked, known.answer) = (None, Some((probe, now)));
        true
    }

    /// The VIP no longer waits.
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
    fn was_in_vain(&mut self, now: Instant) {
        if self.counted.is_none_or(|at| at + LOST <= now) {
            (self.in_vain, self.counted) = (self.in_vain + 1, Some(now));
        }
    }

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
    const LINK: u32 = 2;

    fn vip() -> IpAddr {
        IpAddr::from([172, 16, 21, 10])
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The VIP is asked for. Says by which question.
    fn ask(probes: &mut Probes, link: u32, now: Instant) -> u64 {
        assert!(probes.may_ask(vip(), link, now));
        let question = probes.question(link, STATION);
        probes.ask(vip(), question, now);
        question.number
    }

    fn answer(probes: &mut Probes, question: u64, probe: Probe, now: Instant) -> bool {
        probes.answered(Answer { question, vip: vip(), probe }, now)
    }

    fn asked(now: Instant) -> (Probes, u64) {
        let mut probes = Probes::default();
        let question = ask(&mut probes, LINK, now);
        (probes, question)
    }

    fn answered(probe: Probe, now: Instant) -> Probes {
        let (mut probes, question) = asked(now);
        assert!(answer(&mut probes, question, probe, now));
        probes
    }

    fn current(probes: &Probes, now: Instant) -> Option<(u32, Probe)> {
        probes.current(vip(), now).map(|asked| (asked.link_index, asked.probe))
    }

    #[test]
    fn nothing_is_asked_twice_while_an_answer_is_on_its_way() {
        let start = Instant::now();
        let (probes, _) = asked(start);
        assert!(!probes.may_ask(vip(), LINK, start + seconds(4)));
        assert_eq!(current(&probes, start), Some((LINK, Probe::Unknown)));
    }

    #[test]
    fn an_answer_that_never_comes_is_asked_for_again() {
        let start = Instant::now();
        let (probes, _) = asked(start);
        assert_eq!(probes.next(), Some(start + LOST));
        assert!(probes.may_ask(vip(), LINK, start + LOST));
        assert_eq!(probes.due(start + LOST).count(), 1);
    }

    #[test]
    fn free_counts_for_a_few_seconds_only() {
        let start = Instant::now();
        let probes = answered(Probe::Free, start);
        assert_eq!(current(&probes, start + seconds(4)), Some((LINK, Probe::Free)));
        assert_eq!(current(&probes, start + seconds(5)), Some((LINK, Probe::Unknown)));
        assert!(probes.may_ask(vip(), LINK, start + seconds(5)));
    }

    #[test]
    fn only_the_answer_to_the_newest_question_counts() {
        let start = Instant::now();
        let (mut probes, first) = asked(start);
        // Its link goes away and comes back.
        probes.forget(vip());
        let second = ask(&mut probes, LINK, start);
        assert!(!answer(&mut probes, first, Probe::Free, start));
        assert_eq!(current(&probes, start), Some((LINK, Probe::Unknown)));
        assert!(probes.is_asked(vip()), "the other answer is still to come");
        assert!(answer(&mut probes, second, TAKEN, start));
        assert!(!answer(&mut probes, second, Probe::Free, start), "there is one answer to a question");
        assert_eq!(current(&probes, start), Some((LINK, TAKEN)));
    }

    #[test]
    fn another_link_is_asked_at_once_and_nothing_is_known_of_it_before_it_answers() {
        let start = Instant::now();
        let mut probes = answered(Probe::Free, start);
        let elsewhere = ask(&mut probes, LINK + 1, start);
        assert_eq!(current(&probes, start), Some((LINK + 1, Probe::Unknown)));
        let back = ask(&mut probes, LINK, start);
        assert!(!answer(&mut probes, elsewhere, Probe::Free, start));
        assert!(answer(&mut probes, back, Probe::Free, start));
        assert_eq!(current(&probes, start), Some((LINK, Probe::Free)));
    }

    #[test]
    fn questions_that_told_nothing_are_counted_until_one_does() {
        let start = Instant::now();
        let mut probes = answered(Probe::Unknown, start);
        let in_vain = |probes: &Probes| probes.current(vip(), start).map(|asked| asked.in_vain);
        assert_eq!(in_vain(&probes), Some(1));
        let mut now = start + ASK_AGAIN;
        ask(&mut probes, LINK, now);
        now += LOST;
        let third = ask(&mut probes, LINK, now);
        assert_eq!(in_vain(&probes), Some(2), "one answer was lost");
        now += LOST;
        answer(&mut probes, third, Probe::Contended { mac: [2, 0, 0, 0, 0, 9] }, now);
        assert_eq!(in_vain(&probes), Some(3));
        now += seconds(8);
        let fourth = ask(&mut probes, LINK, now);
        answer(&mut probes, fourth, TAKEN, now);
        assert_eq!(in_vain(&probes), Some(0));
    }

    #[test]
    fn questions_that_fail_as_often_as_links_change_count_once() {
        let start = Instant::now();
        let mut probes = answered(Probe::Unknown, start);
        for milliseconds in 0..100 {
            let now = start + Duration::from_millis(milliseconds);
            probes.links_changed();
            let question = ask(&mut probes, LINK, now);
            answer(&mut probes, question, Probe::Unknown, now);
        }
        assert_eq!(probes.current(vip(), start).map(|asked| asked.in_vain), Some(1));
    }

    #[test]
    fn a_stranger_counts_until_another_answer_and_is_asked_for_every_ten_seconds() {
        let start = Instant::now();
        let mut probes = answered(TAKEN, start);
        assert!(!probes.may_ask(vip(), LINK, start + seconds(9)));
        let again = start + ASK_AGAIN;
        let question = ask(&mut probes, LINK, again);
        assert_eq!(current(&probes, again), Some((LINK, TAKEN)), "while it is asked again");
        answer(&mut probes, question, Probe::Free, again);
        assert_eq!(current(&probes, again), Some((LINK, Probe::Free)));
    }

    #[test]
    fn what_could_not_be_asked_is_asked_at_once_when_links_change() {
        let start = Instant::now();
        let mut probes = answered(Probe::Unknown, start);
        assert!(!probes.may_ask(vip(), LINK, start + seconds(1)));
        probes.links_changed();
        assert!(probes.may_ask(vip(), LINK, start + seconds(1)));
    }

    #[test]
    fn what_is_forgotten_wakes_nobody_and_a_late_answer_brings_nothing_back() {
        let start = Instant::now();
        let (mut probes, question) = asked(start);
        probes.forget(vip());
        assert_eq!(probes.next(), None);
        assert!(!answer(&mut probes, question, TAKEN, start));
        assert_eq!((probes.next(), current(&probes, start)), (None, None));
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
            for (wait, station) in waits.iter_mut().zip(stations) {
                let mut probes = Probes::default();
                for _ in 0..attempts {
                    let question = probes.question(LINK, station);
                    probes.ask(vip(), question, start);
                    answer(&mut probes, question.number, both, start);
                }
                assert_eq!(current(&probes, start + seconds(5)), Some((LINK, both)));
                *wait = probes.next().unwrap();
                assert!((start + seconds(1)..=start + seconds(7)).contains(wait));
            }
        }
    }
}
