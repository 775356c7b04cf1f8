//! `cargo lab run`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use lvs_lab::cache::Cache;
use lvs_lab::guest::{Guest, Job};
use lvs_lab::packages::{self, Part};

use super::guest_options::GuestOptions;

/// Boot a throw-away guest, run one command in it as root, and give back its exit code.
///
/// The command sees this machine's files at their own paths and may change them: the changes stay in the guest's memory.
/// Example: cargo lab run -- sh -c 'ipvsadm -A -t 10.0.0.1:80 -s wrr; ipvsadm -Ln'
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    guest: GuestOptions,
    /// Seconds after which the command is killed.
    #[arg(long, value_name = "N", default_value_t = 600)]
    limit: u64,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    packages::require(&[Part::Guest])?;
    let guest = Guest::boot(&Cache::open()?, &args.guest.options())?;
    let folder: Option<PathBuf> = std::env::current_dir().ok();
    let job = Job { folder, ..Job::new(&args.command) };
    let code = guest.run(&job, Duration::from_secs(args.limit), super::copy)?;
    guest.stop()?;
    Ok(super::exit_code(code))
}
