//! What a pass has to say: a verdict on each object it touched, and the transitions among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use lvs_crds::{ConditionStatus, DirectorRole};
use lvs_plan::conditions::{self, ConditionValue, Findings};
use lvs_plan::inventory::VirtualServiceRecord;
use lvs_plan::object::Kind;
use lvs_plan::step::{Applied, Step};
use lvs_plan::{Object, ObjectKey, Reason, ServiceKey};
use tracing::info;

use super::settings::Settings;
use super::vips::DecidedVips;
use super::{Driver, LOGGED};
use crate::board::{DirectorVerdict, Entry, Failing, Transition, Verdict};
use crate::kernel::Kernel;

impl<K: Kernel> Driver<K> {
    /// Puts the verdicts of everything that this pass touched on the board.
    pub(super) fn report(
        &mut self,
        keys: &BTreeSet<ServiceKey>,
        applied: &Applied,
        drifted: &BTreeSet<ServiceKey>,
        vips: &DecidedVips,
    ) {
        let mut objects = std::mem::take(&mut self.backlog.objects);
        let news: Vec<IpAddr> = vips.looked_at.iter().copied().filter(|vip| self.is_news(vip)).collect();
        let users = news.iter().flat_map(|vip| self.vips.users(vip));
        for key in keys.iter().chain(users) {
            if let Some(desired) = self.inventory.desired(key)
                && !objects.contains(&desired.owner)
            {
                objects.insert(desired.owner.clone());
            }
        }
        // Sorted once, and not at each of its insertions.
        let mut objects: Vec<ObjectKey> = objects.into_iter().collect();
        objects.sort_unstable();
        for key in objects {
            self.publish(&key);
        }
        self.report_steps(applied, drifted, &vips.drifted);
        let (services, destinations) = (self.table_size.services(), self.table_size.destinations());
        self.metrics.set_table(services as u64, destinations as u64, self.vips.held() as u64);
    }

    /// Whether a VIP stands otherwise than its users were told; from now on they are.
    fn is_news(&mut self, vip: &IpAddr) -> bool {
        let stands = self.vips.announcing.get(vip);
        if self.told.get(vip) == stands {
            return false;
        }
        match stands {
            Some(stands) => self.told.insert(*vip, stands.clone()),
            None => self.told.remove(vip),
        };
        true
    }

    /// The kernel cannot be read: what waits for it says why.
    pub(super) fn report_unreadable(&mut self) {
        let objects = std::mem::take(&mut self.backlog.objects);
        for key in &objects {
            self.publish(key);
        }
        // Which real servers drain or have thresholds is noted by a pass that knows the kernel.
        let noted_later = objects.into_iter().filter(|key| key.kind == Kind::RealServer);
        self.backlog.objects = noted_later.collect();
        self.doubt_settings();
    }

    /// What stands against each object that is refused, or that the kernel will not get as declared.
    pub fn refusals(&self) -> impl Iterator<Item = String> {
        let virtual_services = self.inventory.virtual_services().map(|(key, _)| key);
        let keys = virtual_services.chain(self.inventory.real_servers().map(|(key, _)| key));
        let keys: BTreeSet<&ObjectKey> = keys.collect();
        let of_director = self.settings.as_ref().and_then(Settings::refusal);
        let of_rules = keys.into_iter().filter_map(|key| {
            let entry = self.entry(key)?;
            let refused = entry.verdict.conditions.iter().find(|condition| {
                let settled = condition.type_ == "Accepted"
                    || matches!(
                        condition.reason,
                        Reason::ForeignService
                            | Reason::NoRoute
                            | Reason::NoVIPInterface
                            | Reason::PeerWithoutVRRP
                    );
                settled && !condition.holds()
            })?;
            Some(format!("{} {key}: {}: {}", key.kind.as_str(), refused.reason, refused.message))
        });
        of_director.into_iter().chain(of_rules)
    }

