//! `cargo lab exec`.

use std::io::Read as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lvs_lab::cache::Cache;
use lvs_lab::guest::{Interrupts, Job};
use lvs_lab::standing::Standing;
use tokio::signal::unix::{SignalKind, signal};

/// Run a command on a host of the lab that `up` has started, as root, and give back its exit code.
///
/// Hosts: director, router, rs1, rs2, client, far-client, switch; `guest` is the machine they all live in.
/// Examples:
///   cargo lab exec director ipvsadm -Ln
///   cargo lab exec client curl -s http://172.16.21.10/
///   cargo lab exec router tcpdump -ni eth0 -c 10 arp
#[derive(clap::Args)]
#[allow(rustdoc::bare_urls, clippy::doc_markdown, reason = "this is the command's help, printed as it is")]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Pass this command's standard input on, up to its end.
    #[arg(short = 'i', long)]
    stdin: bool,
    /// The host.
    host: String,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Long enough for whatever a person watches.
const LIMIT: Duration = Duration::from_hours(24);

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let guest =
        Standing::new(Cache::open()?).guest()?.context("no lab is up: start one with `cargo lab up`")?;
    let mut job = match args.host.as_str() {
        "guest" => Job::new(&args.command),
        host => Job::new(
            ["ip", "netns", "exec", host].iter().map(ToString::to_string).chain(args.command.clone()),
        ),
    };
    if args.stdin {
        std::io::stdin().read_to_string(&mut job.input).context("cannot read standard input")?;
    }
    let interrupts = Arc::new(Interrupts::default());
    interrupt_on_signals(Arc::clone(&interrupts))?;
    Ok(super::exit_code(guest.run_until(&job, LIMIT, &interrupts, super::copy)?))
}

/// Ctrl-C is for the command on the host; so is the end of this terminal or of this command.
fn interrupt_on_signals(interrupts: Arc<Interrupts>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut streams = runtime.block_on(async {
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
            .into_iter()
            .map(signal)
            .collect::<std::io::Result<Vec<_>>>()
    })?;
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                let [interrupt, terminate, hangup] = streams.as_mut_slice() else { return };
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                interrupts.interrupt();
            }
        });
    });
    Ok(())
}
