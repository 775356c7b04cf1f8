//! What the lab takes from Debian, and why.

mod download;

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cache::Cache;
use crate::guest::{Accelerator, Image, Kernel};
use crate::{apiserver, progress};
pub(crate) use download::{Download, ask_apt};

/// A part of the lab that brings needs of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The guest with IPVS: enough for the kernel tests, `up` and the demo's first act.
    Guest,
    /// The API server and kubectl.
    Apiserver,
    /// The agent's image.
    Image,
    /// Kubelets in guests of their own.
    Cluster,
    /// Peers to measure beside.
    Bench,
    /// A browser that looks at the status page.
    Browser,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 6] =
        [Self::Guest, Self::Apiserver, Self::Image, Self::Cluster, Self::Bench, Self::Browser];
}

/// A Debian package.
#[derive(Debug)]
pub struct Package {
    /// Its name in Debian 12.
    pub name: &'static str,
    /// Who needs it.
    pub part: Part,
    /// What for.
    pub why: &'static str,
}

const fn package(part: Part, name: &'static str, why: &'static str) -> Package {
    Package { name, part, why }
}

/// Every package the lab uses that a minimal Debian 12 may lack. Some come with others here and don't everywhere.
pub const PACKAGES: &[Package] = &[
    package(Part::Guest, "qemu-system-x86", "runs the guest"),
    package(Part::Guest, "seabios", "the guest's firmware"),
    package(Part::Guest, "busybox-static", "the guest's first programs, before the host's root is there"),
    package(Part::Guest, "kmod", "depmod and modprobe: which modules the guest's kernel needs"),
    package(Part::Guest, "xz-utils", "modules of some kernels are compressed with it"),
    package(Part::Guest, "ipvsadm", "shows the kernel's table: the witness of every IPVS test"),
    package(Part::Guest, "iproute2", "makes hosts and switches; the witness of address tests"),
    package(Part::Guest, "procps", "sysctl"),
    package(Part::Guest, "iputils-ping", "ping, for tests of ARP"),
    package(Part::Guest, "tcpdump", "the witness of what goes over a wire"),
    package(Part::Guest, "curl", "requests in the demo and by hand"),
    package(Part::Image, "buildah", "builds the controller's image without a daemon"),
    package(
        Part::Image,
        "golang-github-containers-common",
        "/etc/containers/policy.json, without which buildah ends",
    ),
    package(Part::Cluster, "iptables", "kube-proxy's rules in the cluster's guests"),
    package(Part::Cluster, "containerd", "runs the cluster's pods"),
    package(Part::Cluster, "runc", "starts their containers for containerd"),
    package(Part::Cluster, "containernetworking-plugins", "the cluster's pod network"),
    package(Part::Browser, "chromium", "shows the status page to its test"),
    package(Part::Browser, "fonts-dejavu-core", "the letters in its pictures"),
    package(Part::Bench, "keepalived", "measured beside the controller in `cargo lab bench`"),
];

/// Something that is missing and does not come from apt.
#[derive(Debug)]
pub struct Finding {
    /// What is missing and what to do.
    pub text: String,
    /// Whether the lab can't run without it.
    pub fatal: bool,
}

/// The packages of these parts that are not installed.
pub fn missing(parts: &[Part]) -> Vec<&'static Package> {
    let wanted: Vec<_> = PACKAGES.iter().filter(|package| parts.contains(&package.part)).collect();
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\\n"])
        .args(wanted.iter().map(|package| package.name))
        .output();
    // dpkg-query fails when one of the packages is unknown and still lists the others.
    let listing =
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    wanted.into_iter().filter(|package| !is_installed(&listing, package.name)).collect()
}

fn is_installed(listing: &str, name: &str) -> bool {
    listing.lines().any(|line| line.split_once(' ') == Some((name, "installed")))
}

/// What may go when packages are installed: `busybox`, which most machines have, and whose program
/// busybox-static brings.
const REPLACED: [&str; 1] = ["busybox"];

