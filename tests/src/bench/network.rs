//! A network for one measurement: a Director with one link, and the other end of its cable.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};

use super::shape::DIRECTOR;
use crate::topology::{Host, ManagementAddress};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Two fresh network namespaces. Dropped, they go.
pub(super) struct Network {
    /// Who is measured runs here.
    pub(super) director: Host,
    /// The other end.
    pub(super) wire: Host,
    management: Option<ManagementAddress>,
}

impl Network {
    /// Makes it, with an empty table.
    pub(super) fn new() -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (name, wire) = (format!("bench{number}"), format!("bench{number}-wire"));
        for namespace in [&name, &wire] {
            ip(&["netns", "add", namespace])?;
        }
        let (director, wire) = (Host::new("director", name), Host::new("the wire", wire));
        let network = Self { director, wire, management: None };
        let script = format!(
            "set -e; ip link set lo up; ip link add eth0 type veth peer name eth0 netns {wire}; \
             ip -n {wire} link set eth0 up; ip link set eth0 up; ip address add {DIRECTOR} dev eth0",
            wire = network.wire.namespace()
        );
        network.director.exec(&script)?;
        Ok(network)
    }

    /// One whose Director reaches the loopback of the guest's host too.
    pub(super) fn managed() -> Result<Self> {
        let mut network = Self::new()?;
        network.management = Some(ManagementAddress::give(&network.director)?);
        Ok(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The kernel takes a namespace down in the background, and a full table would disturb the next measurement.
        let _ = self.director.exec("ipvsadm --clear");
        if let Some(Err(error)) = self.management.take().map(ManagementAddress::take) {
            eprintln!("taking a network down: {error:#}");
        }
        for namespace in [self.director.namespace(), self.wire.namespace()] {
            if let Err(error) = ip(&["netns", "delete", namespace]) {
                eprintln!("taking a network down: {error:#}");
            }
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), said.trim_end());
    Ok(())
}
