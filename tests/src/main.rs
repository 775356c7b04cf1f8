//! `lab`: the commands of the lab. One file per command in `commands/`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod commands;

/// The lab of lvs-operator: a kernel with IPVS, an API server and the tests that need them.
///
/// Hosts are network namespaces inside a QEMU guest with Debian's own kernel. The guest sees this machine's
/// files read-only, so what was built here runs there; nothing it does reaches this machine's kernel.
#[derive(Parser)]
#[command(name = "lab", bin_name = "cargo lab", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cargo lab demo                the tutorial, step by step
  cargo lab doctor              what this machine lacks, and how to get it
  cargo lab test                every test of the project
  cargo lab test lvs-net        the tests whose full name contains lvs-net
  cargo lab cluster             the operator installed by Helm into two real nodes
  cargo lab bench program       how fast and how small it is, beside its peers
  cargo lab bench checks        what health checks cost, beside keepalived
  cargo lab up                  a lab to play in: Director, router, two real servers, two clients
  cargo lab exec rs1 ip address show dev lo
  cargo lab down

Built things are kept in $XDG_CACHE_HOME/lvs-operator (~/.cache/lvs-operator).";

#[derive(Subcommand)]
enum Command {
    Doctor(commands::doctor::Args),
    Demo(commands::demo::Args),
    Cluster(commands::cluster::Args),
    Bench(commands::bench::Args),
    Image(commands::image::Args),
    Test(commands::test::Args),
    Up(commands::up::Args),
    Exec(commands::exec::Args),
    Down(commands::down::Args),
    Run(commands::run::Args),
    #[command(hide = true)]
    KeepUp(commands::up::Args),
    #[command(flatten)]
    InGuest(commands::in_guest::InGuest),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Demo(args) => commands::demo::run(&args),
        Command::Cluster(args) => commands::cluster::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Image(args) => commands::image::run(&args),
        Command::Test(args) => commands::test::run(&args),
        Command::Up(args) => commands::up::run(&args),
        Command::Exec(args) => commands::exec::run(&args),
        Command::Down(args) => commands::down::run(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::KeepUp(args) => commands::up::keep(&args),
        Command::InGuest(command) => commands::in_guest::run(command),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            lvs_lab::progress::fail(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
