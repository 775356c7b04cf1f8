//! A host: running things in its network namespace.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How long a process has to end after SIGTERM.
const TERM_LIMIT: Duration = Duration::from_secs(30);

/// A host of a network.
#[derive(Clone, Debug)]
pub struct Host {
    name: &'static str,
    namespace: String,
}

impl Host {
    /// The host in a network namespace that exists.
    pub fn new(name: &'static str, namespace: String) -> Self {
        Self { name, namespace }
    }

    /// Its name in the fixture's picture.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its network namespace, as `ip netns` knows it.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Runs a shell command on the host and returns what it wrote to standard output. A bad exit is an error that holds
    /// both outputs.
    pub fn exec(&self, command: &str) -> Result<String> {
        let output = self.output(command)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(
            output.status.success(),
            "on {}: `{command}`: {}\n{}{}",
            self.name,
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        Ok(text(&output.stdout))
    }

    /// Runs a shell command on the host, however it ends.
    pub fn output(&self, command: &str) -> Result<Output> {
        let run = || Command::new("sh").args(["-c", command]).output();
        self.within(run)?.with_context(|| format!("cannot run sh on {}", self.name))
    }

    /// Starts a program on the host. It is killed when the value is dropped.
    pub fn spawn(&self, command: &mut Command) -> Result<Process> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = self
            .within(|| command.spawn())?
            .with_context(|| format!("cannot run {name} on {}", self.name))?;
        Ok(Process { name: format!("{name} on {}", self.name), child })
    }

    /// Runs `body` on a thread that is on the host. Threads and processes that it starts are there too.
    pub fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        let path = Path::new("/run/netns").join(&self.namespace);
        let namespace = File::open(&path).with_context(|| format!("{} is not there", self.name))?;
        let enter_and_run = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("cannot enter {}", self.name))?;
            Ok(body())
        };
        thread::scope(|scope| match scope.spawn(enter_and_run).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Sets a sysctl of the host's network, such as `net.ipv4.ip_forward`. Names of links may hold no dots.
    pub fn set(&self, setting: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(setting.replace('.', "/"));
        // /proc/sys/net shows the namespace of who opens it.
        self.within(|| fs::write(&path, value))?
            .with_context(|| format!("cannot set {setting}={value} on {}", self.name))
    }

    pub(super) fn ip_batch(&self, lines: &[String]) -> Result<()> {
        let mut ip = Command::new("ip");
        ip.args(["-netns", &self.namespace]);
        super::run_batch(ip, lines)
    }
}

/// A program that runs on a host; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot ask for {}", self.name))
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub fn terminate(mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let end = Instant::now() + TERM_LIMIT;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > end {
                bail!("{} did not end within {} s of SIGTERM", self.name, TERM_LIMIT.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("cannot signal {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
