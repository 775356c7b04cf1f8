//! The ledger's files: read once, then appended to; rewritten when the journal outgrows what it describes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::memory::Memory;
use super::record::{JournalHead, READABLE, Record, Snapshot, VERSION, VersionOnly};
use super::{LedgerError, Life};
use crate::crash_point::crash_point;

const SNAPSHOT: &str = "ledger.json";
const JOURNAL: &str = "ledger.journal";

/// A journal shorter than this is never worth a new snapshot.
const SHORT_JOURNAL: usize = 4096;

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Loaded {
    pub(super) memory: Memory,
    /// How many services another life had.
    pub(super) previous: usize,
    /// The snapshot's number, 0 without one.
    number: u64,
    /// Lines of a journal that can be appended to as it is.
    journal: Option<usize>,
}

/// A state directory that is this process's as long as the value lives.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    life: Life,
    number: u64,
    /// The journal, open at its end, and its lines. None: the next write begins with a snapshot.
    journal: Option<(File, usize)>,
    /// Holds the lock.
    _lock: File,
}

impl Store {
    /// Takes the directory. The lock is on the directory itself, so that it can be had where nothing can be
    /// written, and so that nobody deletes a lock file to get it.
    pub(super) fn lock(dir: &Path, life: Life) -> Result<Self, LedgerError> {
        let failed = |source| LedgerError::StateDir { path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let lock = File::open(dir).map_err(failed)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LedgerError::Locked { path: dir.to_owned() }),
            Err(errno) => return Err(failed(errno.into())),
        }
        Ok(Self { dir: dir.to_owned(), life, number: 0, journal: None, _lock: lock })
    }

    pub(super) fn load(&mut self) -> Result<Loaded, LedgerError> {
        self.journal = None;
        let loaded = read(&self.dir, &self.life)?;
        self.number = loaded.number;
        if let Some(lines) = loaded.journal
            && let Ok(file) = OpenOptions::new().append(true).open(self.dir.join(JOURNAL))
        {
            self.journal = Some((file, lines));
        }
        Ok(loaded)
    }

    /// Brings `records` to disk; `memory` is the content with them.
    pub(super) fn append<'r>(
        &mut self,
        memory: &Memory,
        records: impl Iterator<Item = &'r Record>,
    ) -> Result<(), LedgerError> {
        // Taken out: after a failure nobody knows how far the journal goes, and a new snapshot is due.
        match self.journal.take() {
            Some((file, lines)) if lines < SHORT_JOURNAL.max(2 * memory.services.len()) => {
                let lines = lines + write_records(&file, records).map_err(self.failed_to_write(JOURNAL))?;
                self.journal = Some((file, lines));
                Ok(())
            }
            _ => self.rewrite(memory),
        }
    }

    /// A new snapshot, then an empty journal. In between, the old journal is that of another snapshot, and void.
    fn rewrite(&mut self, memory: &Memory) -> Result<(), LedgerError> {
        let number = self.number + 1;
        let snapshot = Snapshot::of(memory, &self.life, number);
        self.replace(SNAPSHOT, |file| serde_json::to_writer(file, &snapshot).map_err(io::Error::from))?;
        self.number = number;
        crash_point!(SnapshotWithoutJournal);
        let head = JournalHead { version: VERSION, follows: number };
        let file = self.replace(JOURNAL, |file| {
            serde_json::to_writer(&mut *file, &head)?;
            file.write_all(b"\n")
        })?;
        self.journal = Some((file, 0));
        Ok(())
    }

    /// Replaces a file at once and lastingly: a reader sees the old or the new one, also after a crash.
    fn replace(
        &self,
        name: &str,
        fill: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
    ) -> Result<File, LedgerError> {
        let new = self.dir.join(format!("{name}.new"));
        let write = || {
            let file = File::create(&new)?;
            let mut writer = BufWriter::new(&file);
            fill(&mut writer)?;
            writer.flush()?;
            drop(writer);
            file.sync_all()?;
            crash_point!(SnapshotUnnamed);
            fs::rename(&new, self.dir.join(name))?;
            File::open(&self.dir)?.sync_all()?;
            Ok(file)
        };
        write().map_err(self.failed_to_write(name))
    }

    #[cfg(test)]
    pub(super) fn forget_journal(&mut self) {
        self.journal = None;
    }

    fn failed_to_write(&self, name: &str) -> impl FnOnce(io::Error) -> LedgerError {
        let path = self.dir.join(name);
        move |source| LedgerError::Write { path, source }
    }
}

