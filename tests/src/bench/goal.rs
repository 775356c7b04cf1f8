//! What the figures are held against.

use std::fmt;

use super::shape::Shape;

/// A bound that a figure has to keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Goal {
    /// Whether a figure keeps it. What is no number keeps nothing.
    pub fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtMost(bound) => figure <= bound,
            Self::AtLeast(bound) => figure >= bound,
        }
    }

    /// The goal and whether the figure keeps it, for the table.
    pub fn judge(self, figure: f64, judged: bool) -> String {
        match (judged, self.is_met(figure)) {
            (false, _) => format!("{self}: not judged"),
            (true, true) => format!("{self}: met"),
            (true, false) => format!("{self}: **MISSED**"),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "at most {bound}"),
            Self::AtLeast(bound) => write!(f, "at least {bound}"),
        }
    }
}

/// The driver's time, in times of the floor's.
pub const TO_FLOOR: Goal = Goal::AtMost(1.25);
/// The time of `ipvsadm -R`, in times of the driver's.
pub const IPVSADM: Goal = Goal::AtLeast(15.0);
/// The time of keepalived's start, in times of the driver's.
pub const KEEPALIVED: Goal = Goal::AtLeast(10.0);
/// One change at the largest table, in times of one at the smallest.
pub const CHANGE: Goal = Goal::AtMost(1.2);
/// Kernel writes of a restart.
pub const RESTART: Goal = Goal::AtMost(0.0);
/// Private memory of the agent at 1,000 x 4 over files, in MB: that of keepalived 2.4.3 by the same rule.
pub const STANDALONE_MEMORY: Goal = Goal::AtMost(9.3);
/// Private memory of the agent with objects from the API server, in MB.
pub const API_SERVER_MEMORY: [(Shape, Goal); 3] = [
    (Shape { services: 0, destinations: 4 }, Goal::AtMost(10.0)),
    (Shape { services: 1000, destinations: 10 }, Goal::AtMost(24.0)),
    (Shape { services: 10_000, destinations: 4 }, Goal::AtMost(64.0)),
];
/// Processor time at rest, in percent of one of the guest's processors.
pub const IDLE: Goal = Goal::AtMost(0.3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_itself_still_keeps_the_goal() {
        for (goal, figure, met) in [
            (TO_FLOOR, 1.25, true),
            (TO_FLOOR, 1.251, false),
            (IPVSADM, 15.0, true),
            (IPVSADM, 14.99, false),
            (RESTART, 0.0, true),
            (RESTART, 1.0, false),
            (IDLE, f64::NAN, false),
            (KEEPALIVED, f64::NAN, false),
        ] {
            assert_eq!(goal.is_met(figure), met, "{goal} {figure}");
        }
    }

    #[test]
    fn a_missed_goal_cannot_be_overlooked_and_a_smoke_run_judges_nothing() {
        assert_eq!(TO_FLOOR.judge(1.1, true), "at most 1.25: met");
        assert_eq!(TO_FLOOR.judge(1.3, true), "at most 1.25: **MISSED**");
        assert_eq!(TO_FLOOR.judge(1.3, false), "at most 1.25: not judged");
    }
}
