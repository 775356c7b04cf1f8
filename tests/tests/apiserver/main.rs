//! The controller with objects from a real API server, on a real kernel.
//!
//! The lab has started some API servers; each test takes one for itself: see [`stage::Stage`].

// clippy.toml lets tests unwrap, which covers the test functions and not what they call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agent;
mod director;
mod faults;
mod health;
mod kubectl;
mod line;
mod outage;
mod peers;
mod proxy;
mod quiet;
mod stage;
mod stop;
mod storm;
mod truth;
mod tutorial;
