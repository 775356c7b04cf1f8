//! Prometheus' own checker of metrics, `promtool`: a witness of what the agent serves.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::cache::{Cache, Inputs};
use crate::packages::{self, Download};
use crate::progress;

/// The package that has it. Installed it would run a server on this machine, so only the program is taken.
const PACKAGE: &str = "prometheus";

/// The one on the path, else Debian's: 19 MB are fetched, and the cache keeps the program (48 MB).
pub fn prepare(cache: &Cache) -> Result<PathBuf> {
    if let Some(program) = packages::find_program("promtool") {
        return Ok(program);
    }
    let mut package = Download::current(PACKAGE)?;
    if package.is_none() && rustix::process::geteuid().is_root() {
        packages::update_lists()?;
        package = Download::current(PACKAGE)?;
    }
    let package = package.with_context(|| {
        format!("apt offers no package {PACKAGE}: run `apt-get update` as root, or put promtool on the path")
    })?;
    let inputs = Inputs::new().text(&package.name).text(&package.version);
    let entry = cache.entry("promtool", &inputs, |folder| {
        let step = progress::step(format!("fetching promtool from {PACKAGE}"));
        let whole = folder.join("package");
        fs::create_dir(&whole)?;
        package.unpack(&step, &whole)?;
        fs::rename(whole.join("usr/bin/promtool"), folder.join("promtool"))
            .with_context(|| format!("there is no promtool in {PACKAGE} {}", package.version))?;
        fs::remove_dir_all(&whole)?;
        step.done();
        Ok(())
    })?;
    Ok(entry.join("promtool"))
}
