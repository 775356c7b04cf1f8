//! What is to be measured of health checks, and what was.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::scale::Scale;
use crate::bench::process::{Memory, ProcessorTime};

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Part {
    /// Many real servers, checked by each in turn.
    Rate,
    /// Real servers that serve ten services each.
    Sharing,
    /// Real servers that fail and return all the time.
    Flapping,
}

impl Part {
    /// All, in the order in which they are measured.
    pub const ALL: [Self; 3] = [Self::Rate, Self::Sharing, Self::Flapping];
}

/// Who checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checker {
    /// A loop that makes the same connections and nothing else.
    Bare,
    /// The agent.
    Agent,
    /// keepalived with `TCP_CHECK`.
    Keepalived,
}

impl Checker {
    /// All, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Bare, Self::Agent, Self::Keepalived];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare loop",
            Self::Agent => "agent",
            Self::Keepalived => "keepalived",
        }
    }

    /// Checks that it means to make in one interval.
    pub fn wanted(self, scale: Scale) -> u32 {
        match self {
            Self::Bare | Self::Agent => scale.servers,
            Self::Keepalived => scale.destinations(),
        }
    }
}

/// What is to be measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Which parts.
    pub parts: Vec<Part>,
    /// Who takes part.
    pub checkers: Vec<Checker>,
    /// Rate, Sharing: how often.
    pub rounds: u32,
    /// Rate: how many real servers, and how often they are checked.
    pub scales: Vec<Scale>,
    /// Sharing: the same.
    pub sharing: Scale,
    /// Flapping: the same.
    pub flapping: Scale,
    /// Flapping: how often all real servers fail or return, once a second.
    pub turns: u32,
    /// Time between the first check of the last real server and the window.
    pub settle: Duration,
    /// Over how long checks and processor time are counted; for longer intervals, three of them.
    pub window: Duration,
    /// Whether figures are held against the goals.
    pub judged: bool,
    /// The agent.
    pub controller: PathBuf,
}

impl Settings {
    /// A whole run.
    pub fn whole(controller: PathBuf) -> Self {
        let scale = |servers, services, interval| Scale { servers, services, interval };
        Self {
            parts: Part::ALL.to_vec(),
            checkers: Checker::ALL.to_vec(),
            rounds: 3,
            scales: vec![scale(1000, 1, 5), scale(1000, 1, 1), scale(10_000, 1, 10), scale(10_000, 1, 1)],
            sharing: scale(1000, 10, 1),
            flapping: scale(1000, 1, 1),
            turns: 60,
            settle: Duration::from_secs(10),
            window: Duration::from_secs(30),
            judged: true,
            controller,
        }
    }

    /// The same steps on a small scale: shows that the bench works, and nothing about speed.
    pub fn smoke(controller: PathBuf) -> Self {
        let scale = |servers, services, interval| Scale { servers, services, interval };
        Self {
            rounds: 1,
            scales: vec![scale(20, 1, 1)],
            sharing: scale(20, 10, 1),
            flapping: scale(20, 1, 1),
            turns: 6,
            settle: Duration::from_secs(1),
            window: Duration::from_secs(4),
            judged: false,
            ..Self::whole(controller)
        }
    }

    /// The window for a scale.
    pub fn window_of(&self, scale: Scale) -> Duration {
        self.window.max(scale.interval() * 3)
    }
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// Checks over a window.
    Checked(Checked),
    /// All real servers failed and returned, again and again.
    Flapped(Flapped),
}

/// Checks over a window, as the real servers saw them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// By whom.
    pub who: Checker,
    /// Of what.
    pub scale: Scale,
    /// Over how long.
    pub window: Duration,
    /// How many.
    pub done: u32,
    /// By the program, and for it.
    pub used: ProcessorTime,
    /// Processor time of the whole guest: the kernel's work for nobody in particular and the real servers' end too.
    pub whole: Duration,
    /// How often its threads went to sleep.
    pub sleeps: u32,
    /// In the end.
    pub memory: Memory,
    /// Fewest and most in any second.
    pub in_any_second: (u32, u32),
    /// The error of the schedule that 99 of 100 keep, as a share of the interval; none with shared real servers.
    pub error: Option<f64>,
}

