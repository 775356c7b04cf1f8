//! The Directors that are known at this moment, and who of them writes what of a status. Pure.

use std::collections::BTreeMap;

use lvs_crds::{DirectorRole, DirectorStatus};

use super::peers::{Director, Standing};

/// What is known of all Directors, ourselves included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directors {
    /// Our node name.
    pub(super) me: String,
    /// Whether we are ready.
    pub(super) ready: bool,
    /// Whether our Lease was published: others can tell that we live.
    pub(super) published: bool,
    /// The others, by node name; `None` while their Leases cannot be read.
    pub(super) others: Option<BTreeMap<String, Director>>,
}

/// What the writer of the shared part does to another Director's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mending {
    /// It has no Lease any more: its entry goes.
    Remove,
    /// Its Lease expired: its role becomes `Unknown`.
    SetUnknown,
}

impl Directors {
    /// Whether we write the shared part of a status: of those that are active for the object the one with the
    /// lowest name, else of those that are ready, else of those that live.
    pub(super) fn write_shared(&self, active_here: bool, entries: &[&DirectorStatus]) -> bool {
        let active_elsewhere = entries
            .iter()
            .filter(|entry| {
                entry.name != self.me && entry.role == DirectorRole::Active && self.lives(&entry.name)
            })
            .map(|entry| entry.name.as_str());
        let me = self.me.as_str();
        if let Some(lowest) = active_elsewhere.chain(active_here.then_some(me)).min() {
            return lowest == me;
        }
        let live = || {
            let others =
                self.others.iter().flatten().filter(|(_, other)| other.standing != Standing::Expired);
            let unseen =
                entries.iter().filter(|_| self.others.is_none()).map(|entry| (entry.name.as_str(), true));
            others.map(|(name, other)| (name.as_str(), other.ready)).chain(unseen).chain([(me, self.ready)])
        };
        let lowest_ready = live().filter(|(_, ready)| *ready).map(|(name, _)| name).min();
        lowest_ready.or_else(|| live().map(|(name, _)| name).min()) == Some(me)
    }

    /// What is wrong with the other Directors' entries. Nothing while their Leases cannot be read.
    pub(super) fn mend(&self, entries: &[DirectorStatus]) -> Vec<(String, Mending)> {
        let Some(others) = &self.others else { return Vec::new() };
        let wrong = entries.iter().filter(|entry| entry.name != self.me).filter_map(|entry| {
            let mending = match others.get(&entry.name) {
                None => Mending::Remove,
                Some(other) if other.standing == Standing::Expired && entry.role != DirectorRole::Unknown => {
                    Mending::SetUnknown
                }
                Some(_) => return None,
            };
            Some((entry.name.clone(), mending))
        });
        wrong.collect()
    }

    /// While the Leases cannot be read, whoever wrote an entry is believed to live.
    fn lives(&self, name: &str) -> bool {
        self.others
            .as_ref()
            .is_none_or(|others| others.get(name).is_some_and(|other| other.standing != Standing::Expired))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it is about, the Directors, their entries, the writer.
    type Case = (&'static str, &'static [Lease], &'static [(&'static str, DirectorRole)], &'static str);
    /// Name, standing, ready.
    type Lease = (&'static str, Standing, bool);

    fn entry(name: &str, role: DirectorRole) -> DirectorStatus {
        DirectorStatus {
            name: name.to_owned(),
            role,
            programmed: true,
            observed_generation: Some(1),
            message: String::new(),
        }
    }

    fn we_are(me: &str, ready: bool, others: &[(&str, Standing, bool)]) -> Directors {
        let others = others.iter().map(|(name, standing, ready)| {
            ((*name).to_owned(), Director { standing: *standing, ready: *ready })
        });
        Directors { me: me.to_owned(), ready, published: true, others: Some(others.collect()) }
    }

    #[test]
    fn exactly_one_director_writes_the_shared_part() {
        use DirectorRole::{Active, Standby, Unknown};
        use Standing::{Expired, Live};
        let both = &[("d1", Live, true), ("d2", Live, true)];
        let table: [Case; 8] = [
            ("the active one", both, &[("d1", Standby), ("d2", Active)], "d2"),
            ("of two active ones the lower name", both, &[("d1", Active), ("d2", Active)], "d1"),
            ("without an active one the lowest name", both, &[("d1", Standby), ("d2", Standby)], "d1"),
            ("nobody wrote an entry yet", both, &[], "d1"),
            ("the lowest one is not ready", &[("d1", Live, false), ("d2", Live, true)], &[], "d2"),
            ("nobody is ready", &[("d1", Live, false), ("d2", Live, false)], &[], "d1"),
            ("the active one is dead", &[("d1", Live, true), ("d2", Expired, true)], &[("d2", Active)], "d1"),
            (
                "the lowest one is dead",
                &[("d1", Expired, true), ("d2", Live, true)],
                &[("d1", Unknown)],
                "d2",
            ),
        ];
        for (case, directors, entries, writer) in table {
            let entries: Vec<DirectorStatus> =
                entries.iter().map(|(name, role)| entry(name, *role)).collect();
            let entries: Vec<&DirectorStatus> = entries.iter().collect();
            for (me, standing, ready) in directors {
                if *standing == Expired {
                    continue;
                }
                let others: Vec<_> = directors.iter().copied().filter(|(name, ..)| name != me).collect();
                let active_here = entries.iter().any(|entry| entry.name == *me && entry.role == Active);
                let writes = we_are(me, *ready, &others).write_shared(active_here, &entries);
                assert_eq!(writes, *me == writer, "{case}: {me}");
            }
        }
    }

    #[test]
    fn while_the_leases_cannot_be_read_every_entry_is_believed_and_none_is_mended() {
        let blind = Directors { others: None, ..we_are("d2", true, &[]) };
        let other = entry("d1", DirectorRole::Active);
        assert!(!blind.write_shared(false, &[&other]));
        assert!(!blind.write_shared(false, &[&entry("d1", DirectorRole::Standby)]));
        assert!(blind.write_shared(true, &[&entry("d1", DirectorRole::Standby)]));
        assert!(blind.write_shared(false, &[]));
        assert_eq!(blind.mend(&[other]), []);
    }

    #[test]
    fn entries_of_the_gone_go_and_those_of_the_expired_become_unknown_once() {
        let directors = we_are("d1", true, &[("d2", Standing::Expired, true), ("d3", Standing::Live, true)]);
        let entries = ["d1", "d2", "d3", "d4"].map(|name| entry(name, DirectorRole::Standby));
        let mended = directors.mend(&entries);
        let expected = [("d2".to_owned(), Mending::SetUnknown), ("d4".to_owned(), Mending::Remove)];
        assert_eq!(mended, expected);
        assert_eq!(directors.mend(&[entry("d2", DirectorRole::Unknown)]), []);
    }
}
