//! What the kernel counts: connections, packets and bytes of services and their destinations.
//!
//! Readers share one connection of their own to IPVS, so that the driver, which may be in a long pass, is not
//! waited for. Reading blocks: it belongs on a thread that may. With direct routing only what clients send
//! passes here.

#[cfg(test)]
pub(crate) mod fake;
mod linux;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use litemap::LiteMap;
use lvs_plan::{DestinationKey, ServiceKey};
use tracing::debug;

use crate::kernel::KernelError;

/// Since an entry was made in the kernel. The kernel adds up what its processors counted every 2 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections that were scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub packets: u64,
    /// Bytes from clients.
    pub bytes: u64,
}

/// Of a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// What has passed.
    pub traffic: Traffic,
    /// Established connections.
    pub active: u32,
    /// Others: being made, or ending.
    pub inactive: u32,
    /// The weight in force.
    pub weight: u32,
}

/// Of the destinations of one service. A hash map of four takes twice the memory.
pub type Counts = LiteMap<DestinationKey, Count>;

/// A kernel that counts.
pub trait Counting: Send {
    /// What is counted of each destination of a service; of one that is not there, nothing.
    ///
    /// # Errors
    /// If it cannot be read, or not wholly.
    fn destinations(&mut self, key: &ServiceKey) -> Result<Counts, KernelError>;

    /// What is counted of services; those that are not there are absent.
    ///
    /// # Errors
    /// If they cannot be read, or not wholly.
    fn services(&mut self, keys: &[ServiceKey]) -> Result<HashMap<ServiceKey, Traffic>, KernelError>;
}

/// A handle; clones share the connection.
#[derive(Clone)]
pub struct Counters(Arc<Mutex<dyn Counting>>);

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counters")
    }
}

impl Counters {
    /// Those of this network namespace. Nothing is opened before something is read.
    pub fn of_kernel() -> Self {
        Self::new(linux::LinuxCounters::default())
    }

    /// Those of any kernel.
    pub fn new(kernel: impl Counting + 'static) -> Self {
        Self(Arc::new(Mutex::new(kernel)))
    }

    /// Counts of the destinations of these services. A service whose counts cannot be read is absent; after
    /// the first such failure no more are tried.
    pub fn destinations<'a>(
        &self,
        keys: impl Iterator<Item = &'a ServiceKey>,
    ) -> HashMap<ServiceKey, Counts> {
        // The lock is taken for each, so that a reader of few does not wait for one of many.
        keys.map_while(|key| Some((*key, self.with(|kernel| kernel.destinations(key))?))).collect()
    }

    /// Counts of these services; `None` if they cannot be read.
    pub fn services(&self, keys: &[ServiceKey]) -> Option<HashMap<ServiceKey, Traffic>> {
        if keys.is_empty() {
            return Some(HashMap::new());
        }
        self.with(|kernel| kernel.services(keys))
    }

    fn with<T>(&self, read: impl FnOnce(&mut dyn Counting) -> Result<T, KernelError>) -> Option<T> {
        // A reader that panicked left a connection that is used again or fails.
        let mut kernel = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The driver says the same louder.
        read(&mut *kernel).inspect_err(|error| debug!(%error, "the kernel's counters cannot be read")).ok()
    }
}
