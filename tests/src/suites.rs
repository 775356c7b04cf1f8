//! The project's test binaries: which there are, where each runs, and what came of it.
//!
//! A test that needs more than this machine's own kernel carries `#[ignore]` with the reason. Its target's name says what
//! it needs, so a plain `cargo test` skips it and the lab knows where to run it.

mod build;
mod outcome;
mod run;
mod stopwatch;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

pub use build::{Built, Scope, build};
pub use outcome::{Outcome, Tally};
pub use run::{Environment, Manner, run_doc_tests};

/// What the ignored tests of a target need. In a guest they run in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nothing: they run on this machine with its other tests.
    Host,
    /// An API server, reached from this machine.
    HostWithApiserver,
    /// Root and a kernel with IPVS that nothing has loaded yet: in a guest, before all others.
    FreshGuest,
    /// Root and a kernel with IPVS.
    Guest,
    /// Both.
    GuestWithApiserver,
    /// A browser on this machine, and a guest, which its tests start themselves.
    Browser,
    /// A cluster, which its tests start themselves.
    Cluster,
}

/// The targets whose ignored tests the lab runs, in any package of the workspace.
const PLACES: &[(&str, Place)] = &[
    ("unloaded", Place::FreshGuest),
    ("kernel", Place::Guest),
    ("standalone", Place::Guest),
    ("apiserver", Place::GuestWithApiserver),
    ("rules", Place::HostWithApiserver),
    ("page", Place::Browser),
    ("cluster", Place::Cluster),
];

impl Place {
    /// Whether it is in the guest.
    pub fn is_in_guest(self) -> bool {
        matches!(self, Self::FreshGuest | Self::Guest | Self::GuestWithApiserver)
    }

    /// Whether it needs a guest of `cargo lab test`'s kernel: it is in it, or its tests boot their own.
    pub fn needs_guest(self) -> bool {
        self.is_in_guest() || self == Self::Browser
    }

    /// Whether it needs an API server.
    pub fn needs_apiserver(self) -> bool {
        matches!(self, Self::HostWithApiserver | Self::GuestWithApiserver)
    }

    /// How long a suite may take before its first test begins, at most: those of the cluster may have to build its
    /// programs and the agent's image.
    fn preparation(self) -> Duration {
        Duration::from_mins(if self == Self::Cluster { 30 } else { 5 })
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::HostWithApiserver => "host, API server",
            Self::FreshGuest => "fresh guest",
            Self::Guest => "guest",
            Self::GuestWithApiserver => "guest, API server",
            Self::Browser => "browser, guest",
            Self::Cluster => "cluster",
        }
    }

    /// Where the ignored tests of this target run; `None` if they don't.
    pub fn of_target(target: &str) -> Option<Self> {
        PLACES.iter().find(|(name, _)| *name == target).map(|(_, place)| *place)
    }
}

/// A test binary.
#[derive(Clone, Debug)]
pub struct Suite {
    /// `PACKAGE` for the tests inside a library, else `PACKAGE/TARGET`.
    pub label: String,
    /// Its target's name.
    pub target: String,
    /// The binary.
    pub program: PathBuf,
    /// Its package's folder, where its tests expect to run.
    pub folder: PathBuf,
}

/// Tests of a suite that run in one place.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The binary.
    pub suite: Suite,
    /// Where they run.
    pub place: Place,
    /// Their names, in the order in which they run.
    pub tests: Vec<String>,
    /// What the binary is to be called with, so that it runs them.
    pub arguments: Vec<String>,
}

impl Suite {
    /// The tests that run in each of their places. A test is chosen if its full name, `PACKAGE/TARGET::TEST`, contains
    /// the filter.
    pub fn select(&self, filter: Option<&str>) -> anyhow::Result<Vec<Selection>> {
        // A filter on the suite's own name takes every test; else what follows the name, if any, filters by test.
        let filter = filter.filter(|filter| !self.label.contains(filter)).map(|filter| {
            filter
                .strip_prefix(self.label.as_str())
                .and_then(|rest| rest.strip_prefix("::"))
                .unwrap_or(filter)
        });
        let mut selections = Vec::new();
        let ignored = run::list(self, filter, true)?;
        let mut others = run::list(self, filter, false)?;
        others.retain(|name| !ignored.contains(name));
        let mut add = |place, tests: Vec<String>, only_ignored: bool| {
            let arguments =
                only_ignored.then_some("--ignored").into_iter().chain(filter).map(str::to_owned).collect();
            if !tests.is_empty() {
                selections.push(Selection { suite: self.clone(), place, tests, arguments });
            }
        };
        add(Place::Host, others, false);
        match Place::of_target(&self.target) {
            Some(place) => add(place, ignored, true),
            None => anyhow::ensure!(
                ignored.is_empty(),
                "{} has {} ignored tests and no place to run them: move them to a target with one of the names {}",
                self.label,
                ignored.len(),
                PLACES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
            ),
        }
        Ok(selections)
    }
}
