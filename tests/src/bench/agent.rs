//! The agent as it is installed, over a directory of manifests: what it takes while nothing happens, and that a restart
//! writes nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::contender::{self, Running};
use super::network::Network;
use super::process::{Memory, processor_time};
use super::shape::Shape;
use super::witness;

const HTTP: &str = "http://127.0.0.1:9472";
const READY_LIMIT: Duration = Duration::from_mins(10);
const LOOK: Duration = Duration::from_millis(500);
/// Passes after the first that a restarted agent has to have made; one of them is a whole comparison.
const PASSES: u32 = 4;

/// An agent that serves a shape.
pub(super) struct Agent {
    process: Running,
    shape: Shape,
    program: PathBuf,
    folder: PathBuf,
    network: Network,
}

impl Agent {
    /// Starts it over an empty table and waits until every rule is in the kernel and every VIP is bound.
    pub(super) fn start(program: &Path, shape: Shape, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("objects"))?;
        fs::write(folder.join("objects/objects.yaml"), shape.manifests())?;
        let network = Network::new()?;
        let process = run(program, &network, folder, &[])?;
        let mut agent =
            Self { process, shape, program: program.to_owned(), folder: folder.to_owned(), network };
        agent.await_served()?;
        Ok(agent)
    }

    /// What it has in memory, and its processes.
    pub(super) fn memory(&self) -> Result<(Memory, usize)> {
        Memory::of(self.process.id())
    }

    /// Processor time that it uses in this time.
    pub(super) fn idle(&self, window: Duration) -> Result<Duration> {
        let before = processor_time(self.process.id())?;
        thread::sleep(window);
        Ok(processor_time(self.process.id())?.saturating_sub(before))
    }

    /// Ends it, starts it again over the table that it left, and returns how many writes that made in the kernel.
    pub(super) fn restart(self) -> Result<u32> {
        let Self { process, shape, program, folder, network } = self;
        process.terminate()?;
        let table = network.director.within(witness::count)??;
        ensure!(
            table == (shape.services, shape.services * shape.destinations),
            "after the agent's end the kernel had {} services and {} destinations",
            table.0,
            table.1
        );
        // Whole comparisons often, so that there are some soon.
        let process = run(&program, &network, &folder, &["--resync-seconds", "2"])?;
        let mut agent = Self { process, shape, program, folder, network };
        agent.await_served()?;
        let passes = agent.metric("lvs_passes_total")?;
        let end = Instant::now() + READY_LIMIT;
        while agent.metric("lvs_passes_total")? < passes + PASSES {
            ensure!(Instant::now() < end, "the restarted agent makes no passes");
            thread::sleep(LOOK);
        }
        let writes = agent.metric("lvs_kernel_writes_total")?;
        agent.process.terminate()?;
        Ok(writes)
    }

    fn await_served(&mut self) -> Result<()> {
        let wanted = [
            ("lvs_services", self.shape.services),
            ("lvs_destinations", self.shape.services * self.shape.destinations),
            ("lvs_vips_held", self.shape.vips()),
        ];
        let end = Instant::now() + READY_LIMIT;
        loop {
            let ready = self.get("/readyz").is_ok();
            let there = |(name, count): &(&str, u32)| self.metric(name).is_ok_and(|value| value == *count);
            if ready && wanted.iter().all(there) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("the agent does not serve {}; its log:\n{}", self.shape, self.log());
            }
            self.process.check().with_context(|| self.log())?;
            thread::sleep(LOOK);
        }
    }

    fn get(&self, path: &str) -> Result<String> {
        self.network.director.exec(&format!("curl --silent --fail --max-time 20 {HTTP}{path}"))
    }

    fn metric(&self, name: &str) -> Result<u32> {
        let metrics = self.get("/metrics")?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.with_context(|| format!("there is no {name}"))?.parse().with_context(|| name.to_owned())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

fn run(program: &Path, network: &Network, folder: &Path, flags: &[&str]) -> Result<Running> {
    let mut command = Command::new(program);
    command.args(["run", "--node-name", "director", "--manifests"]).arg(folder.join("objects"));
    command.arg("--state-dir").arg(folder.join("state")).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(folder.join("log"))?);
    Running::start(&network.director, &mut command)
}

/// What keepalived and its checker have in memory after this time with the same rules.
pub(super) fn keepalived_memory(shape: Shape, folder: &Path, idle: Duration) -> Result<(Memory, usize)> {
    let network = Network::new()?;
    let mut command = contender::keepalived(shape, folder)?;
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = Running::start(&network.director, &mut command)?;
    let alive = || process.check();
    let seen =
        network.director.within(|| witness::await_rules(shape, Instant::now(), READY_LIMIT, alive))??;
    ensure!(seen.is_some(), "keepalived has not added {shape} within {} s", READY_LIMIT.as_secs());
    thread::sleep(idle);
    let memory = Memory::of(process.id())?;
    process.terminate()?;
    Ok(memory)
}
