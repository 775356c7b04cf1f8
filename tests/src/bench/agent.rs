//! The agent as it is installed: what it takes while nothing happens, and that a restart writes nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::contender::{self, Running};
use super::network::Network;
use super::process::{Memory, ProcessorTime};
use super::shape::Shape;
use super::witness;
use crate::topology::Host;

const HTTP: &str = "http://127.0.0.1:9472";
/// How often a table that nobody changes is counted until it is whole.
const COUNTS: usize = 20;
const READY_LIMIT: Duration = Duration::from_mins(10);
const LOOK: Duration = Duration::from_millis(500);
/// Between two looks at how many statuses were written: starting `curl` takes its time from the agent.
const STATUS_LOOK: Duration = Duration::from_secs(1);
/// Passes after the first that a restarted agent has to have made; one of them is a whole comparison.
const PASSES: u32 = 4;

/// Where an agent has its objects from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    /// Manifests.
    Files,
    /// An API server on the host that has the objects, by the text of a kubeconfig for guests.
    ApiServer { kubeconfig: &'a str },
}

impl Source<'_> {
    /// Writes what is to be read, and returns the flag and the path that say where it is.
    fn put(self, shape: Shape, folder: &Path) -> Result<(&'static str, PathBuf)> {
        match self {
            Self::Files => {
                let objects = folder.join("objects");
                fs::create_dir_all(&objects)?;
                fs::write(objects.join("objects.yaml"), shape.manifests())?;
                Ok(("--manifests", objects))
            }
            Self::ApiServer { kubeconfig } => {
                let path = folder.join("kubeconfig");
                fs::write(&path, kubeconfig)?;
                Ok(("--kubeconfig", path))
            }
        }
    }

    fn network(self) -> Result<Network> {
        match self {
            Self::Files => Network::new(),
            Self::ApiServer { .. } => Network::managed(),
        }
    }
}

/// An agent that serves a shape.
pub(super) struct Agent {
    process: Running,
    shape: Shape,
    program: PathBuf,
    source: (&'static str, PathBuf),
    folder: PathBuf,
    network: Network,
}

impl Agent {
    /// Starts it over an empty table and waits until every rule is in the kernel and every VIP is bound.
    pub(super) fn start(program: &Path, shape: Shape, source: Source<'_>, folder: &Path) -> Result<Self> {
        let network = source.network()?;
        let source = source.put(shape, folder)?;
        let process = run(program, &network, &source, folder, &[])?;
        let (program, folder) = (program.to_owned(), folder.to_owned());
        let mut agent = Self { process, shape, program, source, folder, network };
        agent.await_served()?;
        Ok(agent)
    }

    /// Waits until the API server has the status of every object. The agent only tells how many it has
    /// written, so that is when each object had one and nothing was written for as long as `calm`.
    pub(super) fn await_statuses(
        &mut self,
        calm: Duration,
        told: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut writes = Standstill::new(Instant::now());
        loop {
            self.process.check().with_context(|| self.log())?;
            let (written, is_well) = self.statuses_written()?;
            told(written)?;
            let stands = writes.saw(written, Instant::now());
            if is_well && stands >= calm && written >= u64::from(self.shape.objects()) {
                return Ok(());
            }
            if stands > READY_LIMIT {
                bail!("the agent has written {written} statuses and no more; its log:\n{}", self.log());
            }
            thread::sleep(STATUS_LOOK);
        }
    }

    /// What it has in memory, and its processes.
    pub(super) fn memory(&self) -> Result<(Memory, usize)> {
        Memory::of(self.process.id())
    }

    /// Processor time that it uses in this time.
    pub(super) fn idle(&self, window: Duration) -> Result<Duration> {
        let before = ProcessorTime::of(self.process.id())?;
        thread::sleep(window);
        Ok(ProcessorTime::of(self.process.id())?.since(before).total())
    }

    /// Ends it, starts it again over the table that it left, and returns how many writes that made in the kernel.
    pub(super) fn restart(self) -> Result<u32> {
        let Self { process, shape, program, source, folder, network } = self;
        process.terminate()?;
        // Nobody changes this table now, but who changes another one makes a reader miss some (`ip_vs_info_array`).
        let whole = (shape.services, shape.services * shape.destinations);
        let mut table = network.director.within(witness::count)??;
        for _ in 0..COUNTS {
            if table == whole {
                break;
            }
            thread::sleep(STATUS_LOOK);
            table = network.director.within(witness::count)??;
        }
        ensure!(
            table == whole,
            "after the agent's end the kernel had {} services and {} destinations",
            table.0,
            table.1
        );
        // Whole comparisons often, so that there are some soon.
        let process = run(&program, &network, &source, &folder, &["--resync-seconds", "2"])?;
        let mut agent = Self { process, shape, program, source, folder, network };
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
        get(&self.network.director, path)
    }

    fn metric(&self, name: &str) -> Result<u32> {
        metric(&self.network.director, name)
    }

    /// How many, and whether the last one that was tried is among them.
    fn statuses_written(&self) -> Result<(u64, bool)> {
        let state: serde_json::Value = serde_json::from_str(&self.get("/debug/state")?)?;
        // It is not there before the first write.
        let writer = &state["statusWriter"];
        Ok((writer["written"].as_u64().unwrap_or_default(), writer["problem"].is_null()))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

fn get(director: &Host, path: &str) -> Result<String> {
    director.exec(&format!("curl --silent --fail --max-time 20 {HTTP}{path}"))
}

/// A number among the metrics of the agent on this host.
pub(super) fn metric(director: &Host, name: &str) -> Result<u32> {
    let metrics = get(director, "/metrics")?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.with_context(|| format!("there is no {name}"))?.parse().with_context(|| name.to_owned())
}

/// How long a count has not changed.
struct Standstill {
    count: u64,
    since: Instant,
}

impl Standstill {
    fn new(now: Instant) -> Self {
        Self { count: 0, since: now }
    }

    fn saw(&mut self, count: u64, now: Instant) -> Duration {
        if count != self.count {
            *self = Self { count, since: now };
        }
        now - self.since
    }
}

/// Starts an agent that has its objects from there, with its log in `folder`.
pub(super) fn run(
    program: &Path,
    network: &Network,
    (flag, path): &(&str, PathBuf),
    folder: &Path,
    flags: &[&str],
) -> Result<Running> {
    let mut command = Command::new(program);
    command.args(["run", "--node-name", "director", flag]).arg(path);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_stands_still_from_its_last_change_on() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut writes = Standstill::new(start);
        let seen = [(1, 0, 1), (2, 5, 0), (4, 5, 2), (5, 6, 0), (25, 6, 20)];
        for (second, count, stands) in seen {
            assert_eq!(writes.saw(count, at(second)), Duration::from_secs(stands), "at {second} s");
        }
    }
}
