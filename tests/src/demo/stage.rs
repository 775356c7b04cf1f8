//! Where the demo is played: hosts inside a guest, and the user's own shell on this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::narration::{shown, typed};
use crate::apiserver::ApiServer;
use crate::guest::{Guest, Job, Stream};

/// How long a command may take.
const COMMAND_LIMIT: Duration = Duration::from_mins(2);
/// How long something may take to come true. Everything takes seconds at most, but for a machine that compiles at
/// the same time and emulates the guest.
const EVENTUALLY: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(250);

/// The stage.
pub(super) struct Stage {
    pub(super) guest: Arc<Guest>,
    /// The checkout, where the user is.
    pub(super) checkout: PathBuf,
}

impl Stage {
    /// Types a command on a host and shows what it prints. It has to succeed.
    pub(super) fn on(&self, host: &str, command: &str) -> Result<String> {
        typed(&format!("{host} #"), command);
        let output = self.quietly_on(host, command)?;
        shown(&output);
        Ok(output)
    }

    /// Runs a command on a host without telling.
    pub(super) fn quietly_on(&self, host: &str, command: &str) -> Result<String> {
        let (code, output) = self.try_on(host, command)?;
        ensure!(code == 0, "`{command}` on {host} ended with {code}:\n{output}");
        Ok(output)
    }

    /// Runs a command on a host and returns its exit code with all it printed.
    pub(super) fn try_on(&self, host: &str, command: &str) -> Result<(i32, String)> {
        let mut output = Vec::new();
        let job = Job { one_output: true, ..job(host, command) };
        let code = self.guest.run(&job, COMMAND_LIMIT, |_, bytes| output.extend_from_slice(bytes))?;
        Ok((code, String::from_utf8_lossy(&output).into_owned()))
    }

    /// Puts a file of this machine, as it is now, into the guest.
    pub(super) fn copy_to_guest(&self, from: &Path, to: &str) -> Result<()> {
        let content = std::fs::read_to_string(from).with_context(|| format!("reading {}", from.display()))?;
        let command = format!("umask 077; mkdir -p \"$(dirname {to})\" && cat > {to}");
        let job = Job { input: content, ..Job::new(["sh", "-c", &command]) };
        self.guest.output(&job, COMMAND_LIMIT).map(drop)
    }

    /// Repeats a command on a host until what it prints is as wished, and returns that.
    pub(super) fn eventually_on(
        &self,
        host: &str,
        command: &str,
        wish: &str,
        holds: impl Fn(&str) -> bool,
    ) -> Result<String> {
        eventually(wish, || self.try_on(host, command).map(|(_, output)| output), holds)
    }

    /// Switches the guest off, with whatever still runs in it.
    pub(super) fn close(self) -> Result<()> {
        // The thread of a command that has just ended may hold it for a moment more.
        let mut guest = self.guest;
        for _ in 0..100 {
            match Arc::try_unwrap(guest) {
                Ok(guest) => return guest.stop(),
                Err(shared) => guest = shared,
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("a command still runs in the guest")
    }

    /// Starts a command on a host that goes on until it ends by itself or is killed.
    pub(super) fn start_on(&self, host: &str, command: &str) -> Background {
        let guest = Arc::clone(&self.guest);
        let job = Job { one_output: true, ..job(host, &format!("exec {command}")) };
        let thread = thread::spawn(move || {
            let mut output = Vec::new();
            let code = guest
                .run(&job, Duration::from_hours(1), |_: Stream, bytes| output.extend_from_slice(bytes))?;
            Ok((code, String::from_utf8_lossy(&output).into_owned()))
        });
        Background(thread)
    }
}

/// A command that runs meanwhile.
pub(super) struct Background(thread::JoinHandle<Result<(i32, String)>>);

impl Background {
    /// Its exit code and what it printed, once it has ended.
    pub(super) fn wait(self) -> Result<(i32, String)> {
        self.0.join().unwrap_or_else(|_| bail!("the thread of a command in the guest panicked"))
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.0.is_finished()
    }
}

fn job(host: &str, command: &str) -> Job {
    Job::new(["ip", "netns", "exec", host, "sh", "-ec", command])
}

/// You, with `kubectl`, in the checkout.
pub(super) struct User {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    checkout: PathBuf,
}

impl User {
    /// The administrator of an API server.
    pub(super) fn new(server: &ApiServer, checkout: &Path) -> Self {
        Self {
            kubectl: server.kubectl_path(),
            kubeconfig: server.kubeconfig(),
            checkout: checkout.to_owned(),
        }
    }

    /// Types `kubectl …` and shows what it prints. It has to succeed.
    pub(super) fn kubectl(&self, arguments: &str) -> Result<String> {
        typed("you $", &format!("kubectl {arguments}"));
        let output = self.quietly(arguments)?;
        shown(&output);
        Ok(output)
    }

    /// The same without telling.
    pub(super) fn quietly(&self, arguments: &str) -> Result<String> {
        let output = Command::new("sh")
            .args(["-c", &format!("exec \"$KUBECTL\" {arguments}")])
            .env("KUBECTL", &self.kubectl)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.kubeconfig.with_extension("cache"))
            .current_dir(&self.checkout)
            .stdin(Stdio::null())
            .output()
            .context("running kubectl")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "kubectl {arguments}: {}", said.trim_end());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &said)
    }

    /// Repeats `kubectl …` until what it prints is as wished, and returns that.
    pub(super) fn eventually(
        &self,
        arguments: &str,
        wish: &str,
        holds: impl Fn(&str) -> bool,
    ) -> Result<String> {
        eventually(wish, || self.quietly(arguments), holds)
    }
}

/// Looks again and again until what is seen is as wished.
pub(super) fn eventually(
    wish: &str,
    look: impl Fn() -> Result<String>,
    holds: impl Fn(&str) -> bool,
) -> Result<String> {
    let deadline = Instant::now() + EVENTUALLY;
    loop {
        let seen = look()?;
        if holds(&seen) {
            return Ok(seen);
        }
        if Instant::now() > deadline {
            bail!(
                "this did not come true within {} s: {wish}\nwhat was seen last:\n{seen}",
                EVENTUALLY.as_secs()
            );
        }
        thread::sleep(LOOK);
    }
}
