//! `cargo lab bench`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lvs_lab::apiserver::{KubeBinary, Preparation, Programs, binary};
use lvs_lab::bench::checks;
use lvs_lab::bench::checks::record::{Part as CheckPart, Settings as CheckSettings};
use lvs_lab::bench::checks::scale::Scale;
use lvs_lab::bench::record::{Part, Settings};
use lvs_lab::bench::shape::Shape;
use lvs_lab::cache::Cache;
use lvs_lab::packages::{self, Part as LabPart};
use lvs_lab::{bench, progress};

use super::guest_options::GuestOptions;

/// Measure how fast and how small it is, beside others, in one guest. Without a name: list what can be measured.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(clap::Subcommand)]
enum Bench {
    Program(Program),
    Checks(Checks),
}

/// From objects to the kernel: speed, memory and rest of the agent, beside its peers.
///
/// programming  the time from objects in memory to the last rule in an empty table, beside the floor (an independent
///              sender of messages that were encoded before), `ipvsadm -R` and keepalived's start
/// change       the time that one changed weight takes, in small and large tables
/// agent        the agent at rest, from files: memory, processor time, and that a restart writes nothing
/// api          the agent's memory with objects from a real API server, which is built once, with Go
///
/// All in one guest, each measurement in fresh network namespaces, who is first rotates. Absolute figures are those of
/// this machine, without KVM an emulated one: only ratios travel. Each figure stands beside its goal, met or MISSED; the
/// exit code is 0 either way, and 1 if measuring failed.
///
///   cargo lab bench program                                          everything: half an hour or more without KVM
///   cargo lab bench program --part programming --sizes 1000x4 --rounds 3
///   cargo lab bench program --smoke                                  shows in a few minutes that it works
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
struct Program {
    /// How often each table is filled by each.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Tables to fill, as services and destinations of each [default: 1000x4,10000x4]
    #[arg(long, value_name = "SIZES", value_delimiter = ',')]
    sizes: Vec<Shape>,
    /// Objects at the API server, in the same way [default: 0x4,1000x10,10000x4]
    #[arg(long, value_name = "SIZES", value_delimiter = ',')]
    api_sizes: Vec<Shape>,
    /// Only this part; may be repeated.
    #[arg(long = "part", value_name = "PART", value_enum)]
    parts: Vec<Part>,
    /// Minutes that a peer may use for one size; the table says how many rounds that were [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600))]
    peer_minutes: Option<u64>,
    /// One round, small tables, short times at rest, nothing judged.
    #[arg(long)]
    smoke: bool,
    /// Where to write the tables [default: bench-program.md beside the lab's own program]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A static lvs-controller that is built already, with --driver.
    #[arg(long, value_name = "FILE", requires = "driver")]
    binary: Option<PathBuf>,
    /// Its example `driver` that is built already, with --binary.
    #[arg(long, value_name = "FILE", requires = "binary")]
    driver: Option<PathBuf>,
    #[command(flatten)]
    guest: GuestOptions,
}

/// Health checks: what they cost, how punctual and even they are, and what a server that flaps makes in the kernel.
///
/// rate      TCP checks of many real servers by the agent, by keepalived with `TCP_CHECK`, and by a bare loop that makes the
///           same connections, each with a new socket, and nothing else: processor time for each, memory, and the schedule as the servers saw it
/// sharing   real servers that serve ten services each: the agent checks them once, keepalived ten times
/// flapping  all real servers fail or return every second, and the kernel is asked what it was told to do
///
/// One measurement after the other in one guest, each in fresh network namespaces, who is first rotates. Without KVM a
/// check takes about a millisecond, so 10,000 a second cannot be made there: the tables say how many were. Each figure
/// stands beside its goal, met or MISSED; the exit code is 0 either way, and 1 if measuring failed.
///
///   cargo lab bench checks                                       everything: 50 minutes
///   cargo lab bench checks --part rate --sizes 1000@1 --rounds 1
///   cargo lab bench checks --smoke                               shows in two minutes that it works
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
struct Checks {
    /// How often everybody is measured at each size.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Real servers and the seconds between two checks of each [default: 1000@5,1000@1,10000@10,10000@1]
    #[arg(long, value_name = "SIZES", value_delimiter = ',')]
    sizes: Vec<Scale>,
    /// Only this part; may be repeated.
    #[arg(long = "part", value_name = "PART", value_enum)]
    parts: Vec<CheckPart>,
    /// One round, few real servers, short times, nothing judged.
    #[arg(long)]
    smoke: bool,
    /// Where to write the tables [default: bench-checks.md beside the lab's own program]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A static lvs-controller that is built already.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    #[command(flatten)]
    guest: GuestOptions,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.bench {
        Bench::Program(args) => run_program(args),
        Bench::Checks(args) => run_checks(args),
    }
}

