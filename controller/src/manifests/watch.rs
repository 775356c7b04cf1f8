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
/// The same where inotify sees every edit, so that only what nobody does to manifests waits for a look: renaming a
/// folder above them, or writing through a hard link in another folder.
const RARE_POLL: Duration = Duration::from_secs(5);
/// With inotify at work, looks become rarer by one second for each so many files: a look costs a `stat` of each.
const FILES_PER_SECOND: usize = 256;
/// File systems that only this host writes to (`linux/magic.h`; ZFS: `zfs_vfsops.c`).
const LOCAL: [u32; 8] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0x2fc1_2fc1, // ZFS
    0xf2f5_2010, // F2FS
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs
];
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
        let pause = pause(inotify.sight(), looker.directory.file_count(), looker.directory.has_links());
        tokio::select! {
            _ = timeout(pause, wake.notified()) => {}
            () = sink.closed() => return,
        }
    }
}

/// What inotify sees of edits to a directory's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// It does not work.
    Nothing,
    /// What is done by way of this directory on this host.
    Some,
    /// All.
    All,
}

/// How long a look may wait if nothing is heard of.
fn pause(sight: Sight, files: usize, links: bool) -> Duration {
    let more = Duration::from_secs((files / FILES_PER_SECOND) as u64);
    match sight {
        Sight::Nothing => POLL,
        Sight::All if !links => RARE_POLL + more,
        Sight::Some | Sight::All => POLL + more,
    }
}

/// Whether whatever is done to the files of a directory is done by way of it on this host: no symbolic link leads to
/// it, which could be replaced, and no other host writes to its file system.
fn is_seen_wholly(dir: &Path) -> bool {
    let is_straight = || Some(std::fs::canonicalize(dir).ok()? == std::path::absolute(dir).ok()?);
    let is_local = || rustix::fs::statfs(dir).is_ok_and(|found| is_local(found.f_type.cast_unsigned()));
    is_straight().unwrap_or(false) && is_local()
}

fn is_local(file_system: u64) -> bool {
    LOCAL.iter().any(|local| u64::from(*local) == file_system & 0xffff_ffff)
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
    watching: Option<Watching>,
    complained: bool,
}

struct Watching {
    /// Ends with this value.
    _watcher: RecommendedWatcher,
    /// Device and inode of the directory.
    identity: (u64, u64),
    sight: Sight,
}

impl Inotify {
    fn new(wake: Arc<Notify>) -> Self {
        Self { wake, watching: None, complained: false }
    }

    fn sight(&self) -> Sight {
        self.watching.as_ref().map_or(Sight::Nothing, |watching| watching.sight)
    }

    /// Watches `dir`, if that is not what is watched already.
    fn watch(&mut self, dir: &Path) {
        let identity = std::fs::metadata(dir).map(|metadata| (metadata.dev(), metadata.ino()));
        let Ok(identity) = identity else {
            self.watching = None;
            return;
        };
        if self.watching.as_ref().is_some_and(|watching| watching.identity == identity) {
            return;
        }
        match self.start(dir) {
            Ok(watcher) => {
                let sight = if is_seen_wholly(dir) { Sight::All } else { Sight::Some };
                self.watching = Some(Watching { _watcher: watcher, identity, sight });
            }
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
