//! The lab's own fixtures, before anybody relies on them: what a hand-made table does in them is what direct routing is.

// clippy.toml lets tests unwrap, which covers the test functions and not what they call.
#![allow(clippy::unwrap_used)]

mod bench;
mod foreign;
mod management;
mod one_arm;
mod tutorial;

use lvs_lab::load::{self, Load, Report};
use lvs_lab::topology::Host;

/// Asks from a host, one request at a time and a long time for each.
fn ask(host: &Host, url: &str, count: u32) -> Report {
    let load =
        Load { target: url.parse().unwrap(), rate: 20.0, count, timeout: std::time::Duration::from_secs(20) };
    host.within(|| load::run(&load)).unwrap().unwrap()
}

fn counts<const N: usize>(counts: [(&str, u32); N]) -> std::collections::BTreeMap<String, u32> {
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}
