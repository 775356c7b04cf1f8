//! Who fills the table, and how each is started and watched.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::netlink::{self, Socket};
use super::network::Network;
use super::shape::Shape;
use super::witness;
use crate::topology::Host;

/// Who fills the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contender {
    /// The driver, from objects in memory.
    Driver,
    /// A sender of messages that were encoded before.
    Floor,
    /// `ipvsadm -R`.
    Ipvsadm,
    /// keepalived's start.
    Keepalived,
}

impl Contender {
    /// All, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Floor, Self::Driver, Self::Ipvsadm, Self::Keepalived];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Driver => "lvs-operator's driver",
            Self::Floor => "floor",
            Self::Ipvsadm => "ipvsadm -R",
            Self::Keepalived => "keepalived's start",
        }
    }

    /// Whether it is somebody else's program, which may take long.
    pub fn is_peer(self) -> bool {
        matches!(self, Self::Ipvsadm | Self::Keepalived)
    }
}

/// What the driver says of its first pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// Rules written, and VIPs bound.
    pub steps: u64,
    /// Taking objects in.
    pub ingest: Duration,
    /// The pass, to the ledger's last byte.
    pub pass: Duration,
}

/// How long it took until every rule was in the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// `None`: not within the limit.
    pub(super) seconds: Option<f64>,
    /// Of the driver.
    pub(super) pass: Option<Pass>,
}

/// Has a contender fill an empty table in a fresh network, with files in `folder`.
pub(super) fn measure(
    contender: Contender,
    shape: Shape,
    driver: &Path,
    folder: &Path,
    limit: Duration,
) -> Result<Timing> {
    let network = Network::new()?;
    let host = &network.director;
    let (seconds, pass) = match contender {
        Contender::Floor => (Some(floor(host, shape, limit)?), None),
        Contender::Driver => {
            let mut driver = Driver::start(host, driver, shape, folder)?;
            let start = Instant::now();
            driver.write("go")?;
            let end = watch(host, shape, start, limit, || driver.child.check())?;
            let pass = if end.is_some() { Some(driver.passed()?) } else { None };
            (end, pass)
        }
        Contender::Ipvsadm => {
            let rules = folder.join("rules");
            std::fs::write(&rules, shape.ipvsadm())?;
            let mut command = Command::new("ipvsadm");
            command.arg("--restore").stdin(File::open(&rules)?);
            (peer(host, command, shape, limit)?, None)
        }
        Contender::Keepalived => (peer(host, keepalived(shape, folder)?, shape, limit)?, None),
    };
    Ok(Timing { seconds, pass })
}

/// The command that starts keepalived: no VRRP, no health checks, nothing logged.
pub(super) fn keepalived(shape: Shape, folder: &Path) -> Result<Command> {
    keepalived_with(&shape.keepalived(), folder)
}

/// The same with a configuration of one's own.
pub(super) fn keepalived_with(text: &str, folder: &Path) -> Result<Command> {
    let configuration = folder.join("keepalived.conf");
    std::fs::write(&configuration, text)?;
    let mut command = Command::new("keepalived");
    // What it does with its rules when it ends is not measured; removing them would take as long again.
    command.args(["--dont-fork", "--check", "--no-syslog", "--dont-release-ipvs"]);
    command.arg("--use-file").arg(configuration);
    command.arg("--pid").arg(folder.join("keepalived.pid"));
    command.arg("--checkers_pid").arg(folder.join("checkers.pid"));
    command.stdin(Stdio::null());
    Ok(command)
}

fn peer(host: &Host, mut command: Command, shape: Shape, limit: Duration) -> Result<Option<f64>> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = Running::start(host, &mut command)?;
    let seconds = watch(host, shape, start, limit, || child.check())?;
    child.terminate()?;
    Ok(seconds)
}

fn watch(
    host: &Host,
    shape: Shape,
    start: Instant,
    limit: Duration,
    alive: impl FnMut() -> Result<()> + Send,
) -> Result<Option<f64>> {
    let end = host.within(|| witness::await_rules(shape, start, limit, alive))??;
    Ok(end.map(|end| end.duration_since(start).as_secs_f64()))
}

