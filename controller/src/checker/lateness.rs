//! Whether checks begin when they should. Where they do not, a failure is noticed later than the spec says, and nobody
//! would know.

use std::time::{Duration, Instant};

/// Turns that are left out are told of so often at most.
const PAUSE: Duration = Duration::from_mins(1);

/// The turns that were left out and not told of yet.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    left_out: u32,
    /// How late the one after them was, at most.
    worst: Duration,
    last_told: Option<Instant>,
}

impl Lateness {
    /// So many turns were left out before one that is so late.
    pub(super) fn note(&mut self, left_out: u32, late: Duration) {
        if left_out > 0 {
            self.left_out = self.left_out.saturating_add(left_out);
            self.worst = self.worst.max(late);
        }
    }

    /// What happened and what to do, in words, if it is time to tell.
    pub(super) fn tell(&mut self, now: Instant) -> Option<String> {
        if self.left_out == 0 || self.last_told.is_some_and(|last| now - last < PAUSE) {
            return None;
        }
        let (left_out, worst) =
            (std::mem::take(&mut self.left_out), std::mem::take(&mut self.worst).as_millis());
        self.last_told = Some(now);
        let checks =
            if left_out == 1 { "1 health check was" } else { &format!("{left_out} health checks were") };
        let late = if worst == 0 { "" } else { &format!(" (the next ones were up to {worst} ms late)") };
        Some(format!(
            "{checks} left out because this host is too busy to make all of them in time{late}: give the agent more \
             processor time, or raise intervalSeconds"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_told_together_and_then_summed_up_for_a_minute() {
        let mut lateness = Lateness::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let ms = Duration::from_millis;
        lateness.note(0, ms(900));
        assert_eq!(lateness.tell(at(0)), None, "merely late");
        lateness.note(1, ms(1500));
        let words = lateness.tell(at(1)).unwrap();
        assert!(
            words.starts_with("1 health check was left out") && words.contains("1500 ms late"),
            "{words}"
        );
        lateness.note(3, ms(3000));
        lateness.note(4, ms(2000));
        assert_eq!(lateness.tell(at(60)), None);
        let words = lateness.tell(at(61)).unwrap();
        assert!(words.starts_with("7 health checks were left out") && words.contains("3000 ms"), "{words}");
        assert_eq!(lateness.tell(at(200)), None, "it is over");
    }
}
