//! `cargo lab up`, and the keeper that it starts.

use std::fmt::Write as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use lvs_lab::apiserver::ApiServer;
use lvs_lab::cache::Cache;
use lvs_lab::packages::{self, Part};
use lvs_lab::progress::line;
use lvs_lab::standing::Standing;
use lvs_lab::topology::tutorial;

use super::guest_options::GuestOptions;

/// Start a lab to play in: the tutorial's network with a Director, a router, two real servers and two clients, and an
/// API server that knows the project's kinds.
///
/// It stays until `cargo lab down`. `cargo lab exec HOST CMD…` runs whatever you like on one of its hosts; `ipvsadm`,
/// `lvs-controller`, `kubectl`, `tcpdump` and `curl` are there. Nothing has been programmed yet: that is up to you.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Without an API server: objects come from files (`lvs-controller run --manifests DIR`).
    #[arg(long)]
    standalone: bool,
    #[command(flatten)]
    guest: GuestOptions,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    packages::require(if args.standalone { &[Part::Guest] } else { &[Part::Guest, Part::Apiserver] })?;
    // In a session of its own, so that it outlives this terminal.
    let mut keeper = Command::new("setsid");
    keeper.arg(std::env::current_exe().context("cannot tell which program this is")?).arg("keep-up");
    keeper.args(args.standalone.then_some("--standalone")).args(args.guest.arguments());
    line(&Standing::new(Cache::open()?).up(keeper)?);
    Ok(ExitCode::SUCCESS)
}

/// The life of the keeper.
pub(crate) fn keep(args: &Args) -> Result<ExitCode> {
    Standing::new(Cache::open()?).keep(args.guest.options(), !args.standalone, welcome)?;
    Ok(ExitCode::SUCCESS)
}

fn welcome(server: Option<&ApiServer>) -> String {
    let mut text = format!("\n{}\n\nA Director by hand:\n", tutorial::PICTURE);
    let exec = "  cargo lab exec";
    let vip = tutorial::VIP;
    let _ = writeln!(text, "{exec} director ip address add {vip}/32 dev eth0");
    let _ = writeln!(text, "{exec} director ipvsadm -A -t {vip}:80 -s rr");
    let _ = writeln!(text, "{exec} director ipvsadm -a -t {vip}:80 -r {} -g", tutorial::REAL_SERVERS[0]);
    let _ = writeln!(text, "{exec} client curl -s http://{vip}/");
    match server {
        None => {
            let _ = writeln!(text, "Or with the controller, objects from a folder of this machine:");
            let _ = writeln!(
                text,
                "{exec} director lvs-controller run --node-name director --manifests $PWD/deploy/examples/tutorial"
            );
        }
        Some(server) => {
            let kubeconfig = server.kubeconfig();
            let _ = writeln!(
                text,
                "Or with the controller, which runs until you press Ctrl-C, and objects from the API server:"
            );
            let _ = writeln!(
                text,
                "{exec} director lvs-controller run --node-name director --kubeconfig /root/.kube/config"
            );
            let _ = writeln!(text, "  export KUBECONFIG={}", kubeconfig.display());
            let _ = writeln!(
                text,
                "  {} apply -f deploy/examples/tutorial/virtualservice.yaml",
                server.kubectl_path().display()
            );
        }
    }
    text + "Stop: cargo lab down"
}
