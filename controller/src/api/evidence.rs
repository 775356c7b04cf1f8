//! When a full list is believed that something is gone (invariant I6: nothing is removed because information is
//! missing).
//!
//! A watch's `Deleted` counts at once and is none of this module's business. A full list that lacks more than
//! 20 % and more than 10 of what is in force, or all of it, needs a second list, by a fresh request 2..10 s after the
//! end of the first, that lacks nothing else. At the first list after start, what is in force is what the ledger names
//! and what stands in the kernel.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use lvs_plan::ObjectKey;

/// When the second list must have been asked for, after the first one had ended: a list may take long.
const SECOND_LIST: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(10);
/// When it is asked for: in the middle of that.
const SECOND_LIST_AFTER: Duration = Duration::from_secs(4);
/// As many may always be missing.
const FEW: usize = 10;
/// One part in so many may always be missing: 20 %.
const PART: usize = 5;

/// Something in force that a full list has to account for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum InForce {
    /// An object.
    Object(ObjectKey),
    /// The address of destinations of ours in the kernel. Whose they are the ledger does not say, and until the
    /// first list nobody knows it.
    Destination(IpAddr),
}

/// A list that was not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    /// When it was whole.
    pub(super) ended: Instant,
    /// What it lacks.
    pub(super) missing: BTreeSet<InForce>,
    /// Of how much.
    pub(super) in_force: usize,
}

impl Doubt {
    /// When to ask for another list, if one has ended now: never without a pause.
    pub(super) fn list_again(&self, now: Instant) -> Instant {
        (self.ended + SECOND_LIST_AFTER).max(now + *SECOND_LIST.start())
    }
}

/// What a full list is evidence for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// These are gone.
    Gone(BTreeSet<InForce>),
    /// Nothing is removed; another list is needed.
    Doubtful(Doubt),
}

/// A full list, beside what is in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<'a> {
    /// When it was asked for.
    pub(super) asked: Instant,
    /// When it was whole.
    pub(super) ended: Instant,
    /// What it lacks of what is in force.
    pub(super) missing: &'a BTreeSet<InForce>,
    /// How much was in force when it was asked for.
    pub(super) in_force: usize,
    /// Rules are in force, and what it lacks of the objects of this kind that they come from cannot be told for
    /// certain: after a restart the ledger tells virtual services only.
    pub(super) vague: bool,
}

/// Judges a full list. `doubt` is the list before it, if that was not believed.
pub(super) fn judge(list: List<'_>, doubt: Option<&Doubt>) -> Judgement {
    let List { asked, ended, missing, in_force, vague } = list;
    let many = missing.len() > FEW && missing.len() * PART > in_force;
    // An answer that is empty by mistake is the likeliest of all, and costs the most where there is little.
    let all = in_force > 0 && missing.len() >= in_force;
    if !many && !all && !vague {
        return Judgement::Gone(missing.clone());
    }
    if let Some(doubt) = doubt.filter(|doubt| missing.is_subset(&doubt.missing)) {
        let later = asked.saturating_duration_since(doubt.ended);
        if SECOND_LIST.contains(&later) {
            return Judgement::Gone(missing.clone());
        }
        if later < *SECOND_LIST.start() {
            // Too soon to count, but nothing speaks against the first one either.
            return Judgement::Doubtful(doubt.clone());
        }
    }
    Judgement::Doubtful(Doubt { ended, missing: missing.clone(), in_force })
}

#[cfg(test)]
mod tests {
    use lvs_plan::Kind;
    use proptest::prelude::*;

    use super::*;

    fn keys(names: impl IntoIterator<Item = usize>) -> BTreeSet<InForce> {
        let key = |n| ObjectKey::new(Kind::RealServer, "default", &format!("rs{n}"));
        names.into_iter().map(|n| InForce::Object(key(n))).collect()
    }

