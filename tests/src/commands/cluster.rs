//! `cargo lab cluster`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use lvs_lab::{cluster, guest, progress};

/// The operator in a real cluster: two nodes with kubelet and containerd, the image, the Helm chart, requests through
/// the VIP, an upgrade, an uninstall. Needs root.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A static lvs-controller that is built already.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// For the lab itself: play on inside the namespaces that it has made.
    #[arg(long, hide = true, value_name = "FOLDER")]
    inside: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let lab = guest::this_program()?;
    if let Some(folder) = &args.inside {
        cluster::inside(&lab, folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = cluster::Prepared::new(args.binary.as_deref())?.play(&lab)?;
    progress::line("");
    for step in &report.passed {
        progress::line(&format!("✓ {} ({:.0} s)", step.title, step.seconds));
    }
    if let Some(step) = report.failed {
        progress::line(&format!("✗ {step}"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
