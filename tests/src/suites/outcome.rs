//! What a test binary said in the end.

use std::fmt;
use std::ops::AddAssign;

/// Passed and failed tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u32,
    /// Tests that failed. A binary that ended without a result counts as one.
    pub failed: u32,
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

/// How a run of a test binary ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The count.
    pub tally: Tally,
    /// Everything it wrote.
    pub output: String,
}

impl Outcome {
    /// Reads what a binary, or several one after the other, wrote. A bad exit without a failed test is a failure too:
    /// the binary crashed, or a test ended it.
    pub fn read(output: String, exit_code: i32) -> Self {
        let mut tally = Tally::default();
        let mut results = 0;
        for result in output.lines().filter_map(result) {
            tally += result;
            results += 1;
        }
        if tally.failed == 0 && (exit_code != 0 || results == 0) {
            tally.failed = 1;
        }
        Self { tally, output }
    }
}

/// Rust's test harness ends with `test result: ok. 12 passed; 0 failed; 3 ignored; …`.
fn result(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| {
        counts.split("; ").find_map(|count| count.strip_suffix(word)?.trim_end().parse::<u32>().ok())
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "running 2 tests\ntest a ... ok\n\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
         finished in 0.01s\n";
    const BAD: &str =
        "test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 2.00s\n";

    #[test]
    fn counts_of_all_binaries_are_added() {
        let outcome = Outcome::read(format!("{GOOD}{BAD}"), 101);
        assert_eq!(outcome.tally, Tally { passed: 3, failed: 3 });
        assert_eq!(Outcome::read(GOOD.to_owned(), 0).tally, Tally { passed: 2, failed: 0 });
    }

    #[test]
    fn a_binary_that_dies_after_or_before_its_result_has_failed() {
        assert_eq!(Outcome::read(GOOD.to_owned(), 134).tally, Tally { passed: 2, failed: 1 });
        assert_eq!(Outcome::read("running 2 tests\n".to_owned(), 139).tally, Tally { passed: 0, failed: 1 });
        assert_eq!(Outcome::read(String::new(), 0).tally, Tally { passed: 0, failed: 1 });
    }

    #[test]
    fn what_a_test_prints_is_not_taken_for_a_result() {
        for line in
            ["test result: unknown", "the test result: ok. 2 passed; 0 failed", "test result: ok. many; few"]
        {
            assert_eq!(result(line), None, "{line}");
        }
    }
}
