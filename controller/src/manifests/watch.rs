//! Watching the directory: inotify for promptness, a poll for everything inotify does not see (network file
//! systems, targets of symbolic links, files that are mounted one by one, a directory that is replaced).
//!
//! On a thread of its own, which wakes once a second: as a task it would wake three.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::Sender;
use tracing::{debug, info, warn};

use super::directory::Directory;
use super::files::Files;
use crate::source::{Finding, SourceState, Update};

/// Time between two looks without an event.
const POLL: Duration = Duration::from_secs(1);
/// With inotify at work, looks without a reason become rarer by one interval for each so many files: a look costs a
/// `stat` of each. Whether the directory is still the same is asked each time.
const FILES_PER_POLL: usize = 256;
/// Files that never stop changing delay the others no longer than this.
const LONGEST_SETTLING: Duration = Duration::from_secs(1);

/// Delivers the objects of the manifests in `dir`, then every change, until the receiver is gone.
///
/// An edit is delivered within 2 s, and not before the file has been left alone for 0.1 s, so that a file that
/// is truncated and written anew is not seen empty. While `dir` cannot be read nothing is delivered but the
/// source's state. Blocks; sends from outside the runtime.
#[allow(clippy::needless_pass_by_value)] // that the sender is gone says that the watch has ended
pub fn run(dir: PathBuf, sink: Sender<Update>) {
    let (waker, wakes) = sync_channel(1);
    let mut inotify = Inotify::new(waker);
    let mut looker = Looker::new(dir);
    let mut told: Option<SourceState> = None;
    let mut changed_since: Option<Instant> = None;
    loop {
        let patient = changed_since.is_none_or(|since| since.elapsed() < LONGEST_SETTLING);
        inotify.watch(looker.directory.path());
        let update = match looker.look(patient) {
            Look::Unsettled(rest) => {
                changed_since.get_or_insert_with(Instant::now);
                thread::sleep(rest);
                continue;
            }
            Look::Unchanged => None,
            Look::Update(update) => Some(update),
        };
        changed_since = None;
        if let Some(update) = update {
            log_differences(told.as_ref(), &update.state);
            if told.as_ref() != Some(&update.state) || !update.changes.is_empty() {
                debug!(changes = update.changes.len(), "manifests read");
                told = Some(update.state.clone());
                if sink.blocking_send(update).is_err() {
                    return;
                }
            }
        }
        let mut polls = polls_until_look(looker.directory.file_count(), looker.directory.has_links());
        while polls > 0 {
            if sink.is_closed() {
                return;
            }
            polls = match wakes.recv_timeout(POLL) {
                Err(RecvTimeoutError::Timeout) if inotify.is_on(looker.directory.path()) => polls - 1,
                _ => 0,
            };
        }
    }
}

/// How many polls with nothing to be heard of end with a look. Through links inotify sees nothing.
fn polls_until_look(files: usize, has_links: bool) -> usize {
    if has_links { 1 } else { 1 + files / FILES_PER_POLL }
}

/// One look at the manifests in `dir`, for commands that do not stay.
pub fn read_once(dir: &Path) -> Update {
    let mut looker = Looker::new(dir.to_owned());
    match looker.look(false) {
        Look::Update(update) => update,
        Look::Unchanged | Look::Unsettled(_) => looker.files.apply([]),
    }
}

struct Looker {
    directory: Directory,
    files: Files,
    looked: bool,
}

enum Look {
    /// As it was.
    Unchanged,
    /// A file is probably being written; look again after this time.
    Unsettled(Duration),
    Update(Update),
}

impl Looker {
    fn new(dir: PathBuf) -> Self {
        Self { directory: Directory::new(dir), files: Files::default(), looked: false }
    }

    fn look(&mut self, patient: bool) -> Look {
        let now = SystemTime::now();
        let listing = match self.directory.list(now) {
            Ok(listing) => listing,
            Err(error) => {
                self.looked = false;
                return Look::Update(self.files.unreadable(unreadable(self.directory.path(), &error)));
            }
        };
        match listing.settles_in {
            Some(rest) if patient => Look::Unsettled(rest),
            _ if listing.unchanged && self.looked => Look::Unchanged,
            _ => {
                self.looked = true;
                Look::Update(self.files.apply(self.directory.read(listing, now, patient)))
            }
        }
    }
}

