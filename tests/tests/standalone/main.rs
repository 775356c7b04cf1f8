//! `lvs-controller --manifests` on the real kernel: objects from a directory, the tutorial's network, `ipvsadm` as the
//! witness. Every test plants foreign services and addresses beside its own and compares them in the end.

// clippy.toml lets tests unwrap, which covers the test functions and not what they call.
#![allow(clippy::unwrap_used)]

mod commands;
mod crash;
mod director;
mod drift;
mod edits;
mod failures;
mod foreign;
mod health;
mod metrics;
mod overload;
mod restart;
mod serving;
mod settings;
mod storm;
mod truth;
mod vip;

/// The tutorial's objects, as a newcomer gets them.
const TUTORIAL: &str = include_str!("../../../deploy/examples/tutorial/virtualservice.yaml");

/// The same without health checks: all of it is in force at once, and every write can be counted.
fn unchecked() -> String {
    TUTORIAL.replacen("  scheduler: wrr\n", "  scheduler: wrr\n  healthCheck: {none: {}}\n", 1)
}
