//! The agent's image, built as `deploy/Containerfile` says, by buildah: no daemon, no registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::controller::checkout;
use crate::packages;
use crate::progress::{self, Step};

/// Where the chart expects the image by default.
pub const REPOSITORY: &str = "localhost/lvs-operator";
/// The image of a pod's outer container; `node.sh` names it too.
const PAUSE: &str = "localhost/pause:lab";

/// The agent's version, which is the chart's.
pub fn tag() -> String {
    format!("{REPOSITORY}:{}", env!("CARGO_PKG_VERSION"))
}

/// Builds the static binary and says where it is.
///
/// Linked against glibc's archives, so that it runs where there is no libc at all; the target is named because the
/// flag must not reach build scripts and procedural macros.
pub fn build_binary() -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let step = progress::step("building the static controller");
    let output = step.run(
        Command::new("cargo")
            .args(["build", "--release", "--locked", "--package", "lvs-controller", "--target", &target])
            .args(["--message-format", "json-render-diagnostics"])
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .current_dir(checkout()),
    )?;
    let binary = executable(&output).context("cargo built lvs-controller and does not say where")?;
    step.done();
    Ok(binary)
}

/// The executable that cargo's messages name.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// Builds the agent's image into the archive `lvs-operator.tar` in `folder`.
pub fn build_agent(binary: &Path, folder: &Path) -> Result<PathBuf> {
    let step = progress::step("building the image from deploy/Containerfile");
    let archive = folder.join("lvs-operator.tar");
    let context = binary.parent().context("the binary lies in a folder")?;
    let store = Store::new(folder)?;
    store.build(&step, &tag(), &checkout().join("deploy/Containerfile"), context, &archive)?;
    store.remove()?;
    step.done();
    Ok(archive)
}

/// Builds the image of a pod's outer container into `folder`. All it does is to be there.
pub fn build_pause(folder: &Path) -> Result<()> {
    let step = progress::step("building the pods' outer image");
    let context = folder.join("pause");
    fs::create_dir_all(&context).context("a folder for the pause image")?;
    let busybox = packages::program("busybox", "busybox-static")?;
    fs::copy(busybox, context.join("busybox")).context("copying busybox")?;
    let containerfile = context.join("Containerfile");
    let text = "FROM scratch\nCOPY busybox /\nENTRYPOINT [\"/busybox\", \"sleep\", \"2147483647\"]\n";
    fs::write(&containerfile, text).context("writing the pause image's Containerfile")?;
    let store = Store::new(folder)?;
    store.build(&step, PAUSE, &containerfile, &context, &folder.join("pause.tar"))?;
    store.remove()?;
    fs::remove_dir_all(&context).context("removing the pause image's folder")?;
    step.done();
    Ok(())
}

/// Buildah's storage, apart from the machine's own.
struct Store(PathBuf);

impl Store {
    fn new(folder: &Path) -> Result<Self> {
        let path = folder.join("buildah");
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }

    fn buildah(&self) -> Command {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.0.join("root")).arg("--runroot").arg(self.0.join("run"));
        // Plain folders: overlays need kernel support that a container may not have.
        command.args(["--storage-driver", "vfs"]);
        command
    }

    fn build(
        &self,
        step: &Step,
        tag: &str,
        containerfile: &Path,
        context: &Path,
        archive: &Path,
    ) -> Result<()> {
        let mut build = self.buildah();
        // Nothing is run in the image, so the weakest isolation will do. The fixed time makes the same binary the
        // same image.
        build.args(["build", "--isolation", "chroot", "--timestamp", "0", "--tag", tag, "--file"]);
        step.run(build.arg(containerfile).arg(context))?;
        let mut push = self.buildah();
        push.args(["push", "--quiet", tag]);
        step.run(push.arg(format!("docker-archive:{}:{tag}", archive.display())))?;
        let size = fs::metadata(archive).map(|archive| archive.len()).unwrap_or_default();
        ensure!(size > 0, "buildah wrote no {}", archive.display());
        Ok(())
    }

    fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.0).with_context(|| format!("removing {}", self.0.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/release/lvs-controller\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/release/lvs-controller")));
        assert_eq!(executable("{\"reason\":\"build-finished\",\"success\":false}\n"), None);
    }
}
