//! QEMU's command line, and whether KVM works here.

use std::fs::{self, OpenOptions};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::image::Image;
use crate::cache::{Cache, Inputs};
use crate::{packages, progress};

/// A boot with KVM takes a second or two.
const PROBE_LIMIT: Duration = Duration::from_secs(30);
/// What the initramfs says when it was booted with `lab.probe`.
const PROBE_PASSED: &str = "lab-probe-passed";
/// The 9p server holds a descriptor for each file that the guest has open, and then some.
const OPEN_FILES: u64 = 65_536;

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU's translator: 10 to 20 times slower.
    Tcg,
}

impl Accelerator {
    /// KVM if a guest boots with it. That `/dev/kvm` exists proves little: inside many clouds' machines it doesn't work.
    /// The answer is kept until kernel, processor or QEMU change.
    pub fn choose(cache: &Cache, image: &Image) -> Result<Self> {
        if OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
            return Ok(Self::Tcg);
        }
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find(|line| line.starts_with("model name")).unwrap_or_default();
        let inputs = Inputs::new()
            .text(model)
            .text(fs::read_to_string("/proc/version").unwrap_or_default())
            .text(image.initramfs())
            .text(version()?);
        let entry = cache.entry("accelerator", &inputs, |folder| {
            let step = progress::step("trying KVM");
            let works = kvm_boots(image, &folder.join("console"))?;
            fs::write(folder.join("answer"), if works { "kvm" } else { "tcg" })?;
            step.done();
            Ok(())
        })?;
        let answer = fs::read_to_string(entry.join("answer")).context("cannot read the answer about KVM")?;
        Ok(if answer == "kvm" { Self::Kvm } else { Self::Tcg })
    }
}

/// QEMU itself.
pub(super) fn program() -> Result<PathBuf> {
    packages::program("qemu-system-x86_64", "qemu-system-x86")
}

fn version() -> Result<String> {
    let output = Command::new(program()?).arg("--version").output().context("cannot run QEMU")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn kvm_boots(image: &Image, console: &Path) -> Result<bool> {
    let machine = Machine { accelerator: Accelerator::Kvm, cpus: 1, memory_mib: 256, console, image };
    let mut command = Command::new(program()?);
    command.args(machine.arguments(&["lab.probe"]));
    let mut qemu = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start QEMU")?;
    let end = Instant::now() + PROBE_LIMIT;
    while qemu.try_wait()?.is_none() {
        if Instant::now() > end {
            qemu.kill()?;
            qemu.wait()?;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(fs::read_to_string(console).unwrap_or_default().contains(PROBE_PASSED))
}

/// What a guest is connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Nic {
    /// The host's loopback, at 10.0.2.2, and nothing else.
    #[default]
    HostLoopback,
    /// The same the other way round, too: who connects to this port of the host's loopback reaches `to`, an address in
    /// 10.0.2.0/24.
    BothLoopbacks {
        /// The port, which is free.
        port: u16,
        /// An address of the guest or of one of its hosts, with a port.
        to: SocketAddrV4,
    },
    /// A tap device of the host, in the network namespace of the process that boots the guest.
    Tap {
        /// The device, which exists.
        device: String,
        /// The guest's hardware address: guests that are joined need different ones.
        mac: String,
    },
}

/// A machine without disks or screen.
pub(super) struct Machine<'a> {
    pub(super) accelerator: Accelerator,
    pub(super) cpus: u32,
    pub(super) memory_mib: u32,
    /// Where the kernel's messages go.
    pub(super) console: &'a Path,
    pub(super) image: &'a Image,
}

impl Machine<'_> {
    fn arguments(&self, kernel_parameters: &[&str]) -> Vec<String> {
        let (accelerator, cpu) = match self.accelerator {
            Accelerator::Kvm => ("kvm", "host"),
            // Five-level page tables, which `la57` switches on, only make the translator slower.
            Accelerator::Tcg => ("tcg,thread=multi", "max,-la57"),
        };
        // panic=-1: a panic restarts at once, and -no-reboot makes that the end of QEMU.
        let append = format!(
            "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr random.trust_cpu=on tsc=reliable no_timer_check \
             net.ifnames=0 {}",
            kernel_parameters.join(" ")
        );
        let pairs = [
            ("-accel", accelerator.to_owned()),
            ("-cpu", cpu.to_owned()),
            ("-machine", "q35".to_owned()),
            ("-smp", self.cpus.to_string()),
            ("-m", self.memory_mib.to_string()),
            ("-display", "none".to_owned()),
            ("-monitor", "none".to_owned()),
            ("-chardev", format!("file,id=console,path={}", option_value(self.console))),
            ("-serial", "chardev:console".to_owned()),
            ("-kernel", self.image.kernel().display().to_string()),
            ("-initrd", self.image.initramfs().display().to_string()),
            ("-append", append),
        ];
        let flags = ["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned);
        flags
            .into_iter()
            .chain(pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]))
            .collect()
    }

    /// QEMU's arguments for a guest that sees the host's files, has `share` in common with the host, and has this NIC.
    pub(super) fn guest_arguments(&self, share: &Path, nic: &Nic) -> Vec<String> {
        let mut arguments = self.arguments(&[]);
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        for (id, path, more) in [("root", Path::new("/"), ",readonly=on"), ("share", share, "")] {
            let path = option_value(path);
            add("-fsdev", format!("local,id={id},security_model=none,multidevs=remap{more},path={path}"));
            add("-device", format!("virtio-9p-pci,fsdev={id},mount_tag={id}"));
        }
        add("-device", "virtio-rng-pci".to_owned());
        let (netdev, mac) = match nic {
            Nic::HostLoopback => ("user,id=nic,ipv6=off".to_owned(), String::new()),
            Nic::BothLoopbacks { port, to } => {
                (format!("user,id=nic,ipv6=off,hostfwd=tcp:127.0.0.1:{port}-{to}"), String::new())
            }
            Nic::Tap { device, mac } => {
                (format!("tap,id=nic,ifname={device},script=no,downscript=no"), format!(",mac={mac}"))
            }
        };
        add("-netdev", netdev);
        // Without its ROM for booting from the network, which Debian packages apart.
        add("-device", format!("virtio-net-pci,netdev=nic,romfile={mac}"));
        arguments
    }
}

/// A path within an option: QEMU separates options by commas and takes a doubled one as a comma.
fn option_value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// Lets this process and QEMU open as many files as a guest may have open.
pub(super) fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        // With fewer, a guest with many open files fails later and says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_reaches_qemu_as_one() {
        assert_eq!(option_value(Path::new("/a,b")), "/a,,b");
    }
}