fn run_checks(args: &Checks) -> Result<ExitCode> {
    packages::require(&[LabPart::Guest, LabPart::Bench])?;
    let controller = args.binary.clone().map_or_else(checks::build, Ok)?;
    let mut settings =
        if args.smoke { CheckSettings::smoke(controller) } else { CheckSettings::whole(controller) };
    if let Some(rounds) = args.rounds {
        settings.rounds = rounds;
    }
    if !args.sizes.is_empty() {
        settings.scales.clone_from(&args.sizes);
    }
    if !args.parts.is_empty() {
        settings.parts.clone_from(&args.parts);
    }
    let tables = checks::run(&settings, &args.guest.options())?;
    report(&tables, args.output.as_deref(), "checks")
}

/// Prints the tables and writes them to a file.
fn report(tables: &str, output: Option<&Path>, name: &str) -> Result<ExitCode> {
    progress::line(&format!("\n{tables}"));
    let file = output.map_or_else(|| bench::report_file(name), Path::to_owned);
    std::fs::write(&file, tables).with_context(|| format!("cannot write {}", file.display()))?;
    progress::line(&format!("Also in {}", file.display()));
    Ok(ExitCode::SUCCESS)
}

fn run_program(args: &Program) -> Result<ExitCode> {
    let parts = if args.parts.is_empty() { Part::ALL.to_vec() } else { args.parts.clone() };
    let kubernetes = prepare(&parts)?;
    let (driver, controller) = match (&args.driver, &args.binary) {
        (Some(driver), Some(binary)) => (driver.clone(), binary.clone()),
        _ => bench::build()?,
    };
    let mut settings =
        if args.smoke { Settings::smoke(driver, controller) } else { Settings::whole(driver, controller) };
    if let Some(rounds) = args.rounds {
        settings.rounds = rounds;
    }
    if !args.sizes.is_empty() {
        settings.sizes.clone_from(&args.sizes);
    }
    if !args.api_sizes.is_empty() {
        settings.api_sizes.clone_from(&args.api_sizes);
    }
    settings.parts = parts;
    if let Some(minutes) = args.peer_minutes {
        settings.peer_time = Duration::from_mins(minutes);
    }
    let tables = bench::run(&settings, &args.guest.options(), kubernetes)?;
    report(&tables, args.output.as_deref(), "program")
}

/// Sees to what these parts need, and begins to build the API server if one of them does.
fn prepare(parts: &[Part]) -> Result<Option<Preparation>> {
    let mut needs = vec![LabPart::Guest, LabPart::Bench];
    if !parts.contains(&Part::Api) {
        packages::require(&needs)?;
        return Ok(None);
    }
    if let Some(obstacle) = binary::obstacle() {
        bail!("{obstacle}\nNo API server is needed with --part programming --part change --part agent");
    }
    needs.push(LabPart::Apiserver);
    packages::require(&needs)?;
    Ok(Some(KubeBinary::prepare_in_background(&Cache::open()?, Programs::ApiServer)))
}
