//! Commands that run inside a guest, started by the lab or its tests. `--help` does not list them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use lvs_lab::bench::checks::{self, scale::Scale};
use lvs_lab::load::{self, Load, Target};
use lvs_lab::topology::Topology;
use lvs_lab::{bench, guest, web};

#[derive(clap::Subcommand)]
pub(crate) enum InGuest {
    /// Serve the host's jobs: the last thing that a guest starts.
    #[command(hide = true, name = "guest-agent")]
    Agent,
    /// Lay the tutorial's network, with namespaces named as its hosts are, and leave it.
    #[command(hide = true, name = "guest-topology")]
    Topology,
    /// Serve pages that name the server and the client's address.
    #[command(hide = true, name = "guest-web")]
    Web {
        /// The server's name.
        name: String,
        /// The port.
        #[arg(long, default_value_t = 80)]
        port: u16,
    },
    /// Measure what the settings on standard input say, and tell of it in lines of JSON.
    #[command(hide = true, name = "guest-bench")]
    Bench,
    /// The same of health checks.
    #[command(hide = true, name = "guest-bench-checks")]
    BenchChecks,
    /// Connect to the real servers of the bench of health checks, each once in an interval, until killed.
    #[command(hide = true, name = "guest-connects")]
    Connects {
        /// `SERVERS@SECONDS`.
        scale: Scale,
    },
    /// Ask a web server at a steady rate and print a report as JSON. Exit code 2 if a request failed.
    #[command(hide = true, name = "guest-client")]
    Client {
        /// Requests a second.
        #[arg(long, default_value_t = 20.0)]
        rate: f64,
        /// How many requests.
        #[arg(long, default_value_t = 20)]
        count: u32,
        /// How long one may take, in milliseconds.
        #[arg(long, default_value_t = 2000)]
        timeout_ms: u64,
        /// Start no more requests once this file exists.
        #[arg(long)]
        until: Option<PathBuf>,
        /// `http://ADDRESS[:PORT]/PATH`.
        url: Target,
    },
}

pub(crate) fn run(command: InGuest) -> Result<ExitCode> {
    match command {
        InGuest::Agent => guest::serve()?,
        InGuest::Topology => Topology::tutorial_to_stay()?,
        InGuest::Bench => bench::in_guest()?,
        InGuest::BenchChecks => checks::in_guest()?,
        InGuest::Connects { scale } => checks::bare::run(scale)?,
        InGuest::Web { name, port } => web::serve(&name, port)?,
        InGuest::Client { rate, count, timeout_ms, until, url } => {
            let load = Load { target: url, rate, count, timeout: Duration::from_millis(timeout_ms) };
            let report = load::run_until(&load, || until.as_ref().is_some_and(|file| file.exists()))?;
            println!("{}", serde_json::to_string(&report)?);
            return Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) });
        }
    }
    Ok(ExitCode::SUCCESS)
}
