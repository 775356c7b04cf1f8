//! Whether checks begin when they should. Where they do not, a failure is noticed later than the spec says, and nobody
//! would know.

use std::time::{Duration, Instant};

use lvs_plan::health::Turn;

/// Turns that are left out are told of so often at most.
const PAUSE: Duration = Duration::from_secs(60);

/// The turns that were left out and not told of yet.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    left_out: u32,
    last_told: Option<Instant>,
}

impl Lateness {
    /// Takes in a turn. In words what to do, if it is time to tell.
    pub(super) fn note<I>(&mut self, turn: &Turn<I>, now: Instant) -> Option<String> {
        self.left_out = self.left_out.saturating_add(turn.left_out);
        if self.left_out == 0 || self.last_told.is_some_and(|last| now - last < PAUSE) {
            return None;
        }
        let (left_out, late) = (std::mem::take(&mut self.left_out), turn.late.as_millis());
        self.last_told = Some(now);
        let checks =
            if left_out == 1 { "1 health check was" } else { &format!("{left_out} health checks were") };
        Some(format!(
            "{checks} left out because this host is too busy to make all of them in time (the present one is {late} ms \
             late): give the agent more processor time, or raise intervalSeconds"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_told_at_once_and_then_summed_up_for_a_minute() {
        let mut lateness = Lateness::default();
        let start = Instant::now();
        let mut note = |seconds, left_out| {
            let turn = Turn { id: 1, late: Duration::from_millis(1500), left_out };
            lateness.note(&turn, start + Duration::from_secs(seconds))
        };
        assert_eq!(note(0, 0), None, "merely late");
        let words = note(1, 1).unwrap();
        assert!(
            words.starts_with("1 health check was left out") && words.contains("1500 ms late"),
            "{words}"
        );
        assert_eq!([note(2, 3), note(60, 4)], [None, None]);
        assert!(note(61, 0).unwrap().starts_with("7 health checks were left out"));
        assert_eq!(note(200, 0), None, "it is over");
    }
}
