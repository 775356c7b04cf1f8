//! The statuses that the API server has, as the watches saw them: what the status writer compares with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lvs_plan::ObjectKey;
use tokio::sync::Notify;

use super::observed::ServerStatus;

/// A handle; clones share it. The watches and the writer's own answers fill it, the writer reads it.
#[derive(Clone, Debug, Default)]
pub(super) struct Statuses {
    content: Arc<Mutex<Content>>,
    changed: Arc<Notify>,
}

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Content {
    seen: BTreeMap<ObjectKey, Arc<ServerStatus>>,
    /// Why an object's spec cannot be understood.
    malformed: BTreeMap<ObjectKey, Arc<str>>,
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

    /// The watch saw an object.
    pub(super) fn saw(&self, key: &ObjectKey, status: Option<ServerStatus>, malformed: Option<&str>) {
        let mut content = self.lock();
        if content.put(key, status, malformed) {
            content.touched.insert(key.clone());
            self.changed.notify_one();
        }
    }

    /// The server answered a write of ours.
    pub(super) fn wrote(&self, key: &ObjectKey, status: Option<ServerStatus>) {
        let mut content = self.lock();
        let malformed = content.malformed.get(key).cloned();
        content.put(key, status, malformed.as_deref());
    }

    /// The object is gone.
    pub(super) fn forget(&self, key: &ObjectKey) {
        let mut content = self.lock();
        content.seen.remove(key);
        content.malformed.remove(key);
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

    pub(super) fn malformed(&self, key: &ObjectKey) -> Option<Arc<str>> {
        self.malformed.get(key).cloned()
    }

    /// Says whether something differs from before.
    fn put(&mut self, key: &ObjectKey, status: Option<ServerStatus>, malformed: Option<&str>) -> bool {
        let same = self.seen.get(key).map(|status| &**status) == status.as_ref()
            && self.malformed.get(key).map(|words| &**words) == malformed;
        if same {
            return false;
        }
        match status {
            Some(status) => self.seen.insert(key.clone(), Arc::new(status)),
            None => self.seen.remove(key),
        };
        match malformed {
            Some(words) => self.malformed.insert(key.clone(), words.into()),
            None => self.malformed.remove(key),
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use lvs_crds::RealServerStatus;
    use lvs_plan::Kind;

    use super::*;

    #[test]
    fn only_what_differs_touches_and_our_own_writes_never_do() {
        let statuses = Statuses::default();
        let key = ObjectKey::new(Kind::RealServer, "default", "rs1");
        let status = |service: &str| {
            let virtual_services = vec![service.to_owned()];
            Some(ServerStatus::RealServer(RealServerStatus { virtual_services, ..Default::default() }))
        };
        let touched = || statuses.lock().take_touched().len();
        statuses.saw(&key, status("default/web"), None);
        assert_eq!(touched(), 1);
        statuses.saw(&key, status("default/web"), None);
        assert_eq!(touched(), 0);
        statuses.wrote(&key, status("default/shop"));
        statuses.saw(&key, status("default/shop"), None);
        assert_eq!(touched(), 0);
        statuses.saw(&key, None, None);
        assert_eq!(touched(), 1, "somebody took the status away");
    }
}
