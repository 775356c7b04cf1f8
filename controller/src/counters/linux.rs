//! The counters of the real kernel.

use std::collections::{HashMap, HashSet};

use lvs_ipvs::{Client, Stats};
use lvs_plan::{DestinationKey, ServiceKey};

use super::{Count, Counting, Counts, Traffic};
use crate::chain::chain;
use crate::kernel::KernelError;
use crate::kernel::linux::convert;

/// From so many services on all are read, everybody's, which takes a quarter of the time per service.
const DUMP_FROM: usize = 64;

/// Connected when first needed, and again after a failure: `ip_vs` may have been loaded again under another
/// number.
#[derive(Debug, Default)]
pub(super) struct LinuxCounters(Option<Client>);

impl LinuxCounters {
    fn read<T>(
        &mut self,
        read: impl FnOnce(&mut Client) -> Result<T, lvs_ipvs::Error>,
    ) -> Result<T, KernelError> {
        let result = match &mut self.0 {
            Some(client) => read(client),
            None => Client::connect().and_then(|client| read(self.0.insert(client))),
        };
        result.map_err(|error| {
            self.0 = None;
            KernelError::Ipvs(chain(&error))
        })
    }
}

impl Counting for LinuxCounters {
    fn destinations(&mut self, key: &ServiceKey) -> Result<Counts, KernelError> {
        let entries = self.read(|client| client.destinations(&convert::key(key)))?;
        let counts = entries.iter().map(|entry| {
            let lvs_ipvs::Destination { key, settings } = &entry.destination;
            let count = Count {
                traffic: traffic(&entry.stats),
                active: entry.active_connections,
                inactive: entry.inactive_connections,
                weight: settings.weight,
            };
            (DestinationKey { address: key.address, port: key.port }, count)
        });
        Ok(counts.collect())
    }

    fn services(&mut self, keys: &[ServiceKey]) -> Result<HashMap<ServiceKey, Traffic>, KernelError> {
        self.read(|client| {
            let mut wanted: HashSet<lvs_ipvs::ServiceKey> = keys.iter().map(convert::key).collect();
            let mut counted = HashMap::with_capacity(wanted.len());
            let mut take = |entry: &lvs_ipvs::ServiceEntry| {
                let key = convert::plan_key(&entry.service.key);
                counted.extend(key.map(|key| (key, traffic(&entry.stats))));
            };
            if wanted.len() >= DUMP_FROM {
                let entries = client.services()?;
                entries.iter().filter(|entry| wanted.remove(&entry.service.key)).for_each(&mut take);
            }
            // A dump proves nothing about what is not in it ([`Client::services`]): each is asked for.
            for key in wanted {
                client.service(&key)?.iter().for_each(&mut take);
            }
            Ok(counted)
        })
    }
}

fn traffic(stats: &Stats) -> Traffic {
    Traffic { connections: stats.connections, packets: stats.in_packets, bytes: stats.in_bytes }
}