    /// A list that took no time.
    fn list(asked: Instant, missing: &BTreeSet<InForce>, in_force: usize) -> List<'_> {
        List { asked, ended: asked, missing, in_force, vague: false }
    }

    #[test]
    fn a_large_part_that_is_also_many_is_doubted_and_so_is_all_of_it() {
        let now = Instant::now();
        for (in_force, missing, believed) in [
            (0, 0, true),
            (1, 1, false),
            (2, 1, true),
            (10, 10, false),
            (11, 10, true),
            (11, 11, false),
            (50, 10, true),
            (50, 11, false),
            (55, 11, true),
            (54, 11, false),
            (1000, 200, true),
            (1000, 201, false),
            (1000, 1000, false),
        ] {
            let missing = keys(0..missing);
            let judgement = judge(list(now, &missing, in_force), None);
            assert_eq!(matches!(judgement, Judgement::Gone(_)), believed, "{} of {in_force}", missing.len());
        }
    }

    #[test]
    fn a_second_list_counts_from_2_to_10_seconds_after_the_end_of_the_first_however_long_they_take() {
        let asked = Instant::now();
        let now = asked + Duration::from_mins(5);
        let missing = keys(0..50);
        let first = List { ended: now, ..list(asked, &missing, 50) };
        let Judgement::Doubtful(doubt) = judge(first, None) else { panic!("all of them") };
        for (later, believed) in [(0, false), (1_999, false), (2_000, true), (10_000, true), (10_001, false)]
        {
            let asked = now + Duration::from_millis(later);
            let second = List { ended: asked + Duration::from_mins(5), ..list(asked, &missing, 50) };
            let judgement = judge(second, Some(&doubt));
            assert_eq!(matches!(judgement, Judgement::Gone(_)), believed, "{later} ms");
        }
    }

    #[test]
    fn a_second_list_that_came_too_soon_leaves_the_first_one_standing() {
        let now = Instant::now();
        let missing = keys(0..50);
        let doubt = Doubt { ended: now, missing: missing.clone(), in_force: 50 };
        let soon = judge(list(now + Duration::from_secs(1), &missing, 50), Some(&doubt));
        assert_eq!(soon, Judgement::Doubtful(doubt));
    }

    #[test]
    fn a_second_list_that_lacks_something_else_is_a_first_one() {
        let now = Instant::now();
        let doubt = Doubt { ended: now, missing: keys(0..50), in_force: 50 };
        let later = now + Duration::from_secs(4);
        let other = keys(1..51);
        assert_eq!(
            judge(list(later, &other, 100), Some(&doubt)),
            Judgement::Doubtful(Doubt { ended: later, missing: other.clone(), in_force: 100 })
        );
        let fewer = keys(5..50);
        assert_eq!(judge(list(later, &fewer, 100), Some(&doubt)), Judgement::Gone(fewer.clone()));
    }

    #[test]
    fn a_list_that_cannot_be_compared_with_the_rules_in_force_needs_a_second_one() {
        let now = Instant::now();
        let none = BTreeSet::new();
        let vague = |asked| List { vague: true, ..list(asked, &none, 0) };
        let first = judge(vague(now), None);
        let Judgement::Doubtful(doubt) = first else { panic!("{first:?}") };
        let second = judge(vague(doubt.list_again(now)), Some(&doubt));
        assert_eq!(second, Judgement::Gone(none.clone()));
    }

    proptest! {
        /// Whatever lists come at whatever times: more than the bound, or all, goes only when a list that was asked for
        /// 2..10 s after the end of another lacks it like that one.
        #[test]
        fn nothing_large_goes_on_the_word_of_one_list(
            lists in prop::collection::vec(
                (0_u64..15_000, 0_u64..15_000, prop::collection::btree_set(0_usize..60, 0..60)),
                1..12,
            ),
        ) {
            let mut now = Instant::now();
            let mut in_force = keys(0..60);
            let mut doubt: Option<Doubt> = None;
            let mut before: Vec<(Instant, BTreeSet<InForce>)> = Vec::new();
            for (wait, takes, lacks) in lists {
                let asked = now + Duration::from_millis(wait);
                now = asked + Duration::from_millis(takes);
                let lacks = keys(lacks);
                let missing: BTreeSet<InForce> = in_force.intersection(&lacks).cloned().collect();
                let list = List { ended: now, ..list(asked, &missing, in_force.len()) };
                match judge(list, doubt.as_ref()) {
                    Judgement::Gone(gone) => {
                        let all = !gone.is_empty() && gone.len() == in_force.len();
                        if all || gone.len() > 10 && gone.len() * 5 > in_force.len() {
                            let witness = before.iter().any(|(ended, lacked)| {
                                SECOND_LIST.contains(&(asked - *ended)) && gone.is_subset(lacked)
                            });
                            prop_assert!(witness, "{} of {} went at once", gone.len(), in_force.len());
                        }
                        in_force = in_force.difference(&gone).cloned().collect();
                        doubt = None;
                    }
                    Judgement::Doubtful(next) => doubt = Some(next),
                }
                before.push((now, lacks));
            }
        }
    }
}
