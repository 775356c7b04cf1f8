//! Which other Directors live, and which one holds the VIPs while nothing else decides it. Pure.
//!
//! Every Director renews a Lease. Whether it lives is judged by seeing the Lease change, not by comparing its time
//! with ours: clocks differ. Who came first is senior and holds the VIPs; the others bind nothing. Every Director
//! dates its Lease after all that it saw (see [`acquire_time`]), so all agree on who is senior whatever
//! their clocks say.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use lvs_plan::diff::Role;

/// How often a Lease is renewed and the others' are read.
pub(super) const RENEW: Duration = Duration::from_secs(10);
/// How long a Lease that does not change is believed.
pub(super) const DURATION: Duration = Duration::from_secs(40);
/// After so long without a look nothing is known of what happened meanwhile, and every Lease is watched anew.
const BLIND: Duration = Duration::from_secs(25);
/// A Lease that was last renewed so long ago is dead at first sight: no clock of a cluster is that wrong.
const LONG_DEAD: SignedDuration = SignedDuration::from_mins(10);

/// A Director's Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaseFacts {
    /// The Director's node name.
    pub(super) name: String,
    /// Since when it has held the Lease, by its own clock.
    pub(super) acquired: Timestamp,
    /// When it last renewed it, by its own clock.
    pub(super) renewed: Timestamp,
    /// How long it may be quiet.
    pub(super) duration: Duration,
    /// Whether it says that it is ready.
    pub(super) ready: bool,
}

/// Whether a Director lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its Lease was seen to change lately.
    Live,
    /// Its Lease has not changed for longer than it lasts.
    Expired,
    /// Its Lease has not been watched for long enough to tell.
    Unknown,
}

/// A Director as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Director {
    pub(super) standing: Standing,
    pub(super) ready: bool,
}

/// The other Directors.
#[derive(Debug, Default)]
pub(super) struct Peers {
    seen: BTreeMap<String, Seen>,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    facts: LeaseFacts,
    /// When it was first seen in this form.
    since: Instant,
    /// Whether it was seen to change.
    moved: bool,
    long_dead: bool,
}

impl Peers {
    /// Takes in all Leases but our own.
    pub(super) fn look(&mut self, leases: Vec<LeaseFacts>, now: Instant, clock: Timestamp) {
        let blind = self.looked.is_none_or(|looked| now.saturating_duration_since(looked) > BLIND);
        self.looked = Some(now);
        let mut before = std::mem::take(&mut self.seen);
        for facts in leases {
            let seen = match before.remove(&facts.name) {
                Some(seen) if seen.facts.renewed != facts.renewed => {
                    Seen { facts, since: now, moved: true, long_dead: false }
                }
                Some(seen) if blind => Seen { facts, since: now, moved: false, ..seen },
                Some(seen) => Seen { facts, ..seen },
                None => {
                    let long_dead = clock.duration_since(facts.renewed) > LONG_DEAD;
                    Seen { facts, since: now, moved: false, long_dead }
                }
            };
            self.seen.insert(seen.facts.name.clone(), seen);
        }
    }

    /// Every other Director that has a Lease.
    pub(super) fn directors(&self, now: Instant) -> impl Iterator<Item = (&str, Director)> {
        self.seen.iter().map(move |(name, seen)| {
            (name.as_str(), Director { standing: seen.standing(now), ready: seen.facts.ready })
        })
    }

    /// Who holds the VIPs, if that can be told: `me` came at `acquired`.
    pub(super) fn role(&self, me: &str, acquired: Timestamp, now: Instant) -> Option<Role> {
        let mut unknown = false;
        for (name, seen) in &self.seen {
            if (seen.facts.acquired, name.as_str()) > (acquired, me) {
                continue;
            }
            match seen.standing(now) {
                Standing::Live => return Some(Role::Blocked { peer: name.clone() }),
                Standing::Unknown => unknown = true,
                Standing::Expired => {}
            }
        }
        (!unknown).then_some(Role::Active)
    }

    /// The latest time at which any of them acquired its Lease.
    pub(super) fn latest(&self) -> Option<Timestamp> {
        self.seen.values().map(|seen| seen.facts.acquired).max()
    }
}

impl Seen {
    fn standing(&self, now: Instant) -> Standing {
        if self.long_dead || now.saturating_duration_since(self.since) >= self.facts.duration {
            Standing::Expired
        } else if self.moved {
            Standing::Live
        } else {
            Standing::Unknown
        }
    }
}

