//! The settings of this node's kernel, and the `Director` object that says how they stand. Looked at by every full
//! pass, and when the object changed.
//!
//! What is decided is pure and in `lvs_plan::settings`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lvs_crds::DirectorSpec;
use lvs_plan::diff::Claim;
use lvs_plan::object::Kind;
use lvs_plan::settings::{self, Decision, Difference, Standing, Values, WriteError};
use lvs_plan::validate::{self, Violation};
use lvs_plan::{Change, Object, ObjectKey, Reason, Service, ServiceKey, Spec};
use tracing::{info, warn};

use super::{Driver, Scope};
use crate::board::{Entry, Transition, Verdict};
use crate::kernel::{Kernel, KernelError};

/// This Director.
#[derive(Debug)]
pub(super) struct Settings {
    key: ObjectKey,
    /// As the source has it; an empty one if it has none.
    object: Arc<Object>,
    /// The rules that it breaks.
    violations: Vec<Violation>,
    /// The timeouts of the last version that broke none.
    timeouts: Values,
    /// How the kernel's settings stood at the last look; `None` before the first.
    standing: Option<Standing>,
    /// The object changed since then.
    changed: bool,
    /// Nothing is said before the object has come: it would not be known whether it was said before.
    awaited: bool,
    /// It was logged that something is wrong although the object has not come.
    warned: bool,
}

impl Settings {
    pub(super) fn new(node_name: &str, awaited: bool) -> Self {
        let key = ObjectKey::new(Kind::Director, "", node_name);
        let object = undeclared(&key);
        let (violations, timeouts) = (Vec::new(), Values::new());
        Self { key, object, violations, timeouts, standing: None, changed: false, awaited, warned: false }
    }

    /// Takes in what the source says of this Director, and what it says of others to no effect. Gives back all else.
    pub(super) fn take_in(&mut self, change: Change) -> Option<Change> {
        match change {
            Change::Upsert(object) if object.key == self.key => self.declared(object),
            Change::Removed(key) if key == self.key => self.declared(undeclared(&self.key)),
            Change::Upsert(object) if object.key.kind == Kind::Director => {
                info!(director = %object.key, "ignored: it is about another node than {}", self.key);
            }
            Change::Removed(key) if key.kind == Kind::Director => {}
            change => return Some(change),
        }
        None
    }

    fn declared(&mut self, object: Arc<Object>) {
        let verdict = match &object.spec {
            Spec::Director(spec) => validate::director(spec),
            Spec::Malformed(violation) => Err(vec![(**violation).clone()]),
            Spec::VirtualService(_) | Spec::RealServer(_) => return,
        };
        self.awaited = false;
        self.violations = match verdict {
            Ok(timeouts) => {
                self.timeouts = timeouts;
                Vec::new()
            }
            Err(violations) => violations,
        };
        self.object = object;
        self.changed = true;
    }

    fn stands(&mut self, standing: Standing) {
        if let Standing::Unreadable(words) = &standing
            && self.standing.as_ref() != Some(&standing)
        {
            warn!("the kernel's settings of IPVS cannot be read: {words}");
        }
        if self.awaited && !self.warned && self.standing.as_ref() == Some(&standing) {
            // It takes more than a moment to come.
            for failing in settings::conditions(&standing, &[])
                .iter()
                .filter(|it| it.type_ == "KernelReady" && !it.holds())
            {
                warn!(reason = %failing.reason, "{}", failing.message);
                self.warned = true;
            }
        }
        self.standing = Some(standing);
    }

    /// What is wrong with its object.
    pub(super) fn refusal(&self) -> Option<String> {
        let [first, ..] = &self.violations[..] else { return None };
        Some(format!("{:?}: {}: {first}", self.key, Reason::Invalid))
    }

    /// What is said of this Director; `None` before the first look, and while its object is awaited.
    pub(super) fn entry(&self, key: &ObjectKey) -> Option<Entry> {
        let standing = self.standing.as_ref().filter(|_| *key == self.key && !self.awaited)?;
        let verdict = Verdict {
            conditions: settings::conditions(standing, &self.violations),
            observed_generation: self.object.generation,
            director: None,
            real_servers: None,
            virtual_services: Vec::new(),
        };
        Some(Entry { object: Arc::clone(&self.object), verdict })
    }
}

/// What stands for an object that is not there.
fn undeclared(key: &ObjectKey) -> Arc<Object> {
    Arc::new(Object {
        key: key.clone(),
        uid: String::new(),
        generation: 0,
        created: 0,
        labels: BTreeMap::new(),
        file: None,
        spec: Spec::Director(Arc::new(DirectorSpec::default())),
    })
}

impl<K: Kernel> Driver<K> {
    /// Has the settings of this node's kernel looked after, by the `Director` of this name. `awaited`: there is one, or
    /// will soon be.
    #[must_use]
    pub fn with_settings_of(self, node_name: &str, awaited: bool) -> Self {
        Self { settings: Some(Settings::new(node_name, awaited)), ..self }
    }

