//! How long each test takes, and which had begun when it all ended: Rust's test harness does not say.
//!
//! It says when a test ends. It starts tests in the order in which it lists them, as many at once as it has threads, and
//! the next one when one ends: so the ends tell the beginnings.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::outcome::end_of_test;

/// Follows the output of a test binary.
pub(super) struct Stopwatch {
    start: Instant,
    /// When the harness said how many tests it runs.
    begin: Option<Duration>,
    /// The begin of a line whose rest has not come yet.
    line: Vec<u8>,
    ends: Vec<(String, Duration)>,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), begin: None, line: Vec::new(), ends: Vec::new() }
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
                if self.begin.is_none() && line.starts_with("running ") {
                    self.begin = Some(now);
                }
                self.ends.extend(end_of_test(line.trim_end()).map(|(name, _)| (name.to_owned(), now)));
                self.line.clear();
            }
        }
    }

    /// What can be told of a binary that has `threads` threads for all of `tests`.
    pub(super) fn read(self, tests: &[String], threads: usize) -> Times {
        let mut waiting = tests.iter().map(String::as_str);
        let mut begins: BTreeMap<_, _> = match self.begin {
            Some(begin) => waiting.by_ref().take(threads).map(|name| (name, begin)).collect(),
            None => BTreeMap::new(),
        };
        let mut ended = Vec::new();
        for (name, end) in self.ends {
            if let Some(begin) = begins.remove(name.as_str()) {
                ended.push((name, end.saturating_sub(begin)));
                begins.extend(waiting.next().map(|next| (next, end)));
            }
        }
        Times { ended, running: begins.into_keys().map(str::to_owned).collect() }
    }
}

/// What was heard of tests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// How long those took that ended.
    pub(super) ended: Vec<(String, Duration)>,
    /// Those that had begun and not ended.
    pub(super) running: Vec<String>,
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
        let ended = [("a", 3), ("b", 5), ("d", 1)].map(|(name, time)| (name.to_owned(), seconds(time)));
        // c, which began after a, never ended.
        assert_eq!(watch.read(&tests, 2), Times { ended: ended.to_vec(), running: vec!["c".to_owned()] });
    }

    #[test]
    fn a_binary_that_says_nothing_has_begun_no_test() {
        let mut watch = Stopwatch::start();
        watch.hear(b"cannot find a library\n");
        let tests = ["a", "b"].map(str::to_owned);
        assert_eq!(watch.read(&tests, 2), Times { ended: Vec::new(), running: Vec::new() });
    }
}
