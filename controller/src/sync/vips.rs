//! The VIPs of this Director: who needs them, where they are bound, whether a stranger holds them, and when
//! they are announced next.

mod decide;
mod identities;
mod preflight;
mod rivals;
mod settle;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use lvs_net::announce::{Announced, Schedule};
use lvs_plan::diff::{Asked, Probe};
use lvs_plan::{Announcing, ServiceKey};

use super::NetworkChange;
use super::probes::Probes;
use super::retries::Retries;
use crate::kernel::{Answer, HostAddress};

use identities::Identities;
use preflight::Preflight;
use rivals::Rivals;

pub(super) use decide::DecidedVips;

/// What is known of all VIPs.
#[derive(Debug)]
pub(super) struct Vips {
    users: BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
    addresses: BTreeMap<IpAddr, Vec<HostAddress>>,
    addresses_known: bool,
    probes: Probes,
    /// VIPs that this process holds, with the link: bound again at once when somebody removes them.
    held: BTreeMap<IpAddr, u32>,
    /// VIPs that are bound and not announced before the network was asked who took them meanwhile, with the
    /// link.
    awaiting: BTreeMap<IpAddr, u32>,
    /// Others that claim VIPs of both kinds.
    rivals: Rivals,
    identities: Identities,
    /// VIPs that move, with the link that they move away from. On a kernel that doesn't carry our mark
    /// nothing else says that the address there is ours.
    moving_from: BTreeSet<(IpAddr, Arc<str>)>,
    preflight: Preflight,
    /// What is bound, or a link, is not as the kernel was told last: it listens for claims by others.
    listen_due: bool,
    pub(super) announcing: BTreeMap<IpAddr, Announcing>,
    schedule: Schedule,
    /// VIPs to look at in the next pass.
    due: BTreeSet<IpAddr>,
    /// VIPs that could not be bound or unbound.
    retries: Retries<IpAddr>,
    assume_free: bool,
}