fn floor(host: &Host, shape: Shape, limit: Duration) -> Result<f64> {
    let mut socket = host.within(Socket::open)??;
    let batches = netlink::encode(shape, socket.family());
    let start = Instant::now();
    let (sent, seen) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| socket.send(&batches));
        let seen = watch(host, shape, start, limit, || Ok(()));
        (sender.join(), seen)
    });
    sent.unwrap_or_else(|_| bail!("the floor's thread panicked"))?;
    seen?.with_context(|| format!("the floor's rules are not there after {} s", limit.as_secs()))
}

/// The driver as a program that does what it is told, step by step.
pub(super) struct Driver {
    child: Running,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Driver {
    /// Starts it and waits until it has read the objects.
    pub(super) fn start(host: &Host, program: &Path, shape: Shape, folder: &Path) -> Result<Self> {
        let (manifests, state) = (folder.join("objects"), folder.join("state"));
        std::fs::create_dir_all(&manifests)?;
        std::fs::write(manifests.join("objects.yaml"), shape.manifests())?;
        let log = folder.join("driver.log");
        let mut command = Command::new(program);
        command.arg(&manifests).arg(&state);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut child = Running::start(host, &mut command)?;
        let input = child.0.stdin.take().context("its standard input is a pipe")?;
        let output = BufReader::new(child.0.stdout.take().context("its standard output is a pipe")?);
        let mut driver = Self { child, input, output };
        driver.answer("ready", 0).with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        Ok(driver)
    }

    fn write(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}").context("the driver has ended")
    }

    /// Waits for a line that begins with this word, and returns the numbers that follow.
    fn answer(&mut self, word: &str, count: usize) -> Result<Vec<u64>> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("cannot read what the driver says")?;
        let mut words = line.split_whitespace();
        ensure!(words.next() == Some(word), "the driver said {line:?}, not {word}");
        let numbers: Vec<u64> = words.map(str::parse).collect::<Result<_, _>>().context(line.clone())?;
        ensure!(numbers.len() == count, "the driver said {line:?}");
        Ok(numbers)
    }

    fn passed(&mut self) -> Result<Pass> {
        let numbers = self.answer("passed", 4)?;
        ensure!(numbers[1] == 0, "{} of the driver's {} steps failed", numbers[1], numbers[0]);
        Ok(Pass {
            steps: numbers[0],
            ingest: Duration::from_micros(numbers[2]),
            pass: Duration::from_micros(numbers[3]),
        })
    }

    /// Fills the table and binds the VIPs.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.write("go")?;
        self.passed()?;
        self.write("settle")?;
        self.answer("settled", 1).map(drop)
    }

    /// Changes one real server's weight; returns how long it took until the pass was over.
    pub(super) fn change(&mut self, real_server: &str, weight: u32) -> Result<Duration> {
        self.write(&format!("weight {real_server} {weight}"))?;
        let numbers = self.answer("changed", 2)?;
        ensure!(numbers[0] == 1, "one weight changed and the driver took {} steps", numbers[0]);
        Ok(Duration::from_micros(numbers[1]))
    }
}

/// A program that is killed when dropped.
pub(super) struct Running(Child);

impl Running {
    pub(super) fn start(host: &Host, command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self(host.within(|| command.spawn())?.with_context(|| format!("cannot run {name}"))?))
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// An error if it ended badly.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.0.try_wait()? {
            Some(status) if !status.success() => bail!("it ended: {status}"),
            _ => Ok(()),
        }
    }

    /// Asks it to end and waits until it has. One with children takes them along only so.
    pub(super) fn terminate(mut self) -> Result<()> {
        if self.0.try_wait()?.is_none() {
            let process = rustix::process::Pid::from_child(&self.0);
            rustix::process::kill_process(process, rustix::process::Signal::TERM)?;
            self.0.wait()?;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
