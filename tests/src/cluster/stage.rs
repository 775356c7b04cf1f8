//! What act three is played with: kubectl and helm as the administrator types them, and a look into the nodes' kernels.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::Cluster;
use super::network::{NodeName, VIP};
use super::node::Node;
use crate::controller::checkout;
use crate::demo::narration::{shown, typed};
use crate::progress::line;

/// Where the operator is installed.
pub(super) const NAMESPACE: &str = "lvs-system";
/// What the chart calls the DaemonSet, its roles and its account.
pub(super) const DAEMON_SET: &str = "lvs-operator-director";
/// For everything that has to happen in the end: a machine that is compiling is five times slower than a calm one.
const PATIENCE: Duration = Duration::from_mins(4);
const HELM_PATIENCE: &str = "300s";

/// A cluster with its two nodes in their roles.
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) director: &'a Node,
    pub(super) second: &'a Node,
}

impl<'a> Stage<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        let [director, second] = &cluster.nodes;
        Self { cluster, director, second }
    }

    /// Runs kubectl, shows it and returns what it printed. Arguments are separated by single spaces.
    pub(super) fn kubectl(&self, arguments: &str) -> Result<String> {
        typed("admin", &format!("kubectl {arguments}"));
        let output = self.quietly(arguments)?;
        shown(&output);
        Ok(output)
    }

    /// Runs kubectl without showing it.
    pub(super) fn quietly(&self, arguments: &str) -> Result<String> {
        output(self.cluster.plane.kubectl().args(arguments.split(' ')))
    }

    /// Runs helm and shows it, all but how long it may take.
    pub(super) fn helm(&self, arguments: &str) -> Result<()> {
        typed("admin", &format!("helm {arguments}"));
        let mut helm = self.cluster.plane.helm();
        shown(&output(helm.args(arguments.split(' ')).args(["--timeout", HELM_PATIENCE]))?);
        Ok(())
    }

    /// The nodes that hold the VIP.
    pub(super) fn holders(&self) -> Result<Vec<NodeName>> {
        let mut holders = Vec::new();
        for node in [self.director, self.second] {
            if !node.run(&format!("ip -oneline address show to {VIP}"))?.trim().is_empty() {
                holders.push(node.name());
            }
        }
        Ok(holders)
    }

    /// The first Director's table, in an order of its own.
    pub(super) fn rules(&self) -> Result<String> {
        let rules = self.director.run("ipvsadm -Sn")?;
        let lines: BTreeSet<&str> = rules.lines().map(str::trim).collect();
        Ok(lines.into_iter().collect::<Vec<_>>().join("\n"))
    }

    /// Connections that the kernel has scheduled to each real server of the VIP.
    pub(super) fn connections(&self) -> Result<BTreeMap<String, u64>> {
        Ok(connections(&self.director.run("ipvsadm -Ln --stats --exact")?, &VIP.to_string()))
    }

    /// After a failure: what somebody would look at first.
    pub(super) fn say_what_is_going_on(&self) {
        for arguments in [
            format!("get pods --namespace {NAMESPACE} --output wide"),
            format!("describe pods --namespace {NAMESPACE}"),
            format!("logs --namespace {NAMESPACE} daemonset/{DAEMON_SET} --tail=40 --all-pods"),
            "get virtualservices.lvs-operator.dev,realservers.lvs-operator.dev --all-namespaces --output yaml".to_owned(),
            "get events.events.k8s.io --all-namespaces".to_owned(),
        ] {
            line(&format!("--- kubectl {arguments}"));
            // A node that hangs may be the failure.
            let asked = self.quietly(&format!("{arguments} --request-timeout=1m"));
            line(&asked.unwrap_or_else(|error| error.to_string()));
        }
        for node in [self.director, self.second] {
            line(&format!("--- {}", node.name()));
            line(
                &node
                    .run("ipvsadm -Ln --stats; ip address; ip neighbour")
                    .unwrap_or_else(|error| error.to_string()),
            );
        }
    }
}

/// Asks again and again until there is an answer.
pub(super) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("waited {} s for {what}", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// Runs a command from the checkout.
fn output(command: &mut Command) -> Result<String> {
    let output =
        command.current_dir(checkout()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The column `Conns` of the destinations of `vip` in what `ipvsadm -Ln --stats --exact` prints.
fn connections(stats: &str, vip: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let mut ours = false;
    for line in stats.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["TCP" | "UDP" | "SCTP", service, ..] => ours = service.starts_with(&format!("{vip}:")),
            ["->", server, count, ..] if ours => {
                if let Ok(count) = count.parse() {
                    counts.insert(server.to_owned(), count);
                }
            }
            _ => {}
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_of_the_vips_own_destinations_count() {
        let stats = "IP Virtual Server version 1.2.1 (size=4096)\n\
                     Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n  \
                       -> RemoteAddress:Port\n\
                     TCP  10.89.0.100:80                     20      120        0     8000        0\n  \
                       -> 10.89.0.21:80                      12       60        0     4000        0\n  \
                       -> 10.89.0.22:80                       8       60        0     4000        0\n\
                     TCP  203.0.113.9:443                     7        7        0        7        0\n  \
                       -> 10.89.0.1:443                       7        7        0        7        0\n";
        let expected = [("10.89.0.21:80".to_owned(), 12), ("10.89.0.22:80".to_owned(), 8)];
        assert_eq!(connections(stats, "10.89.0.100"), BTreeMap::from(expected));
    }
}
