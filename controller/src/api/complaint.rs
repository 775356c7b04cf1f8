//! What fails is logged once, and a silent API server once by all the tasks together: each of them notices it in its
//! own time and its own words.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kube::Error;
use tracing::{debug, warn};

use super::connect::is_silent;

/// Whether somebody has said that the API server does not answer. All the tasks share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outage(Arc<AtomicBool>);

impl Outage {
    /// The API server was heard.
    pub(super) fn is_over(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Logs that it does not answer, unless that was said since it was last heard. `true` if it is news.
    pub(super) fn log(&self, message: &str) -> bool {
        let news = !self.0.swap(true, Ordering::Relaxed);
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
    was_logged: bool,
}

impl Complaint {
    pub(super) fn new(outage: Outage) -> Self {
        Self { outage, message: None, was_logged: false }
    }

    /// Logs that a request failed, if it is another failure than the one before.
    pub(super) fn failed(&mut self, error: &Error, message: String) {
        if self.message.as_ref() == Some(&message) {
            return;
        }
        if is_silent(error) {
            self.was_logged |= self.outage.log(&message);
        } else {
            warn!("{message}");
            self.was_logged = true;
        }
        self.message = Some(message);
    }

    /// A request succeeded. `true` if that should be logged, because a failure before it was.
    pub(super) fn succeeded(&mut self) -> bool {
        self.message = None;
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
    fn a_silent_server_is_told_by_the_first_task_alone_until_it_is_heard() {
        let outage = Outage::default();
        let (mut events, mut statuses) = (Complaint::new(outage.clone()), Complaint::new(outage.clone()));
        events.failed(&silent(), "no answer (eof)".to_owned());
        statuses.failed(&silent(), "no answer (refused)".to_owned());
        events.failed(&silent(), "no answer (refused)".to_owned());
        assert!(!outage.log("no answer"), "told already");
        assert_eq!(statuses.message(), Some("no answer (refused)"), "for whoever asks");
        assert!(events.succeeded() && !statuses.succeeded(), "only who complained says that it is over");
        outage.is_over();
        assert!(outage.log("no answer"));
    }

    #[test]
    fn what_the_server_refuses_is_told_by_every_task_and_during_an_outage() {
        let outage = Outage::default();
        outage.log("no answer");
        let mut events = Complaint::new(outage);
        events.failed(&refused(), "we may not record events".to_owned());
        assert!(events.succeeded());
        assert!(!events.succeeded() && events.message().is_none());
    }
}
