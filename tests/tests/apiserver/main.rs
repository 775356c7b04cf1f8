//! The controller with objects from a real API server, on a real kernel.
//!
//! All tests of this file share one API server and its two kinds, so they take turns: see [`stage::Stage`].

// clippy.toml lets tests unwrap, which covers the test functions and not what they call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agent;
mod kubectl;
mod line;
mod outage;
mod peers;
mod quiet;
mod stage;
mod stop;
mod tutorial;