    /// Puts the verdict on one object on the board, if it differs from what is there.
    pub(super) fn publish(&self, key: &ObjectKey) {
        let entry = self.entry(key);
        let mut content = self.board.lock();
        let previous = content.entries.get(key);
        match entry {
            None => {
                if content.entries.remove(key).is_some() {
                    content.dirty.insert(key.clone());
                }
            }
            Some(entry) => {
                if previous.is_some_and(|previous| **previous == entry) {
                    return;
                }
                // One that was made anew meanwhile is another one, of which nothing was told.
                let previous = previous.filter(|previous| previous.object.uid == entry.object.uid).cloned();
                let before = previous.as_ref().map_or(&[][..], |previous| &previous.verdict.conditions);
                for transition in transitions(&entry.object, before, &entry.verdict.conditions) {
                    content.happened(transition);
                }
                content.dirty.insert(key.clone());
                content.entries.insert(key.clone(), Arc::new(entry));
            }
        }
    }

    fn entry(&self, key: &ObjectKey) -> Option<Entry> {
        match key.kind {
            Kind::Director => self.settings.as_ref()?.entry(key),
            Kind::VirtualService => {
                let record = self.inventory.virtual_service(key)?;
                let findings = Findings {
                    services: &self.outcomes,
                    vips: &self.vips.announcing,
                    unreadable: self.unreadable_words(record),
                    checks: &self.health,
                };
                let report = conditions::virtual_service(record, findings);
                let own = report.conditions.iter().filter(|condition| {
                    matches!(condition.type_, "Programmed" | "Announced") && !condition.holds()
                });
                let message = own.map(|condition| condition.message.as_str()).collect::<Vec<_>>().join("; ");
                let role = if report.active { DirectorRole::Active } else { DirectorRole::Standby };
                let verdict = Verdict {
                    conditions: report.conditions,
                    observed_generation: record.object.generation,
                    director: Some(DirectorVerdict { role, programmed: report.programmed, message }),
                    real_servers: Some(report.real_servers),
                    virtual_services: Vec::new(),
                };
                Some(Entry { object: record.object.clone(), verdict })
            }
            Kind::RealServer => {
                let record = self.inventory.real_server(key)?;
                let accepted = record.selected_by.iter().filter(|owner| {
                    let pairs = self.inventory.virtual_service(owner).map(|owner| &owner.desired().pairs);
                    pairs.is_some_and(|pairs| {
                        matches!(pairs.get(key), Some(lvs_plan::desired::Pair::Accepted { .. }))
                    })
                });
                let mut virtual_services: Vec<ObjectKey> = accepted.cloned().collect();
                virtual_services.sort_unstable();
                virtual_services.shrink_to_fit();
                let verdict = Verdict {
                    conditions: conditions::real_server(key, record, &self.inventory, &self.health),
                    observed_generation: record.object.generation,
                    director: None,
                    real_servers: None,
                    virtual_services,
                };
                Some(Entry { object: record.object.clone(), verdict })
            }
        }
    }

    /// What the objects are told while the kernel cannot be read: those that were never looked at at once, the
    /// others when what was seen of them is too old to be believed.
    fn unreadable_words(&self, record: &VirtualServiceRecord) -> Option<&str> {
        let unreadable = self.unreadable.as_ref()?;
        let seen = || record.desired().services.keys().all(|key| self.outcomes.contains_key(key));
        (unreadable.doubted || !seen()).then_some(&*unreadable.words)
    }