impl Checked {
    /// Checks in a second that there should have been.
    pub fn wanted_rate(&self) -> f64 {
        f64::from(self.who.wanted(self.scale)) / f64::from(self.scale.interval)
    }

    /// Checks in a second that there were.
    pub fn rate(&self) -> f64 {
        f64::from(self.done) / self.window.as_secs_f64()
    }

    /// Whether nearly all were made.
    pub fn keeps_up(&self) -> bool {
        self.rate() >= 0.97 * self.wanted_rate()
    }

    /// Seconds of user and system time for 1,000 checks.
    pub fn per_thousand(&self) -> f64 {
        self.for_thousand(self.used.total())
    }

    /// Seconds of user time for 1,000 checks.
    pub fn user_per_thousand(&self) -> f64 {
        self.for_thousand(self.used.user)
    }

    /// Seconds of the whole guest's processor time for 1,000 checks.
    pub fn whole_per_thousand(&self) -> f64 {
        self.for_thousand(self.whole)
    }

    fn for_thousand(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1000.0 / f64::from(self.done)
    }

    /// Sleeps of its threads for 1,000 checks.
    pub fn sleeps_per_thousand(&self) -> f64 {
        f64::from(self.sleeps) * 1000.0 / f64::from(self.done)
    }

    /// Seconds of user and system time until every destination was checked once.
    pub fn per_interval(&self) -> f64 {
        self.used.total().as_secs_f64() * f64::from(self.who.wanted(self.scale)) / f64::from(self.done)
    }

    /// How far the emptiest or fullest second is from the mean, as a share of it.
    pub fn unevenness(&self) -> f64 {
        let (fewest, most) = self.in_any_second;
        (self.rate() - f64::from(fewest)).max(f64::from(most) - self.rate()) / self.rate()
    }
}

/// What the agent did in the kernel while all its real servers failed and returned, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flapped {
    /// Real servers.
    pub servers: u32,
    /// How often all of them failed or returned.
    pub turns: u32,
    /// Writes by the agent's own count.
    pub writes: u32,
    /// Destinations changed, by the kernel's count.
    pub set: u32,
    /// Destinations added, by the kernel's count.
    pub new: u32,
    /// Destinations removed, by the kernel's count.
    pub del: u32,
}

impl Flapped {
    /// How many transitions there were at most.
    pub fn transitions(self) -> u32 {
        self.servers * self.turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(who: Checker) -> Checked {
        Checked {
            who,
            scale: Scale { servers: 1000, services: 10, interval: 2 },
            window: Duration::from_secs(10),
            done: 4000,
            used: ProcessorTime { user: Duration::from_millis(500), system: Duration::from_millis(1500) },
            whole: Duration::from_secs(6),
            sleeps: 0,
            memory: Memory::default(),
            in_any_second: (390, 500),
            error: None,
        }
    }

    #[test]
    fn costs_are_of_checks_that_were_made() {
        let agent = checked(Checker::Agent);
        assert_eq!((agent.wanted_rate(), agent.rate(), agent.keeps_up()), (500.0, 400.0, false));
        assert!((agent.per_thousand() - 0.5).abs() < 1e-9);
        assert!((agent.user_per_thousand() - 0.125).abs() < 1e-9);
        assert!((agent.whole_per_thousand() - 1.5).abs() < 1e-9);
        assert!((agent.per_interval() - 0.5).abs() < 1e-9, "1,000 checks");
        let keepalived = checked(Checker::Keepalived);
        assert!((keepalived.per_interval() - 5.0).abs() < 1e-9, "10,000 checks");
        assert!((agent.unevenness() - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_window_has_room_for_three_intervals() {
        let settings = Settings::whole("controller".into());
        let window = |interval| settings.window_of(Scale { servers: 10, services: 1, interval }).as_secs();
        assert_eq!((window(1), window(10), window(20)), (30, 30, 60));
    }
}
