//! Rise and fall: a verdict from the results of one probe.

/// What is known of a destination from its probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing yet, which is not a failure.
    #[default]
    Unknown,
    /// It works.
    Up,
    /// It does not.
    Down,
}

/// The results of one probe so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Track {
    verdict: Verdict,
    /// Results in a row that speak against the verdict; less than what turns it, so at most 99.
    against: u8,
}

impl Track {
    /// The verdict by now.
    pub fn verdict(self) -> Verdict {
        self.verdict
    }

    /// Takes in a result, and gives the new verdict if it is another one. The first success of all is enough
    /// to work; after that `fall` failures in a row turn the verdict to Down, and `rise` successes in a row
    /// back to Up.
    ///
    /// `fall` and `rise` are 1..100, and may change between two results.
    pub fn result(&mut self, success: bool, fall: u32, rise: u32) -> Option<Verdict> {
        let (agrees, needed, other) = match self.verdict {
            Verdict::Unknown if success => (false, 1, Verdict::Up),
            Verdict::Unknown => (false, fall, Verdict::Down),
            Verdict::Up => (success, fall, Verdict::Down),
            Verdict::Down => (!success, rise, Verdict::Up),
        };
        if agrees {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        if u32::from(self.against) < needed {
            return None;
        }
        *self = Self { verdict: other, against: 0 };
        Some(other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdicts(results: &[bool], fall: u32, rise: u32) -> Vec<Option<Verdict>> {
        let mut track = Track::default();
        results.iter().map(|success| track.result(*success, fall, rise)).collect()
    }

    #[test]
    fn the_first_success_is_enough() {
        assert_eq!(verdicts(&[true], 3, 5), [Some(Verdict::Up)]);
        assert_eq!(verdicts(&[false, false, true, false], 3, 5), [None, None, Some(Verdict::Up), None]);
    }

    #[test]
    fn it_falls_after_failures_in_a_row_and_rises_after_successes_in_a_row() {
        let results = [true, false, false, true, false, false, false, true, false, true, true];
        let mut expected = vec![None; results.len()];
        (expected[0], expected[6], expected[10]) =
            (Some(Verdict::Up), Some(Verdict::Down), Some(Verdict::Up));
        assert_eq!(verdicts(&results, 3, 2), expected);
    }

    #[test]
    fn what_never_worked_falls_too() {
        assert_eq!(verdicts(&[false, false, false], 2, 2), [None, Some(Verdict::Down), None]);
    }

    /// The verdict after all results so far, looking at each whole row.
    fn naive(results: &[bool], fall: usize, rise: usize) -> Verdict {
        let mut verdict = Verdict::Unknown;
        let mut since = 0;
        for end in 1..=results.len() {
            let row = &results[since..end];
            let ends_with = |success: bool, count: usize| {
                row.len() >= count && row[row.len() - count..].iter().all(|result| *result == success)
            };
            let next = match verdict {
                Verdict::Unknown if ends_with(true, 1) => Verdict::Up,
                Verdict::Unknown | Verdict::Up if ends_with(false, fall) => Verdict::Down,
                Verdict::Down if ends_with(true, rise) => Verdict::Up,
                verdict => verdict,
            };
            if next != verdict {
                (verdict, since) = (next, end);
            }
        }
        verdict
    }

    proptest! {
        #[test]
        fn the_verdict_is_what_the_results_say_and_each_change_of_it_is_told(
            results in prop::collection::vec(any::<bool>(), 0..60), fall in 1_u32..5, rise in 1_u32..5,
        ) {
            let mut track = Track::default();
            for end in 1..=results.len() {
                let before = track.verdict();
                let told = track.result(results[end - 1], fall, rise);
                prop_assert_eq!(track.verdict(), naive(&results[..end], fall as usize, rise as usize));
                prop_assert_eq!(told, (before != track.verdict()).then_some(track.verdict()));
            }
        }
    }
}
