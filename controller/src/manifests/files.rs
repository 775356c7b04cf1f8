//! What the directory's files declare, and what changes when they do. Pure: bytes come in, an [`Update`] goes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lvs_plan::{Change, Object, ObjectKey};
use tracing::info;

use super::document::{self, Declared};
use super::tree::Position;
use super::typed::Fault;
use crate::source::{Finding, SourceState, Update};

/// A file as a look at the directory found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileContent {
    /// The file's name within the directory.
    pub name: Arc<str>,
    /// What is in it.
    pub content: Content,
}

/// What a look at one file gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The same bytes as at the last look.
    Unchanged,
    /// Its bytes.
    Bytes(Vec<u8>),
    /// Why it could not be read. What it declared before stays in force.
    Unreadable(String),
}

/// The files of a directory and the objects that they declare together.
#[derive(Debug, Default)]
pub struct Files {
    files: BTreeMap<Arc<str>, File>,
    /// Which files declare an object, in order; the first one's version is in force. Mostly it is one.
    declared_in: BTreeMap<ObjectKey, Vec<Arc<str>>>,
    /// Objects that more than one file declares.
    contested: BTreeSet<ObjectKey>,
    in_force: BTreeMap<ObjectKey, Arc<Object>>,
    complete: bool,
}

#[derive(Debug, Default)]
struct File {
    /// The objects of the last good version by their keys; none if there was none yet.
    good: Option<Box<[Good]>>,
    /// What is wrong with the present version.
    faults: Vec<Fault>,
}

/// An object of a good file.
#[derive(Debug)]
struct Good {
    /// What is in force is not kept twice: it is this one.
    object: Arc<Object>,
    at: Position,
}

impl Good {
    fn new(declared: Declared, file: &Arc<str>) -> Self {
        let Declared { key, labels, spec, at } = declared;
        let (uid, generation, created) = (String::new(), 1, 0);
        let object = Object { key, uid, generation, created, labels, file: Some(Arc::clone(file)), spec };
        Self { object: Arc::new(object), at }
    }
}

impl File {
    fn place(&self, key: &ObjectKey) -> Option<Position> {
        let good = self.good.as_ref()?;
        Some(good[good.binary_search_by(|good| good.object.key.cmp(key)).ok()?].at)
    }

    fn declared(&mut self, key: &ObjectKey) -> Option<&mut Arc<Object>> {
        let good = self.good.as_mut()?;
        let index = good.binary_search_by(|good| good.object.key.cmp(key)).ok()?;
        Some(&mut good[index].object)
    }
}

impl Files {
    /// Takes in one look at a readable directory: all its files, in any order. What is not among them is gone.
    ///
    /// Costs what changed: an unchanged file is not looked into.
    pub fn apply(&mut self, scan: impl IntoIterator<Item = FileContent>) -> Update {
        let mut gone: BTreeSet<Arc<str>> = self.files.keys().cloned().collect();
        let mut touched = BTreeSet::new();
        for FileContent { name, content } in scan {
            gone.remove(&name);
            self.file(&name, content, &mut touched);
        }
        for name in gone {
            if let Some(File { good: Some(objects), .. }) = self.files.remove(&name) {
                for Good { object, .. } in objects {
                    self.undeclare(&object.key, &name);
                    touched.insert(object.key.clone());
                }
            }
        }
        let changes = touched.into_iter().filter_map(|key| self.settle(key)).collect();
        self.complete = true;
        Update { changes, state: self.state(true, String::new()) }
    }

    /// Takes in that the directory cannot be read, with the words that say why and what to do. Nothing of what
    /// is in force changes.
    pub fn unreadable(&mut self, message: String) -> Update {
        Update { changes: Vec::new(), state: self.state(false, message) }
    }

