//! Checks counted for virtual services and their real servers. The checker counts for each probe, which
//! several virtual services may share and which ends with the settings of its check; what is counted here
//! goes on for as long as the objects do. What was counted before a virtual service used a probe is not its
//! own.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use lvs_plan::ObjectKey;

use crate::checker::tally::{Results, Tallies, Tally, Times};
use crate::view::{ServiceView, View};

/// What has to be kept from one scrape to the next.
#[derive(Debug, Default)]
pub(super) struct Checks(HashMap<ObjectKey, Kept>);

/// Of one virtual service.
#[derive(Debug, Default)]
struct Kept {
    /// The tallies in use now, by real server; each once.
    uses: Vec<Use>,
    /// To be added to those: what was counted by tallies that it used before, without what was never its own.
    times: Times,
    /// The same for each real server, where it is not nothing.
    results: HashMap<ObjectKey, Results>,
}

#[derive(Debug)]
struct Use {
    real_server: ObjectKey,
    tally: Arc<Tally>,
}

impl Use {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tally, &other.tally) && self.real_server == other.real_server
    }
}

/// What was counted for one virtual service so far.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) virtual_service: ObjectKey,
    pub(super) times: Times,
    /// Of each real server that is checked, its successes, and each way to fail that has been seen: a place
    /// in [`lvs_checks::REASONS`].
    pub(super) results: Vec<Outcome>,
}

/// So many checks of a real server ended in one way.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) real_server: ObjectKey,
    pub(super) failure: Option<u8>,
    pub(super) count: u64,
}

impl Checks {
    /// Takes in who uses which probe now.
    pub(super) fn follow(&mut self, view: &View, order: &[usize], tallies: &Tallies) {
        let owners: HashSet<&ObjectKey> = view.services.iter().map(|service| &service.owner).collect();
        self.0.retain(|owner, _| owners.contains(owner));
        for services in order.chunk_by(|one, other| view.services[*one].owner == view.services[*other].owner)
        {
            let owner = &view.services[services[0]].owner;
            let kept = self.0.entry(owner.clone()).or_default();
            kept.follow(services.iter().map(|index| &view.services[*index]), tallies);
        }
    }

    /// What was counted so far, in no order.
    pub(super) fn counted(&self) -> impl Iterator<Item = Counted> {
        self.0.iter().map(|(virtual_service, kept)| {
            let mut times = kept.times.clone();
            for it in &kept.uses {
                times += &it.tally.times();
            }
            let mut outcomes = Vec::with_capacity(kept.uses.len());
            for uses in kept.uses.chunk_by(|one, other| one.real_server == other.real_server) {
                let real_server = &uses[0].real_server;
                let mut results = kept.results.get(real_server).cloned().unwrap_or_default();
                for it in uses {
                    results += &it.tally.results();
                }
                let failures = (0..).zip(results.failures).filter(|(_, count)| *count > 0);
                let failures = failures.map(|(failure, count)| (Some(failure), count));
                let all = [(None, results.successes)].into_iter().chain(failures);
                outcomes.extend(all.map(|(failure, count)| Outcome {
                    real_server: real_server.clone(),
                    failure,
                    count,
                }));
            }
            Counted { virtual_service: virtual_service.clone(), times, results: outcomes }
        })
    }
}

impl Kept {
    fn follow<'a>(&mut self, services: impl Iterator<Item = &'a ServiceView>, tallies: &Tallies) {
        let mut members = BTreeSet::new();
        let mut uses: Vec<Use> = Vec::new();
        for destination in services.flat_map(|service| &service.destinations) {
            members.insert(&destination.owner);
            if let Some(tally) = destination.probe.as_ref().and_then(|probe| tallies.of(probe)) {
                uses.push(Use { real_server: destination.owner.clone(), tally: Arc::clone(tally) });
            }
        }
        uses.sort_by(|one, other| {
            let by_tally = || Arc::as_ptr(&one.tally).cmp(&Arc::as_ptr(&other.tally));
            one.real_server.cmp(&other.real_server).then_with(by_tally)
        });
        uses.dedup_by(|one, other| one.is(other));
        let before = std::mem::replace(&mut self.uses, uses);
        let same = before.len() == self.uses.len()
            && before.iter().zip(&self.uses).all(|(one, other)| one.is(other));
        if same {
            return;
        }
        for gone in before.iter().filter(|gone| !self.uses.iter().any(|it| it.is(gone))) {
            self.times += &gone.tally.times();
            *self.results.entry(gone.real_server.clone()).or_default() += &gone.tally.results();
        }
        for new in self.uses.iter().filter(|new| !before.iter().any(|it| it.is(new))) {
            if !tallies.is_new(&new.tally) {
                self.times -= &new.tally.times();
                *self.results.entry(new.real_server.clone()).or_default() -= &new.tally.results();
            }
        }
        self.results.retain(|real_server, _| members.contains(real_server));
    }
}
