//! `cargo lab bench`: how fast and how small, beside others, in one boot of one guest.
//!
//! | module | holds |
//! |---|---|
//! | [`shape`] | how many rules, and which |
//! | [`record`] | what is to be measured, and what was |
//! | [`measure`] | the measurements, one after the other |
//! | `contender`, `agent` | who is measured |
//! | `stock` | an API server with the objects, on the host |
//! | `witness`, `process` | how the end is seen; memory and processor time |
//! | `netlink` | the floor: an independent sender of messages that were encoded before |
//! | [`statistics`], [`goal`], [`report`] | from figures to tables |

mod agent;
pub mod contender;
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
use crate::guest::{self, Guest, Job, Stream};
use crate::progress;
use record::{Event, Record, Settings, Subject};
use report::Report;
use stock::Stock;

/// A whole run takes half an hour on two processors without KVM.
const LIMIT: Duration = Duration::from_hours(4);

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
    let facts = facts(&guest, options, settings)?;
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
        measure_in(guest, &settings, records)?;
    }
    // Last, for an API server takes its part of the processors.
    if let Some(kubernetes) = kubernetes {
        for shape in &settings.api_sizes {
            let stock = Stock::new(kubernetes, *shape)?;
            measure_in(guest, &settings.of(stock.served()?), records)?;
            stock.check_statuses()?;
        }
    }
    Ok(())
}

fn measure_in(guest: &Guest, settings: &Settings, records: &mut Vec<Record>) -> Result<()> {
    let job = Job { input: serde_json::to_string(settings)?, ..Job::new(["lab", "guest-bench"]) };
    let mut follower = Follower::new();
    let code = guest.run(&job, LIMIT, |stream, bytes| follower.take(stream, bytes))?;
    let said = follower.end(code == 0, records);
    ensure!(code == 0, "measuring failed; the guest's files are in {}\n{said}", guest.folder().display());
    Ok(())
}

/// Which machine, kernel and peers.
fn facts(guest: &Guest, options: &guest::Options, settings: &Settings) -> Result<String> {
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
    if !settings.judged {
        text += "A smoke run: it shows that the bench works, and nothing about speed.\n";
    }
    Ok(text)
}

/// Reads what the guest tells, line by line, and shows what it is doing.
struct Follower {
    step: Option<progress::Step>,
    line: Vec<u8>,
    records: Vec<Record>,
    errors: Vec<u8>,
}

impl Follower {
    fn new() -> Self {
        Self {
            step: Some(progress::step("measuring")),
            line: Vec::new(),
            records: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn take(&mut self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Error {
            self.errors.extend_from_slice(bytes);
            return;
        }
        for byte in bytes {
            if *byte == b'\n' {
                self.read_line();
            } else {
                self.line.push(*byte);
            }
        }
    }

    fn read_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        match (serde_json::from_slice(&line), &self.step) {
            (Ok(Event::Doing(what)), Some(step)) => step.note(what),
            (Ok(Event::Doing(_)), None) => {}
            (Ok(Event::Found(record)), _) => {
                if let Some(words) = shown(&record) {
                    progress::line(&words);
                }
                self.records.push(record);
            }
            (Err(_), _) => self.errors.extend(line.into_iter().chain([b'\n'])),
        }
    }

    /// Adds what was found, and returns whatever else was said.
    fn end(mut self, is_well: bool, records: &mut Vec<Record>) -> String {
        if let Some(step) = self.step.take().filter(|_| is_well) {
            step.done();
        }
        records.append(&mut self.records);
        String::from_utf8_lossy(&self.errors).into_owned()
    }
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

/// Where the report is written by default: beside what cargo builds.
pub fn report_file() -> PathBuf {
    let lab = std::env::current_exe().unwrap_or_default();
    lab.parent().unwrap_or(Path::new(".")).join("bench-program.md")
}

/// The guest's side of [`run`].
pub fn in_guest() -> Result<()> {
    let settings: Settings = serde_json::from_reader(std::io::stdin()).context("no settings")?;
    measure::measure(&settings, &mut |event| {
        println!("{}", serde_json::to_string(&event)?);
        Ok(())
    })
}
