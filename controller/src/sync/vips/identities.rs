//! Which real server, if any, has the MAC address that claims a VIP of ours. One question learns the MAC
//! addresses of all real servers that it asks, however many stations claim however many VIPs. Pure: the time
//! is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lvs_plan::diff::Holder;

/// For so long an answer is good.
const VALID: Duration = Duration::from_secs(60);
/// A question that was not answered by then never will be: the link went away, say.
const LOST: Duration = Duration::from_secs(5);
/// Questions that are on their way at once: whoever makes up addresses gets no more.
const ASKING: usize = 4;
/// Questions that are remembered, for the same reason.
const KEPT: usize = 64;
/// Stations that wait for one answer, for the same reason.
const STATIONS: usize = 256;

/// Who stations are.
#[derive(Debug, Default)]
pub(super) struct Identities {
    /// By number.
    questions: BTreeMap<u64, Question>,
    asked: u64,
}

#[derive(Debug)]
struct Question {
    /// The index of the link.
    link: u32,
    real_servers: BTreeSet<IpAddr>,
    /// Who claimed VIPs before the answer came. Whoever comes later may have been down when it was asked.
    stations: BTreeSet<[u8; 6]>,
    /// `None` while it is on its way.
    answer: Option<BTreeMap<[u8; 6], IpAddr>>,
    /// Of the answer, else of the question.
    since: Instant,
}

/// What is known of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Who it is: one of the real servers, or none of those of the VIP.
    Known(Holder),
    /// An answer is on its way; or so many are that it has to wait for its turn.
    Later,
    /// It is to be asked now.
    Ask,
}

impl Identities {
    /// Who it is that claims a VIP with these real servers. The caller asks if nobody knows.
    pub(super) fn of(&mut self, link: u32, mac: [u8; 6], real_servers: &[IpAddr], now: Instant) -> Identity {
        self.questions.retain(|_, question| now < question.since + question.lasts());
        let covers = |question: &Question| {
            real_servers.iter().all(|real_server| question.real_servers.contains(real_server))
        };
        for question in self.questions.values_mut().rev().filter(|question| question.link == link) {
            match &question.answer {
                Some(macs) => {
                    let real_server = macs.get(&mac).copied();
                    if real_server.is_some() || (question.stations.contains(&mac) && covers(question)) {
                        return Identity::Known(Holder { mac, real_server });
                    }
                }
                None if covers(question) => {
                    question.wait(mac);
                    return Identity::Later;
                }
                None => {}
            }
        }
        let asking = self.questions.values().filter(|question| question.answer.is_none()).count();
        if asking < ASKING { Identity::Ask } else { Identity::Later }
    }

    /// These real servers are asked now, because of this station. Returns the number of the question.
    pub(super) fn ask(&mut self, link: u32, mac: [u8; 6], real_servers: &[IpAddr], now: Instant) -> u64 {
        self.asked += 1;
        let question = Question {
            link,
            real_servers: real_servers.iter().copied().collect(),
            stations: BTreeSet::from([mac]),
            answer: None,
            since: now,
        };
        self.questions.insert(self.asked, question);
        if self.questions.len() > KEPT {
            let answered = self.questions.iter().find(|(_, question)| question.answer.is_some());
            let oldest = answered.map(|(number, _)| *number);
            oldest.and_then(|number| self.questions.remove(&number));
        }
        self.asked
    }

    /// The real servers that answered, by MAC address. Says whether that counts: the question may have been given
    /// up.
    pub(super) fn answered(&mut self, question: u64, macs: BTreeMap<[u8; 6], IpAddr>, now: Instant) -> bool {
        let Some(question) = self.questions.get_mut(&question) else { return false };
        (question.answer, question.since) = (Some(macs), now);
        true
    }
}

impl Question {
    fn lasts(&self) -> Duration {
        if self.answer.is_some() { VALID } else { LOST }
    }

