//! `cargo lab bench checks`: what health checks cost, beside a bare loop and keepalived.
//!
//! | module | holds |
//! |---|---|
//! | [`scale`] | how many real servers, how often, for how many services |
//! | [`record`] | what is to be measured, and what was |
//! | [`measure`] | the measurements, one after the other |
//! | [`bare`] | a loop that makes the same connections and nothing else |
//! | `servers`, `arrivals` | the real servers, and what they saw |
//! | `probes` | what the kernel was asked to do |
//! | `goal`, [`report`] | from figures to tables |

mod arrivals;
pub mod bare;
mod goal;
pub mod measure;
mod probes;
pub mod record;
pub mod report;
pub mod scale;
mod servers;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{facts, follow};
use crate::cache::Cache;
use crate::cluster::image;
use crate::guest::{self, Guest};
use crate::progress;
use record::Settings;
use report::Report;

/// The program that is measured: the agent, built for release, static.
pub fn build() -> Result<PathBuf> {
    image::build_binary()
}

/// Measures in a guest of its own; the report as Markdown.
pub fn run(settings: &Settings, options: &guest::Options) -> Result<String> {
    let guest = Guest::boot(&Cache::open()?, options)?;
    let facts = facts(&guest, options, settings.judged)?;
    let mut records = Vec::new();
    let measured = follow::measure_in(&guest, "guest-bench-checks", settings, report::shown, &mut records);
    let tables = Report { settings, records: &records }.markdown();
    if measured.is_err() {
        // What was measured before is not lost.
        progress::line(&tables);
    }
    measured?;
    guest.stop()?;
    Ok(format!("{facts}\n{tables}"))
}

/// The guest's side of [`run`].
pub fn in_guest() -> Result<()> {
    let settings: Settings = serde_json::from_reader(std::io::stdin()).context("no settings")?;
    measure::measure(&settings, &mut |event| follow::tell(&event))
}
