//! The statuses that the API server has, as the watches saw them: what the status writer compares with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lvs_crds::ConditionStatus;
use lvs_plan::ObjectKey;
use tokio::sync::Notify;

use super::observed::ServerStatus;
use crate::board::{Entry, Transition};

/// A handle; clones share it. The watches and the writer's own answers fill it, the writer reads it.
#[derive(Clone, Debug, Default)]
pub(super) struct Statuses {
    content: Arc<Mutex<Content>>,
    changed: Arc<Notify>,
}

/// What an agent before this one said of an object that is in trouble: its events told it then.
#[derive(Debug, PartialEq, Eq)]
struct Inherited {
    /// Type, reason and generation of the conditions that did not hold.
    failing: Vec<(String, String, Option<i64>)>,
    /// What this Director said of itself.
    own_message: String,
}

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Content {
    seen: BTreeMap<ObjectKey, Arc<ServerStatus>>,
    /// What an agent before this one left in the statuses.
    inherited: BTreeMap<ObjectKey, Inherited>,
    /// Objects whose status somebody changed since the writer last looked.
    touched: BTreeSet<ObjectKey>,
}

impl Statuses {
    /// Locked for copies only, never across an await.
    pub(super) fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until somebody changed a status. One waiter at a time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The status was there before anything was written by this agent, which runs on the Director `me`.
    pub(super) fn inherit(&self, key: &ObjectKey, status: Option<&ServerStatus>, me: &str) {
        if let Some(inherited) = status.and_then(|status| Inherited::from(status, me)) {
            self.lock().inherited.insert(key.clone(), inherited);
        }
    }

    /// The watch saw an object.
    pub(super) fn saw(&self, key: &ObjectKey, status: Option<ServerStatus>) {
        let mut content = self.lock();
        if content.put(key, status) {
            content.touched.insert(key.clone());
            self.changed.notify_one();
        }
    }

    /// The server answered a write of ours.
    pub(super) fn wrote(&self, key: &ObjectKey, status: Option<ServerStatus>) {
        self.lock().put(key, status);
    }

    /// The object is gone.
    pub(super) fn forget(&self, key: &ObjectKey) {
        let mut content = self.lock();
        content.seen.remove(key);
        content.inherited.remove(key);
        content.touched.remove(key);
    }
}

impl Content {
    pub(super) fn take_touched(&mut self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut self.touched)
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<Arc<ServerStatus>> {
        self.seen.get(key).cloned()
    }

    /// Whether an agent before this one told of it. It counts once: what happens anew is news.
    pub(super) fn was_told(&mut self, transition: &Transition) -> bool {
        let Some(failing) = &transition.condition else { return false };
        let Some(inherited) = self.inherited.get_mut(&transition.object) else { return false };
        let before = inherited.failing.len();
        inherited.failing.retain(|(type_, reason, generation)| {
            !(type_ == failing.type_
                && reason == failing.reason.as_str()
                && *generation == Some(failing.generation))
        });
        if inherited.failing.len() < before {
            return true;
        }
        let told = inherited.own_message.contains(&transition.note) && !transition.note.is_empty();
        if told {
            inherited.own_message = inherited.own_message.replacen(&transition.note, "", 1);
        }
        told
    }

    /// What is said of an object now: what holds again is over.
    pub(super) fn now_holds(&mut self, entry: &Entry) {
        let Some(inherited) = self.inherited.get_mut(&entry.object.key) else { return };
        let conditions = &entry.verdict.conditions;
        inherited.failing.retain(|(type_, ..)| {
            !conditions.iter().any(|condition| condition.type_ == type_ && condition.holds())
        });
        if entry.verdict.director.as_ref().is_none_or(|director| director.message.is_empty()) {
            inherited.own_message.clear();
        }
        if inherited.failing.is_empty() && inherited.own_message.is_empty() {
            self.inherited.remove(&entry.object.key);
        }
    }

    /// Says whether something differs from before.
    fn put(&mut self, key: &ObjectKey, status: Option<ServerStatus>) -> bool {
        if self.seen.get(key).map(|status| &**status) == status.as_ref() {
            return false;
        }
        match status {
            Some(status) => self.seen.insert(key.clone(), Arc::new(status)),
            None => self.seen.remove(key),
        };
        true
    }
}