    fn wait(&mut self, mac: [u8; 6]) {
        if self.stations.len() < STATIONS {
            self.stations.insert(mac);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: u32 = 2;
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn real_servers(last: std::ops::Range<u8>) -> Vec<IpAddr> {
        last.map(|last| IpAddr::from([192, 168, 40, last])).collect()
    }

    fn is(mac: [u8; 6], real_server: Option<IpAddr>) -> Identity {
        Identity::Known(Holder { mac, real_server })
    }

    /// Stations with the last byte of their real server.
    fn macs(real_servers: &[IpAddr]) -> BTreeMap<[u8; 6], IpAddr> {
        (0..).zip(real_servers).map(|(last, real_server)| ([2, 0, 0, 0, 0, last], *real_server)).collect()
    }

    #[test]
    fn a_station_is_asked_for_once_and_known_for_a_minute() {
        let start = Instant::now();
        let mut identities = Identities::default();
        let asked = real_servers(12..14);
        assert_eq!(identities.of(LINK, MAC, &asked, start), Identity::Ask);
        let question = identities.ask(LINK, MAC, &asked, start);
        assert_eq!(identities.of(LINK, MAC, &asked, start), Identity::Later);
        let elsewhere = identities.of(LINK + 1, MAC, &asked, start);
        assert_eq!(elsewhere, Identity::Ask, "on another link it may be another one");
        assert!(identities.answered(question, BTreeMap::from([(MAC, asked[0])]), start));
        let later = start + Duration::from_secs(59);
        assert_eq!(identities.of(LINK, MAC, &asked, later), is(MAC, Some(asked[0])));
        let others = real_servers(20..30);
        assert_eq!(identities.of(LINK, MAC, &others, later), is(MAC, Some(asked[0])), "whatever it claims");
        assert_eq!(identities.of(LINK, MAC, &asked, start + VALID), Identity::Ask);
    }

    #[test]
    fn one_question_finds_out_all_who_claim_a_vip() {
        let start = Instant::now();
        let mut identities = Identities::default();
        let asked = real_servers(12..18);
        let claimants = macs(&asked);
        let mut question = None;
        for mac in claimants.keys() {
            if identities.of(LINK, *mac, &asked, start) == Identity::Ask {
                assert_eq!(question, None, "one is enough");
                question = Some(identities.ask(LINK, *mac, &asked, start));
            }
        }
        identities.answered(question.unwrap(), claimants.clone(), start);
        for (mac, real_server) in claimants {
            assert_eq!(identities.of(LINK, mac, &asked, start), is(mac, Some(real_server)));
        }
    }

    #[test]
    fn who_is_none_of_those_asked_may_be_a_real_server_of_another_vip_or_one_that_came_later() {
        let start = Instant::now();
        let mut identities = Identities::default();
        let (asked, others) = (real_servers(12..14), real_servers(13..15));
        let question = identities.ask(LINK, MAC, &asked, start);
        assert_eq!(identities.of(LINK, MAC, &others, start), Identity::Ask);
        identities.answered(question, BTreeMap::new(), start);
        assert_eq!(identities.of(LINK, MAC, &asked, start), is(MAC, None));
        assert_eq!(identities.of(LINK, MAC, &others, start), Identity::Ask);
        let late = [2, 0, 0, 0, 0, 10];
        assert_eq!(identities.of(LINK, late, &asked, start), Identity::Ask, "it may have been down");
    }

    #[test]
    fn an_answer_that_does_not_come_is_asked_for_again_and_then_not_waited_for() {
        let start = Instant::now();
        let mut identities = Identities::default();
        let asked = real_servers(12..14);
        let question = identities.ask(LINK, MAC, &asked, start);
        assert_eq!(identities.of(LINK, MAC, &asked, start + LOST), Identity::Ask);
        assert!(!identities.answered(question, BTreeMap::new(), start + LOST));
    }

    #[test]
    fn whoever_makes_up_addresses_gets_few_questions_and_little_memory() {
        let start = Instant::now();
        let mut identities = Identities::default();
        let mut now = start;
        for round in 0..=255 {
            now = start + Duration::from_millis(100) * u32::from(round);
            let mut questions = Vec::new();
            for last in 0..=255 {
                let mac = [2, 0, 0, 1, round, last];
                // Every real server is on a question of its own.
                let asked = real_servers(last..last.saturating_add(1));
                if identities.of(LINK, mac, &asked, now) == Identity::Ask {
                    questions.push(identities.ask(LINK, mac, &asked, now));
                }
            }
            assert!((1..=ASKING).contains(&questions.len()), "{questions:?}");
            for question in questions {
                identities.answered(question, BTreeMap::new(), now);
            }
            assert!(identities.questions.len() <= KEPT);
        }
        let asked = real_servers(12..14);
        let question = identities.ask(LINK, MAC, &asked, now);
        for last in 0..=255 {
            for other in 0..=255 {
                assert_eq!(identities.of(LINK, [2, 0, 0, 2, last, other], &asked, now), Identity::Later);
            }
        }
        assert!(identities.questions[&question].stations.len() <= STATIONS);
    }
}