/// Installs packages with apt, as root, unless others would have to go for it. Lists are fetched only if
/// there are none or a package is not in them.
pub fn install(packages: &[&Package]) -> Result<()> {
    let names: Vec<_> = packages.iter().map(|package| package.name).collect();
    if names.is_empty() {
        return Ok(());
    }
    ensure!(
        rustix::process::geteuid().is_root(),
        "only root can install packages: run as root, or install by hand: apt-get install {}",
        names.join(" ")
    );
    if !apt_knows(&names) {
        update_lists()?;
    }
    let step = progress::step(format!("installing {}", names.join(" ")));
    if let Err(error) = apt_install(&step, &names) {
        // Old lists name versions that the mirror no longer has.
        if lists_age() < Some(Duration::from_hours(1)) {
            return Err(error);
        }
        step.note("trying again with fresh lists");
        update_lists()?;
        apt_install(&step, &names)?;
    }
    step.done();
    Ok(())
}

/// Makes sure that all packages of these parts are installed: as root they are installed, else the error says how.
pub fn require(parts: &[Part]) -> Result<()> {
    let missing = missing(parts);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    if !rustix::process::geteuid().is_root() {
        bail!("packages are missing. As root: apt-get install {}", names.join(" "));
    }
    if find_program("apt-get").is_none() {
        bail!("the lab needs these programs, named as Debian 12 names their packages: {}", names.join(" "));
    }
    install(&missing)
}

/// Fetches apt's package lists, as root.
pub fn update_lists() -> Result<()> {
    let step = progress::step("fetching apt's package lists");
    step.run(Command::new("apt-get").args(["--quiet", "update"]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    step.done();
    Ok(())
}

fn apt_install(step: &progress::Step, names: &[&str]) -> Result<()> {
    let simulation = step.run(&mut apt_get("--simulate", names))?;
    let leaving = removals(&simulation);
    if let Some(words) = objection(&leaving, names) {
        bail!(words);
    }
    // There is no option that lets only some go.
    let limit = if leaving.is_empty() { "--no-remove" } else { "--yes" };
    step.run(&mut apt_get(limit, names))?;
    Ok(())
}

fn apt_get(option: &str, names: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["--quiet", "--yes", "--no-install-recommends", option, "install"])
        .args(names)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The packages that go in what `apt-get --simulate` prints.
fn removals(simulation: &str) -> Vec<&str> {
    let packages = simulation.lines().filter_map(|line| line.strip_prefix("Remv ")?.split(' ').next());
    packages.collect()
}

/// What stands against installing `names` while these packages go, and what to do.
fn objection(leaving: &[&str], names: &[&str]) -> Option<String> {
    let lost: Vec<_> = leaving.iter().copied().filter(|package| !REPLACED.contains(package)).collect();
    (!lost.is_empty()).then(|| {
        format!(
            "apt would remove {} from this machine to install what the lab needs, so nothing was changed. \
             Use another machine or, if you can spare that: apt-get install --no-install-recommends {}",
            lost.join(" "),
            names.join(" ")
        )
    })
}

fn apt_knows(names: &[&str]) -> bool {
    let output = Command::new("apt-cache").args(["policy"]).args(names).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    candidates(&text) == names.len()
}

/// How many packages of an `apt-cache policy` listing can be installed.
fn candidates(policy: &str) -> usize {
    policy
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("Candidate: "))
        .filter(|version| *version != "(none)")
        .count()
}

fn lists_age() -> Option<Duration> {
    let fetched = std::fs::metadata("/var/lib/apt/lists/partial").ok()?.modified().ok()?;
    SystemTime::now().duration_since(fetched).ok()
}

/// What these parts need besides packages.
pub fn other_findings(parts: &[Part]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if parts.contains(&Part::Apiserver) || parts.contains(&Part::Cluster) {
        findings.extend(apiserver::binary::obstacle().map(|text| Finding { text, fatal: true }));
    }
    if parts.contains(&Part::Guest) || parts.contains(&Part::Cluster) {
        findings.extend(kvm_obstacle().map(|obstacle| Finding {
            text: format!("{obstacle}: guests are emulated, which works and is 10 to 20 times slower"),
            fatal: false,
        }));
    }
    if let Some(mib @ ..3500) = available_mib() {
        findings.push(Finding {
            text: format!(
                "{mib} MiB of memory are available: a guest takes up to 2048 MiB, a build about as much"
            ),
            fatal: false,
        });
    }
    findings
}

/// Why guests won't run with KVM. When `/dev/kvm` can be opened it takes a boot to tell, and the guest's kernel for that,
/// which is fetched if need be.
fn kvm_obstacle() -> Option<String> {
    match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Err(error) if error.kind() == ErrorKind::NotFound => return Some("there is no /dev/kvm".to_owned()),
        Err(error) => return Some(format!("/dev/kvm can't be opened ({error})")),
        Ok(_) if !missing(&[Part::Guest]).is_empty() => return None,
        Ok(_) => {}
    }
    let works = || {
        let cache = Cache::open()?;
        let image = Image::prepare(&cache, Kernel::default())?;
        anyhow::Ok(Accelerator::choose(&cache, &image)? == Accelerator::Kvm)
    };
    match works() {
        Ok(true) => None,
        Ok(false) => Some("/dev/kvm is there and a guest does not boot with it".to_owned()),
        Err(error) => Some(format!("/dev/kvm is there and could not be tried ({error:#})")),
    }
}

