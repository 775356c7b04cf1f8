//! What the guest tells while it measures, line by line, and how the host shows it.

use anyhow::{Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::LIMIT;
use crate::guest::{Guest, Job, Stream};
use crate::progress;

/// What the guest tells while it measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event<R> {
    /// What it is about to do.
    Doing(String),
    /// What it has found.
    Found(R),
}

/// How a measurement tells of its steps and figures.
pub type Tell<'a, R> = dyn FnMut(Event<R>) -> Result<()> + 'a;

/// Has the guest measure what the settings say, by the lab's command of this name. Figures that `shown` has words for
/// are shown at once.
pub(super) fn measure_in<S: Serialize, R: DeserializeOwned>(
    guest: &Guest,
    command: &str,
    settings: &S,
    shown: fn(&R) -> Option<String>,
    records: &mut Vec<R>,
) -> Result<()> {
    let job = Job { input: serde_json::to_string(settings)?, ..Job::new(["lab", command]) };
    let mut follower = Follower::new(shown);
    let code = guest.run(&job, LIMIT, |stream, bytes| follower.take(stream, bytes))?;
    let said = follower.end(code == 0, records);
    ensure!(code == 0, "measuring failed; the guest's files are in {}\n{said}", guest.folder().display());
    Ok(())
}

/// Tells the host, from inside the guest.
pub(super) fn tell<R: Serialize>(event: &Event<R>) -> Result<()> {
    println!("{}", serde_json::to_string(event)?);
    Ok(())
}

struct Follower<R> {
    step: Option<progress::Step>,
    shown: fn(&R) -> Option<String>,
    line: Vec<u8>,
    records: Vec<R>,
    errors: Vec<u8>,
}

impl<R: DeserializeOwned> Follower<R> {
    fn new(shown: fn(&R) -> Option<String>) -> Self {
        let step = Some(progress::step("measuring"));
        Self { step, shown, line: Vec::new(), records: Vec::new(), errors: Vec::new() }
    }

    fn take(&mut self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Error {
            self.errors.extend_from_slice(bytes);
            return;
        }
        for byte in bytes {
            if *byte == b'\n' {
                self.read_line();
            } else {
                self.line.push(*byte);
            }
        }
    }

    fn read_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        match (serde_json::from_slice(&line), &self.step) {
            (Ok(Event::Doing(what)), Some(step)) => step.note(what),
            (Ok(Event::Doing(_)), None) => {}
            (Ok(Event::Found(record)), _) => {
                if let Some(words) = (self.shown)(&record) {
                    progress::line(&words);
                }
                self.records.push(record);
            }
            (Err(_), _) => self.errors.extend(line.into_iter().chain([b'\n'])),
        }
    }

    /// Adds what was found, and returns whatever else was said.
    fn end(mut self, is_well: bool, records: &mut Vec<R>) -> String {
        if let Some(step) = self.step.take().filter(|_| is_well) {
            step.done();
        }
        records.append(&mut self.records);
        String::from_utf8_lossy(&self.errors).into_owned()
    }
}
