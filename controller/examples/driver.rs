//! The real driver over the real kernel, step by step, for `cargo lab bench`.
//!
//! `driver MANIFESTS STATE_DIR` reads the objects, says `ready`, and then does what its standard input says, one line
//! each, and answers with one line:
//!
//! | line | does | answer |
//! |---|---|---|
//! | `go` | takes the objects in and makes one pass | `passed STEPS FAILED INGEST_US PASS_US` |
//! | `settle` | makes passes until every VIP is bound | `settled STEPS` |
//! | `weight NAME N` | changes one `RealServer` and makes one pass | `changed STEPS INGEST_AND_PASS_US` |
//!
//! There is no window in which triggers pile up: the driver is called at once.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lvs_controller::args::LogFormat;
use lvs_controller::board::Board;
use lvs_controller::driver_thread::Trigger;
use lvs_controller::kernel::linux::LinuxKernel;
use lvs_controller::ledger::Ledger;
use lvs_controller::metrics::Metrics;
use lvs_controller::source::{SourceState, Update};
use lvs_controller::sync::{Driver, PassReport, Scope};
use lvs_controller::{logging, manifests};
use lvs_net::{Net, identity};
use lvs_plan::object::Spec;
use lvs_plan::{Change, Object};

/// Longer than the network has to answer who holds a VIP.
const QUIET: Duration = Duration::from_secs(3);

fn main() -> Result<()> {
    logging::init(LogFormat::Text);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [manifests, state_dir] = arguments.as_slice() else { bail!("usage: driver MANIFESTS STATE_DIR") };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    // Tasks of the rtnetlink connection start in it.
    let _entered = runtime.enter();

    let objects = manifests::read_once(Path::new(manifests));
    if let Some(finding) = objects.state.findings.first() {
        bail!("{finding}");
    }
    let ledger = Ledger::open(Path::new(state_dir), &identity::boot_id()?, identity::network_namespace()?)?;
    let (triggers, inbox) = mpsc::channel();
    let kernel = LinuxKernel::new(runtime.handle().clone(), Net::connect()?, None, triggers);
    let driver = Driver::new(kernel, ledger, Board::default(), Metrics::default(), Instant::now());
    let mut bench = Bench { driver, inbox, objects };

    say("ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let answer = match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["go"] => bench.go(),
            ["settle"] => bench.settle(),
            ["weight", name, weight] => bench.weight(name, weight.parse()?)?,
            _ => bail!("unknown: {line}"),
        };
        say(&answer)?;
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}

struct Bench {
    driver: Driver<LinuxKernel>,
    inbox: Receiver<Trigger>,
    objects: Update,
}

impl Bench {
    fn go(&mut self) -> String {
        let update = self.objects.clone();
        let start = Instant::now();
        self.driver.ingest(update);
        let ingested = start.elapsed();
        let report = self.driver.pass(Scope::Changes, Instant::now());
        let passed = start.elapsed().saturating_sub(ingested);
        let (steps, failed) = count(&report);
        format!("passed {steps} {failed} {} {}", ingested.as_micros(), passed.as_micros())
    }

    fn settle(&mut self) -> String {
        let mut steps = 0;
        while let Ok(trigger) = self.inbox.recv_timeout(QUIET) {
            if let Trigger::Probed(answers) = trigger {
                self.driver.probed(answers, Instant::now());
                steps += count(&self.driver.pass(Scope::Changes, Instant::now())).0;
                self.driver.announce(Instant::now());
            }
        }
        format!("settled {steps}")
    }

    fn weight(&mut self, name: &str, weight: i32) -> Result<String> {
        let known = self.objects.changes.iter().find_map(|change| match change {
            Change::Upsert(object) if *object.key.name == *name => Some(object),
            _ => None,
        });
        let known = known.with_context(|| format!("no object is named {name}"))?;
        let Spec::RealServer(spec) = &known.spec else { bail!("{name} is no RealServer") };
        let mut spec = spec.as_ref().clone();
        spec.weight = weight;
        let object = Object { spec: Spec::RealServer(Arc::new(spec)), ..Object::clone(known) };
        let state = SourceState { complete: true, up_to_date: true, ..SourceState::default() };
        let update = Update { changes: vec![Change::upsert(object)], state };
        let start = Instant::now();
        self.driver.ingest(update);
        let report = self.driver.pass(Scope::Changes, Instant::now());
        let took = start.elapsed();
        Ok(format!("changed {} {}", count(&report).0, took.as_micros()))
    }
}

/// Steps, and those that failed.
fn count(report: &PassReport) -> (usize, usize) {
    let failed = report.applied.results().filter(|(_, result)| result.is_err()).count();
    (report.applied.taken(), failed)
}
