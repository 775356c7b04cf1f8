//! A throw-away machine with Debian's kernel that sees the host's files.
//!
//! The host's root is the guest's root, read-only below an overlay in memory, so what is built on the host runs in the
//! guest at the same path, and nothing it does is left behind. What the host changes while a guest runs, the guest may
//! or may not see: build first, then boot.

mod agent;
mod archive;
mod image;
mod jobs;
mod lost;
mod machine;
mod offer;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};

pub use agent::serve;
pub use image::{Image, Kernel};
pub use jobs::{Interrupts, Job, Late, Stream};
pub use lost::Lost;
pub use machine::{Accelerator, Nic};
pub use offer::{Done, Offer, on_host};

use crate::apiserver::Daemon;
use crate::cache::Cache;
use crate::progress;
use jobs::Share;
use machine::Machine;

/// Where the guest has what it shares with the host.
const SHARE: &str = "/run/lab/share";
/// Where the guest has the programs of the lab; first in its `PATH`.
pub const PROGRAMS: &str = "/run/lab/bin";
const INIT: &str = include_str!("../guest/init.sh");

/// Emulated, on a machine that is compiling, a boot takes minutes; else 3 to 20 s.
const BOOT_LIMIT: Duration = Duration::from_mins(5);
/// From the wish to be off until QEMU has ended.
const STOP_LIMIT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);
/// A process that keeps a guest and has written nothing for so long is gone.
const SILENCE: Duration = Duration::from_mins(1);
/// Folders of ended guests that are kept to look at.
const KEPT_RUNS: usize = 5;

/// What a guest is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it is called while it boots.
    pub name: String,
    /// Its kernel.
    pub kernel: Kernel,
    /// Its memory in MiB. Half of it may be filled with files.
    pub memory_mib: u32,
    /// Its processors.
    pub cpus: u32,
    /// Programs of the host that the guest finds by name, besides the lab.
    pub programs: Vec<(String, PathBuf)>,
    /// The lab, if it is not the program that runs.
    pub lab: Option<PathBuf>,
    /// What it is connected to.
    pub nic: Nic,
    /// The script that is process 1. It has to start `lab guest-agent`.
    pub init: &'static str,
    /// Variables that this script finds in `boot.env`, besides `LAB_MODULES`.
    pub settings: Vec<(&'static str, String)>,
}

impl Default for Options {
    fn default() -> Self {
        let cpus = thread::available_parallelism().map_or(2, |cpus| cpus.get().clamp(1, 4) as u32);
        Self {
            name: "a guest".to_owned(),
            kernel: Kernel::default(),
            memory_mib: 2048,
            cpus,
            programs: Vec::new(),
            lab: None,
            nic: Nic::default(),
            init: INIT,
            settings: Vec::new(),
        }
    }
}

/// A running guest.
pub struct Guest {
    name: String,
    folder: PathBuf,
    share: Share,
    life: Life,
}

/// How a guest is tied to this process.
enum Life {
    /// It ends with this process.
    Ours { qemu: Mutex<Daemon>, _pulse: Pulse },
    /// It ends with another process, which touches a file every second.
    Anothers,
}

impl Guest {
    /// Boots a guest that ends with the value, or with this process however that ends.
    pub fn boot(cache: &Cache, options: &Options) -> Result<Self> {
        Self::boot_in(cache, options, &new_run(cache)?)
    }

