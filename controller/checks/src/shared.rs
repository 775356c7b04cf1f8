//! What checks with the same options have in common is made once and lives as long as one of them.
//!
//! Ten thousand real servers of one VirtualService have ten thousand preparations, which differ in an
//! address: the certificates that they trust and their regular expression are the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Values by the options they are made of; meant for a `static`.
pub(crate) struct Shared<K, V>(Mutex<Entries<K, V>>);

struct Entries<K, V> {
    made: BTreeMap<K, Weak<V>>,
    /// Entries whose value is gone are looked for when there are so many entries.
    sweep_at: usize,
}

const SWEEP_AT_LEAST: usize = 16;

impl<K: Ord + Clone, V> Shared<K, V> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Entries { made: BTreeMap::new(), sweep_at: SWEEP_AT_LEAST }))
    }

    /// The value made of these options before, if it still lives, else what `make` gives. Others wait
    /// meanwhile.
    pub(crate) fn get_or_make<E>(&self, key: &K, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        // A panic of `make` leaves the entries as they were.
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = entries.made.get(key).and_then(Weak::upgrade) {
            return Ok(value);
        }
        let value = Arc::new(make()?);
        entries.made.insert(key.clone(), Arc::downgrade(&value));
        if entries.made.len() >= entries.sweep_at {
            entries.made.retain(|_, value| value.strong_count() > 0);
            entries.sweep_at = (2 * entries.made.len()).max(SWEEP_AT_LEAST);
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn make(value: u32) -> impl FnOnce() -> Result<u32, Infallible> {
        move || Ok(value)
    }

    #[test]
    fn the_same_options_give_the_same_value_while_somebody_holds_it() {
        let shared = Shared::new();
        let Ok(first) = shared.get_or_make(&"a", make(1));
        let Ok(second) = shared.get_or_make(&"a", make(2));
        assert!(Arc::ptr_eq(&first, &second));
        drop((first, second));
        let Ok(third) = shared.get_or_make(&"a", make(3));
        assert_eq!(*third, 3);
    }

    #[test]
    fn what_nobody_holds_any_more_leaves_no_entries_behind() {
        let shared = Shared::new();
        for key in 0..1000 {
            let Ok(_) = shared.get_or_make(&key, make(key));
        }
        assert!(shared.0.lock().unwrap().made.len() <= SWEEP_AT_LEAST);
    }
}
