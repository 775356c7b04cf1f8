//! Looking at the directory: which files there are, which of them changed, and what is in these.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::MAX_FILE_BYTES;
use super::files::{Content, FileContent};

/// A file that was written this short a time ago may still be being written.
const SETTLE: Duration = Duration::from_millis(100);
/// The clock of file times ticks coarsely: a file read this soon after its last change can change again without
/// its times saying so, and is read again at the next look.
const RACY: Duration = Duration::from_secs(2);

/// A directory and what was seen in it.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    seen: BTreeMap<Arc<str>, Seen>,
    has_links: bool,
}

/// The state of a file at the last look.
#[derive(Debug)]
struct Seen {
    outcome: Outcome,
    /// Its times can be trusted to tell the next change.
    trusted: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Read { stamp: Stamp, hash: u64 },
    Unreadable(String),
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn has_times_of(&self, other: &Self) -> bool {
        (self.inode, self.modified, self.changed) == (other.inode, other.modified, other.changed)
    }

    /// Time since the last change; none if the file's time is in the future.
    fn age(&self, now: SystemTime) -> Option<Duration> {
        let (seconds, nanoseconds) = self.modified.max(self.changed);
        let since_epoch = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
        now.duration_since(UNIX_EPOCH + since_epoch).ok()
    }
}

/// A file's entry in the directory, not yet read.
#[derive(Debug)]
struct Candidate {
    name: Arc<str>,
    stamp: Result<Stamp, String>,
}

/// A listing of the directory: the first half of a look.
#[derive(Debug)]
pub(super) struct Listing {
    candidates: Vec<Candidate>,
    /// A changed file was written so lately that it may be half done: better look again after this time.
    pub(super) settles_in: Option<Duration>,
    /// Nothing differs from the last look, and nothing has to be read to know that.
    pub(super) unchanged: bool,
}