impl Inherited {
    /// None if all was well.
    fn from(status: &ServerStatus, me: &str) -> Option<Self> {
        let (conditions, own) = match status {
            ServerStatus::VirtualService(status) => {
                let own = status.directors.iter().find(|director| director.name == me);
                (&status.conditions, own.map(|own| own.message.clone()))
            }
            ServerStatus::RealServer(status) => (&status.conditions, None),
            ServerStatus::Director(status) => (&status.conditions, None),
        };
        let failing = conditions.iter().filter(|condition| condition.status != ConditionStatus::True);
        let failing: Vec<_> = failing
            .map(|condition| {
                (condition.type_.clone(), condition.reason.clone(), condition.observed_generation)
            })
            .collect();
        let own_message = own.unwrap_or_default();
        (!failing.is_empty() || !own_message.is_empty()).then_some(Self { failing, own_message })
    }
}

#[cfg(test)]
mod tests {
    use lvs_crds::{Condition, DirectorRole, DirectorStatus, RealServerStatus, VirtualServiceStatus};
    use lvs_plan::{Kind, Reason};

    use super::*;
    use crate::board::{Failing, fixtures};

    #[test]
    fn only_what_differs_touches_and_our_own_writes_never_do() {
        let statuses = Statuses::default();
        let key = ObjectKey::new(Kind::RealServer, "default", "rs1");
        let status = |service: &str| {
            let virtual_services = vec![service.to_owned()];
            Some(ServerStatus::RealServer(RealServerStatus { virtual_services, ..Default::default() }))
        };
        let touched = || statuses.lock().take_touched().len();
        statuses.saw(&key, status("default/web"));
        assert_eq!(touched(), 1);
        statuses.saw(&key, status("default/web"));
        assert_eq!(touched(), 0);
        statuses.wrote(&key, status("default/shop"));
        statuses.saw(&key, status("default/shop"));
        assert_eq!(touched(), 0);
        statuses.saw(&key, None);
        assert_eq!(touched(), 1, "somebody took the status away");
    }
    const WEB: &str = "web";

    /// What a status said of `web` when its agent died: refused, and its VIP held by a stranger.
    fn left_behind() -> Statuses {
        let condition = |type_: &str, status, reason: &str| Condition {
            type_: type_.to_owned(),
            status,
            observed_generation: Some(1),
            last_transition_time: "2026-11-24T13:00:00Z".to_owned(),
            reason: reason.to_owned(),
            message: "words".to_owned(),
        };
        let conditions = vec![
            condition("Accepted", ConditionStatus::True, "Accepted"),
            condition("Announced", ConditionStatus::False, "VIPConflict"),
        ];
        let own = DirectorStatus {
            name: "d1".to_owned(),
            role: DirectorRole::Standby,
            programmed: false,
            observed_generation: None,
            message: "the kernel has no scheduler wrr; 172.16.21.10 is not bound".to_owned(),
        };
        let status = VirtualServiceStatus { conditions, directors: vec![own], ..Default::default() };
        let statuses = Statuses::default();
        let key = ObjectKey::new(Kind::VirtualService, "default", WEB);
        statuses.inherit(&key, Some(&ServerStatus::VirtualService(status)), "d1");
        statuses
    }

    fn transition(type_: &'static str, reason: Reason, generation: i64, note: &str) -> Transition {
        Transition {
            object: ObjectKey::new(Kind::VirtualService, "default", WEB),
            uid: String::new(),
            reason,
            warning: true,
            action: "Program",
            note: note.to_owned(),
            condition: Some(Failing { type_, reason, generation }),
        }
    }

    #[test]
    fn what_an_agent_before_told_is_not_told_again_and_what_is_new_is() {
        let statuses = left_behind();
        let told = |transition: &Transition| statuses.lock().was_told(transition);
        let conflict = transition("Announced", Reason::VIPConflict, 1, "the stranger has another MAC by now");
        assert!(told(&conflict) && !told(&conflict), "once: if it happens again, that is news");
        assert!(!told(&transition("Announced", Reason::VIPConflict, 2, "another spec")));
        let scheduler =
            transition("Programmed", Reason::SchedulerMissing, 1, "the kernel has no scheduler wrr");
        assert!(told(&scheduler) && !told(&scheduler), "this Director's own part of a shared status");
        let done = Transition { condition: None, ..conflict };
        assert!(!left_behind().lock().was_told(&done), "what was done is no condition");
    }

    #[test]
    fn what_held_in_between_is_told_when_it_fails_again() {
        let statuses = left_behind();
        statuses.lock().now_holds(&fixtures::virtual_service(WEB, Reason::NoActiveDirector));
        assert!(!statuses.lock().inherited.is_empty(), "it does not hold yet");
        statuses.lock().now_holds(&fixtures::virtual_service(WEB, Reason::Announced));
        assert!(!statuses.lock().was_told(&transition("Announced", Reason::VIPConflict, 1, "again")));
        assert!(statuses.lock().inherited.is_empty());
    }
}