    /// Brings the kernel's settings to what they must be, if that is allowed, and says how they stand.
    pub(super) fn look_after_settings(&mut self, scope: Scope) {
        let Some(itself) = &mut self.settings else { return };
        let changed = std::mem::take(&mut itself.changed);
        if scope != Scope::Full && !changed {
            return;
        }
        let (key, timeouts) = (itself.key.clone(), itself.timeouts.clone());
        let was_in_force = !changed && itself.standing == Some(Standing::InForce);
        let mut written = Vec::new();
        let standing = self.bring_about(&timeouts, &mut written);
        let standing = standing.unwrap_or_else(|error| Standing::Unreadable(error.to_string()));
        if let Some(itself) = &mut self.settings {
            itself.stands(standing);
        }
        if was_in_force && !written.is_empty() {
            self.tell_repaired(&key, &written);
        }
        self.publish(&key);
    }

    fn bring_about(
        &mut self,
        timeouts: &Values,
        written: &mut Vec<Difference>,
    ) -> Result<Standing, KernelError> {
        let writes = match self.decide_settings(timeouts, &[])? {
            Decision::Leave(standing) => return Ok(standing),
            Decision::Write(writes) => writes,
        };
        let results = self.kernel.write_settings(&writes);
        let results: Vec<(Difference, Result<(), WriteError>)> = writes.into_iter().zip(results).collect();
        for (Difference { setting, from, to }, result) in &results {
            if result.is_ok() {
                info!(%setting, from, to, "kernel: a setting is written");
                written.push(Difference { setting: *setting, from: *from, to: *to });
            }
        }
        Ok(settings::after(results))
    }

    fn decide_settings(
        &mut self,
        timeouts: &Values,
        about_to_be_ours: &[ServiceKey],
    ) -> Result<Decision, KernelError> {
        let found = self.kernel.settings(!timeouts.is_empty())?;
        if let Some(unseen) = settings::unseen(&found) {
            return Ok(Decision::Leave(unseen));
        }
        let differences = settings::differences(&settings::wanted(timeouts), &found);
        // In steady state nobody has to look for others.
        let foreign = if differences.is_empty() { None } else { self.foreign_service(about_to_be_ours)? };
        Ok(settings::decide(differences, foreign))
    }

    /// What a pass would do about the settings; `None` if nobody looks after them.
    pub(super) fn plan_settings(&mut self, adopted: &[ServiceKey]) -> Result<Option<Decision>, KernelError> {
        let Some(timeouts) = self.settings.as_ref().map(|itself| itself.timeouts.clone()) else {
            return Ok(None);
        };
        self.decide_settings(&timeouts, adopted).map(Some)
    }

    /// A service in this network namespace that is not ours, if there is one.
    fn foreign_service(
        &mut self,
        about_to_be_ours: &[ServiceKey],
    ) -> Result<Option<ServiceKey>, KernelError> {
        let glance = self.kernel.glance()?;
        let others = glance.into_keys().filter(|key| {
            !self.ledger.is_confirmed(key) && !self.is_in_kernel(key) && !about_to_be_ours.contains(key)
        });
        // A glance shows a mark under both families; and what was about to be removed may be ours still.
        let (unclear, certain): (BTreeSet<_>, BTreeSet<_>) = others.partition(|key| {
            matches!(key, ServiceKey::FirewallMark { .. }) || self.ledger.origin(key).is_some()
        });
        if let Some(first) = certain.first() {
            return Ok(Some(*first));
        }
        let there = if unclear.is_empty() { BTreeMap::new() } else { self.kernel.services(&unclear)? };
        let is_ours = |(key, service): &(ServiceKey, Service)| {
            let claim = self.ledger.claim(key, Some(service));
            matches!(claim, Claim::Confirmed | Claim::Leaving { unchanged: true })
        };
        Ok(there.into_iter().find(|service| !is_ours(service)).map(|(key, _)| key))
    }

    fn tell_repaired(&self, key: &ObjectKey, written: &[Difference]) {
        let what: Vec<String> = written
            .iter()
            .map(|Difference { setting, from, to }| format!("{setting} from {from} to {to}"))
            .collect();
        self.board.lock().happened(Transition {
            object: key.clone(),
            uid: self.settings.as_ref().map(|itself| itself.object.uid.clone()).unwrap_or_default(),
            reason: Reason::DriftRepaired,
            warning: true,
            action: "Repair",
            note: format!("somebody changed the kernel's settings; repaired: {}", what.join("; ")),
            condition: None,
        });
    }

    /// The kernel cannot be read: what was seen of its settings is believed as long as what was seen of its table.
    pub(super) fn doubt_settings(&mut self) {
        let (Some(itself), Some(unreadable)) = (&mut self.settings, &self.unreadable) else { return };
        if itself.standing.is_some() && !unreadable.doubted {
            return;
        }
        itself.standing = Some(Standing::Unreadable(unreadable.words.clone()));
        let key = itself.key.clone();
        self.publish(&key);
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
