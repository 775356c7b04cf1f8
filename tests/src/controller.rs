//! The controller's program, which the lab knows by its path only.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::progress;

/// Builds the controller as this program was built, and returns where it is.
pub fn build() -> Result<PathBuf> {
    let step = progress::step("building the controller");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    step.run(
        Command::new(cargo)
            .args(["build", "--package", "lvs-controller", "--bin", "lvs-controller"])
            .current_dir(checkout()),
    )?;
    step.done();
    // Beside the lab itself: both are built into one folder.
    let lab = env::current_exe().context("cannot tell which program this is")?;
    let controller = lab.with_file_name("lvs-controller");
    ensure!(controller.exists(), "cargo has built no {}", controller.display());
    Ok(controller)
}

/// The folder of the project.
pub fn checkout() -> PathBuf {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    lab.parent().unwrap_or(lab).to_owned()
}
