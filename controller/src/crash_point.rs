//! Places where a test lets the agent die, as if by `kill -9`. They exist only in builds with the feature
//! `crash-points`; in any other build `crash_point!` is nothing at all.
//!
//! `LVS_CRASH_AT=NAME` dies when the place is reached for the first time, `LVS_CRASH_AT=NAME:N` for the Nth.

/// Marks a place: `crash_point!(Decided)`. With an expression, that is done before dying, and only then:
/// `crash_point!(JournalTorn, file.write_all(half))`.
macro_rules! crash_point {
    ($point:ident $(, $last_deed:expr)?) => {
        #[cfg(feature = "crash-points")]
        if $crate::crash_point::is_due($crate::crash_point::CrashPoint::$point) {
            $(let _ = $last_deed;)?
            $crate::crash_point::die();
        }
    };
}
pub(crate) use crash_point;

#[cfg(feature = "crash-points")]
pub use armed::{CrashPoint, VARIABLE, arm, die, is_due};

#[cfg(feature = "crash-points")]
mod armed {
    use std::env;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use clap::ValueEnum;
    use rustix::process::{Signal, getpid, kill_process};

    /// The environment variable that names the place.
    pub const VARIABLE: &str = "LVS_CRASH_AT";

    /// The places, in the order in which a pass comes by them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
    pub enum CrashPoint {
        /// A new snapshot is whole in its temporary file, and the old one still in place. Its journal is written
        /// the same way, and counts as well.
        SnapshotUnnamed,
        /// The new snapshot is in place, and the journal is still that of the old one.
        SnapshotWithoutJournal,
        /// What the source delivered was taken in.
        Ingested,
        /// The kernel was read.
        Observed,
        /// It is decided what to do.
        Decided,
        /// Records of the ledger are half written: intents before a change of the kernel, or what came of it after.
        JournalTorn,
        /// They are written, and perhaps not on the disk yet.
        JournalUnsynced,
        /// The intents are on the disk, and the kernel is as it was.
        IntentsSaved,
        /// The kernel has carried out the first half of a batch.
        BatchHalfDone,
        /// The kernel has carried out a batch, and other steps of the plan wait.
        BatchDone,
        /// A VIP was bound or unbound, and nobody was told.
        AddressChanged,
        /// All steps were taken, and nothing was made of their results.
        Applied,
        /// It is settled what came of the steps, and nothing of it written down.
        Unconfirmed,
        /// All is written down, and no status says so.
        Unpublished,
    }

    static ARMED: OnceLock<(CrashPoint, AtomicU32)> = OnceLock::new();

    /// Reads [`VARIABLE`]; without it nothing ever dies here.
    ///
    /// # Errors
    /// In words for people, with all names, if it names no place.
    pub fn arm() -> Result<(), String> {
        if let Some(text) = env::var_os(VARIABLE) {
            let (point, hit) = parse(&text.to_string_lossy())?;
            let _ = ARMED.set((point, AtomicU32::new(hit)));
        }
        Ok(())
    }

    /// `NAME` or `NAME:N`, N at least 1.
    fn parse(text: &str) -> Result<(CrashPoint, u32), String> {
        let (name, hit) = text.split_once(':').unwrap_or((text, "1"));
        let point = CrashPoint::from_str(name, false).ok();
        point.zip(hit.parse().ok().filter(|hit| *hit > 0)).ok_or_else(|| {
            let names: Vec<_> = CrashPoint::value_variants()
                .iter()
                .filter_map(|point| Some(point.to_possible_value()?.get_name().to_owned()))
                .collect();
            format!(
                "{VARIABLE}={text}: write NAME or NAME:N, N from 1, with one of the names {}",
                names.join(" ")
            )
        })
    }

    /// Whether to die here, now.
    pub fn is_due(point: CrashPoint) -> bool {
        ARMED.get().is_some_and(|(armed, hits)| *armed == point && hits.fetch_sub(1, Ordering::Relaxed) == 1)
    }

    /// Dies without a last word: no destructor runs, no buffer is flushed.
    pub fn die() -> ! {
        let _ = kill_process(getpid(), Signal::KILL);
        loop {
            thread::park();
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_place_is_named_with_or_without_the_time_it_is_reached() {
            assert_eq!(parse("decided"), Ok((CrashPoint::Decided, 1)));
            assert_eq!(parse("batch-half-done:2"), Ok((CrashPoint::BatchHalfDone, 2)));
        }

        #[test]
        fn a_name_that_is_none_is_answered_with_all_names() {
            for bad in ["", "Decided", "decidet", "decided:", "decided:0", "decided:x", "decided:1:2"] {
                let words = parse(bad).unwrap_err();
                for name in ["snapshot-unnamed", "decided", "unpublished"] {
                    assert!(words.contains(name), "{bad}: {words}");
                }
            }
        }
    }
}