    /// Events about what was done to the kernel, as opposed to what is.
    fn report_steps(
        &mut self,
        applied: &Applied,
        drifted: &BTreeSet<ServiceKey>,
        drifted_vips: &BTreeSet<IpAddr>,
    ) {
        let mut repaired: BTreeMap<ObjectKey, Vec<&Step>> = BTreeMap::new();
        let mut written: Vec<ServiceKey> = Vec::new();
        let mut moved: Vec<Transition> = Vec::new();
        for (step, result) in applied.results() {
            if result.is_err() {
                continue;
            }
            match step {
                Step::BindVip { vip, .. } if drifted_vips.contains(vip) => {
                    self.metrics.drift_repaired(step.drift_kind());
                    for owner in self.owners_of_vip(*vip) {
                        repaired.entry(owner).or_default().push(step);
                    }
                }
                Step::BindVip { vip, link } => {
                    let note = format!("bound VIP {vip} on {link} and announced it");
                    let owners = self.owners_of_vip(*vip).into_iter();
                    moved.extend(
                        owners.map(|owner| {
                            self.transition(&owner, Reason::TookOver, false, "Bind", note.clone())
                        }),
                    );
                }
                Step::UnbindVip { vip, link } => {
                    let note = format!("took VIP {vip} off {link}");
                    let owners = self.owners_of_vip(*vip).into_iter();
                    moved.extend(owners.map(|owner| {
                        self.transition(&owner, Reason::Released, false, "Unbind", note.clone())
                    }));
                }
                _ => {
                    let Some(key) = step.service() else { continue };
                    if !drifted.contains(key) {
                        // The steps of a service follow each other.
                        if written.last() != Some(key) {
                            written.push(*key);
                        }
                    } else if let Some(desired) = self.inventory.desired(key) {
                        self.metrics.drift_repaired(step.drift_kind());
                        repaired.entry(desired.owner.clone()).or_default().push(step);
                    }
                }
            }
        }
        for (owner, steps) in repaired {
            let note =
                format!("somebody changed the kernel's rules or addresses; repaired: {}", listed(&steps));
            let repaired = self.transition(&owner, Reason::DriftRepaired, true, "Repair", note);
            self.board.lock().happened(repaired);
        }
        let good = self.programmed(written);
        self.tell_good_news(good);
        self.tell_good_news(moved);
    }

    /// That the objects of these services are as declared now, for those that are.
    fn programmed(&self, mut written: Vec<ServiceKey>) -> Vec<Transition> {
        written.sort_unstable();
        written.dedup();
        let owners = written.iter().filter_map(|key| Some(&self.inventory.desired(key)?.owner));
        let owners: BTreeSet<&ObjectKey> = owners.collect();
        let content = self.board.lock();
        let entries = owners.into_iter().filter_map(|owner| content.entries.get(owner));
        let programmed = entries
            .filter(|entry| entry.verdict.director.as_ref().is_some_and(|director| director.programmed));
        programmed
            .map(|entry| Transition {
                object: entry.object.key.clone(),
                uid: entry.object.uid.clone(),
                reason: Reason::Programmed,
                warning: false,
                action: "Program",
                note: "the kernel's rules are as declared".to_owned(),
                condition: None,
            })
            .collect()
    }

    /// All of it on the board; in the log, where ten thousand lines alike are no news, the first few.
    fn tell_good_news(&self, news: Vec<Transition>) {
        let more = news.len().saturating_sub(LOGGED);
        let mut content = self.board.lock();
        for (number, transition) in news.into_iter().enumerate() {
            if number < LOGGED {
                content.happened(transition);
            } else {
                content.record(transition);
            }
        }
        if more > 0 {
            info!(objects = more, "and more of this kind");
        }
    }

    fn owners_of_vip(&self, vip: IpAddr) -> BTreeSet<ObjectKey> {
        let users = self.vips.users(&vip);
        users.filter_map(|key| Some(self.inventory.desired(key)?.owner.clone())).collect()
    }

    fn transition(
        &self,
        object: &ObjectKey,
        reason: Reason,
        warning: bool,
        action: &'static str,
        note: String,
    ) -> Transition {
        let uid = self
            .inventory
            .virtual_service(object)
            .map(|record| record.object.uid.clone())
            .unwrap_or_default();
        Transition { object: object.clone(), uid, reason, warning, action, note, condition: None }
    }

