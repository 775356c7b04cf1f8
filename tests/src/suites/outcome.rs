//! What a test binary said, and what is to be held against it.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

/// Passed and failed tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed. A complaint about a binary as a whole counts as one.
    pub failed: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// How a test binary came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With this exit code, as a shell counts.
    Exit(i32),
    /// Not by itself.
    Broken(String),
}

impl Ending {
    pub(super) fn late(limit: Duration) -> Self {
        Self::Broken(format!("killed after {} s", limit.as_secs()))
    }
}

/// How a run of a test binary went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The count.
    pub tally: Tally,
    /// What went wrong besides tests that failed.
    pub complaint: Option<String>,
    /// Everything it wrote.
    pub output: String,
    /// How long each test took, as far as it can be told.
    pub times: Vec<(String, Duration)>,
}

impl Outcome {
    /// Reads what a binary, or several one after the other, wrote. `tests` are those that it has to run and `running`
    /// those of them that had begun and not ended, if they are known: a binary that ran fewer than it has to has crashed,
    /// or a test has ended it.
    pub(super) fn read(
        output: String,
        ending: &Ending,
        tests: Option<&[String]>,
        running: &[String],
    ) -> Self {
        let results: Vec<_> = output.lines().filter_map(result).collect();
        let mut tally = if results.is_empty() { ended(&output) } else { Tally::default() };
        for result in &results {
            tally += *result;
        }
        let run = tally.passed + tally.failed;
        let listed = tests.map_or(run, <[_]>::len);
        let complaint = match ending {
            Ending::Broken(why) => Some(why.clone()),
            Ending::Exit(code) if results.is_empty() => Some(format!("no result, exit code {code}")),
            Ending::Exit(code) if *code != 0 && tally.failed == 0 => {
                Some(format!("exit code {code}, though no test failed"))
            }
            Ending::Exit(_) if run != listed => Some(format!("{run} tests were run and {listed} are there")),
            Ending::Exit(_) => None,
        };
        tally.failed += usize::from(complaint.is_some());
        let complaint = complaint.map(|complaint| match unfinished(listed.saturating_sub(run), running) {
            Some(unfinished) => format!("{complaint}; {unfinished}"),
            None => complaint,
        });
        Self { tally, complaint, output, times: Vec::new() }
    }
}

/// Rust's test harness ends with `test result: ok. 12 passed; 0 failed; 3 ignored; …`.
fn result(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| {
        counts.split("; ").find_map(|count| count.strip_suffix(word)?.trim_end().parse::<usize>().ok())
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")? })
}

/// The name in the line `test NAME ... ok`, and whether that test passed. Ignored tests have none.
pub(super) fn end_of_test(line: &str) -> Option<(&str, bool)> {
    let (name, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let passed = match verdict.trim_end() {
        "ok" => true,
        "FAILED" => false,
        _ => return None,
    };
    Some((name.strip_suffix(" - should panic").unwrap_or(name), passed))
}

fn ended(output: &str) -> Tally {
    let mut tally = Tally::default();
    for (_, passed) in output.lines().filter_map(end_of_test) {
        tally += Tally { passed: passed.into(), failed: (!passed).into() };
    }
    tally
}

/// Where a binary stood of which so many tests are `left`.
fn unfinished(left: usize, running: &[String]) -> Option<String> {
    match (left, running) {
        (0, _) => None,
        (left, []) => Some(format!("{left} tests had not begun")),
        (left, running) => {
            let names = running.join(", ");
            let more = left.saturating_sub(running.len());
            let waiting = if more > 0 { format!("; {more} more had not begun") } else { String::new() };
            Some(format!("not ended: {names}{waiting}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "running 2 tests\ntest a ... ok\ntest b - should panic ... ok\n\n\
         test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";
    const BAD: &str =
        "test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 2.00s\n";

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn read(output: &str, ending: &Ending, tests: &[&str], running: &[&str]) -> (usize, usize, String) {
        let outcome = Outcome::read(output.to_owned(), ending, Some(&names(tests)), &names(running));
        (outcome.tally.passed, outcome.tally.failed, outcome.complaint.unwrap_or_default())
    }

    #[test]
    fn counts_of_all_binaries_are_added() {
        let outcome = Outcome::read(format!("{GOOD}{BAD}"), &Ending::Exit(101), None, &[]);
        assert_eq!((outcome.tally, outcome.complaint), (Tally { passed: 3, failed: 3 }, None));
        assert_eq!(read(GOOD, &Ending::Exit(0), &["a", "b"], &[]), (2, 0, String::new()));
    }

    #[test]
    fn a_binary_that_crashes_has_failed_and_names_what_it_did_not_end() {
        let crashed = "running 3 tests\ntest a ... ok\n";
        assert_eq!(
            read(crashed, &Ending::Exit(139), &["a", "b", "c"], &["b", "c"]),
            (1, 1, "no result, exit code 139; not ended: b, c".to_owned())
        );
        assert_eq!(
            read(GOOD, &Ending::Exit(134), &["a", "b"], &[]),
            (2, 1, "exit code 134, though no test failed".to_owned())
        );
        // A test that calls exit(0) takes the harness and its result with it.
        assert_eq!(
            read("running 1 test\n", &Ending::Exit(0), &["a"], &["a"]),
            (0, 1, "no result, exit code 0; not ended: a".to_owned())
        );
        assert_eq!(
            read("", &Ending::Exit(127), &["a", "b"], &[]),
            (0, 1, "no result, exit code 127; 2 tests had not begun".to_owned())
        );
    }

    #[test]
    fn a_binary_that_runs_fewer_tests_than_it_lists_has_failed() {
        assert_eq!(
            read(GOOD, &Ending::Exit(0), &["a", "b", "c"], &["c"]),
            (2, 1, "2 tests were run and 3 are there; not ended: c".to_owned())
        );
    }

    #[test]
    fn a_hang_is_told_with_the_tests_that_may_hang() {
        let late = Ending::late(Duration::from_secs(180));
        let some = "running 5 tests\ntest a ... ok\ntest c ... FAILED\n";
        assert_eq!(
            read(some, &late, &["a", "b", "c", "d", "e"], &["b", "d"]),
            (1, 2, "killed after 180 s; not ended: b, d; 1 more had not begun".to_owned())
        );
        assert_eq!(read(GOOD, &late, &["a", "b"], &[]), (2, 1, "killed after 180 s".to_owned()));
    }

    #[test]
    fn what_a_test_prints_is_not_taken_for_a_result() {
        for line in
            ["test result: unknown", "the test result: ok. 2 passed; 0 failed", "test result: ok. many; few"]
        {
            assert_eq!(result(line), None, "{line}");
        }
        assert_eq!(end_of_test("test a ... ignored, needs root"), None);
    }
}
