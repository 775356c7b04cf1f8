//! `cargo lab demo`.

use std::process::ExitCode;

use anyhow::Result;
use lvs_lab::demo::{self, Acts};

use super::guest_options::GuestOptions;

/// Watch the classic LVS-DR tutorial happen, step by step, on a real kernel and through a real API server.
///
/// Act one: objects from a folder of files. Act two: the same through Kubernetes. Act three: installed by Helm into a
/// cluster. Every step checks what it shows. Exit code 1 if a check fails.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// End after act one: neither Go nor an API server is needed.
    #[arg(long)]
    standalone: bool,
    /// End after act two.
    #[arg(long, conflicts_with = "standalone")]
    no_cluster: bool,
    #[command(flatten)]
    guest: GuestOptions,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let acts = match (args.standalone, args.no_cluster) {
        (true, _) => Acts::Standalone,
        (_, true) => Acts::NoCluster,
        _ => Acts::All,
    };
    demo::play(acts, args.guest.options())?;
    Ok(ExitCode::SUCCESS)
}
