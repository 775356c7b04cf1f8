//! `cargo lab bench`: how fast and how small, beside others, in one boot of one guest.
//!
//! | module | holds |
//! |---|---|
//! | [`shape`] | how many rules, and which |
//! | [`record`] | what is to be measured, and what was |
//! | [`measure`] | the measurements, one after the other |
//! | `contender`, `agent` | who is measured |
//! | [`follow`] | how the guest tells of it |
//! | `stock` | an API server with the objects, on the host |
//! | `witness`, `process` | how the end is seen; memory and processor time |
//! | `netlink` | the floor: an independent sender of messages that were encoded before |
//! | [`statistics`], [`goal`], [`report`] | from figures to tables |
//! | [`checks`] | the same for health checks |

mod agent;
pub mod checks;
pub mod contender;
pub mod follow;
pub mod goal;
pub mod measure;
mod netlink;
mod network;
pub mod process;
pub mod record;
pub mod report;
pub mod shape;
pub mod statistics;
mod stock;
mod witness;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::apiserver::{KubeBinary, Preparation};
use crate::cache::Cache;
use crate::cluster::image;
use crate::controller::checkout;
use crate::guest::{self, Guest, Job};
use crate::progress;
use record::{Record, Settings, Subject};
use report::Report;
use stock::Stock;

/// A whole run takes half an hour on two processors without KVM.
const LIMIT: Duration = Duration::from_hours(4);
/// The guest's side of [`run`].
const COMMAND: &str = "guest-bench";

/// The programs that are measured: `controller/examples/driver.rs` and the agent, built for release, static.
pub fn build() -> Result<(PathBuf, PathBuf)> {
    let controller = image::build_binary()?;
    let step = progress::step("building the driver's example");
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    step.run(
        Command::new("cargo")
            .args(["build", "--release", "--locked", "--package", "lvs-controller", "--example", "driver"])
            .args(["--target", &target])
            // As the agent is built.
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .current_dir(checkout()),
    )?;
    step.done();
    let driver = controller.with_file_name("examples").join("driver");
    ensure!(driver.exists(), "cargo has built no {}", driver.display());
    Ok((driver, controller))
}

/// Measures in a guest of its own; the report as Markdown. Without `kubernetes` the part of the API server is left
/// out.
pub fn run(settings: &Settings, options: &guest::Options, kubernetes: Option<Preparation>) -> Result<String> {
    // Nothing is compiled while something is measured.
    let kubernetes = kubernetes.map(Preparation::wait).transpose()?;
    let guest = Guest::boot(&Cache::open()?, options)?;
    let facts = facts(&guest, options, settings.judged)?;
    let mut records = Vec::new();
    let measured = measure_all(settings, &guest, kubernetes.as_ref(), &mut records);
    let tables = Report { settings, records: &records }.markdown();
    if measured.is_err() {
        // What was measured before is not lost.
        progress::line(&tables);
    }
    measured?;
    guest.stop()?;
    Ok(format!("{facts}\n{tables}"))
}

fn measure_all(
    settings: &Settings,
    guest: &Guest,
    kubernetes: Option<&KubeBinary>,
    records: &mut Vec<Record>,
) -> Result<()> {
    if let Some(settings) = settings.without_apiserver() {
        follow::measure_in(guest, COMMAND, &settings, shown, records)?;
    }
    // Last, for an API server takes its part of the processors.
    if let Some(kubernetes) = kubernetes {
        for shape in &settings.api_sizes {
            let stock = Stock::new(kubernetes, *shape)?;
            follow::measure_in(guest, COMMAND, &settings.of(stock.served()?), shown, records)?;
            stock.check_statuses()?;
        }
    }
    Ok(())
}

/// Which machine, kernel and peers.
fn facts(guest: &Guest, options: &guest::Options, judged: bool) -> Result<String> {
    let ask = |command: &str| -> Result<String> {
        let output = guest.output(&Job::new(["sh", "-c", command]), Duration::from_mins(1))?;
        Ok(output.trim().to_owned())
    };
    let kernel = ask("uname -r")?;
    let keepalived = ask("keepalived --version 2>&1 | sed -n '1s/ *(.*//p'")?;
    let ipvsadm = ask("ipvsadm --version 2>&1 | sed -n '1s/ *(.*//p'")?;
    let processor = ask("sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1")?;
    let mut text = format!(
        "Guest: kernel {kernel}, {} processors ({processor}), {} MiB, its disk in memory. Host: {} processors.\n",
        options.cpus,
        options.memory_mib,
        std::thread::available_parallelism().map_or(0, usize::from),
    );
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(text, "lvs-operator {version} (release, static); Debian's {keepalived} and {ipvsadm}.");
    if !judged {
        text += "A smoke run: it shows that the bench works, and nothing about speed.\n";
    }
    Ok(text)
}

/// A figure of a table that takes long to fill, as soon as it is there.
fn shown(record: &Record) -> Option<String> {
    let (contender, shape, seconds, pass) = match record {
        Record::Programming { contender, shape, seconds, pass } => (contender, shape, seconds, pass),
        Record::Memory { subject: Subject::AgentFromApiServer, shape, memory, .. } => {
            let private = report::megabytes(memory.private);
            return Some(format!("  {shape}  {:22} {private:.1} MB", report::FROM_API_SERVER));
        }
        _ => return None,
    };
    let time = seconds.map_or("not in time".to_owned(), |seconds| format!("{seconds:.3} s"));
    let own = pass.map_or(String::new(), |pass| {
        format!(" (ingest {:.3} s, pass {:.3} s)", pass.ingest.as_secs_f64(), pass.pass.as_secs_f64())
    });
    Some(format!("  {shape}  {:22} {time}{own}", contender.name()))
}

/// Where the report of a bench is written by default: beside what cargo builds.
pub fn report_file(name: &str) -> PathBuf {
    let lab = std::env::current_exe().unwrap_or_default();
    lab.parent().unwrap_or(Path::new(".")).join(format!("bench-{name}.md"))
}

/// The guest's side of [`run`].
pub fn in_guest() -> Result<()> {
    let settings: Settings = serde_json::from_reader(std::io::stdin()).context("no settings")?;
    measure::measure(&settings, &mut |event| follow::tell(&event))
}
