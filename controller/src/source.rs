//! What a source of objects hands to the driver; the API server (`api::source`) and a directory of files
//! (`manifests`) look the same from here on.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use lvs_plan::Change;
use serde::{Deserialize, Serialize};

/// One delivery: applied as a whole before the next pass.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// Changes since the last delivery, in order.
    pub changes: Vec<Change>,
    /// How the source is doing now.
    pub state: SourceState,
}

/// How a source is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceState {
    /// The first full list has been delivered. Until then nothing that the ledger names may be removed.
    pub complete: bool,
    /// The source is reachable and what was delivered is its present content.
    pub up_to_date: bool,
    /// One line that says what is wrong and what to do; empty while up to date.
    pub message: String,
    /// What is wrong inside the source's documents.
    pub findings: Vec<Finding>,
    /// Files that are invalid and have no last good version: what the ledger says came from them is kept.
    pub held_files: BTreeSet<Arc<str>>,
}

/// One thing wrong in a manifest, for logs and `/debug/state`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The file's name within the directory.
    pub file: String,
    /// Line, from 1; 0 when unknown.
    pub line: u64,
    /// Column, from 1; 0 when unknown.
    pub column: u64,
    /// The field's path (`spec.ports[0].port`), empty for the document as a whole.
    pub field: String,
    /// What is wrong and what the rule is.
    pub message: String,
}

/// Written as compilers do, so that editors and people find the place: `web.yaml:4:8: spec.vip: …`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, field, message } = self;
        f.write_str(file)?;
        if *line > 0 {
            write!(f, ":{line}:{column}")?;
        }
        if !field.is_empty() {
            write!(f, ": {field}")?;
        }
        write!(f, ": {message}")
    }
}
