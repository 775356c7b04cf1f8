//! The real servers: one listener for all their addresses, which notes who was asked and when.
//!
//! What is told of punctuality and evenness is what they saw, the same way for everybody who checks.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::arrivals::Arrival;
use crate::bench::network::Network;
use crate::farm::{self, Farm};

/// So soon the listener hears that it is to refuse, or to end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// All real servers. Dropped, they end.
pub(super) struct Servers {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

struct Shared {
    start: Instant,
    refuse: AtomicBool,
    end: AtomicBool,
    arrivals: Mutex<Vec<Arrival>>,
}

impl Servers {
    /// Starts them at the other end of a network.
    pub(super) fn start(network: &Network) -> Result<Self> {
        let wire = &network.wire;
        farm::settle(wire)?;
        let shared = Arc::new(Shared {
            start: Instant::now(),
            refuse: AtomicBool::new(false),
            end: AtomicBool::new(false),
            arrivals: Mutex::new(Vec::new()),
        });
        let serving = Arc::clone(&shared);
        let thread = wire.within(|| thread::spawn(move || serve(&serving)))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The time on the clock of the arrivals.
    pub(super) fn now(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// From now on all of them refuse connections, or take them again.
    pub(super) fn refuse(&self, refuse: bool) {
        self.shared.refuse.store(refuse, Ordering::Relaxed);
    }

    /// What arrived since this was asked the last time, in order. An error if they have ended.
    pub(super) fn arrivals(&mut self) -> Result<Vec<Arrival>> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            let ended = self.thread.take().map(JoinHandle::join);
            match ended {
                Some(Ok(result)) => result?,
                _ => bail!("the thread of the real servers panicked"),
            }
        }
        Ok(std::mem::take(&mut *self.shared.arrivals.lock().expect("nobody panics while holding it")))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(shared: &Shared) -> Result<()> {
    let mut listener = None;
    while !shared.end.load(Ordering::Relaxed) {
        if shared.refuse.load(Ordering::Relaxed) {
            // Without a listener the kernel refuses.
            listener = None;
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        let listener = match &mut listener {
            Some(listener) => listener,
            none => {
                let listener = farm::listen()?;
                listener.set_nonblocking(true)?;
                none.insert(listener)
            }
        };
        poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&LOOK)).context("poll")?;
        let mut batch = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            let at = shared.start.elapsed();
            let Ok(IpAddr::V4(own)) = stream.local_addr().map(|own| own.ip()) else { continue };
            if let Some(server) = Farm::number_of(own) {
                batch.push(Arrival { server, at });
            }
            if batch.len() == 1000 {
                break;
            }
        }
        if !batch.is_empty() {
            shared.arrivals.lock().expect("nobody panics while holding it").append(&mut batch);
        }
    }
    Ok(())
}
