//! A node: a guest of its own with the machine's containerd and the lab's kubelet.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::control_plane::ControlPlane;
use super::joining::{Sight, State};
use super::network::{GATEWAY, NodeName};
use crate::apiserver::KubeBinary;
use crate::cache::Cache;
use crate::guest::{Guest, Job, Nic, Options};

/// For one command in a node; they are short.
const COMMAND_LIMIT: Duration = Duration::from_mins(2);
/// Node, containers and images live in this much memory.
const MEMORY_MIB: u32 = 1280;
const INIT: &str = include_str!("../../guest/node.sh");

/// A running node; dropped, it is switched off.
pub struct Node {
    name: NodeName,
    guest: Guest,
}

/// What all nodes share. A guest sees what is there when it boots, so it must be complete.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// Kernel and initramfs are there.
    pub cache: &'a Cache,
    /// The Kubernetes programs.
    pub kube: &'a KubeBinary,
    /// Where the nodes' certificates and kubeconfigs are.
    pub credentials: &'a Path,
    /// A folder of image archives.
    pub images: &'a Path,
}

impl Node {
    /// Switches it on and waits until it takes commands. It joins the cluster by itself.
    pub fn boot(name: NodeName, setup: Setup<'_>) -> Result<Self> {
        let Setup { cache, kube, credentials, images } = setup;
        let path = |path: &Path| path.display().to_string();
        let options = Options {
            name: format!("node {name}"),
            memory_mib: MEMORY_MIB,
            cpus: 2,
            nic: Nic::Tap { device: name.tap(), mac: name.mac() },
            init: INIT,
            settings: vec![
                ("NODE", name.to_string()),
                ("ADDRESS", name.address().to_string()),
                ("GATEWAY", GATEWAY.to_string()),
                ("POD_CIDR", name.pods()),
                ("KUBE", path(kube.folder())),
                ("CREDENTIALS", path(credentials)),
                ("IMAGES", path(images)),
            ],
            ..Options::default()
        };
        Ok(Self { name, guest: Guest::boot(cache, &options)? })
    }

    /// Its name.
    pub fn name(&self) -> NodeName {
        self.name
    }

    /// How far it is on its way into the cluster; an error if its images could not be read.
    pub(super) fn look(&self, plane: &ControlPlane) -> Result<Sight> {
        let state = if let Some(how) = self.guest.ended() {
            State::Ended(format!("its guest has ended ({how})"))
        } else if self.said("kubelet.code").exists() {
            State::Ended(self.stage())
        } else if self.has_images()? && plane.is_ready(self.name) {
            State::Joined
        } else {
            State::Joining(self.stage())
        };
        Ok(Sight { node: self.name, state })
    }

    /// What it is doing while it starts.
    fn stage(&self) -> String {
        fs::read_to_string(self.said("stage"))
            .map_or_else(|_| "booted".into(), |stage| stage.trim().to_owned())
    }

    /// Whether its images are there; an error if they could not be read.
    fn has_images(&self) -> Result<bool> {
        let Ok(code) = fs::read_to_string(self.said("images.code")) else { return Ok(false) };
        let log = fs::read_to_string(self.said("images.log")).unwrap_or_default();
        ensure!(code.trim() == "0", "{} cannot import the images:\n{log}", self.name);
        Ok(true)
    }

    /// The ends of what its guest and it have logged while it joins.
    pub(super) fn last_words(&self) -> String {
        self.guest.last_words(&["share/containerd.log", "share/kubelet.log"])
    }

    /// Runs a shell command in the node, as root, and returns what it printed.
    pub fn run(&self, command: &str) -> Result<String> {
        self.guest.output(&Job::new(["sh", "-c", command]), COMMAND_LIMIT)
    }

    /// Where its logs are.
    pub fn folder(&self) -> &Path {
        self.guest.folder()
    }

    fn said(&self, name: &str) -> PathBuf {
        self.guest.folder().join("share").join(name)
    }
}
