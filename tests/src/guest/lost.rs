//! What is said of a guest that is lost.

use std::path::PathBuf;
use std::{fmt, fs};

/// Lines of a log that are shown, and how much of each.
const LINES: usize = 20;
const COLUMNS: usize = 160;

/// A guest has ended, or does not come as far as it should.
#[derive(Debug)]
pub struct Lost {
    /// Which, and what is wrong with it.
    pub why: String,
    /// The ends of its logs.
    pub words: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.why, self.words)
    }
}

impl std::error::Error for Lost {}

/// The ends of these logs; one that is not there is empty.
pub(super) fn words(logs: impl Iterator<Item = PathBuf>) -> String {
    let words = logs.map(|path| {
        let text = fs::read(&path).unwrap_or_default();
        format!("--- {}\n{}", path.display(), last_lines(&String::from_utf8_lossy(&text)))
    });
    words.collect::<Vec<_>>().join("\n")
}

/// Some programs write very long lines.
fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(LINES)..].iter();
    last.map(|line| line.chars().take(COLUMNS).collect::<String>()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_its_last_lines_none_of_them_endless() {
        let log = format!("{}{}\nlast\n", "line\n".repeat(100), "x".repeat(10_000));
        let end = last_lines(&log);
        assert_eq!(end.lines().count(), LINES);
        assert!(end.ends_with("\nlast") && end.starts_with("line\nline\n"), "{end}");
        assert!(end.lines().all(|line| line.len() <= COLUMNS), "{end}");
        assert_eq!(last_lines(""), "");
    }

    #[test]
    fn each_log_is_shown_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let [console, none] = ["console", "none"].map(|name| folder.path().join(name));
        fs::write(&console, "soft lockup\n").unwrap();
        let said = words([console.clone(), none.clone()].into_iter());
        assert_eq!(said, format!("--- {}\nsoft lockup\n--- {}\n", console.display(), none.display()));
    }
}
