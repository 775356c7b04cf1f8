//! Others that claim VIPs which this Director holds. Pure: the time is passed in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lvs_plan::diff::Holder;

/// A rival that was not heard of for so long is gone: two questions went unanswered.
const GONE_AFTER: Duration = Duration::from_secs(25);
/// How often a VIP with a rival is asked for.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// A claim is answered with one announcement at most this often (`DEFEND_INTERVAL` of RFC 5227 section 1.1).
const DEFEND_EVERY: Duration = Duration::from_secs(10);
/// How often somebody who was none of the real servers is looked into again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Rivals of one VIP that are kept apart.
const RIVALS: usize = 8;

/// The rivals of every VIP that has some.
#[derive(Debug, Default)]
pub(super) struct Rivals {
    known: BTreeMap<IpAddr, Contest>,
}

#[derive(Debug)]
struct Contest {
    rivals: BTreeMap<[u8; 6], Rival>,
    asked: Instant,
    defended: Option<Instant>,
}

#[derive(Debug)]
struct Rival {
    since: Instant,
    heard: Instant,
    /// When it was found out last who it is.
    identified: Instant,
    /// Whether that is being found out.
    open: bool,
    /// `None` until it is known who it is.
    holder: Option<Holder>,
}

impl Rival {
    /// It claims the VIP. Whoever was none of the real servers may be one that was down when they were asked.
    fn heard(&mut self, now: Instant) {
        self.heard = now;
        let stranger = self.holder.is_some_and(|holder| holder.real_server.is_none());
        self.open |= stranger && now >= self.identified + LOOK_AGAIN;
    }
}

impl Rivals {
    /// Another station claimed the VIP. Says whether it is to be found out who that is.
    pub(super) fn sighted(&mut self, vip: IpAddr, mac: [u8; 6], now: Instant) -> bool {
        let contest = self.known.entry(vip).or_insert_with(|| Contest {
            rivals: BTreeMap::new(),
            asked: now,
            defended: None,
        });
        if let Some(rival) = contest.rivals.get_mut(&mac) {
            rival.heard(now);
            return rival.open;
        }
        let room = contest.rivals.len() < RIVALS;
        if room {
            contest
                .rivals
                .insert(mac, Rival { since: now, heard: now, identified: now, open: true, holder: None });
        }
        room
    }

    /// It was found out who a rival is. Says whether that changes who is shown.
    pub(super) fn identified(&mut self, vip: IpAddr, holder: Holder, now: Instant) -> bool {
        let before = self.holder(vip);
        let rivals = self.known.get_mut(&vip).map(|contest| &mut contest.rivals);
        if let Some(rival) = rivals.and_then(|rivals| rivals.get_mut(&holder.mac)) {
            (rival.holder, rival.identified, rival.open) = (Some(holder), now, false);
        }
        self.holder(vip) != before
    }

    /// Another station has the VIP, and it is known who that is.
    pub(super) fn met(&mut self, vip: IpAddr, holder: Holder, now: Instant) {
        self.sighted(vip, holder.mac, now);
        self.identified(vip, holder, now);
    }

    /// The VIPs that stations claim of which it is being found out who they are, with the MAC address of each.
    pub(super) fn unidentified(&self) -> Vec<(IpAddr, [u8; 6])> {
        let all = self
            .known
            .iter()
            .flat_map(|(vip, contest)| contest.rivals.iter().map(move |(mac, rival)| (*vip, *mac, rival)));
        all.filter(|(_, _, rival)| rival.open).map(|(vip, mac, _)| (vip, mac)).collect()
    }

    /// Whether another station claims the VIP, whoever that is.
    pub(super) fn is_contested(&self, vip: IpAddr) -> bool {
        self.known.contains_key(&vip)
    }

    /// Who is shown: the one that has been there longest, so that several rivals don't make the condition
    /// flap.
    pub(super) fn holder(&self, vip: IpAddr) -> Option<Holder> {
        let known = self.known.get(&vip)?.rivals.values().filter(|rival| rival.holder.is_some());
        known.min_by_key(|rival| rival.since)?.holder
    }

    /// The VIP is not held any more.
    pub(super) fn forget(&mut self, vip: IpAddr) {
        self.known.remove(&vip);
    }

    /// Forgets rivals that are gone; returns the VIPs they claimed.
    pub(super) fn cleared(&mut self, now: Instant) -> Vec<IpAddr> {
        let mut cleared = Vec::new();
        self.known.retain(|vip, contest| {
            let before = contest.rivals.len();
            contest.rivals.retain(|_, rival| now < rival.heard + GONE_AFTER);
            if contest.rivals.len() < before {
                cleared.push(*vip);
            }
            !contest.rivals.is_empty()
        });
        cleared
    }

