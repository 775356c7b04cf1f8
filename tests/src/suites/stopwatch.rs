//! How long each test takes, which Rust's test harness does not say.
//!
//! It says when a test ends. It starts tests in the order in which it lists them, as many at once as it has threads, and
//! the next one when one ends: so the ends tell the beginnings.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::outcome::end_of_test;

/// Follows the output of a test binary.
pub(super) struct Stopwatch {
    start: Instant,
    /// The begin of a line whose rest has not come yet.
    line: Vec<u8>,
    ends: Vec<(String, Duration)>,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), line: Vec::new(), ends: Vec::new() }
    }

    /// What the binary has written just now.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.hear_at(bytes, self.start.elapsed());
    }

    fn hear_at(&mut self, bytes: &[u8], now: Duration) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = String::from_utf8_lossy(&self.line);
                self.ends.extend(end_of_test(line.trim_end()).map(|(name, _)| (name.to_owned(), now)));
                self.line.clear();
            }
        }
    }

    /// The times of the tests that have ended, of a binary that has `threads` threads for all of `tests`.
    pub(super) fn times(self, tests: &[String], threads: usize) -> Vec<(String, Duration)> {
        let mut waiting = tests.iter().map(String::as_str);
        let mut begins: BTreeMap<_, _> =
            waiting.by_ref().take(threads).map(|name| (name, Duration::ZERO)).collect();
        let mut times = Vec::new();
        for (name, end) in self.ends {
            if let Some(begin) = begins.remove(name.as_str()) {
                times.push((name, end.saturating_sub(begin)));
                begins.extend(waiting.next().map(|next| (next, end)));
            }
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_begins_when_another_one_of_its_thread_ends() {
        let mut watch = Stopwatch::start();
        let seconds = Duration::from_secs;
        watch.hear_at(b"running 4 tests\n", seconds(0));
        watch.hear_at(b"test a ... ok\ntest ", seconds(3));
        watch.hear_at(b"b ... FAILED\n", seconds(5));
        watch.hear_at(b"test d ... ok\n", seconds(6));
        let tests = ["a", "b", "c", "d"].map(str::to_owned);
        let expected = [("a", 3), ("b", 5), ("d", 1)].map(|(name, time)| (name.to_owned(), seconds(time)));
        // c, which began after a, never ended.
        assert_eq!(watch.times(&tests, 2), expected);
    }
}
