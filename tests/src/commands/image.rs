//! `cargo lab image`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use lvs_lab::cluster::image;
use lvs_lab::controller::checkout;
use lvs_lab::packages::{self, Part};
use lvs_lab::progress::line;

/// Build the agent's image from `deploy/Containerfile` into an archive, with buildah: no daemon, no registry.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder for the archive.
    #[arg(long, value_name = "FOLDER", default_value = "target/image")]
    output: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    packages::require(&[Part::Image])?;
    let folder = checkout().join(&args.output);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let archive = image::build_agent(&image::build_binary()?, &folder)?;
    let (archive, tag) = (archive.display(), image::tag());
    line(&format!("{tag} is in {archive}. Into a node's containerd, or to a registry:"));
    line(&format!("  ctr --namespace k8s.io images import {archive}"));
    line(&format!(
        "  buildah pull docker-archive:{archive} && buildah push {tag} docker://REGISTRY/lvs-operator:{}",
        env!("CARGO_PKG_VERSION")
    ));
    Ok(ExitCode::SUCCESS)
}