/// For a look that is too short to see a Lease change: the Director that holds the VIPs instead of `me`, if the dates
/// in the Leases are right.
pub(super) fn senior_by_date<'l>(
    me: &str,
    acquired: Timestamp,
    others: &'l [LeaseFacts],
    clock: Timestamp,
) -> Option<&'l str> {
    let seniors = others.iter().filter(|other| {
        (other.acquired, other.name.as_str()) < (acquired, me)
            && clock.duration_since(other.renewed).unsigned_abs() < other.duration
    });
    seniors.min_by_key(|other| other.acquired).map(|other| other.name.as_str())
}

/// The date of our Lease. One that we left behind is taken up again, with its seniority, if it has not
/// expired (by our own clock, which wrote it) or if the rules stayed in force meanwhile (the ledger knows them, so
/// the kernel never stopped). Otherwise we come after everybody whose Lease we saw.
pub(super) fn acquire_time(
    own: Option<&LeaseFacts>,
    rules_in_force: bool,
    others: Option<Timestamp>,
    clock: Timestamp,
) -> Timestamp {
    if let Some(own) = own {
        let quiet = clock.duration_since(own.renewed).unsigned_abs();
        if quiet < own.duration || rules_in_force {
            return own.acquired;
        }
    }
    let after = others.and_then(|others| others.checked_add(SignedDuration::from_micros(1)).ok());
    // A Lease carries microseconds: what we keep is what the others read.
    let microsecond = clock.as_microsecond();
    let clock = Timestamp::from_microsecond(microsecond).unwrap_or(clock);
    after.map_or(clock, |after| clock.max(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn lease(name: &str, acquired: i64, renewed: i64) -> LeaseFacts {
        LeaseFacts {
            name: name.to_owned(),
            acquired: clock(acquired),
            renewed: clock(renewed),
            duration: DURATION,
            ready: true,
        }
    }

    /// Looks at these Leases, one list every 10 s, and says our role after the last one. We are d2, since 100.
    fn role_after(looks: &[&[LeaseFacts]]) -> Option<Role> {
        let start = Instant::now();
        let mut peers = Peers::default();
        let mut now = start;
        for (n, leases) in looks.iter().enumerate() {
            now = start + RENEW * u32::try_from(n).unwrap();
            peers.look(leases.to_vec(), now, clock(0));
        }
        peers.role("d2", clock(100), now)
    }

    fn blocked(peer: &str) -> Role {
        Role::Blocked { peer: peer.to_owned() }
    }

    #[test]
    fn at_a_glance_whoever_came_before_and_renewed_lately_holds_the_vips() {
        let senior =
            |others: &[LeaseFacts]| senior_by_date("d2", clock(100), others, clock(1_000)).map(str::to_owned);
        assert_eq!(senior(&[]), None);
        assert_eq!(senior(&[lease("d9", 50, 970)]).as_deref(), Some("d9"));
        assert_eq!(senior(&[lease("d9", 50, 970), lease("d8", 40, 970)]).as_deref(), Some("d8"));
        assert_eq!(senior(&[lease("d9", 50, 950)]), None, "it has expired");
        assert_eq!(senior(&[lease("d1", 101, 999)]), None, "it came after us");
        assert_eq!(senior(&[lease("d1", 100, 999)]).as_deref(), Some("d1"), "the first by name");
    }

    #[test]
    fn alone_we_hold_the_vips() {
        assert_eq!(role_after(&[&[]]), Some(Role::Active));
    }

    #[test]
    fn a_senior_director_blocks_us_once_it_was_seen_to_live() {
        let first = lease("d9", 50, 0);
        let later = lease("d9", 50, 10);
        assert_eq!(role_after(&[std::slice::from_ref(&first)]), None, "not decided yet");
        assert_eq!(role_after(&[&[first], &[later]]), Some(blocked("d9")));
    }

    #[test]
    fn a_junior_director_does_not() {
        assert_eq!(role_after(&[&[lease("d1", 101, 0)]]), Some(Role::Active));
    }

    #[test]
    fn of_two_that_came_at_the_same_time_the_first_by_name_holds_them() {
        assert_eq!(role_after(&[&[lease("d1", 100, 0)], &[lease("d1", 100, 10)]]), Some(blocked("d1")));
        assert_eq!(role_after(&[&[lease("d3", 100, 0)], &[lease("d3", 100, 10)]]), Some(Role::Active));
    }

    #[test]
    fn a_lease_that_never_changes_expires_whatever_time_it_bears() {
        for renewed in [-300, 0, 300] {
            let dead = || [lease("d1", 50, renewed)];
            let looks = [dead(), dead(), dead(), dead(), dead()];
            let looks: Vec<&[LeaseFacts]> = looks.iter().map(<[LeaseFacts; 1]>::as_slice).collect();
            assert_eq!(role_after(&looks[..4]), None, "30 s");
            assert_eq!(role_after(&looks), Some(Role::Active), "40 s");
        }
    }

    #[test]
    fn a_live_director_whose_clock_is_wrong_still_lives() {
        for offset in [-599, 3_600] {
            let looks = [[lease("d1", 50, offset)], [lease("d1", 50, offset + 10)]];
            assert_eq!(role_after(&[&looks[0], &looks[1]]), Some(blocked("d1")), "{offset}");
        }
    }

    #[test]
    fn a_lease_of_yesterday_is_dead_at_first_sight_and_lives_again_when_it_changes() {
        assert_eq!(role_after(&[&[lease("d1", -90_000, -86_400)]]), Some(Role::Active));
        assert_eq!(
            role_after(&[&[lease("d1", -90_000, -86_400)], &[lease("d1", -90_000, 10)]]),
            Some(blocked("d1"))
        );
    }

    #[test]
    fn after_a_time_without_looks_nobody_is_dead_before_it_was_watched_again() {
        let start = Instant::now();
        let mut peers = Peers::default();
        peers.look(vec![lease("d1", 50, 0)], start, clock(0));
        peers.look(vec![lease("d1", 50, 10)], start + RENEW, clock(10));
        assert_eq!(peers.role("d2", clock(100), start + RENEW), Some(blocked("d1")));
        // The API server was away for an hour, so d1 could not renew either.
        let back = start + Duration::from_hours(1);
        peers.look(vec![lease("d1", 50, 10)], back, clock(3_600));
        assert_eq!(peers.role("d2", clock(100), back), None);
        peers.look(vec![lease("d1", 50, 3_610)], back + RENEW, clock(3_610));
        assert_eq!(peers.role("d2", clock(100), back + RENEW), Some(blocked("d1")));
    }

    #[test]
    fn a_lease_that_is_deleted_counts_no_more() {
        assert_eq!(role_after(&[&[lease("d1", 50, 0)], &[lease("d1", 50, 10)], &[]]), Some(Role::Active));
    }

    #[test]
    fn a_restart_keeps_its_seniority_and_a_long_absence_loses_it() {
        let own = lease("d2", 100, 200);
        let others = Some(clock(150));
        for (now, rules_in_force, acquired) in [
            (205, false, 100),
            (239, false, 100),
            (241, false, 241),
            (9_000, false, 9_000),
            (9_000, true, 100),
            (195, false, 100), // our clock was set back a little
        ] {
            let time = acquire_time(Some(&own), rules_in_force, others, clock(now));
            assert_eq!(time, clock(acquired), "at {now}, rules in force: {rules_in_force}");
        }
    }

    #[test]
    fn a_newcomer_comes_after_everybody_it_saw_even_if_its_clock_is_behind() {
        assert_eq!(acquire_time(None, false, None, clock(5)), clock(5));
        assert_eq!(acquire_time(None, false, Some(clock(4)), clock(5)), clock(5));
        assert!(acquire_time(None, false, Some(clock(60)), clock(5)) > clock(60));
    }

    #[test]
    fn of_any_directors_that_see_each_other_exactly_one_holds_the_vips() {
        let all: Vec<LeaseFacts> = [("a", 7), ("b", 3), ("c", 3), ("d", 9)]
            .into_iter()
            .map(|(name, acquired)| lease(name, acquired, 0))
            .collect();
        let start = Instant::now();
        let active: Vec<&str> = all
            .iter()
            .filter(|me| {
                let others = |renewed| {
                    let others = all.iter().filter(|other| other.name != me.name).cloned();
                    others.map(|other| LeaseFacts { renewed: clock(renewed), ..other }).collect()
                };
                let mut peers = Peers::default();
                peers.look(others(0), start, clock(0));
                peers.look(others(10), start + RENEW, clock(10));
                peers.role(&me.name, me.acquired, start + RENEW) == Some(Role::Active)
            })
            .map(|me| me.name.as_str())
            .collect();
        assert_eq!(active, ["b"]);
    }
}
