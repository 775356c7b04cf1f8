//! Watching the directory: inotify for promptness, a poll for everything inotify does not see (network file
//! systems, targets of symbolic links, a directory that is replaced).

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::directory::Directory;
use super::files::Files;
use crate::source::{Finding, SourceState, Update};

/// Time between two looks without an event.
const POLL: Duration = Duration::from_secs(1);
/// With inotify at work, looks become rarer by one interval for each so many files: a look costs a `stat` of each.
const FILES_PER_POLL: usize = 256;
/// Files that never stop changing delay the others no longer than this.
const LONGEST_SETTLING: Duration = Duration::from_secs(1);

/// Delivers the objects of the manifests in `dir`, then every change, until the receiver is gone.
///
/// An edit is delivered within 2 s, and not before the file has been left alone for 0.1 s, so that a file that
/// is truncated and written anew is not seen empty. While `dir` cannot be read nothing is delivered but the
/// source's state.
pub async fn run(dir: PathBuf, sink: mpsc::Sender<Update>) {
    let wake = Arc::new(Notify::new());
    let mut inotify = Inotify::new(Arc::clone(&wake));
    let mut looker = Looker::new(dir);
    let mut told: Option<SourceState> = None;
    let mut changed_since: Option<Instant> = None;
    loop {
        inotify.watch(looker.directory.path());
        let patient = changed_since.is_none_or(|since| since.elapsed() < LONGEST_SETTLING);
        // Files are read off the runtime's threads: a slow disk or a large file must stop nobody else.
        let joined = tokio::task::spawn_blocking(move || {
            let look = looker.look(patient);
            (looker, look)
        })
        .await;
        // The runtime is shutting down, or the look panicked, which the panic hook has told.
        let Ok((back, look)) = joined else { return };
        looker = back;
        let update = match look {
            Look::Unsettled(rest) => {
                changed_since.get_or_insert_with(Instant::now);
                sleep(rest).await;
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
                if sink.send(update).await.is_err() {
                    return;
                }
            }
        }
        let pause = if inotify.works() {
            POLL * u32::try_from(1 + looker.directory.file_count() / FILES_PER_POLL).unwrap_or(u32::MAX)
        } else {
            POLL
        };
        tokio::select! {
            _ = timeout(pause, wake.notified()) => {}
            () = sink.closed() => return,
        }
    }
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
    wake: Arc<Notify>,
    /// The watcher and the directory (device, inode) that it watches.
    watching: Option<(RecommendedWatcher, (u64, u64))>,
    complained: bool,
}

impl Inotify {
    fn new(wake: Arc<Notify>) -> Self {
        Self { wake, watching: None, complained: false }
    }

    fn works(&self) -> bool {
        self.watching.is_some()
    }

    /// Watches `dir`, if that is not what is watched already.
    fn watch(&mut self, dir: &Path) {
        let identity = std::fs::metadata(dir).map(|metadata| (metadata.dev(), metadata.ino()));
        let Ok(identity) = identity else {
            self.watching = None;
            return;
        };
        if self.watching.as_ref().is_some_and(|(_, watched)| *watched == identity) {
            return;
        }
        match self.start(dir) {
            Ok(watcher) => self.watching = Some((watcher, identity)),
            Err(error) => {
                self.watching = None;
                if !self.complained {
                    self.complained = true;
                    info!("no inotify on {} ({error}): polling every second instead", dir.display());
                }
            }
        }
    }

    fn start(&self, dir: &Path) -> notify::Result<RecommendedWatcher> {
        let wake = Arc::clone(&self.wake);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| says_change(event.kind)) {
                wake.notify_one();
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

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