    /// [`Guest::boot`] with its files in this folder, which exists.
    pub(crate) fn boot_in(cache: &Cache, options: &Options, folder: &Path) -> Result<Self> {
        let image = Image::prepare(cache, options.kernel)?;
        let accelerator = Accelerator::choose(cache, &image)?;
        let share = Share::create(folder.join("share"))?;
        fs::write(share.path("init.sh"), options.init)?;
        let modules = ("LAB_MODULES", image.modules().display().to_string());
        let settings = [&modules].into_iter().chain(&options.settings);
        let settings: Vec<_> =
            settings.map(|(name, value)| format!("{name}={}", shell_quoted(value))).collect();
        fs::write(share.path("boot.env"), settings.join("\n") + "\n")?;
        fs::create_dir(share.path("bin"))?;
        let lab = options.lab.clone().map_or_else(this_program, Ok)?;
        for (name, path) in [("lab".to_owned(), lab)].iter().chain(&options.programs) {
            symlink(path, share.path("bin").join(name))
                .with_context(|| format!("two programs are named {name}"))?;
        }
        let machine = Machine {
            accelerator,
            cpus: options.cpus,
            memory_mib: options.memory_mib,
            console: &folder.join("console"),
            image: &image,
        };
        machine::raise_open_files();
        let how = if accelerator == Accelerator::Kvm { "KVM" } else { "emulated" };
        let step =
            progress::step(format!("starting {} with kernel {} ({how})", options.name, image.release()));
        let arguments = machine.guest_arguments(&folder.join("share"), &options.nic);
        let pulse = Pulse::start(&share)?;
        let program = machine::program()?;
        let start = || Daemon::start("qemu", folder, &program, &arguments);
        let life = Life::Ours { qemu: Mutex::new(start()?), _pulse: pulse };
        let guest = Self { name: options.name.clone(), folder: folder.to_owned(), share, life };
        let mut again = true;
        let end = Instant::now() + BOOT_LIMIT;
        while !guest.share.has("ready") {
            // An emulator may crash in a boot (SIGSEGV, seen once in some hundred). Nothing has been done in the guest yet,
            // so that says nothing of what is tested.
            if again
                && let Some(mut qemu) = guest.qemu()
                && let Some(signal) = qemu.ended().and_then(|status| status.signal())
            {
                again = false;
                progress::line(&format!(
                    "QEMU was ended by signal {signal} while the guest booted; once more"
                ));
                *qemu = start()?;
            }
            guest.check_alive()?;
            if Instant::now() > end {
                let why = format!("{} is not up after {} s", guest.name, BOOT_LIMIT.as_secs());
                bail!(Lost { why, words: guest.last_words(&[]) });
            }
            thread::sleep(LOOK);
        }
        step.done();
        Ok(guest)
    }

    /// The guest with its files in this folder, which another process has booted.
    pub(crate) fn of_another(folder: PathBuf) -> Self {
        let share = Share::new(folder.join("share"));
        Self { name: "the guest".to_owned(), folder, share, life: Life::Anothers }
    }

    /// Where its console, QEMU's messages and the jobs' outputs are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a job and hands on what it writes as it comes. Returns its exit code; 128 and the signal, as shells do, if it
    /// was killed.
    pub fn run(&self, job: &Job, limit: Duration, on_output: impl FnMut(Stream, &[u8])) -> Result<i32> {
        self.run_until(job, limit, &Interrupts::default(), on_output)
    }

    /// [`Guest::run`] that can be interrupted as by Ctrl-C, from another thread.
    pub fn run_until(
        &self,
        job: &Job,
        limit: Duration,
        interrupts: &Interrupts,
        on_output: impl FnMut(Stream, &[u8]),
    ) -> Result<i32> {
        self.share.run(job, limit, interrupts, on_output, || self.check_alive())
    }

    /// Lets the guest run these programs on the host by [`on_host`], until the value is dropped. A function makes the
    /// command for a name.
    pub fn offer(&self, program: impl Fn(&str) -> Option<Command> + Send + 'static) -> Offer {
        Offer::start(&self.share, program)
    }

    /// Runs a job and returns what it wrote; fails if its exit code is not 0.
    pub fn output(&self, job: &Job, limit: Duration) -> Result<String> {
        let (mut output, mut error) = (Vec::new(), Vec::new());
        let code = self.run(job, limit, |stream, bytes| match stream {
            Stream::Output => output.extend_from_slice(bytes),
            Stream::Error => error.extend_from_slice(bytes),
        })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(code == 0, "`{}` in the guest: exit code {code}\n{}", job.command.join(" "), text(&error));
        Ok(text(&output))
    }

