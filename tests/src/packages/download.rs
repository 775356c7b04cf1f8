//! Packages of which the lab wants a file: they are fetched and unpacked, and nothing is installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{program, update_lists};
use crate::progress::Step;

/// A package in the version that apt would install.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Download {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Download {
    /// The current version of a package. None if apt knows no such package.
    pub(crate) fn current(name: &str) -> Result<Option<Self>> {
        let show = ask_apt(&["show", "--no-all-versions", name])?;
        let version = field(&show, "Version");
        Ok(version.map(|version| Self { name: name.to_owned(), version: version.to_owned() }))
    }

    /// Unpacks it into a folder, which is there and empty.
    pub(crate) fn unpack(&self, step: &Step, folder: &Path) -> Result<()> {
        self.fetch(step, folder)?;
        let archive = fs::read_dir(folder)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .context("apt-get downloaded no package")?;
        step.note("unpacking");
        step.run(Command::new("dpkg-deb").arg("--extract").args([&archive, folder]))?;
        fs::remove_file(&archive)?;
        Ok(())
    }

    fn fetch(&self, step: &Step, folder: &Path) -> Result<()> {
        let download = || {
            let mut command = Command::new("apt-get");
            command.args(["--quiet", "download"]).arg(format!("{}={}", self.name, self.version));
            step.run(command.current_dir(folder))
        };
        let Err(error) = download() else { return Ok(()) };
        // Mirrors drop a version some days after the next one: then the lists are too old.
        ensure!(
            rustix::process::geteuid().is_root(),
            error.context("run `apt-get update` as root if its lists are old")
        );
        update_lists()?;
        download().context(
            "apt's lists were too old for its mirror and have been fetched again: run this once more for the \
             new version",
        )?;
        Ok(())
    }
}

/// What `apt-cache` prints; nothing of packages that it does not know.
pub(crate) fn ask_apt(arguments: &[&str]) -> Result<String> {
    let output = Command::new(program("apt-cache", "apt")?)
        .args(arguments)
        .output()
        .context("cannot run apt-cache")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_apt_shows() {
        let show = "Package: linux-image-x\nVersion: 6.1.192-2\nInstalled-Size: 1\n";
        assert_eq!(field(show, "Version"), Some("6.1.192-2"));
        assert_eq!(field(show, "Versio"), None);
    }
}
