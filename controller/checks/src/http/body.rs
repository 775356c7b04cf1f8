//! `bodyContains` and `bodyRegex`.

use std::sync::Arc;

use lvs_crds::rules::MAX_REGEX_MEMORY;
use regex::bytes::{Regex, RegexBuilder};

use crate::failure::excerpt;
use crate::prepared::PrepareError;
use crate::shared::Shared;

static EXPRESSIONS: Shared<String, Regex> = Shared::new();

/// What a body must look like.
#[derive(Debug)]
pub(crate) struct Expectation {
    contains: Option<String>,
    matches: Option<Arc<Regex>>,
}

/// Whether a body is as expected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is.
    Met,
    /// It is not, with the expectation that is not met.
    Missed(String),
    /// More of it has to be seen.
    Undecided,
}

impl Expectation {
    /// None if nothing is expected.
    pub(crate) fn new(contains: Option<&str>, regex: Option<&str>) -> Result<Option<Self>, PrepareError> {
        if contains.is_none() && regex.is_none() {
            return Ok(None);
        }
        let compile = |pattern: &str| {
            EXPRESSIONS.get_or_make(&pattern.to_owned(), || {
                let mut builder = RegexBuilder::new(pattern);
                builder.size_limit(MAX_REGEX_MEMORY).dfa_size_limit(MAX_REGEX_MEMORY);
                builder.build().map_err(|error| PrepareError::Regex(error.to_string()))
            })
        };
        Ok(Some(Self { contains: contains.map(str::to_owned), matches: regex.map(compile).transpose()? }))
    }

    /// Judges the start of a body, of which the first `searched` bytes have been judged as undecided before.
    ///
    /// Contained text is found as soon as it is there, so that a body that never ends is no hindrance; an
    /// expression may be about the end, so it waits for that or for the limit (`ended`).
    pub(crate) fn verdict(&self, body: &[u8], searched: usize, ended: bool) -> Verdict {
        // With an expression too, everything is judged once, at the end.
        let searched = match self.matches {
            Some(_) if !ended => return Verdict::Undecided,
            Some(_) => 0,
            None => searched,
        };
        if let Some(text) = &self.contains {
            // The text may lie across the border.
            let from = searched.saturating_sub(text.len());
            if !contains(&body[from..], text.as_bytes()) {
                return if ended { missed("do not contain", text) } else { Verdict::Undecided };
            }
        }
        match &self.matches {
            Some(regex) if !regex.is_match(body) => missed("do not match", regex.as_str()),
            _ => Verdict::Met,
        }
    }
}

fn missed(verb: &str, expected: &str) -> Verdict {
    Verdict::Missed(format!("{verb} \"{}\"", excerpt(expected)))
}

pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expectation(contains: Option<&str>, regex: Option<&str>) -> Expectation {
        Expectation::new(contains, regex).unwrap().unwrap()
    }

    #[test]
    fn text_is_found_at_once_and_missed_at_the_end() {
        let expects = expectation(Some("ok"), None);
        assert_eq!(expects.verdict(b"", 0, false), Verdict::Undecided);
        assert_eq!(expects.verdict(b"all o", 0, false), Verdict::Undecided);
        assert_eq!(expects.verdict(b"all ok", 5, false), Verdict::Met);
        assert_eq!(expects.verdict(b"all o", 5, true), missed("do not contain", "ok"));
    }

    #[test]
    fn an_expression_is_judged_at_the_end() {
        let expects = expectation(None, Some("^ready$"));
        assert_eq!(expects.verdict(b"ready", 0, false), Verdict::Undecided);
        assert_eq!(expects.verdict(b"ready", 0, true), Verdict::Met);
        assert_eq!(expects.verdict(b"ready?", 5, true), missed("do not match", "^ready$"));
        // Bytes that are no UTF-8 are no hindrance.
        assert_eq!(expectation(None, Some("b+")).verdict(b"\xff\x00bb\xfe", 0, true), Verdict::Met);
    }

    #[test]
    fn text_and_expression_must_both_be_there() {
        let expects = expectation(Some("ok"), Some("[0-9]+ ms"));
        assert_eq!(expects.verdict(b"ok after 12 ms", 0, true), Verdict::Met);
        assert_eq!(expects.verdict(b"ok", 0, true), missed("do not match", "[0-9]+ ms"));
        assert_eq!(expects.verdict(b"12 ms", 0, true), missed("do not contain", "ok"));
    }

    #[test]
    fn an_expression_that_is_none_or_too_large_is_refused() {
        for pattern in ["(", "(?=ahead)", r"(\w{100}){100}"] {
            let refused = Expectation::new(None, Some(pattern)).unwrap_err();
            assert!(matches!(refused, PrepareError::Regex(_)), "{refused}");
        }
        assert!(Expectation::new(None, Some(r"(?i)\bstatus\W+(up|ok)\b")).is_ok());
    }

    #[test]
    fn the_same_expression_is_compiled_once() {
        let (one, other) = (expectation(None, Some("shared")), expectation(Some("x"), Some("shared")));
        assert!(Arc::ptr_eq(&one.matches.unwrap(), &other.matches.unwrap()));
    }

    proptest! {
        #[test]
        fn pieces_decide_as_the_whole(
            body in proptest::collection::vec(97_u8..100, 0..40),
            text in "[a-c]{1,3}",
            pieces in proptest::collection::vec(1_usize..8, 1..40),
        ) {
            let expects = expectation(Some(&text), None);
            let whole = expects.verdict(&body, 0, true);
            let (mut searched, mut verdict) = (0, Verdict::Undecided);
            for piece in pieces.into_iter().chain([body.len()]) {
                let seen = (searched + piece).min(body.len());
                verdict = expects.verdict(&body[..seen], searched, seen == body.len());
                searched = seen;
                if verdict != Verdict::Undecided {
                    break;
                }
            }
            prop_assert_eq!(verdict, whole);
        }
    }
}