    /// Switches the guest off and removes its folder.
    pub fn stop(self) -> Result<()> {
        self.ask_to_stop();
        let end = Instant::now() + STOP_LIMIT;
        while self.check_alive().is_ok() && Instant::now() < end {
            thread::sleep(LOOK);
        }
        let folder = self.folder.clone();
        // Kills one that did not end by itself.
        drop(self);
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
    }

    /// Has the guest switch itself off soon.
    pub(crate) fn ask_to_stop(&self) {
        // A guest without its share is about to end anyway.
        let _ = self.share.touch("stop");
    }

    /// Its QEMU, if it ends with this process.
    fn qemu(&self) -> Option<MutexGuard<'_, Daemon>> {
        match &self.life {
            Life::Ours { qemu, .. } => Some(qemu.lock().unwrap_or_else(PoisonError::into_inner)),
            Life::Anothers => None,
        }
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&self) -> Option<String> {
        if let Some(mut qemu) = self.qemu() {
            return Some(format!("QEMU: {}", qemu.ended()?));
        }
        let age = age(&self.share.path("alive"));
        age.is_none_or(|age| age > SILENCE).then(|| "not heard of".to_owned())
    }

    /// An error with its last words if it has ended.
    pub fn check_alive(&self) -> Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(how) => {
                let why = format!("{} has ended ({how})", self.name);
                bail!(Lost { why, words: self.last_words(&[]) })
            }
        }
    }

    /// The ends of its console, of QEMU's messages and of these logs in its folder.
    pub(crate) fn last_words(&self, logs: &[&str]) -> String {
        lost::words(["console", "qemu.log"].iter().chain(logs).map(|name| self.folder.join(name)))
    }
}

/// Tells the guest every second that this process lives.
struct Pulse(#[expect(dead_code, reason = "the thread ends when this is dropped")] Sender<()>);

impl Pulse {
    fn start(share: &Share) -> Result<Self> {
        let path = share.path("alive");
        fs::write(&path, "0")?;
        let (sender, stop) = channel();
        thread::spawn(move || {
            for beat in 1u64.. {
                if stop.recv_timeout(Duration::from_secs(1)) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let _ = fs::write(&path, beat.to_string());
            }
        });
        Ok(Self(sender))
    }
}

/// The program that runs, which is the lab. When cargo has replaced its file since it started, the new file will do.
pub fn this_program() -> Result<PathBuf> {
    let path = std::env::current_exe().context("cannot tell which program this is")?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

static NEXT_RUN: AtomicU32 = AtomicU32::new(0);

/// A new folder for a guest; the oldest ones go.
fn new_run(cache: &Cache) -> Result<PathBuf> {
    let runs = cache.root().join("runs");
    fs::create_dir_all(&runs)?;
    let mut old: Vec<_> = fs::read_dir(&runs)?.flatten().map(|entry| entry.path()).collect();
    old.sort();
    for path in old.iter().rev().skip(KEPT_RUNS - 1) {
        // A guest that still runs says so by its pulse.
        if age(&path.join("share/alive")).is_none_or(|age| age > SILENCE) {
            let _ = fs::remove_dir_all(path);
        }
    }
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis());
    // Two guests may boot within a millisecond.
    let number = NEXT_RUN.fetch_add(1, Ordering::Relaxed);
    let folder = runs.join(format!("{now}-{}-{number}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

fn age(path: &Path) -> Option<Duration> {
    fs::metadata(path).ok()?.modified().ok()?.elapsed().ok()
}

fn shell_quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_path_as_it_was() {
        for path in ["/plain", "/with space", "/it's", "/$HOME/`x`\"y\""] {
            let script = format!("printf %s {}", shell_quoted(path));
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), path);
        }
    }
}
