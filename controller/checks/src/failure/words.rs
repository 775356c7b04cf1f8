//! Numbers and foreign text as parts of a sentence.

use std::fmt;
use std::io;
use std::time::Duration;

/// Longer texts of a server are cut to so many characters.
const EXCERPT: usize = 100;

/// What a server sent, as text that may stand in a message.
pub(crate) fn excerpt(text: &str) -> String {
    let mut excerpt: String = text.chars().take(EXCERPT).map(printable).collect();
    if text.chars().nth(EXCERPT).is_some() {
        excerpt.push('…');
    }
    excerpt
}

fn printable(character: char) -> char {
    if character.is_control() { '\u{fffd}' } else { character }
}

/// A duration.
pub(super) struct Took(pub(super) Duration);

impl fmt::Display for Took {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        if self.0.is_zero() {
            formatter.write_str("0 s")
        } else if self.0.subsec_nanos() == 0 {
            write!(formatter, "{} s", self.0.as_secs())
        } else if milliseconds < 1 {
            write!(formatter, "{} µs", self.0.as_micros())
        } else {
            write!(formatter, "{milliseconds} ms")
        }
    }
}

/// An error number of the system's.
pub(super) struct Os(pub(super) i32);

impl fmt::Display for Os {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return formatter.write_str("no reason given");
        }
        io::Error::from_raw_os_error(self.0).fmt(formatter)
    }
}

/// How many bytes of a body were looked at.
pub(super) struct LookedAt(pub(super) usize);

impl fmt::Display for LookedAt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            crate::http::BODY_LIMIT => write!(formatter, "the answer's first {} KiB", self.0 / 1024),
            1 => write!(formatter, "the answer's 1 byte"),
            bytes => write!(formatter, "the answer's {bytes} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_short_and_printable() {
        assert_eq!(excerpt("a\r\nb\u{1b}[2J"), "a\u{fffd}\u{fffd}b\u{fffd}[2J");
        assert_eq!(excerpt(&"ü".repeat(1000)).chars().count(), EXCERPT + 1);
    }

    #[test]
    fn durations_have_a_unit_that_fits() {
        for (duration, words) in [
            (Duration::ZERO, "0 s"),
            (Duration::from_micros(730), "730 µs"),
            (Duration::from_micros(12_345), "12 ms"),
            (Duration::from_millis(1_500), "1500 ms"),
            (Duration::from_secs(2), "2 s"),
        ] {
            assert_eq!(Took(duration).to_string(), words);
        }
    }
}
