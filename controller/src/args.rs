//! The command line. Every flag of `run` has an environment twin, so that a manifest can set it either way.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// LVS direct routing, declared in Kubernetes.
///
/// The agent runs on each Director node. It reads VirtualService and RealServer objects, from the API server or
/// from a directory, programs the kernel's IPVS table, holds the VIPs and says in the objects' status what is in
/// force.
#[derive(Debug, Parser)]
#[command(name = "lvs-controller", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  lvs-controller plan --node-name d1 --manifests ./objects    what would change, without changing it
  lvs-controller run  --node-name d1 --manifests ./objects    no API server: objects from files
  lvs-controller run  --node-name d1 --kubeconfig admin.conf  objects from an API server
  lvs-controller status                                       what the running agent says
  lvs-controller run  --node-name d1 --cleanup                remove what the agent made, and exit

Exit codes: 0 nothing to do or a clean stop, 1 failure, 2 findings or steps, 64 usage.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent: keep the kernel as declared until stopped. Rules stay in place after a stop.
    Run(Run),
    /// Print the steps that a run would take now, and change nothing. Exit code 0: nothing to do; 2: there are
    /// steps, or objects are wrong; 1: could not look.
    Plan(Plan),
    /// Print what the running agent says of each object. Exit code 0 whatever it says; /readyz tells ready from not.
    Status(Status),
}

/// Where objects come from and what belongs to this node.
#[derive(Clone, Debug, Args)]
pub struct Node {
    /// This Director's name: its Kubernetes node name, or any name of its own with --manifests. Without it: the
    /// host's name.
    #[arg(long, env = "NODE_NAME", value_name = "NAME", value_parser = node_name, default_value_t = host_name())]
    pub node_name: String,
    /// Read objects from the .yaml, .yml and .json files in this directory (not in folders below it) instead of an
    /// API server.
    #[arg(long, env = "LVS_MANIFESTS", value_name = "DIR", conflicts_with = "kubeconfig")]
    pub manifests: Option<PathBuf>,
    /// Read objects from the API server of this kubeconfig. Without it and --manifests: $KUBECONFIG, else the
    /// pod's service account.
    #[arg(long, env = "LVS_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where the ledger lives: it says which kernel entries are ours. Keep it across restarts.
    #[arg(long, env = "LVS_STATE_DIR", value_name = "DIR", default_value = "/var/lib/lvs-operator")]
    pub state_dir: PathBuf,
    /// The link that holds VIPs. Without it: the link whose connected route contains the VIP, else the link that
    /// leads to the real server with the lowest address.
    #[arg(long, env = "LVS_VIP_INTERFACE", value_name = "LINK")]
    pub vip_interface: Option<String>,
    /// How log lines look.
    #[arg(long, env = "LVS_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Node and source.
    #[command(flatten)]
    pub node: Node,
    /// Remove what ledger and address marks say is ours, print each step, and exit. Refuses while an agent runs.
    #[arg(long)]
    pub cleanup: bool,
    /// Where to serve the status page (/, /events), /healthz /readyz /metrics /status /debug/state.
    #[arg(long, env = "LVS_HTTP", value_name = "IP:PORT", default_value = "127.0.0.1:9472", value_parser = ip_and_port)]
    pub http: SocketAddr,
    /// Where to serve /metrics /healthz /readyz only, for scraping from outside.
    #[arg(long, env = "LVS_METRICS_HTTP", value_name = "IP:PORT", value_parser = ip_and_port)]
    pub metrics_http: Option<SocketAddr>,
    /// Seconds between looks at all addresses and at everything that failed, 1..3600. Rules are compared all the time.
    #[arg(long, env = "LVS_RESYNC_SECONDS", value_name = "N", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub resync_seconds: u64,
    /// The virtual router's number. Only 0, no failover, is accepted until failover exists.
    #[arg(long, env = "LVS_VRRP_ID", value_name = "N", default_value_t = 0,
          value_parser = no_virtual_router)]
    pub vrrp_id: u8,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// Node and source.
    #[command(flatten)]
    pub node: Node,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Where the agent serves.
    #[arg(long, env = "LVS_HTTP", value_name = "IP:PORT", default_value = "127.0.0.1:9472", value_parser = ip_and_port)]
    pub http: SocketAddr,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Log formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Output formats of `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// `/status` as it is.
    Json,
}

/// A DNS subdomain (RFC 1123), as Kubernetes names nodes: it becomes part of a Lease's name.
fn node_name(text: &str) -> Result<String, String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |label: &str| {
        label.len() <= 63
            && label.starts_with(word)
            && label.ends_with(word)
            && label.chars().all(|c| word(c) || c == '-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    Err("write a DNS name in lower case, such as d1; in a cluster the node's name".to_owned())
}

/// As the kubelet names nodes: the kernel's word, in lower case.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_lowercase()
}

fn ip_and_port(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write an IP address and a port, such as 127.0.0.1:9472 or [::1]:9472".to_owned())
}

fn no_virtual_router(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(0) => Ok(0),
        _ => Err("only 0, no failover, is accepted: failover does not exist yet".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_virtual_router_is_refused_until_failover_exists() {
        let with = |id| Cli::try_parse_from(["lvs-controller", "run", "--node-name", "d1", "--vrrp-id", id]);
        assert!(with("0").is_ok());
        assert!(with("1").is_err());
    }

    #[test]
    fn a_node_name_is_a_dns_name() {
        for good in ["d1", "node-1.example", "10"] {
            assert_eq!(node_name(good).as_deref(), Ok(good));
        }
        for bad in ["", "Bad Name", "-d1", "d1.", "a_b"] {
            assert!(node_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn files_and_an_api_server_exclude_each_other() {
        let both = ["lvs-controller", "run", "--node-name", "d1", "--manifests", "d", "--kubeconfig", "k"];
        assert!(Cli::try_parse_from(both).is_err());
    }
}