impl Directory {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, seen: BTreeMap::new(), has_links: false }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file_count(&self) -> usize {
        self.seen.len()
    }

    /// Whether a manifest was another file than the directory's own at the last look: a symbolic link, or one that
    /// is mounted there.
    pub(super) fn has_links(&self) -> bool {
        self.has_links
    }

    /// Lists the manifests with the times of their last change.
    pub(super) fn list(&mut self, now: SystemTime) -> io::Result<Listing> {
        let mut listing = Listing { candidates: Vec::new(), settles_in: None, unchanged: true };
        self.has_links = false;
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            // A name that is not UTF-8 cannot be told in a finding; no tool writes such manifests.
            let Some(name) = name.to_str().filter(|name| is_manifest(name)) else { continue };
            let stamp = match stamp(&entry.path()) {
                Ok(stamp) => Ok(stamp),
                // Gone since the listing was read. Any other error is no evidence of that.
                Err(_) if is_gone(&entry.path()) => continue,
                Err(message) => Err(message),
            };
            self.has_links |= stamp.as_ref().is_ok_and(|stamp| stamp.inode != entry.ino());
            let name: Arc<str> = name.into();
            let settled = match (&stamp, self.seen.get(&name)) {
                (Ok(stamp), Some(Seen { outcome: Outcome::Read { stamp: old, .. }, trusted }))
                    if stamp == old =>
                {
                    *trusted
                }
                (Err(message), Some(Seen { outcome: Outcome::Unreadable(old), .. })) => message == old,
                (Ok(stamp), old) => {
                    let age = match old {
                        // Truncating sets the size first and the time a moment later: this is that moment.
                        Some(Seen { outcome: Outcome::Read { stamp: old, .. }, .. })
                            if stamp.has_times_of(old) =>
                        {
                            None
                        }
                        // None: written since `now` was asked for, or by a host with another clock.
                        _ => stamp.age(now),
                    };
                    let age = age.unwrap_or(Duration::ZERO);
                    listing.settles_in = listing.settles_in.max(SETTLE.checked_sub(age));
                    false
                }
                (Err(_), _) => false,
            };
            listing.unchanged &= settled;
            listing.candidates.push(Candidate { name, stamp });
        }
        listing.unchanged &= listing.candidates.len() == self.seen.len();
        listing.candidates.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    /// Reads what changed, one file at a time. A file that is written to while it is read, an empty or a half one,
    /// is left for the next look as long as the caller is `patient`.
    pub(super) fn read(
        &mut self,
        listing: Listing,
        now: SystemTime,
        patient: bool,
    ) -> impl Iterator<Item = FileContent> {
        let Self { path, seen, has_links: _ } = self;
        let names: std::collections::BTreeSet<_> =
            listing.candidates.iter().map(|candidate| Arc::clone(&candidate.name)).collect();
        seen.retain(|name, _| names.contains(name));
        listing.candidates.into_iter().map(move |Candidate { name, stamp }| {
            let old = seen.get(&name);
            if let (Ok(stamp), Some(Seen { outcome: Outcome::Read { stamp: was, .. }, trusted: true })) = (&stamp, old)
                && stamp == was
            {
                return FileContent { name, content: Content::Unchanged };
            }
            let file = path.join(&*name);
            let read = stamp.and_then(|stamp| Ok((stamp, read_bounded(&file)?)));
            let (new, content) = match read {
                Ok((before, bytes)) if patient && is_written_to(&file, before, &bytes) => {
                    let content = match old {
                        Some(_) => Content::Unchanged,
                        // Not simply left out: what came from it before a restart would count as gone.
                        None => Content::Unreadable("it was written to while it was read; reading it again".to_owned()),
                    };
                    return FileContent { name, content };
                }
                Ok((stamp, bytes)) => {
                    let hash = hash(&bytes);
                    let same = matches!(old, Some(Seen { outcome: Outcome::Read { hash: was, .. }, .. }) if *was == hash);
                    let trusted = stamp.age(now).is_none_or(|age| age > RACY);
                    let content = if same { Content::Unchanged } else { Content::Bytes(bytes) };
                    (Seen { outcome: Outcome::Read { stamp, hash }, trusted }, content)
                }
                Err(message) => {
                    (Seen { outcome: Outcome::Unreadable(message.clone()), trusted: false }, Content::Unreadable(message))
                }
            };
            seen.insert(Arc::clone(&name), new);
            FileContent { name, content }
        })
    }
}

/// Whether there is nothing under this path, not even a dangling link.
fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whether a name is a manifest's: dot files are editors' and the kubelet's own business.
fn is_manifest(name: &str) -> bool {
    let known =
        |extension: &std::ffi::OsStr| extension == "yaml" || extension == "yml" || extension == "json";
    !name.starts_with('.') && Path::new(name).extension().is_some_and(known)
}

/// Follows symbolic links: a mounted `ConfigMap` consists of them.
fn stamp(path: &Path) -> Result<Stamp, String> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "this symbolic link leads nowhere; repair or remove it".to_owned(),
        _ => format!("cannot look at it: {error}"),
    })?;
    if metadata.is_dir() {
        return Err("this is a directory; only files directly in the manifest directory are read".to_owned());
    }
    if !metadata.is_file() {
        // Opening a FIFO would wait for its writer.
        return Err("this is not a regular file".to_owned());
    }
    Ok(Stamp::of(&metadata))
}

/// Whether the file is another one than before it was read. Its times alone do not tell: their clock ticks coarsely.
fn is_written_to(path: &Path, before: Stamp, bytes: &[u8]) -> bool {
    before.size != bytes.len() as u64 || stamp(path).is_ok_and(|after| after != before)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read it: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("larger than {} MiB; split it into several files", MAX_FILE_BYTES >> 20));
    }
    Ok(bytes)
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_is_gone_and_not_what_cannot_be_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("web.yaml");
        assert!(is_gone(&file));
        fs::write(&file, "").unwrap();
        assert!(!is_gone(&file));
        // ENOTDIR, as one of many errors that say nothing about the file.
        assert!(!is_gone(&file.join("web.yaml")));
    }
}
