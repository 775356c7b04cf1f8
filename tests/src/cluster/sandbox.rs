//! Namespaces of their own for the cluster: network, mounts and processes.
//!
//! The lab starts itself again inside them. Inside, it is process 1: when it ends, however it ends, the kernel kills
//! everything it has started and takes the network away with it. So there is no teardown that could be forgotten,
//! no port of the machine is taken, and two clusters can run at once.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::apiserver::tethered;

/// A command in new namespaces, so `nice` to others. It dies with the thread that starts it.
pub fn command(nice: u8, program: &Path, arguments: &[&str]) -> Result<Command> {
    ensure!(rustix::process::geteuid().is_root(), "the cluster makes network namespaces: run it as root");
    let mut command = tethered("nice", "KILL");
    command.args(["-n", &nice.to_string(), "unshare"]);
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg("--").arg(program).args(arguments);
    Ok(command)
}

/// Inside: raises the limit of open files, and makes the place where `ip` keeps the names of network namespaces a
/// private one.
pub fn enter() -> Result<()> {
    ensure!(std::process::id() == 1, "not in a sandbox: this command is for the lab itself");
    std::fs::create_dir_all("/run/netns").context("making /run/netns")?;
    // QEMU's 9p servers hold a descriptor for each file that a node has open.
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).context("raising the open files")?;
    let mut mount = Command::new("mount");
    let status = mount.args(["-t", "tmpfs", "names", "/run/netns"]).status().context("cannot run mount")?;
    ensure!(status.success(), "cannot mount a private /run/netns");
    Ok(())
}
