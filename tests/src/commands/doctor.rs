//! `cargo lab doctor`.

use std::process::ExitCode;

use anyhow::Result;
use lvs_lab::packages::{self, Part};
use lvs_lab::progress::line;

/// Say what this machine lacks for the lab, and how to get it. Exit code 2 if something is missing.
///
/// `test`, `up` and `demo` check the same before they start, and as root install what they need themselves.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install missing packages with apt (needs root).
    #[arg(long)]
    install: bool,
    /// Look only at what these parts of the lab need. Default: all.
    #[arg(long = "for", value_name = "PART", value_enum)]
    parts: Vec<Part>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let parts = if args.parts.is_empty() { Part::ALL.to_vec() } else { args.parts.clone() };
    let mut missing = packages::missing(&parts);
    if args.install {
        packages::install(&missing)?;
        missing = packages::missing(&parts);
    }
    for package in &missing {
        line(&format!("missing package  {:28} {}", package.name, package.why));
    }
    let findings = packages::other_findings(&parts);
    for finding in &findings {
        line(&format!(
            "{}  {}",
            if finding.fatal { "missing        " } else { "note           " },
            finding.text
        ));
    }
    if !missing.is_empty() {
        line("Install them with: cargo lab doctor --install");
    }
    if missing.is_empty() && findings.iter().all(|finding| !finding.fatal) {
        line("The lab has all it needs.");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(2))
}
