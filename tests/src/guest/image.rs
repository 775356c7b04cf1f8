//! The guest's kernel, as Debian ships it, and the initramfs that leads from it to the host's root.

use std::fmt;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::archive::Archive;
use crate::cache::{Cache, Inputs};
use crate::packages::{self, Download, ask_apt};
use crate::progress;

/// Modules that the initramfs loads; Debian's kernel has none of them built in.
const MODULES: [&str; 6] = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_net", "virtio_rng"];
const INIT: &str = include_str!("../../guest/initramfs.sh");
/// Raise it when the way an entry is made changes without a change of its inputs.
const RECIPE: &str = "1";

/// Which of Debian 12's kernels the guest runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Kernel {
    /// Debian 12's own.
    #[default]
    #[value(name = "6.1")]
    V6_1,
    /// The newer one of Debian 12's security suite.
    #[value(name = "6.12")]
    V6_12,
}

impl Kernel {
    /// The package that depends on the current one.
    fn meta_package(self) -> &'static str {
        match self {
            Self::V6_1 => "linux-image-amd64",
            Self::V6_12 => "linux-image-6.12-amd64",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        })
    }
}

/// A kernel that is ready to boot.
#[derive(Clone, Debug)]
pub struct Image {
    /// The package's files.
    root: PathBuf,
    kernel: PathBuf,
    initramfs: PathBuf,
    release: String,
}

impl Image {
    /// Finds or makes one. The first time it downloads about 70 MB.
    pub fn prepare(cache: &Cache, kernel: Kernel) -> Result<Self> {
        let package = current_package(kernel)?;
        let inputs = Inputs::new().text(RECIPE).text(&package.name).text(&package.version);
        let folder =
            cache.entry(&format!("kernel-{kernel}"), &inputs, |folder| fetch_kernel(&package, folder))?;
        let release = only_name_in(&folder.join("lib/modules"))?;
        let kernel_file = folder.join(format!("boot/vmlinuz-{release}"));
        let busybox = packages::program("busybox", "busybox-static")?;
        let inputs = inputs.text(INIT).file(&busybox)?;
        let initramfs = cache.entry(&format!("initramfs-{kernel}"), &inputs, |entry| {
            let out = File::create(entry.join("initramfs")).context("cannot create the initramfs")?;
            write_initramfs(&folder, &release, &busybox, out)
        })?;
        Ok(Self { root: folder, kernel: kernel_file, initramfs: initramfs.join("initramfs"), release })
    }

    /// The kernel itself.
    pub fn kernel(&self) -> &Path {
        &self.kernel
    }

    /// The archive to boot it with.
    pub fn initramfs(&self) -> &Path {
        &self.initramfs
    }

    /// What `uname -r` says in the guest.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// What belongs at `/lib/modules` in the guest.
    pub fn modules(&self) -> PathBuf {
        self.root.join("lib/modules")
    }
}

/// The package with this kernel in it.
fn current_package(kernel: Kernel) -> Result<Download> {
    let meta = kernel.meta_package();
    let mut depends = ask_apt(&["depends", meta])?;
    if image_package(&depends, kernel).is_none() && rustix::process::geteuid().is_root() {
        packages::update_lists()?;
        depends = ask_apt(&["depends", meta])?;
    }
    let Some(name) = image_package(&depends, kernel) else {
        bail!(
            "apt offers no kernel {kernel} ({meta}). Run `apt-get update` as root; on Debian 12 it comes from the \
             suites bookworm and bookworm-security"
        );
    };
    Download::current(&name)?.with_context(|| format!("apt knows no version of {name}"))
}

/// The image package in what `apt-cache depends` says of a meta package. Elsewhere than on Debian 12 the meta package
/// may lead to another kernel than the one asked for.
fn image_package(depends: &str, kernel: Kernel) -> Option<String> {
    let prefix = format!("linux-image-{kernel}.");
    let also = format!("linux-image-{kernel}+");
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(&prefix) || name.starts_with(&also))
        .map(str::to_owned)
}

fn fetch_kernel(package: &Download, folder: &Path) -> Result<()> {
    let step = progress::step(format!("fetching {}", package.name));
    package.unpack(&step, folder)?;
    let release = only_name_in(&folder.join("lib/modules"))?;
    step.run(
        Command::new(packages::program("depmod", "kmod")?).arg("--basedir").args([folder]).arg(release),
    )?;
    step.done();
    Ok(())
}