fn unreadable(dir: &Path, error: &io::Error) -> String {
    let cure = match error.kind() {
        io::ErrorKind::NotFound => "create it, or name another one with --manifests",
        io::ErrorKind::NotADirectory => "--manifests takes a directory, not a file",
        io::ErrorKind::PermissionDenied => "let this process list and read it",
        _ => "repair its file system, or name another one with --manifests",
    };
    format!(
        "the manifest directory {} cannot be read ({error}): {cure}; what is in force stays",
        dir.display()
    )
}

/// Tells once what became wrong and what is right again.
fn log_differences(old: Option<&SourceState>, new: &SourceState) {
    let none = SourceState { up_to_date: true, ..SourceState::default() };
    let old = old.unwrap_or(&none);
    if new.message != old.message {
        if new.message.is_empty() {
            info!("the manifest directory can be read again");
        } else {
            warn!("{}", new.message);
        }
    }
    let known: BTreeSet<&Finding> = old.findings.iter().collect();
    for finding in new.findings.iter().filter(|finding| !known.contains(finding)) {
        let Finding { file, line, column, field, message } = finding;
        warn!(file, line, column, field, "{message}");
    }
    let bad: BTreeSet<&str> = new.findings.iter().map(|finding| finding.file.as_str()).collect();
    let was_bad: BTreeSet<&str> = old.findings.iter().map(|finding| finding.file.as_str()).collect();
    for file in was_bad.difference(&bad) {
        info!(file, "no errors in this file any more");
    }
}

/// The inotify watch, renewed when the directory is another one.
struct Inotify {
    waker: SyncSender<()>,
    watching: Option<Watching>,
    complained: bool,
}

struct Watching {
    /// Ends with this value.
    _watcher: RecommendedWatcher,
    directory: Identity,
    /// The directory was removed or renamed. The number of its inode may be another one's at once.
    gone: Arc<AtomicBool>,
}

/// Device and inode.
type Identity = (u64, u64);

fn identity(dir: &Path) -> io::Result<Identity> {
    std::fs::metadata(dir).map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Inotify {
    fn new(waker: SyncSender<()>) -> Self {
        Self { waker, watching: None, complained: false }
    }

    /// Whether what is watched is `dir` as it is now.
    fn is_on(&self, dir: &Path) -> bool {
        self.watching.as_ref().is_some_and(|watching| {
            !watching.gone.load(Ordering::Relaxed) && identity(dir).is_ok_and(|now| now == watching.directory)
        })
    }

    /// Watches `dir`, if that is not what is watched already.
    fn watch(&mut self, dir: &Path) {
        if self.is_on(dir) {
            return;
        }
        self.watching = None;
        let Ok(directory) = identity(dir) else { return };
        let gone = Arc::new(AtomicBool::new(false));
        match self.start(dir, Arc::clone(&gone)) {
            Ok(watcher) => self.watching = Some(Watching { _watcher: watcher, directory, gone }),
            Err(error) => {
                self.watching = None;
                if !self.complained {
                    self.complained = true;
                    info!("no inotify on {} ({error}): polling every second instead", dir.display());
                }
            }
        }
    }

    fn start(&self, dir: &Path, gone: Arc<AtomicBool>) -> notify::Result<RecommendedWatcher> {
        let (waker, itself) = (self.waker.clone(), dir.to_owned());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().is_ok_and(|event| says_gone(event, &itself)) {
                gone.store(true, Ordering::Relaxed);
            }
            if event.map_or(true, |event| says_change(event.kind)) {
                // One that waits is enough.
                let _ = waker.try_send(());
            }
        })?;
        watcher.watch(dir, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}

/// Reading and listing are events too, our own among them: these must not wake us.
fn says_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
}

fn says_gone(event: &notify::Event, dir: &Path) -> bool {
    let is_itself = || event.paths.iter().any(|path| path == dir);
    matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)))
        && is_itself()
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
