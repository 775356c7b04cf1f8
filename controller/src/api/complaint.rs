//! What fails is logged once, and a silent API server once by all the tasks together: each of them notices it in its
//! own time and its own words.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::Error;
use lvs_plan::ObjectKey;
use tracing::{debug, field, warn};

use super::connect::is_silent;

/// Other words for a silence are logged so long after the last ones: they may say what has changed, but at first they
/// say the same.
const PAUSE: Duration = Duration::from_mins(1);

/// What was said of the API server's silence since it was last heard. All the tasks share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outage(Arc<Mutex<Silence>>);

#[derive(Debug, Default)]
struct Silence {
    told: BTreeSet<String>,
    last: Option<Instant>,
}

impl Silence {
    /// Whether that is to be told now.
    fn is_news(&mut self, message: &str, now: Instant) -> bool {
        let rests = self.last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE);
        if rests || self.told.contains(message) {
            return false;
        }
        self.told.insert(message.to_owned());
        self.last = Some(now);
        true
    }
}

impl Outage {
    /// The API server said something, if only no.
    pub(super) fn heard(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Silence::default();
    }

    /// Logs that it does not answer: the first words at once, others as [`PAUSE`] says, and each once. `true` if they
    /// were logged for people.
    pub(super) fn log(&self, message: &str) -> bool {
        let news = self.0.lock().unwrap_or_else(PoisonError::into_inner).is_news(message, Instant::now());
        if news {
            warn!("{message}");
        } else {
            debug!("{message}");
        }
        news
    }
}

/// What one task complains about.
#[derive(Debug)]
pub(super) struct Complaint {
    outage: Outage,
    message: Option<String>,
    /// Whether the message was logged, and not left to another task.
    is_logged: bool,
    /// Whether anything was since the last success.
    was_logged: bool,
}

impl Complaint {
    pub(super) fn new(outage: Outage) -> Self {
        Self { outage, message: None, is_logged: false, was_logged: false }
    }

    /// Logs that a request failed, with the object that it was about, if it is another failure than the one before.
    pub(super) fn failed(&mut self, error: &Error, message: String, object: Option<&ObjectKey>) {
        if self.is_logged && self.message.as_ref() == Some(&message) {
            return;
        }
        self.is_logged = if is_silent(error) {
            self.outage.log(&message)
        } else {
            warn!(object = object.map(field::display), "{message}");
            true
        };
        self.was_logged |= self.is_logged;
        self.message = Some(message);
    }

    /// A request succeeded. `true` if that should be logged, because a failure before it was.
    pub(super) fn succeeded(&mut self) -> bool {
        self.message = None;
        self.is_logged = false;
        std::mem::take(&mut self.was_logged)
    }

    /// What is wrong since the last success.
    pub(super) fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn silent() -> Error {
        Error::Service("connection refused".into())
    }

    fn refused() -> Error {
        Error::Api(Status::failure("no", "Forbidden").with_code(403).boxed())
    }

    #[test]
    fn other_words_for_a_silence_are_told_after_a_minute_and_each_once() {
        let mut silence = Silence::default();
        let start = Instant::now();
        let mut told = |words: &str, seconds| silence.is_news(words, start + Duration::from_secs(seconds));
        assert!(told("connection refused", 0));
        assert!(!told("eof", 1) && !told("connection refused", 59));
        assert!(told("invalid peer certificate", 60), "it came back as somebody else");
        assert!(!told("eof", 119) && !told("connection refused", 300) && told("eof", 300));
    }

    #[test]
    fn a_silent_server_is_told_by_the_first_task_alone_until_it_is_heard() {
        let outage = Outage::default();
        let (mut events, mut statuses) = (Complaint::new(outage.clone()), Complaint::new(outage.clone()));
        events.failed(&silent(), "no answer (eof)".to_owned(), None);
        statuses.failed(&silent(), "no answer (refused)".to_owned(), None);
        assert!(!outage.log("no answer"), "told already");
        assert_eq!(statuses.message(), Some("no answer (refused)"), "for whoever asks");
        outage.heard();
        // It was heard, and still does not answer this task, which is not to be left untold.
        statuses.failed(&silent(), "no answer (refused)".to_owned(), None);
        assert!(!outage.log("no answer"), "the task told it");
        assert!(events.succeeded() && statuses.succeeded());
        assert!(!statuses.succeeded(), "once");
        outage.heard();
        assert!(outage.log("no answer"));
    }

    #[test]
    fn what_the_server_refuses_is_told_by_every_task_and_during_an_outage() {
        let outage = Outage::default();
        outage.log("no answer");
        let mut events = Complaint::new(outage);
        events.failed(&silent(), "no answer (eof)".to_owned(), None);
        assert!(!events.succeeded(), "another task complained, not this one");
        events.failed(&refused(), "we may not record events".to_owned(), None);
        assert!(events.succeeded());
        assert!(!events.succeeded() && events.message().is_none());
    }
}
