//! The API, as a real API server enforces and shows it.

// clippy.toml lets tests unwrap, which covers the test functions and not what they call.
#![allow(clippy::unwrap_used)]

mod definitions;
mod kubectl;
mod rules;
mod views;
