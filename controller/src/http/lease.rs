//! What a connection has been granted: a place among the others, and time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// Of one connection.
#[derive(Debug)]
pub(super) struct Lease(Mutex<Terms>);

#[derive(Debug)]
struct Terms {
    place: Option<OwnedSemaphorePermit>,
    until: Instant,
}

impl Lease {
    pub(super) fn new(place: OwnedSemaphorePermit, time: Duration) -> Self {
        Self(Mutex::new(Terms { place: Some(place), until: Instant::now() + time }))
    }

    /// It is a stream, which has a place of another kind: this one is free for others.
    pub(super) fn leave_place(&self) {
        self.terms().place = None;
    }

    /// It goes on for so long from now.
    pub(super) fn extend(&self, time: Duration) {
        self.terms().until = Instant::now() + time;
    }

    /// Waits until its time is over.
    pub(super) async fn over(&self) {
        loop {
            let until = self.terms().until;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn terms(&self) -> std::sync::MutexGuard<'_, Terms> {
        // Each change is a whole value.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn its_time_ends_unless_it_is_extended_and_its_place_can_be_left_before() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).acquire_owned().await.expect("it is open");
        let lease = Arc::new(Lease::new(place, Duration::from_secs(60)));
        let start = Instant::now();
        let over = tokio::spawn({
            let lease = Arc::clone(&lease);
            async move { lease.over().await }
        });
        tokio::time::sleep(Duration::from_secs(50)).await;
        lease.extend(Duration::from_secs(30));
        assert_eq!(places.available_permits(), 0);
        lease.leave_place();
        assert_eq!(places.available_permits(), 1);
        over.await.expect("it ends");
        assert_eq!(start.elapsed().as_secs(), 80);
    }
}