/// Memory that programs can have, in MiB.
pub fn available_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1024)
}

/// Where a program is. `/usr/sbin` and `/sbin` count, which are not in every user's `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// [`find_program`], or an error that says where it comes from.
pub fn program(name: &str, package: &str) -> Result<PathBuf> {
    find_program(name).with_context(|| format!("{name} is not installed: apt-get install {package}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_counts_only_when_it_is_fully_installed() {
        let listing = "ipvsadm installed\ncurl config-files\nqemu-system-x86-microvm installed\n";
        assert!(is_installed(listing, "ipvsadm"));
        assert!(!is_installed(listing, "curl"));
        assert!(!is_installed(listing, "qemu-system-x86"));
    }

    #[test]
    fn a_package_that_apt_knows_by_name_only_can_not_be_installed() {
        let policy = "ipvsadm:\n  Installed: (none)\n  Candidate: 1:1.31-1\n\
                      curl:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(candidates(policy), 1);
    }

    #[test]
    fn a_package_that_would_have_to_go_is_named_with_what_to_do_unless_it_is_replaced() {
        let simulation = "The following packages will be REMOVED:\n  busybox containerd.io\n\
                          Remv busybox [1:1.35.0-4+b3]\nRemv containerd.io [1.7.27-1] [docker-ce:amd64 ]\n\
                          Inst containerd (1.6.20~ds1-1+b1 Debian:12.15/oldstable [amd64])\n";
        let leaving = removals(simulation);
        assert_eq!(leaving, ["busybox", "containerd.io"]);
        let words = objection(&leaving, &["containerd", "runc"]).expect("Docker would go");
        assert!(
            words.contains("remove containerd.io from") && words.ends_with(" containerd runc"),
            "{words}"
        );
        assert_eq!(objection(&["busybox"], &["busybox-static"]), None);
        assert_eq!(objection(&[], &["containerd"]), None);
    }

    #[test]
    fn an_image_is_built_without_what_guests_and_pods_need() {
        let of_image = PACKAGES.iter().filter(|package| package.part == Part::Image);
        let names: Vec<_> = of_image.map(|package| package.name).collect();
        assert_eq!(names, ["buildah", "golang-github-containers-common"]);
    }

    #[test]
    fn every_package_is_listed_once_with_its_reason() {
        for (n, package) in PACKAGES.iter().enumerate() {
            assert!(!package.why.is_empty(), "{}", package.name);
            assert!(PACKAGES[..n].iter().all(|other| other.name != package.name), "{}", package.name);
        }
    }
}
