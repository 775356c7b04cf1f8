//! Things that are built once and used again, in `$XDG_CACHE_HOME/lvs-operator` or `~/.cache/lvs-operator`.
//!
//! An entry is a directory, named after what it holds and the hash of everything it was made from, so a changed
//! input makes a new entry and an old one is never changed. It is built under another name and renamed, so an
//! entry that exists is complete; a lock makes a second run wait for the first one's result.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// How many entries of one name are kept. More than one, so that two checkouts or kernels can take turns.
const KEPT: usize = 3;

/// What an entry is made from.
#[derive(Clone, Default)]
pub struct Inputs(Sha256);

impl Inputs {
    /// No inputs yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text, such as a version or a command line.
    #[must_use]
    pub fn text(mut self, text: impl AsRef<OsStr>) -> Self {
        let bytes = text.as_ref().as_encoded_bytes();
        // With its length, so that "ab", "c" and "a", "bc" differ.
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds the content of a file.
    pub fn file(mut self, path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(&bytes);
        Ok(self)
    }

    fn key(&self) -> String {
        use std::fmt::Write as _;
        self.0.clone().finalize().iter().take(8).fold(String::new(), |mut key, byte| {
            let _ = write!(key, "{byte:02x}");
            key
        })
    }
}

/// The cache folder.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the user's cache, creating it if needed.
    pub fn open() -> Result<Self> {
        Self::at(user_folder(std::env::var_os("XDG_CACHE_HOME"), std::env::home_dir())?)
    }