fn only_name_in(folder: &Path) -> Result<String> {
    let mut names = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name),
        _ => bail!("{} should hold one kernel's modules", folder.display()),
    }
}

fn write_initramfs(root: &Path, release: &str, busybox: &Path, out: File) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(out));
    for folder in ["bin", "dev", "host", "modules", "proc", "root", "sys", "upper"] {
        archive.folder(folder)?;
    }
    archive.file("bin/busybox", &fs::read(busybox)?)?;
    archive.file("init", INIT.as_bytes())?;
    let mut order: Vec<String> = Vec::new();
    for module in MODULES {
        for path in with_dependencies(root, release, module)? {
            let (name, content) = uncompressed(&path)?;
            if !order.contains(&name) {
                archive.file(&format!("modules/{name}"), &content)?;
                order.push(name);
            }
        }
    }
    archive.file("modules/order", order.join("\n").as_bytes())?;
    archive.finish().context("cannot write the initramfs")?;
    Ok(())
}

/// The files of a module and of those that it needs, which come first.
fn with_dependencies(root: &Path, release: &str, module: &str) -> Result<Vec<PathBuf>> {
    let output = Command::new(packages::program("modprobe", "kmod")?)
        .arg("--dirname")
        .arg(root)
        .args(["--set-version", release, "--show-depends", module])
        .output()
        .context("cannot run modprobe")?;
    ensure!(
        output.status.success(),
        "kernel {release} has no module {module}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(module_files(&String::from_utf8_lossy(&output.stdout)))
}

/// Lines are `insmod PATH OPTIONS` or `builtin NAME`.
fn module_files(listing: &str) -> Vec<PathBuf> {
    listing
        .lines()
        .filter_map(|line| line.strip_prefix("insmod ")?.split_whitespace().next().map(PathBuf::from))
        .collect()
}

/// A module's file name and content; busybox can't load compressed ones.
fn uncompressed(path: &Path) -> Result<(String, Vec<u8>)> {
    let name = path.file_name().and_then(|name| name.to_str()).context("a module without a name")?;
    for (suffix, program) in [(".xz", "xz"), (".zst", "zstd")] {
        if let Some(name) = name.strip_suffix(suffix) {
            let output = Command::new(program)
                .args(["--decompress", "--stdout"])
                .arg(path)
                .output()
                .with_context(|| format!("cannot run {program}"))?;
            ensure!(output.status.success(), "{program} can't unpack {}", path.display());
            return Ok((name.to_owned(), output.stdout));
        }
    }
    Ok((name.to_owned(), fs::read(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_package_leads_to_its_image_and_only_to_the_kernel_asked_for() {
        let debian_12 = "linux-image-amd64\n  Depends: linux-image-6.1.0-40-amd64\n  Suggests: linux-doc\n";
        let debian_13 = "linux-image-amd64\n  Depends: linux-image-6.12.48+deb13-amd64\n";
        let backport = "linux-image-6.12-amd64\n  Depends: linux-image-6.12.41+deb12-amd64\n";
        let name = |depends, kernel| image_package(depends, kernel);
        assert_eq!(name(debian_12, Kernel::V6_1).as_deref(), Some("linux-image-6.1.0-40-amd64"));
        assert_eq!(name(backport, Kernel::V6_12).as_deref(), Some("linux-image-6.12.41+deb12-amd64"));
        assert_eq!(name(debian_13, Kernel::V6_1), None);
        assert_eq!(name("", Kernel::V6_1), None);
    }

    #[test]
    fn built_in_modules_need_no_file() {
        let listing = "builtin crc32c\ninsmod /k/lib/modules/6.1/kernel/net/9p/9pnet.ko \n\
                       insmod /k/lib/modules/6.1/kernel/fs/9p/9p.ko.xz debug=0\n";
        let expected =
            ["/k/lib/modules/6.1/kernel/net/9p/9pnet.ko", "/k/lib/modules/6.1/kernel/fs/9p/9p.ko.xz"];
        assert_eq!(module_files(listing), expected.map(PathBuf::from));
    }
}
