//! Counters in memory, for tests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use lvs_plan::{DestinationKey, ServiceKey};

use super::{Count, Counters, Counting, Counts, Traffic};
use crate::kernel::KernelError;

/// A kernel whose counters a test sets. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeCounters(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    destinations: HashMap<ServiceKey, Counts>,
    broken: bool,
    reads: usize,
}

impl FakeCounters {
    pub(crate) fn counters(&self) -> Counters {
        Counters::new(self.clone())
    }

    pub(crate) fn set(&self, key: ServiceKey, destination: DestinationKey, count: Count) {
        self.0.lock().unwrap().destinations.entry(key).or_default().insert(destination, count);
    }

    /// From now on nothing can be read.
    pub(crate) fn break_down(&self) {
        self.0.lock().unwrap().broken = true;
    }

    /// How often the destinations of a service were read.
    pub(crate) fn reads(&self) -> usize {
        self.0.lock().unwrap().reads
    }
}

impl State {
    fn usable(&self) -> Result<(), KernelError> {
        if self.broken { Err(KernelError::Ipvs("broken".to_owned())) } else { Ok(()) }
    }
}

impl Counting for FakeCounters {
    fn destinations(&mut self, key: &ServiceKey) -> Result<Counts, KernelError> {
        let mut state = self.0.lock().unwrap();
        state.usable()?;
        state.reads += 1;
        Ok(state.destinations.get(key).cloned().unwrap_or_default())
    }

    fn services(&mut self, keys: &[ServiceKey]) -> Result<HashMap<ServiceKey, Traffic>, KernelError> {
        let state = self.0.lock().unwrap();
        state.usable()?;
        let total = |key| {
            let counts = state.destinations.get(key)?.values();
            Some(counts.fold(Traffic::default(), |sum, count| Traffic {
                connections: sum.connections + count.traffic.connections,
                packets: sum.packets + count.traffic.packets,
                bytes: sum.bytes + count.traffic.bytes,
            }))
        };
        Ok(keys.iter().filter_map(|key| Some((*key, total(key)?))).collect())
    }
}
