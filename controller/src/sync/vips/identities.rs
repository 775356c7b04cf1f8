//! Which real server, if any, has the MAC address that claims VIPs of ours. Each station is looked into once,
//! however many of them it claims. Pure: the time is passed in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lvs_plan::diff::Holder;

/// For so long an answer is good.
const VALID: Duration = Duration::from_secs(60);
/// A question that was not answered by then never will be: the link went away, say.
const LOST: Duration = Duration::from_secs(5);
/// Questions that are on their way at once, each of which asks every real server on the link: whoever makes up
/// addresses gets no more.
const ASKING: usize = 4;
/// Answers that are kept, for the same reason.
const KEPT: usize = 64;

/// A MAC address, and the index of the link where it was heard.
type Station = (u32, [u8; 6]);

/// Who stations are.
#[derive(Debug, Default)]
pub(super) struct Identities {
    /// The answer, or that it is on its way, since when.
    known: BTreeMap<Station, (Option<Holder>, Instant)>,
}

/// What is known of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Who it is, or as much as will be said of it.
    Known(Holder),
    /// The answer is on its way.
    Asked,
    /// It is to be asked now.
    Ask,
}

impl Identities {
    /// Who it is. The caller asks if nobody knows.
    pub(super) fn of(&mut self, link: u32, mac: [u8; 6], now: Instant) -> Identity {
        self.known.retain(|_, (answer, since)| {
            let lasts = if answer.is_some() { VALID } else { LOST };
            now < *since + lasts
        });
        match self.known.get(&(link, mac)) {
            Some((Some(holder), _)) => Identity::Known(*holder),
            Some((None, _)) => Identity::Asked,
            None if self.known.values().filter(|(answer, _)| answer.is_none()).count() >= ASKING => {
                Identity::Known(Holder { mac, real_server: None })
            }
            None => {
                self.keep((link, mac), None, now);
                Identity::Ask
            }
        }
    }

    /// It was found out who a station on this link is.
    pub(super) fn answered(&mut self, link: u32, holder: Holder, now: Instant) {
        self.keep((link, holder.mac), Some(holder), now);
    }

    fn keep(&mut self, station: Station, answer: Option<Holder>, now: Instant) {
        self.known.insert(station, (answer, now));
        if self.known.len() > KEPT {
            let answered = self.known.iter().filter(|(_, (answer, _))| answer.is_some());
            let oldest = answered.min_by_key(|(_, (_, since))| *since).map(|(station, _)| *station);
            oldest.and_then(|station| self.known.remove(&station));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: u32 = 2;
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn holder(mac: [u8; 6]) -> Holder {
        Holder { mac, real_server: "192.168.40.12".parse().ok() }
    }

    #[test]
    fn a_station_is_asked_once_and_known_for_a_minute() {
        let start = Instant::now();
        let mut identities = Identities::default();
        assert_eq!(identities.of(LINK, MAC, start), Identity::Ask);
        assert_eq!(identities.of(LINK, MAC, start), Identity::Asked);
        assert_eq!(
            identities.of(LINK + 1, MAC, start),
            Identity::Ask,
            "on another link it may be another one"
        );
        identities.answered(LINK, holder(MAC), start);
        let later = start + Duration::from_secs(59);
        assert_eq!(identities.of(LINK, MAC, later), Identity::Known(holder(MAC)));
        assert_eq!(identities.of(LINK, MAC, start + VALID), Identity::Ask);
    }

    #[test]
    fn an_answer_that_never_comes_is_asked_for_again() {
        let start = Instant::now();
        let mut identities = Identities::default();
        assert_eq!(identities.of(LINK, MAC, start), Identity::Ask);
        assert_eq!(identities.of(LINK, MAC, start + LOST), Identity::Ask);
    }

    #[test]
    fn whoever_makes_up_addresses_gets_few_questions_and_little_memory() {
        let start = Instant::now();
        let mut identities = Identities::default();
        let mut asked = Vec::new();
        for last in 0..=255 {
            let mac = [2, 0, 0, 0, 1, last];
            match identities.of(LINK, mac, start) {
                Identity::Ask => asked.push(mac),
                other => assert_eq!(other, Identity::Known(Holder { mac, real_server: None })),
            }
        }
        assert_eq!(asked.len(), ASKING);
        for last in 0..=255 {
            identities.answered(
                LINK,
                holder([2, 0, 0, 0, 2, last]),
                start + Duration::from_millis(last.into()),
            );
            assert!(identities.known.len() <= KEPT);
        }
        let now = start + Duration::from_secs(1);
        assert_eq!(identities.of(LINK, asked[0], now), Identity::Asked, "what is on its way is kept");
        let last = [2, 0, 0, 0, 2, 255];
        assert_eq!(identities.of(LINK, last, now), Identity::Known(holder(last)), "and the newest");
    }
}
