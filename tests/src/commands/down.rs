//! `cargo lab down`.

use std::process::ExitCode;

use anyhow::Result;
use lvs_lab::cache::Cache;
use lvs_lab::progress::line;
use lvs_lab::standing::Standing;

/// Stop the lab that `up` has started. Nothing of it is kept.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> Result<ExitCode> {
    if !Standing::new(Cache::open()?).down()? {
        line("No lab is up.");
    }
    Ok(ExitCode::SUCCESS)
}
