//! Health: which check each destination has, what its results mean, and what is in force because of them.
//!
//! A spec's check is parsed (`policy`), meets a destination and becomes a probe (`probe`), which is due from
//! time to time (`schedule`). Its results become a verdict (`track`), and the verdicts of all destinations of
//! a service, with its policy, what the kernel holds by now (`standing`).

mod drain;
mod overload;
mod policy;
mod probe;
mod ramp;
mod schedule;
mod standing;
pub(crate) mod texts;
mod track;

pub use drain::{Drain, Stage};
pub use overload::Thresholds;
pub use policy::{Check, Policy, Subject};
pub use probe::{NeedsPort, Probe, Terms, probe};
pub use schedule::{Schedule, Turn};
pub use standing::{Counts, Declared, Destination, InForce, Standing, State, in_force};
pub use track::{Track, Verdict};
