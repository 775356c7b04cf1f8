//! How host and guest talk: files in a folder that both see.
//!
//! ```text
//! share/ready                  the guest's agent serves
//! share/jobs/ID/job.json       a command to run; the folder appears by a rename, so it is complete
//! share/jobs/ID/output         what the command wrote to both its outputs, or, if they are kept apart,
//! share/jobs/ID/stdout stderr
//! share/jobs/ID/signal         the host wants the command to get this signal: INT or KILL
//! share/jobs/ID/end.json       how it ended, written last
//! share/asks/jobs/ID/...       the same the other way round: the guest has the host run one of the programs it offers
//! share/alive                  if it exists and the host stops writing to it, the guest switches itself off
//! share/stop                   the host wants the guest off
//! ```
//! Both sides look again every few milliseconds, which is nothing beside the time that a guest takes to start a program,
//! and needs no device, driver or open connection that could break while a lab is up for days.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

const LOOK: Duration = Duration::from_millis(20);
/// How long a killed command may take to end.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// A command for the guest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Job {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Where it runs. Default: `/root`.
    pub folder: Option<PathBuf>,
    /// Added to the guest's environment.
    pub environment: BTreeMap<String, String>,
    /// What it reads from its standard input.
    pub input: String,
    /// Whether both outputs go to one file, in the order they were written.
    pub one_output: bool,
}

impl Job {
    /// A command without settings of its own.
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        Self { command: command.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }
}

/// How a command ended.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    /// By itself, with this exit code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// It never started.
    NotStarted(String),
}

impl End {
    /// As a shell counts.
    fn code(self) -> Result<i32> {
        match self {
            Self::Exit(code) => Ok(code),
            Self::Signal(signal) => Ok(128 + signal),
            Self::NotStarted(why) => bail!("{why}"),
        }
    }
}

/// A job's time was over, and it was killed.
#[derive(Debug)]
pub struct Late {
    what: String,
    limit: Duration,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` did not end within {} s", self.what, self.limit.as_secs())
    }
}

impl std::error::Error for Late {}

/// Which output some bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or both.
    Output,
    /// Standard error.
    Error,
}

/// A signal that the host may want a job to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Wish {
    /// What Ctrl-C sends.
    Interrupt,
    Kill,
}

/// How often a job has been interrupted. The first time it is asked to end (SIGINT), then it is killed.
#[derive(Debug, Default)]
pub struct Interrupts(AtomicU32);

impl Interrupts {
    /// Interrupts the job.
    pub fn interrupt(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn wish(&self) -> Option<Wish> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Wish::Interrupt),
            _ => Some(Wish::Kill),
        }
    }
}

/// The folder that host and guest share.
#[derive(Clone, Debug)]
pub(super) struct Share(PathBuf);

impl Share {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub(super) fn create(folder: PathBuf) -> Result<Self> {
        let share = Self(folder);
        for jobs in [share.jobs(), share.asks().jobs()] {
            fs::create_dir_all(&jobs).with_context(|| format!("cannot create {}", jobs.display()))?;
        }
        Ok(share)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub(super) fn touch(&self, name: &str) -> io::Result<()> {
        fs::write(self.path(name), "")
    }

    pub(super) fn jobs(&self) -> PathBuf {
        self.path("jobs")
    }

    /// Where the guest is the one that has jobs and the host runs them.
    pub(super) fn asks(&self) -> Self {
        Self(self.path("asks"))
    }

    /// Has the other side run a job, hands on what it writes as it comes, and returns its exit code. `alive` is
    /// asked now and then and fails when nobody will ever answer.
    pub(super) fn run(
        &self,
        job: &Job,
        limit: Duration,
        interrupts: &Interrupts,
        mut on_output: impl FnMut(Stream, &[u8]),
        alive: impl Fn() -> Result<()>,
    ) -> Result<i32> {
        let folder = self.submit(job)?;
        let mut tails = if job.one_output {
            vec![Tail::new(folder.join("output"), Stream::Output)]
        } else {
            vec![
                Tail::new(folder.join("stdout"), Stream::Output),
                Tail::new(folder.join("stderr"), Stream::Error),
            ]
        };
        let deadline = Instant::now() + limit;
        let mut wished = None;
        let end = loop {
            // Asked for first: what is written after this look is written before the next one.
            let end: Option<End> = read_json(&folder.join("end.json"))?;
            for tail in &mut tails {
                tail.follow(&mut on_output)?;
            }
            if let Some(end) = end {
                break end;
            }
            let late = Instant::now() > deadline;
            let wish = if late { Some(Wish::Kill) } else { interrupts.wish() };
            if wish > wished {
                write_json(&folder.join("signal"), &wish)?;
                wished = wish;
            }
            if Instant::now() > deadline + KILL_GRACE {
                bail!("`{}` cannot be stopped", job.command.join(" "));
            }
            alive()?;
            thread::sleep(LOOK);
        };
        if Instant::now() > deadline {
            return Err(Late { what: job.command.join(" "), limit }.into());
        }
        let _ = fs::remove_dir_all(&folder);
        end.code()
    }

    fn submit(&self, job: &Job) -> Result<PathBuf> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}-{}", unix_nanos(), std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (hidden, folder) = (self.jobs().join(format!(".{id}")), self.jobs().join(id));
        fs::create_dir(&hidden).context("the other side is not there any more")?;
        fs::write(hidden.join("job.json"), serde_json::to_vec(job)?)?;
        fs::rename(&hidden, &folder)?;
        Ok(folder)
    }
}

fn unix_nanos() -> u128 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos())
}

/// Reads a file that appears by a rename, if it is there.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => {
            Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("in {}", path.display()))?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes a file that appears complete.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, serde_json::to_vec(value)?)?;
    fs::rename(&unfinished, path)?;
    Ok(())
}

/// A file that grows.
struct Tail {
    path: PathBuf,
    stream: Stream,
    file: Option<File>,
}

impl Tail {
    fn new(path: PathBuf, stream: Stream) -> Self {
        Self { path, stream, file: None }
    }

    fn follow(&mut self, on_output: &mut impl FnMut(Stream, &[u8])) -> Result<()> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut buffer = [0; 16 << 10];
        loop {
            match file.read(&mut buffer).context("cannot read what the guest wrote")? {
                0 => return Ok(()),
                read => on_output(self.stream, &buffer[..read]),
            }
        }
    }
}
