//! Looking at what the driver knows, from a thread that must not wait for it.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Of, View};
use crate::driver_thread::Trigger;

/// One who looks again and again. While the driver is busy, in a long pass say, there is what was seen last.
#[derive(Debug)]
pub struct Window {
    driver: Sender<Trigger>,
    /// A question under way. There is never a second one: a driver that is busy finds one question per
    /// window.
    asked: Option<oneshot::Receiver<View>>,
    seen: Arc<View>,
}

impl Window {
    /// Nothing has been seen yet.
    pub fn new(driver: Sender<Trigger>) -> Self {
        Self { driver, asked: None, seen: Arc::default() }
    }

    /// What the driver knows now. After `limit`, what was seen last; at first that is nothing.
    pub async fn look(&mut self, of: Of, limit: Duration) -> Arc<View> {
        let mut answer = self.asked.take().unwrap_or_else(|| {
            let (sender, answer) = oneshot::channel();
            // A driver that ended takes the process with it.
            let _ = self.driver.send(Trigger::Describe(of, sender));
            answer
        });
        match tokio::time::timeout(limit, &mut answer).await {
            Ok(Ok(view)) => self.seen = Arc::new(view),
            Ok(Err(_)) => {}
            Err(_) => self.asked = Some(answer),
        }
        Arc::clone(&self.seen)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);

    fn question(driver: &mpsc::Receiver<Trigger>) -> oneshot::Sender<View> {
        match driver.try_recv() {
            Ok(Trigger::Describe(_, answer)) => answer,
            other => panic!("a question, not {other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_driver_is_asked_once_and_meanwhile_there_is_what_was_seen_last() {
        let (sender, driver) = mpsc::channel();
        let mut window = Window::new(sender);
        assert_eq!(*window.look(Of::All, LIMIT).await, View::default());
        assert_eq!(*window.look(Of::All, LIMIT).await, View::default());
        question(&driver).send(View::default()).expect("it waits");
        assert!(driver.try_recv().is_err(), "it asked once");
        window.look(Of::All, LIMIT).await;
        assert!(driver.try_recv().is_err(), "the late answer was taken");
        window.look(Of::All, LIMIT).await;
        drop(question(&driver));
        window.look(Of::All, LIMIT).await;
        window.look(Of::All, LIMIT).await;
        question(&driver);
    }
}
