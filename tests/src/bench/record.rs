//! What is to be measured, and what was: what host and guest tell each other.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::contender::{Contender, Pass};
use super::goal;
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
    /// The agent's memory with objects from a real API server.
    Api,
}

impl Part {
    /// All, in the order in which they are measured.
    pub const ALL: [Self; 4] = [Self::Programming, Self::Change, Self::Agent, Self::Api];
}

/// An API server's objects, and the way to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// How many.
    pub shape: Shape,
    /// The agent's kubeconfig for guests: the text, for a guest need not see files that came after it.
    pub kubeconfig: String,
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
    /// Api: whose memory. Each has an API server of its own, which the host starts.
    pub api_sizes: Vec<Shape>,
    /// Api: what the guest is to measure. Without it, it leaves this part out.
    pub served: Option<Served>,
    /// Api: every status is written when none was for so long.
    pub calm: Duration,
    /// Agent, Api: how long the agent is at rest before its memory is read.
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
            parts: Part::ALL.to_vec(),
            contenders: Contender::ALL.to_vec(),
            rounds: 7,
            sizes: vec![shape(1000, 4), shape(10_000, 4)],
            peer_time: Duration::from_mins(5),
            change_sizes: vec![shape(10, 4), shape(1000, 4), shape(10_000, 4)],
            changes: 50,
            memory_sizes: vec![shape(0, 4), shape(1000, 4), shape(1000, 10), shape(10_000, 4)],
            standard: shape(1000, 4),
            api_sizes: goal::API_SERVER_MEMORY.map(|(shape, _)| shape).to_vec(),
            served: None,
            calm: Duration::from_secs(20),
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
            api_sizes: vec![shape(20, 4)],
            calm: Duration::from_secs(3),
            rest: Duration::from_secs(1),
            idle: Duration::from_secs(1),
            judged: false,
            ..Self::whole(driver, controller)
        }
    }

    /// What one run in the guest measures first: all that takes no API server. `None` if that is nothing.
    pub fn without_apiserver(&self) -> Option<Self> {
        let mut settings = self.clone();
        settings.parts.retain(|part| *part != Part::Api);
        (!settings.parts.is_empty()).then_some(settings)
    }

    /// What one run in the guest measures of one API server.
    #[must_use]
    pub fn of(&self, served: Served) -> Self {
        Self { parts: vec![Part::Api], served: Some(served), ..self.clone() }
    }
}

/// Whose memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// Ours, with objects from files.
    Agent,
    /// Ours, with objects from the API server.
    AgentFromApiServer,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_an_api_server_is_measured_apart_one_size_at_a_time() {
        let mut settings = Settings::whole("driver".into(), "controller".into());
        assert!(settings.served.is_none(), "it is not yet started");
        assert_eq!(settings.api_sizes.len(), goal::API_SERVER_MEMORY.len(), "each goal has its measurement");
        let first = settings.without_apiserver().unwrap();
        assert_eq!(first.parts, [Part::Programming, Part::Change, Part::Agent]);

        let shape = Shape { services: 1000, destinations: 10 };
        let served = Served { shape, kubeconfig: "clusters: []".into() };
        let then = settings.of(served.clone());
        assert_eq!((then.parts, then.served), (vec![Part::Api], Some(served)));

        settings.parts = vec![Part::Api];
        assert!(settings.without_apiserver().is_none());
    }
}
