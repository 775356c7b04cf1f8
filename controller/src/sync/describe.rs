//! What the driver knows of its services, for whoever asks.

use std::time::Instant;

use lvs_plan::conditions::Checks as _;
use lvs_plan::health::{InForce, State};
use lvs_plan::{DesiredDestination, DestinationKey, ServiceKey};

use super::Driver;
use crate::kernel::Kernel;
use crate::view::{DestinationView, DrainView, ServiceView, View};

impl<K: Kernel> Driver<K> {
    /// Everything that should be in the kernel, and what is known of it.
    pub fn describe(&self, now: Instant) -> View {
        let services = self.inventory.desired_services().map(|(key, desired)| {
            let in_force = self.health.in_force(key);
            let destinations = desired.destinations.iter();
            ServiceView {
                key: *key,
                owner: desired.owner.clone(),
                destinations: destinations
                    .map(|(at, wanted)| self.describe_destination(key, *at, wanted, in_force, now))
                    .collect(),
                sorry: in_force.and_then(|it| it.sorry).map(|(at, settings)| (at, settings.weight)),
            }
        });
        View { services: services.collect() }
    }

    fn describe_destination(
        &self,
        key: &ServiceKey,
        at: DestinationKey,
        wanted: &DesiredDestination,
        in_force: Option<&InForce>,
        now: Instant,
    ) -> DestinationView {
        let declared = wanted.settings.weight;
        let (state, should) = match in_force.and_then(|in_force| in_force.get(&at)) {
            Some(known) => (known.state, known.settings.map(|settings| settings.weight)),
            None if declared == 0 => (State::ZeroWeight, Some(0)),
            None => (State::InService, Some(declared)),
        };
        let missing = self.outcomes.get(key).is_none_or(|outcome| outcome.missing.contains(&at));
        let checked = wanted.probe.as_ref().map(|probe| self.health.verdict(probe));
        let drain = self.health.drain(&wanted.owner).map(|drain| DrainView {
            stage: drain.stage(),
            elapsed: now.saturating_duration_since(drain.since()),
            counted: drain.counted(),
        });
        DestinationView {
            key: at,
            owner: wanted.owner.clone(),
            weight: declared as u16,
            kernel_weight: should.filter(|_| self.is_in_kernel(key) && !missing),
            state,
            verdict: checked.map(|(verdict, _)| verdict),
            failure: checked.and_then(|(_, failure)| failure.map(Into::into)),
            drain,
        }
    }
}
