//! What the driver knows of its services, for whoever asks.

use std::time::{Duration, Instant};

use lvs_plan::conditions::Checks as _;
use lvs_plan::health::{Drain, InForce, State};
use lvs_plan::{DesiredDestination, DesiredService, DestinationKey, ObjectKey, ServiceKey};

use super::Driver;
use crate::kernel::Kernel;
use crate::view::{DestinationView, DrainView, Of, ServiceView, View};

impl<K: Kernel> Driver<K> {
    /// Everything that should be in the kernel for these, and what is known of it.
    pub fn describe(&self, of: &Of, now: Instant) -> View {
        let services = match of {
            Of::All => self
                .inventory
                .desired_services()
                .map(|(key, it)| self.describe_service(key, it, now))
                .collect(),
            Of::These(owners) => {
                let records = owners.iter().filter_map(|owner| self.inventory.virtual_service(owner));
                let services = records.flat_map(|record| &record.desired().services);
                services.map(|(key, it)| self.describe_service(key, it, now)).collect()
            }
        };
        View { services }
    }

    fn describe_service(&self, key: &ServiceKey, desired: &DesiredService, now: Instant) -> ServiceView {
        let in_force = self.health.in_force(key);
        let destinations = desired.destinations.iter();
        ServiceView {
            key: *key,
            owner: desired.owner.clone(),
            in_kernel: self.is_in_kernel(key),
            destinations: destinations
                .map(|(at, wanted)| self.describe_destination(key, *at, wanted, in_force, now))
                .collect(),
            sorry: in_force.and_then(|it| it.sorry).map(|(at, settings)| (at, settings.weight)),
        }
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
        let drain = self.health.drain(&wanted.owner);
        DestinationView {
            key: at,
            owner: wanted.owner.clone(),
            weight: declared as u16,
            kernel_weight: should.filter(|_| self.is_in_kernel(key) && !missing),
            state,
            probe: wanted.probe.clone(),
            verdict: checked.map(|(verdict, _)| verdict),
            failure: checked.and_then(|(_, failure)| failure.map(Into::into)),
            drain: drain.map(|drain| Box::new(self.describe_drain(&wanted.owner, drain, now))),
        }
    }

    fn describe_drain(&self, real_server: &ObjectKey, drain: &Drain, now: Instant) -> DrainView {
        let selected_by = self.inventory.real_server(real_server).map(|record| &record.selected_by);
        let versions = selected_by.into_iter().flatten().filter_map(|owner| {
            let record = self.inventory.virtual_service(owner)?;
            Some(record.in_force.as_ref()?.policy().drain_timeout)
        });
        DrainView {
            stage: drain.stage(),
            elapsed: now.saturating_duration_since(drain.since()),
            timeout: versions.max().unwrap_or(Duration::ZERO),
            counted: drain.counted(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lvs_plan::Change;
    use lvs_plan::health::Stage;
    use lvs_plan::object::{Kind, Spec};
    use serde_json::json;

    use super::*;
    use crate::sync::Scope;
    use crate::sync::node::{Node, key, object};

    fn owner(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::VirtualService, "default", name)
    }

    #[test]
    fn all_services_are_told_or_those_of_some_virtual_services() {
        let mut node = Node::new();
        node.declare("web", 80);
        node.declare("api", 81);
        node.settle();
        let keys = |of: &Of| {
            let mut keys: Vec<_> =
                node.driver.describe(of, node.now).services.iter().map(|it| it.key).collect();
            keys.sort_unstable();
            keys
        };
        assert_eq!(keys(&Of::All), [key(80), key(81)]);
        assert_eq!(keys(&Of::These(vec![owner("api"), owner("no such")])), [key(81)]);
        assert_eq!(keys(&Of::These(Vec::new())), []);
        let service = node.driver.describe(&Of::These(vec![owner("web")]), node.now).services.remove(0);
        assert!(service.in_kernel && service.owner == owner("web"));
        let rs1 = &service.destinations[0];
        assert_eq!((rs1.weight, rs1.kernel_weight, rs1.state), (1, Some(1), State::InService));
        assert_eq!((&rs1.probe, rs1.verdict, &rs1.drain), (&None, None, &None));
    }

    #[test]
    fn a_service_that_is_not_there_is_told_as_such() {
        let mut node = Node::new();
        node.driver.kernel.missing_schedulers.insert("wrr".to_owned());
        node.declare("web", 80);
        node.settle();
        let service = node.driver.describe(&Of::All, node.now).services.remove(0);
        assert_eq!((service.in_kernel, service.destinations[0].kernel_weight), (false, None));
    }

    #[test]
    fn a_drain_is_told_with_its_time_and_what_was_counted() {
        let mut node = Node::new();
        node.declare("web", 80);
        node.settle();
        let spec =
            serde_json::from_value(json!({"address": "192.168.40.12", "drain": true})).expect("a spec");
        node.deliver(vec![Change::upsert(object(
            Kind::RealServer,
            "rs1",
            Spec::RealServer(Arc::new(spec)),
            None,
        ))]);
        node.pass(Scope::Changes);
        let active = *node.driver.kernel.table[&key(80)].destinations.keys().next().expect("rs1");
        node.driver.kernel.active.insert(active, 80);
        let began = node.now;
        for seconds in [2, 4] {
            node.now = began + Duration::from_secs(seconds);
            node.driver.pass(Scope::Changes, node.now);
            node.driver.kernel.active.insert(active, 12);
        }
        let rs1 = node.driver.describe(&Of::All, node.now).services.remove(0).destinations.remove(0);
        assert_eq!((rs1.state, rs1.weight, rs1.kernel_weight), (State::Draining, 1, Some(0)));
        let drain = rs1.drain.expect("it drains");
        assert_eq!((drain.stage, drain.counted), (Stage::Draining, Some((80, 12))));
        assert_eq!(drain.timeout, Duration::from_secs(300));
        assert!(drain.elapsed >= Duration::from_secs(4), "{:?}", drain.elapsed);
    }
}
