//! A daemon of the lab: its output goes to a log file, and it never outlives the lab.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

/// How long a daemon has to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// A command that gets the signal of that name from the kernel when the **thread** that starts it ends, however it
/// ends.
pub fn tethered(program: impl AsRef<OsStr>, signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal, "--"]).arg(program);
    command
}

/// A running daemon, stopped when dropped, and killed by the kernel when the lab dies.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    log: PathBuf,
    child: Child,
    /// Keeps alive the thread that started the child, which the child does not outlive.
    _tether: Sender<()>,
}

impl Daemon {
    /// Starts `program` with `arguments`; what it prints goes to `NAME.log` in `folder`.
    pub fn start(name: &'static str, folder: &Path, program: &Path, arguments: &[String]) -> Result<Self> {
        let mut command = tethered(program, "KILL");
        command.args(arguments);
        let log = log_to(&mut command, folder, name)?;
        let (hand_over, handed_over) = channel();
        let (tether, held) = channel::<()>();
        thread::spawn(move || {
            let _ = hand_over.send(command.spawn());
            let _ = held.recv();
        });
        let started = handed_over.recv().map_err(std::io::Error::other).flatten();
        let child = started.with_context(|| format!("starting {name}"))?;
        Ok(Self { name, log, child, _tether: tether })
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last lines of its log, with the log's path.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(8)..].join("\n");
        format!("--- {} ({})\n{last}", self.name, self.log.display())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let deadline = Instant::now() + GRACE;
        if self.ended().is_none()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        while self.ended().is_none() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Sends all that a command prints to `NAME.log` in `folder`.
fn log_to(command: &mut Command, folder: &Path, name: &str) -> Result<PathBuf> {
    let log = folder.join(format!("{name}.log"));
    let output = File::create(&log).with_context(|| format!("making {}", log.display()))?;
    let errors = output.try_clone().with_context(|| format!("sharing {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        vec!["-c".into(), script.into()]
    }

    fn start(folder: &Path, script: &str) -> Daemon {
        Daemon::start("test", folder, Path::new("sh"), &shell(script)).unwrap()
    }

    fn runs(pid: u32) -> bool {
        // A zombie is nobody's process any more.
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn a_daemon_is_stopped_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = start(folder.path(), "exec sleep 1000");
        let pid = daemon.child.id();
        assert!(runs(pid));
        drop(daemon);
        assert!(!runs(pid));
    }

    #[test]
    fn a_daemon_that_ended_leaves_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = start(folder.path(), "seq 100; echo because >&2; exit 3");
        while daemon.ended().is_none() {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(daemon.ended().unwrap().code(), Some(3));
        let words = daemon.last_words();
        assert!(words.ends_with("\n99\n100\nbecause"), "{words}");
        assert!(words.contains("test.log") && !words.contains("\n50\n"), "{words}");
    }

    #[test]
    fn a_daemon_goes_on_when_the_thread_that_asked_for_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let mut daemon = thread::spawn(move || start(&path, "exec sleep 1000")).join().unwrap();
        thread::sleep(Duration::from_millis(50));
        assert!(daemon.ended().is_none());
    }
}
