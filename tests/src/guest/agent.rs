//! Running the jobs of [`super::jobs`], on either side.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use super::SHARE;
use super::jobs::{End, Job, Share, Wish, read_json, write_json};

const LOOK: Duration = Duration::from_millis(30);
/// A host that writes nothing for so long is gone. Its own machine may sleep or be busy for a while.
const HOST_GONE: Duration = Duration::from_mins(2);

/// Serves the host's jobs until it wants the guest off or is gone.
pub fn serve() -> Result<()> {
    let share = Share::new(SHARE.into());
    let mut worker = Worker::new(share.jobs(), |name| Some(Command::new(name)));
    let mut host = HostWatch::new();
    share.touch("ready").context("cannot write to the share")?;
    while !share.has("stop") && host.is_alive(&share) {
        worker.look()?;
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Runs the jobs that appear in a folder, each once.
pub(super) struct Worker<P> {
    folder: PathBuf,
    seen: HashSet<OsString>,
    program: P,
}

impl<P: Fn(&str) -> Option<Command>> Worker<P> {
    /// `program` makes the command for a program's name, if there is one.
    pub(super) fn new(folder: PathBuf, program: P) -> Self {
        Self { folder, seen: HashSet::new(), program }
    }

    /// Starts what has appeared.
    pub(super) fn look(&mut self) -> Result<()> {
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let name = entry.file_name();
            if !name.as_encoded_bytes().starts_with(b".") && self.seen.insert(name) {
                let folder = entry.path();
                let job = read(&folder).and_then(|job| {
                    let name = job.command.first().context("a job without a command")?;
                    Ok(((self.program)(name).with_context(|| format!("there is no {name}"))?, job))
                });
                thread::spawn(move || work(&folder, job));
            }
        }
        Ok(())
    }
}

fn read(folder: &Path) -> Result<Job> {
    read_json(&folder.join("job.json"))?.context("an empty job")
}

fn work(folder: &Path, job: Result<(Command, Job)>) {
    let end = job
        .and_then(|(command, job)| run(folder, command, &job))
        .unwrap_or_else(|error| End::NotStarted(format!("{error:#}")));
    if let Err(error) = write_json(&folder.join("end.json"), &end) {
        eprintln!("lab: cannot tell how a job ended: {error:#}");
    }
}

fn run(folder: &Path, mut command: Command, job: &Job) -> Result<End> {
    let file = |name: &str| File::create(folder.join(name)).with_context(|| format!("cannot create {name}"));
    let (output, error) = if job.one_output {
        let both = file("output")?;
        (both.try_clone()?, both)
    } else {
        (file("stdout")?, file("stderr")?)
    };
    let input = if job.input.is_empty() {
        Stdio::null()
    } else {
        fs::write(folder.join("stdin"), &job.input)?;
        File::open(folder.join("stdin"))?.into()
    };
    let mut child = command
        .args(&job.command[1..])
        .envs(&job.environment)
        .current_dir(job.folder.as_deref().unwrap_or(Path::new("/root")))
        .stdin(input)
        .stdout(output)
        .stderr(error)
        // So that a signal reaches what it started, too.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {}", job.command[0]))?;
    let group = Pid::from_child(&child);
    let mut heard = None;
    loop {
        if let Some(status) = child.try_wait()? {
            let signal = || End::Signal(status.signal().unwrap_or_default());
            return Ok(status.code().map_or_else(signal, End::Exit));
        }
        let wish: Option<Wish> = read_json(&folder.join("signal"))?;
        if wish > heard {
            // It may have ended this moment.
            let _ =
                kill_process_group(group, if wish == Some(Wish::Kill) { Signal::KILL } else { Signal::INT });
            heard = wish;
        }
        thread::sleep(LOOK);
    }
}

/// Notices when the host has stopped writing to the file `alive`.
struct HostWatch {
    last: Vec<u8>,
    since: Instant,
    next_look: Instant,
}

impl HostWatch {
    fn new() -> Self {
        Self { last: Vec::new(), since: Instant::now(), next_look: Instant::now() }
    }

    fn is_alive(&mut self, share: &Share) -> bool {
        if Instant::now() < self.next_look {
            return true;
        }
        self.next_look = Instant::now() + Duration::from_secs(1);
        // Without the file nobody has to stay: the guest is there until it is told to stop.
        let Ok(now) = fs::read(share.path("alive")) else { return true };
        if now != self.last {
            self.last = now;
            self.since = Instant::now();
        }
        self.since.elapsed() < HOST_GONE
    }
}