/// One write for all of them, one wait for the disk. Returns how many there were.
fn write_records<'r>(mut file: &File, records: impl Iterator<Item = &'r Record>) -> io::Result<usize> {
    let mut text = Vec::new();
    let mut count = 0;
    for record in records {
        serde_json::to_writer(&mut text, record)?;
        text.push(b'\n');
        count += 1;
    }
    if count > 0 {
        crash_point!(JournalTorn, file.write_all(&text[..text.len() / 2]));
        file.write_all(&text)?;
        crash_point!(JournalUnsynced);
        file.sync_data()?;
    }
    Ok(count)
}

/// Reads snapshot and journal. No snapshot is an empty ledger; a snapshot of another life is one with a past.
pub(super) fn read(dir: &Path, life: &Life) -> Result<Loaded, LedgerError> {
    let path = dir.join(SNAPSHOT);
    let Some(bytes) = read_if_there(&path)? else { return Ok(Loaded::default()) };
    let corrupt =
        |error: serde_json::Error| LedgerError::Corrupt { path: path.clone(), what: error.to_string() };
    let VersionOnly { version } = serde_json::from_slice(&bytes).map_err(corrupt)?;
    if !READABLE.contains(&version) {
        return Err(LedgerError::Version { path, version });
    }
    let snapshot: Snapshot = serde_json::from_slice(&bytes).map_err(corrupt)?;
    let number = snapshot.number;
    let same_life = snapshot.is_of(life);
    let mut memory = snapshot.into_memory();
    let journal = match read_journal(&dir.join(JOURNAL), number, &mut memory) {
        Ok(journal) => journal,
        Err(error) if same_life => return Err(error),
        // A power failure may leave anything at a journal's end; it also ends the life that it was about.
        Err(_) => None,
    };
    if same_life {
        Ok(Loaded { memory, previous: 0, number, journal })
    } else {
        Ok(Loaded { memory: Memory::default(), previous: memory.services.len(), number, journal: None })
    }
}

/// Applies the journal that follows snapshot `number`. Returns its records, or none if it cannot be appended to:
/// it is missing, follows another snapshot, ends in the middle of a line, or is of an older version.
fn read_journal(path: &Path, number: u64, memory: &mut Memory) -> Result<Option<usize>, LedgerError> {
    let Some(bytes) = read_if_there(path)? else { return Ok(None) };
    let corrupt = |line: usize, error: &serde_json::Error| LedgerError::Corrupt {
        path: path.to_owned(),
        what: format!("line {line}: {error}"),
    };
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    // The journal is put in place with its first line, so an incomplete one is not of our making.
    let head = lines.next().unwrap_or_default();
    let head: JournalHead = serde_json::from_slice(head).map_err(|error| corrupt(1, &error))?;
    if !READABLE.contains(&head.version) {
        return Err(LedgerError::Version { path: path.to_owned(), version: head.version });
    }
    if head.follows != number {
        return Ok(None);
    }
    let mut count = 0;
    for line in lines {
        if line.last() != Some(&b'\n') {
            // The process died while writing it, so before it touched the kernel.
            return Ok(None);
        }
        let record = serde_json::from_slice(line).map_err(|error| corrupt(count + 2, &error))?;
        memory.apply(&record);
        count += 1;
    }
    // An older program would not know what is written into a journal of its own version.
    Ok((head.version == VERSION).then_some(count))
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, LedgerError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LedgerError::Read { path: path.to_owned(), source }),
    }
}