    /// Opens a cache in this folder, creating it if needed.
    pub fn at(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root).with_context(|| format!("cannot create the cache {}", root.display()))?;
        Ok(Self { root })
    }

    /// The cache's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The entry `name` made from `inputs`, if it has been built.
    pub fn find(&self, name: &str, inputs: &Inputs) -> Option<PathBuf> {
        let path = self.path(name, inputs);
        path.is_dir().then(|| {
            used_now(&path);
            path
        })
    }

    /// The entry `name` made from `inputs`. If it is not there, `build` fills the empty folder that it is given;
    /// if `build` fails, no entry is left.
    pub fn entry(
        &self,
        name: &str,
        inputs: &Inputs,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        if let Some(path) = self.find(name, inputs) {
            return Ok(path);
        }
        let path = self.path(name, inputs);
        let _lock = self.lock(name)?;
        // Another run may have built it while this one waited for the lock.
        if let Some(path) = self.find(name, inputs) {
            return Ok(path);
        }
        // The lock is ours, so what is here was left by a run that died.
        let unfinished = self.root.join(format!(".{name}.unfinished"));
        remove(&unfinished)?;
        fs::create_dir(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
        if let Err(error) = build(&unfinished) {
            let _ = remove(&unfinished);
            return Err(error);
        }
        fs::rename(&unfinished, &path).with_context(|| format!("cannot create {}", path.display()))?;
        used_now(&path);
        self.prune(name, &path);
        Ok(path)
    }

    /// An exclusive lock on `name`, held until the value is dropped. Waits for whoever holds it now.
    pub fn lock(&self, name: &str) -> Result<File> {
        let path = self.root.join(format!(".{name}.lock"));
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }

    /// [`Cache::lock`], but `None` at once if somebody holds it.
    pub fn try_lock(&self, name: &str) -> Result<Option<File>> {
        let path = self.root.join(format!(".{name}.lock"));
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    fn path(&self, name: &str, inputs: &Inputs) -> PathBuf {
        self.root.join(format!("{name}-{}", inputs.key()))
    }

    /// Removes all but the newest entries of a name. A cache that could not be tidied is still a cache, so
    /// failures don't count.
    fn prune(&self, name: &str, fresh: &Path) {
        let Ok(listing) = fs::read_dir(&self.root) else { return };
        let mut old: Vec<(SystemTime, PathBuf)> = listing
            .flatten()
            .filter(|entry| entry.path() != fresh && is_entry_of(name, &entry.file_name()))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        old.sort();
        for (_, path) in old.iter().rev().skip(KEPT - 1) {
            let _ = remove(path);
        }
    }
}

/// Whether a file name is `name`, a dash and a key. `kernel-6.12-<key>` is no entry of `kernel`.
fn is_entry_of(name: &str, file: &OsStr) -> bool {
    file.to_str()
        .and_then(|file| file.strip_prefix(name)?.strip_prefix('-'))
        .is_some_and(|key| key.len() == 16 && key.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Entries are pruned by when they were last used. A read-only cache still serves.
fn used_now(path: &Path) {
    let _ = File::open(path).and_then(|folder| folder.set_modified(SystemTime::now()));
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The XDG base directory specification: a relative `XDG_CACHE_HOME` is ignored.
fn user_folder(xdg: Option<std::ffi::OsString>, home: Option<PathBuf>) -> Result<PathBuf> {
    let cache = xdg.map(PathBuf::from).filter(|path| path.is_absolute());
    cache
        .or_else(|| Some(home?.join(".cache")))
        .map(|cache| cache.join("lvs-operator"))
        .context("there is no home directory: set XDG_CACHE_HOME to an absolute path")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache below the system's temporary folder that goes away with the value.
    struct Scratch(Cache);

    impl Scratch {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("lvs-lab-cache-{name}-{}", std::process::id()));
            let _ = remove(&root);
            Self(Cache::at(root).unwrap())
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = remove(self.0.root());
        }
    }

    fn built(cache: &Cache, inputs: &Inputs, content: &str) -> PathBuf {
        cache.entry("thing", inputs, |folder| Ok(fs::write(folder.join("file"), content)?)).unwrap()
    }

    #[test]
    fn an_entry_is_built_once_and_a_changed_input_makes_another() {
        let scratch = Scratch::new("once");
        let one = Inputs::new().text("1");
        let first = built(&scratch.0, &one, "first");
        let again = built(&scratch.0, &one, "never written");
        assert_eq!(first, again);
        assert_eq!(fs::read_to_string(again.join("file")).unwrap(), "first");
        let other = built(&scratch.0, &Inputs::new().text("2"), "second");
        assert_ne!(first, other);
        assert_eq!(fs::read_to_string(other.join("file")).unwrap(), "second");
    }

    #[test]
    fn a_build_that_fails_leaves_no_entry_and_the_next_one_starts_empty() {
        let scratch = Scratch::new("fails");
        let inputs = Inputs::new();
        let failed = scratch.0.entry("thing", &inputs, |folder| {
            fs::write(folder.join("half"), "")?;
            anyhow::bail!("no network")
        });
        assert_eq!(failed.unwrap_err().to_string(), "no network");
        assert_eq!(scratch.0.find("thing", &inputs), None);
        // A run that was killed leaves its unfinished folder behind.
        fs::create_dir_all(scratch.0.root().join(".thing.unfinished/left")).unwrap();
        let path = built(&scratch.0, &inputs, "whole");
        let names: Vec<_> = fs::read_dir(path).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["file"]);
    }

    #[test]
    fn two_runs_at_once_build_one_entry() {
        let scratch = Scratch::new("two");
        let builds = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let build = |_: &Path| {
                        builds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        Ok(())
                    };
                    scratch.0.entry("thing", &Inputs::new(), build).unwrap();
                });
            }
        });
        assert_eq!(builds.into_inner(), 1);
    }

    #[test]
    fn a_lock_is_taken_until_it_is_dropped() {
        let scratch = Scratch::new("lock");
        let held = scratch.0.lock("thing").unwrap();
        assert!(scratch.0.try_lock("thing").unwrap().is_none());
        assert!(scratch.0.try_lock("other").unwrap().is_some());
        drop(held);
        assert!(scratch.0.try_lock("thing").unwrap().is_some());
    }

    #[test]
    fn only_the_entries_used_last_are_kept_and_other_names_are_left_alone() {
        let scratch = Scratch::new("prune");
        let other = scratch.0.entry("thing-6.12", &Inputs::new(), |_| Ok(())).unwrap();
        let long_ago = |path: &Path, age: u64| {
            let when = SystemTime::now() - std::time::Duration::from_secs(age);
            File::open(path).unwrap().set_modified(when).unwrap();
        };
        long_ago(&other, 900);
        let entries: Vec<_> = (0..4u64)
            .map(|n| {
                let path = built(&scratch.0, &Inputs::new().text(n.to_string()), "");
                long_ago(&path, 100 - n);
                path
            })
            .collect();
        let there: Vec<_> = entries.iter().map(|path| path.is_dir()).collect();
        assert_eq!(there, [false, true, true, true]);
        assert!(other.is_dir());
    }

    #[test]
    fn inputs_differ_by_their_borders_and_their_order() {
        let key = |texts: &[&str]| texts.iter().fold(Inputs::new(), Inputs::text).key();
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["a", "b"]), key(&["b", "a"]));
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
    }

    #[test]
    fn the_folder_is_xdg_or_below_the_home_directory() {
        let home = || Some(PathBuf::from("/home/u"));
        for (xdg, expected) in [
            (Some("/var/cache/u"), "/var/cache/u/lvs-operator"),
            (Some("relative"), "/home/u/.cache/lvs-operator"),
            (Some(""), "/home/u/.cache/lvs-operator"),
            (None, "/home/u/.cache/lvs-operator"),
        ] {
            let folder = user_folder(xdg.map(Into::into), home()).unwrap();
            assert_eq!(folder, Path::new(expected), "{xdg:?}");
        }
        assert!(user_folder(None, None).is_err());
    }
}
