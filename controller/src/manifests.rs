//! A directory of manifests as the source of objects: the same YAML as for the API server, without one.
//!
//! Three layers: `tree`, `typed` and `document` turn bytes into objects or findings; [`Files`] turns looks at the
//! directory into changes, and is pure; `directory` and [`run`] do the looking.

mod directory;
mod document;
mod files;
pub(crate) mod json;
mod tree;
mod typed;
mod watch;

pub use files::{Content, FileContent, Files};
pub use watch::{read_once, run};

/// Larger files are refused: 16 MiB, room for some 60,000 objects.
pub const MAX_FILE_BYTES: u64 = 16 << 20;