impl Vips {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            users: BTreeMap::new(),
            addresses: BTreeMap::new(),
            addresses_known: false,
            probes: Probes::default(),
            held: BTreeMap::new(),
            awaiting: BTreeMap::new(),
            rivals: Rivals::default(),
            identities: Identities::default(),
            moving_from: BTreeSet::new(),
            preflight: Preflight::default(),
            listen_due: false,
            announcing: BTreeMap::new(),
            schedule: Schedule::new(now),
            due: BTreeSet::new(),
            retries: Retries::default(),
            assume_free: false,
        }
    }

    pub(super) fn track(&mut self, key: &ServiceKey, desired: bool) {
        let Some(vip) = key.vip() else { return };
        if desired {
            self.users.entry(vip).or_default().insert(*key);
        } else if let Some(users) = self.users.get_mut(&vip) {
            users.remove(key);
            if users.is_empty() {
                self.users.remove(&vip);
            }
        }
    }

    pub(super) fn users(&self, vip: &IpAddr) -> impl Iterator<Item = &ServiceKey> {
        self.users.get(vip).into_iter().flatten()
    }

    /// How many VIPs this process holds and announces.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Where this process holds a VIP, if it does.
    pub(super) fn is_held(&self, vip: IpAddr) -> Option<Announced> {
        self.held.get(&vip).map(|link| Announced { link: *link, vip })
    }

    /// The VIPs whose claims by others are listened for.
    fn listened_for(&self) -> impl Iterator<Item = Announced> {
        self.held.iter().chain(&self.awaiting).map(|(vip, link)| Announced { link: *link, vip: *vip })
    }

    /// Where claims of a VIP by others are listened for, if they are.
    fn is_listened_for(&self, vip: IpAddr) -> Option<Announced> {
        let link = self.held.get(&vip).or_else(|| self.awaiting.get(&vip))?;
        Some(Announced { link: *link, vip })
    }

    pub(super) fn all_due(&mut self) {
        self.preflight.look_again();
        self.due.extend(self.users.keys());
        // What carries our mark and serves nobody any more has to go.
        self.due.extend(
            self.addresses.values().flatten().filter(|bound| bound.tagged).map(|bound| bound.address),
        );
    }

    pub(super) fn also_due(&mut self, vips: impl IntoIterator<Item = IpAddr>) {
        self.due.extend(vips);
    }

    /// Another role: what waited for another try under the old one waits no longer.
    pub(super) fn role_changed(&mut self) {
        self.due.extend(std::mem::take(&mut self.retries).into_waiting());
        self.all_due();
    }

    /// What changed may let a VIP be bound that could not be.
    pub(super) fn network_changed(&mut self, change: NetworkChange, now: Instant) {
        match change {
            NetworkChange::LinksOrAddresses => {
                self.addresses_known = false;
                self.probes.links_changed();
            }
            NetworkChange::Routes => self.waiting_due(),
        }
        self.preflight.look_again();
        self.retries.hurry(now, |_| true);
    }

    fn waiting_due(&mut self) {
        let waiting = self.announcing.iter().filter(|(_, state)| !matches!(state, Announcing::Announced(_)));
        self.due.extend(waiting.map(|(vip, _)| *vip));
    }

    pub(super) fn needs_addresses(&self) -> bool {
        !self.addresses_known
    }

    pub(super) fn set_addresses(&mut self, addresses: Vec<HostAddress>) {
        let mut by_value: BTreeMap<IpAddr, Vec<HostAddress>> = BTreeMap::new();
        for address in addresses {
            by_value.entry(address.address).or_default().push(address);
        }
        let before = std::mem::replace(&mut self.addresses, by_value);
        let all = before.keys().chain(self.addresses.keys());
        self.due.extend(all.filter(|address| before.get(address) != self.addresses.get(address)));
        self.addresses_known = true;
        self.listen_due = true;
        // A link may have lost its carrier.
        self.due.extend(self.held.keys());
        self.waiting_due();
    }

    pub(super) fn assume_free(&mut self) {
        self.assume_free = true;
    }

    pub(super) fn probed(&mut self, answers: Vec<Answer>, now: Instant) {
        for answer in answers {
            if self.probes.answered(answer, now) {
                self.due.insert(answer.vip);
            }
        }
    }

    /// We bound it just now.
    fn bound(&mut self, bound: HostAddress, now: Instant) {
        let (vip, link_index) = (bound.address, bound.link_index);
        self.addresses.entry(vip).or_default().push(bound);
        self.hold(vip, link_index);
        self.schedule.take_over(Announced { link: link_index, vip }, now);
    }

    /// It was bound already, by an agent before us.
    fn found(&mut self, vip: IpAddr, link_index: u32, now: Instant) {
        self.hold(vip, link_index);
        self.schedule.adopt(Announced { link: link_index, vip }, now);
    }

    /// When this VIP of ours was looked at last nobody could hear of it, or the network was being asked who
    /// took it meanwhile.
    fn was_unheard(&self, vip: IpAddr) -> bool {
        !self.held.contains_key(&vip)
            && matches!(self.announcing.get(&vip), Some(Announcing::Unheard(_) | Announcing::Pending(_)))
    }

    /// It is heard of again, and is not announced before the network was asked: whoever took it may say so
    /// meanwhile.
    fn await_answer(&mut self, vip: IpAddr, link_index: u32) {
        if self.awaiting.insert(vip, link_index) != Some(link_index) {
            self.listen_due = true;
        }
    }

    /// It is heard of again and nobody took it, but the network may have learnt something else meanwhile.
    fn heard_again(&mut self, vip: IpAddr, link_index: u32, now: Instant) {
        self.hold(vip, link_index);
        self.schedule.take_over(Announced { link: link_index, vip }, now);
    }

    fn hold(&mut self, vip: IpAddr, link_index: u32) {
        if let Some(other) = self.held.insert(vip, link_index).filter(|other| *other != link_index) {
            self.schedule.release(Announced { link: other, vip });
            self.rivals.forget(vip);
        }
        self.awaiting.remove(&vip);
        self.listen_due = true;
        self.preflight.look_again();
    }

    fn unbound(&mut self, vip: IpAddr, link: &Arc<str>) {
        self.moving_from.remove(&(vip, Arc::clone(link)));
        let Some(bound) = self.addresses.get_mut(&vip) else { return };
        let gone = bound.iter().find(|bound| bound.link == *link).map(|bound| bound.link_index);
        bound.retain(|bound| bound.link != *link);
        if bound.is_empty() {
            self.addresses.remove(&vip);
        }
        if gone == self.held.get(&vip).copied() {
            self.release(vip);
        }
    }

    fn release(&mut self, vip: IpAddr) {
        if let Some(link) = self.held.remove(&vip) {
            self.schedule.release(Announced { link, vip });
            self.listen_due = true;
        }
        if self.awaiting.remove(&vip).is_some() {
            self.listen_due = true;
        }
        self.rivals.forget(vip);
    }

    fn holders(&self, vip: IpAddr) -> &[HostAddress] {
        self.addresses.get(&vip).map_or(&[], Vec::as_slice)
    }

    /// When a pass is due for a VIP: a probe to be repeated, another try, or a rival that went away.
    pub(super) fn next_pass(&self) -> Option<Instant> {
        let retry = self.retries.next_but(|vip| self.probes.is_asked(*vip));
        [self.probes.next(), retry, self.rivals.next(), self.preflight.next()].into_iter().flatten().min()
    }

    /// When something is to be sent about a VIP that is held.
    pub(super) fn next_announcement(&self) -> Option<Instant> {
        [self.schedule.next(), self.rivals.next_question()].into_iter().flatten().min()
    }

    pub(super) fn due_announcements(&mut self, now: Instant) -> Vec<Announced> {
        let mut due = self.schedule.due(now);
        // An address that somebody removed is bound again first.
        due.retain(|due| self.holders(due.vip).iter().any(|bound| bound.link_index == due.link));
        due
    }

    /// What to ask the network about now: what is announced, and more often what has a rival.
    pub(super) fn due_questions(&mut self, announced: Vec<Announced>, now: Instant) -> Vec<Announced> {
        let mut due: BTreeSet<Announced> = announced.into_iter().collect();
        let contested = self.rivals.questions(now);
        due.extend(contested.into_iter().filter_map(|vip| self.is_held(vip)));
        due.into_iter().collect()
    }

    /// What came of asking for a VIP that should be on the link with this index.
    fn asked(&self, vip: IpAddr, wanted: Option<u32>, now: Instant) -> Option<Asked> {
        if let Some(link_index) = wanted
            && (self.assume_free || self.held.get(&vip) == Some(&link_index))
        {
            return Some(Asked { link_index, probe: Probe::Free, in_vain: 0 });
        }
        let asked = self.probes.current(vip, now)?;
        // Somebody was heard, and will soon be known.
        let in_vain = if self.rivals.is_contested(vip) { 0 } else { asked.in_vain };
        Some(Asked { in_vain, ..asked })
    }
}