    fn file(&mut self, name: &Arc<str>, content: Content, touched: &mut BTreeSet<ObjectKey>) {
        let parsed = match content {
            Content::Unchanged => return,
            Content::Bytes(bytes) => document::parse(&bytes),
            Content::Unreadable(message) => {
                Err(vec![Fault { at: Position::default(), field: String::new(), message }])
            }
        };
        let file = self.files.entry(Arc::clone(name)).or_default();
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(faults) => {
                file.faults = faults;
                return;
            }
        };
        for skipped in &parsed.skipped {
            info!(file = &**name, "skipped {skipped}: not an object of lvs-operator");
        }
        file.faults.clear();
        let mut objects: Box<[Good]> =
            parsed.objects.into_iter().map(|declared| Good::new(declared, name)).collect();
        objects.sort_by(|a, b| a.object.key.cmp(&b.object.key));
        let new: Vec<ObjectKey> = objects.iter().map(|good| good.object.key.clone()).collect();
        for Good { object, .. } in file.good.replace(objects).unwrap_or_default() {
            self.undeclare(&object.key, name);
            touched.insert(object.key.clone());
        }
        for key in new {
            let declarers = self.declared_in.entry(key.clone()).or_insert_with(|| Vec::with_capacity(1));
            if let Err(place) = declarers.binary_search(name) {
                declarers.insert(place, Arc::clone(name));
            }
            if declarers.len() > 1 {
                self.contested.insert(key.clone());
            }
            touched.insert(key);
        }
    }

    fn undeclare(&mut self, key: &ObjectKey, name: &Arc<str>) {
        let Some(declarers) = self.declared_in.get_mut(key) else { return };
        declarers.retain(|declarer| declarer != name);
        if declarers.len() < 2 {
            self.contested.remove(key);
        }
        if declarers.is_empty() {
            self.declared_in.remove(key);
        }
    }

    /// Brings into force what the first file says of an object.
    fn settle(&mut self, key: ObjectKey) -> Option<Change> {
        let first = self.declared_in.get(&key).and_then(|declarers| declarers.first());
        let declared = first.and_then(|name| self.files.get_mut(name)?.declared(&key));
        let Some(declared) = declared else {
            return self.in_force.remove(&key).map(|_| Change::Removed(key));
        };
        let generation = match self.in_force.get(&key) {
            None => 1,
            Some(old) if old.spec != declared.spec => old.generation + 1,
            Some(old) if old.labels != declared.labels || old.file != declared.file => old.generation,
            Some(old) => {
                *declared = Arc::clone(old);
                return None;
            }
        };
        if declared.generation != generation {
            Arc::make_mut(declared).generation = generation;
        }
        self.in_force.insert(key, Arc::clone(declared));
        Some(Change::Upsert(Arc::clone(declared)))
    }

    fn state(&self, up_to_date: bool, message: String) -> SourceState {
        let held_files =
            self.files.iter().filter(|(_, file)| file.good.is_none()).map(|(name, _)| Arc::clone(name));
        SourceState {
            complete: self.complete,
            up_to_date,
            message,
            findings: self.findings(),
            held_files: held_files.collect(),
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = Vec::new();
        for (name, file) in &self.files {
            findings.extend(file.faults.iter().map(|fault| Finding {
                file: name.to_string(),
                line: fault.at.line,
                column: fault.at.column,
                field: fault.field.clone(),
                message: fault.message.clone(),
            }));
        }
        for key in &self.contested {
            let mut declarers = self.declared_in.get(key).into_iter().flatten();
            let Some(winner) = declarers.next() else { continue };
            for loser in declarers {
                let at = self.files.get(loser).and_then(|file| file.place(key)).unwrap_or_default();
                findings.push(Finding {
                    file: loser.to_string(),
                    line: at.line,
                    column: at.column,
                    field: String::new(),
                    message: format!(
                        "{} {key} is in {winner} too, whose version is in force; remove it from one of them",
                        key.kind.as_str()
                    ),
                });
            }
        }
        findings.sort();
        findings
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