    /// When the next rival is gone unless it is heard of again.
    pub(super) fn next(&self) -> Option<Instant> {
        let rivals = self.known.values().flat_map(|contest| contest.rivals.values());
        rivals.map(|rival| rival.heard + GONE_AFTER).min()
    }

    /// The VIPs that should be asked for now.
    pub(super) fn questions(&mut self, now: Instant) -> Vec<IpAddr> {
        let due = self.known.iter_mut().filter(|(_, contest)| contest.asked + ASK_EVERY <= now);
        due.map(|(vip, contest)| {
            contest.asked = now;
            *vip
        })
        .collect()
    }

    /// When the next VIP should be asked for.
    pub(super) fn next_question(&self) -> Option<Instant> {
        self.known.values().map(|contest| contest.asked + ASK_EVERY).min()
    }

    /// Whether to defend the VIP now, as RFC 5227 section 2.4 lets one do that keeps its address whatever
    /// happens.
    pub(super) fn may_defend(&mut self, vip: IpAddr, now: Instant) -> bool {
        let Some(contest) = self.known.get_mut(&vip) else { return false };
        let may = contest.defended.is_none_or(|at| at + DEFEND_EVERY <= now);
        if may {
            contest.defended = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn vip() -> IpAddr {
        IpAddr::from([172, 16, 21, 10])
    }

    fn holder(mac: [u8; 6]) -> Holder {
        Holder { mac, real_server: None }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn contested(now: Instant) -> Rivals {
        let mut rivals = Rivals::default();
        assert!(rivals.sighted(vip(), MAC, now));
        assert!(rivals.identified(vip(), holder(MAC), now));
        rivals
    }

    #[test]
    fn a_rival_is_shown_once_it_is_known_who_it_is() {
        let start = Instant::now();
        let mut rivals = Rivals::default();
        assert!(rivals.sighted(vip(), MAC, start));
        assert_eq!(rivals.holder(vip()), None);
        assert!(rivals.sighted(vip(), MAC, start + seconds(1)), "still not known");
        assert_eq!(rivals.unidentified(), [(vip(), MAC)]);
        assert!(rivals.identified(vip(), holder(MAC), start));
        assert_eq!(rivals.holder(vip()), Some(holder(MAC)));
        assert!(rivals.unidentified().is_empty());
        assert!(!rivals.sighted(vip(), MAC, start + seconds(20)), "somebody else");
        rivals.sighted(vip(), MAC, start + seconds(40));
        assert!(rivals.sighted(vip(), MAC, start + seconds(61)), "or a real server that was down");
        let real_server = Holder { real_server: "192.168.40.12".parse().ok(), ..holder(MAC) };
        assert!(rivals.identified(vip(), real_server, start));
        assert!(!rivals.sighted(vip(), MAC, start + seconds(200)));
    }

    #[test]
    fn it_is_gone_when_it_was_not_heard_of_for_25_seconds() {
        let start = Instant::now();
        let mut rivals = contested(start);
        rivals.sighted(vip(), MAC, start + seconds(20));
        assert_eq!(rivals.next(), Some(start + seconds(45)));
        assert!(rivals.cleared(start + seconds(44)).is_empty());
        assert_eq!(rivals.cleared(start + seconds(45)), [vip()]);
        assert_eq!((rivals.holder(vip()), rivals.next(), rivals.next_question()), (None, None, None));
    }

    #[test]
    fn of_several_the_first_is_shown_as_long_as_it_is_heard_of() {
        let start = Instant::now();
        let second = [2, 0, 0, 0, 0, 10];
        let mut rivals = contested(start);
        rivals.sighted(vip(), second, start + seconds(1));
        assert!(!rivals.identified(vip(), holder(second), start));
        rivals.sighted(vip(), second, start + seconds(20));
        assert_eq!(rivals.cleared(start + seconds(26)), [vip()]);
        assert_eq!(rivals.holder(vip()), Some(holder(second)));
        for last in 11..100 {
            rivals.sighted(vip(), [2, 0, 0, 0, 0, last], start + seconds(27));
        }
        assert!(rivals.known[&vip()].rivals.len() <= RIVALS, "whoever makes up addresses gets no memory");
    }

    #[test]
    fn questions_and_defences_come_every_ten_seconds_whatever_is_heard() {
        let start = Instant::now();
        let mut rivals = contested(start);
        let (mut asked, mut defended) = (0, 0);
        for second in 0..60 {
            let now = start + seconds(second);
            rivals.sighted(vip(), MAC, now);
            asked += rivals.questions(now).len();
            defended += u32::from(rivals.may_defend(vip(), now));
        }
        assert_eq!((asked, defended), (5, 6));
        assert!(!rivals.may_defend([172, 16, 21, 11].into(), start));
    }
}