    /// Tells the board how the driver itself is doing, and its readers if anything changed.
    pub(super) fn publish_state(&self) {
        let mut not_ready = Vec::new();
        if !self.source.complete {
            not_ready.push(format!("the objects have not been read yet: {}", self.source.message));
        } else if !self.source.up_to_date {
            not_ready.push(format!("the objects are not up to date: {}", self.source.message));
        }
        if let Some(unreadable) = &self.unreadable {
            not_ready.push(unreadable.error.to_string());
        } else if self.source.complete && !self.passed {
            not_ready.push(self.missing_at_start().unwrap_or("no pass has ended yet").to_owned());
        }
        not_ready.extend(self.ledger.problem());
        let mut content = self.board.lock();
        let state_changed = content.not_ready != not_ready || content.source != self.source;
        if state_changed {
            content.source.clone_from(&self.source);
            content.not_ready = not_ready;
        }
        let news = state_changed || !content.dirty.is_empty() || !content.transitions.is_empty();
        drop(content);
        if news {
            self.board.announce_change();
        }
    }
}

/// The first few steps, and how many more: an event's note has at most 1 kB.
fn listed(steps: &[&Step]) -> String {
    const LISTED: usize = 5;
    let mut text = steps.iter().take(LISTED).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if steps.len() > LISTED {
        let _ = write!(text, "; and {} more", steps.len() - LISTED);
    }
    text
}

/// Events for conditions that stopped to hold, or that do not hold for another reason than before; for real servers
/// that work again; and for drains that came to their end. That something else holds is told by the steps that brought
/// it about.
fn transitions(object: &Object, before: &[ConditionValue], after: &[ConditionValue]) -> Vec<Transition> {
    let news = after.iter().filter(|condition| {
        let old = before.iter().find(|old| old.type_ == condition.type_);
        if old.is_some_and(|old| old.status == condition.status && old.reason == condition.reason) {
            return false;
        }
        match condition.type_ {
            "Ready" => false,
            // That it drains was asked for.
            "Drained" => condition.holds(),
            // Both ways, and not that a new one is in order.
            "Overloaded" => condition.holds() || old.is_some(),
            "Healthy" if condition.holds() => old.is_some_and(|old| old.status == ConditionStatus::False),
            _ => !condition.holds() && !is_on_the_way(condition),
        }
    });
    news.map(|condition| transition_to(object, condition)).collect()
}

/// On the way to the first result there is nothing to tell yet, and of a kernel that cannot be read the log tells.
fn is_on_the_way(condition: &ConditionValue) -> bool {
    match condition.status {
        ConditionStatus::False => {
            matches!(condition.reason, Reason::Pending | Reason::NoActiveDirector | Reason::KernelUnreadable)
        }
        ConditionStatus::Unknown => matches!(condition.reason, Reason::CheckPending | Reason::NoneInService),
        ConditionStatus::True => false,
    }
}

fn transition_to(object: &Object, condition: &ConditionValue) -> Transition {
    let ConditionValue { type_, status: _, reason, message } = condition;
    let (action, reason, note) = match *type_ {
        "Accepted" => ("Validate", Reason::Refused, format!("{reason}: {message}")),
        "Healthy" => ("Check", *reason, message.clone()),
        "Drained" | "Overloaded" => ("Count", *reason, message.clone()),
        _ => ("Program", *reason, message.clone()),
    };
    let note = match *type_ {
        "Healthy" if note.is_empty() => "every check of it holds again".to_owned(),
        "Overloaded" if note.is_empty() => "gets new connections again".to_owned(),
        _ => note,
    };
    let failing = Failing { type_, reason: condition.reason, generation: object.generation };
    Transition {
        object: object.key.clone(),
        uid: object.uid.clone(),
        reason,
        warning: matches!(reason, Reason::DrainTimeout | Reason::AboveThreshold)
            || !(condition.holds() || reason == Reason::BelowThreshold),
        action,
        note,
        condition: (!condition.holds()).then_some(failing),
    }
}
