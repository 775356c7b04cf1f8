//! What is to be measured, and what was: what host and guest tell each other.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::contender::{Contender, Pass};
use super::process::Memory;
use super::shape::Shape;

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Part {
    /// Filling an empty table: the driver, the floor, `ipvsadm -R`, keepalived's start.
    Programming,
    /// Changing one weight in tables of several sizes.
    Change,
    /// The agent at rest, its memory, its processor time, and its restart.
    Agent,
}

/// What is to be measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Which parts.
    pub parts: Vec<Part>,
    /// Who takes part in programming.
    pub contenders: Vec<Contender>,
    /// Programming: how often.
    pub rounds: u32,
    /// Programming: how many rules.
    pub sizes: Vec<Shape>,
    /// Programming: a peer that has used so much time at a size takes no further round of it, and one round may take as
    /// much at most.
    pub peer_time: Duration,
    /// Change: how many services.
    pub change_sizes: Vec<Shape>,
    /// Change: how many weights change, one after the other.
    pub changes: u32,
    /// Agent: whose memory.
    pub memory_sizes: Vec<Shape>,
    /// Agent: where keepalived's memory is measured too, and the processor time at rest.
    pub standard: Shape,
    /// Agent: how long it is at rest before its memory is read.
    pub rest: Duration,
    /// Agent: over how long its processor time is counted.
    pub idle: Duration,
    /// Whether figures are held against the goals.
    pub judged: bool,
    /// `controller/examples/driver.rs`, built.
    pub driver: PathBuf,
    /// The agent.
    pub controller: PathBuf,
}

impl Settings {
    /// A whole run.
    pub fn whole(driver: PathBuf, controller: PathBuf) -> Self {
        let shape = |services, destinations| Shape { services, destinations };
        Self {
            parts: vec![Part::Programming, Part::Change, Part::Agent],
            contenders: Contender::ALL.to_vec(),
            rounds: 7,
            sizes: vec![shape(1000, 4), shape(10_000, 4)],
            peer_time: Duration::from_mins(5),
            change_sizes: vec![shape(10, 4), shape(1000, 4), shape(10_000, 4)],
            changes: 50,
            memory_sizes: vec![shape(0, 4), shape(1000, 4), shape(1000, 10), shape(10_000, 4)],
            standard: shape(1000, 4),
            rest: Duration::from_mins(1),
            idle: Duration::from_mins(2),
            judged: true,
            driver,
            controller,
        }
    }

    /// The same steps on a small scale: shows that the bench works, and nothing about speed.
    pub fn smoke(driver: PathBuf, controller: PathBuf) -> Self {
        let shape = |services, destinations| Shape { services, destinations };
        Self {
            rounds: 1,
            sizes: vec![shape(20, 4)],
            peer_time: Duration::from_mins(1),
            change_sizes: vec![shape(10, 4), shape(20, 4)],
            changes: 3,
            memory_sizes: vec![shape(0, 4), shape(20, 4)],
            standard: shape(20, 4),
            rest: Duration::from_secs(1),
            idle: Duration::from_secs(1),
            judged: false,
            ..Self::whole(driver, controller)
        }
    }
}

/// Whose memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// Ours.
    Agent,
    /// keepalived, both its processes.
    Keepalived,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A table was filled.
    Programming {
        /// By whom.
        contender: Contender,
        /// With what.
        shape: Shape,
        /// How long it took; `None` if it was not done in time.
        seconds: Option<f64>,
        /// What the driver says of it.
        pass: Option<Pass>,
    },
    /// One weight changed in a table of this size, several times.
    Change {
        /// The table.
        shape: Shape,
        /// From the change to the end of the pass.
        times: Vec<Duration>,
    },
    /// Memory at rest.
    Memory {
        /// Whose.
        subject: Subject,
        /// With what.
        shape: Shape,
        /// How much.
        memory: Memory,
        /// In how many processes.
        processes: usize,
    },
    /// Processor time of the agent at rest.
    Idle {
        /// With what.
        shape: Shape,
        /// How much.
        used: Duration,
        /// In which time.
        window: Duration,
    },
    /// Writes that a restart over a full table made.
    Restart {
        /// The table.
        shape: Shape,
        /// How many.
        writes: u32,
    },
}

/// What the guest tells while it measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// What it is about to do.
    Doing(String),
    /// What it has found.
    Found(Record),
}
