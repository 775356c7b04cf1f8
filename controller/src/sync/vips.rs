//! The VIPs of this Director: who needs them, where they are bound, whether a stranger holds them, and when they
//! are announced next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use lvs_net::announce::{Announced, Schedule};
use lvs_plan::diff::{self, BoundAddress, Need, Probe, VipView};
use lvs_plan::step::{Applied, Step};
use lvs_plan::{Announcing, ServiceKey};
use tracing::warn;

use super::decide::is_refusal;
use super::probes::Probes;
use super::retries::Retries;
use super::{Driver, NetworkChange};
use crate::kernel::{HostAddress, Kernel, is_ours};

/// What is known of all VIPs.
#[derive(Debug)]
pub(super) struct Vips {
    users: BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
    addresses: BTreeMap<IpAddr, Vec<HostAddress>>,
    addresses_known: bool,
    probes: Probes,
    /// VIPs that this process holds, with the link: bound again at once when somebody removes them.
    held: BTreeMap<IpAddr, u32>,
    pub(super) announcing: BTreeMap<IpAddr, Announcing>,
    schedule: Schedule,
    /// VIPs to look at in the next pass.
    due: BTreeSet<IpAddr>,
    /// VIPs that could not be bound or unbound.
    retries: Retries<IpAddr>,
    assume_free: bool,
}

/// What is decided about VIPs in one pass.
#[derive(Debug, Default)]
pub(super) struct DecidedVips {
    /// Those that were looked at.
    pub(super) looked_at: BTreeSet<IpAddr>,
    /// Of these, those that we held and that somebody removed.
    pub(super) drifted: BTreeSet<IpAddr>,
    /// Ledger entries that stand for nothing any more.
    pub(super) forgotten: Vec<IpAddr>,
}

impl Vips {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            users: BTreeMap::new(),
            addresses: BTreeMap::new(),
            addresses_known: false,
            probes: Probes::default(),
            held: BTreeMap::new(),
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

    pub(super) fn all_due(&mut self) {
        self.due.extend(self.users.keys());
        // What carries our mark and serves nobody any more has to go.
        self.due.extend(
            self.addresses.values().flatten().filter(|bound| bound.tagged).map(|bound| bound.address),
        );
    }

    pub(super) fn also_due(&mut self, vips: impl IntoIterator<Item = IpAddr>) {
        self.due.extend(vips);
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
        self.waiting_due();
    }

    pub(super) fn assume_free(&mut self) {
        self.assume_free = true;
    }

    pub(super) fn probed(&mut self, answers: Vec<(IpAddr, Probe)>, now: Instant) {
        for (vip, answer) in answers {
            self.probes.answered(vip, answer, now);
            self.due.insert(vip);
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

    fn hold(&mut self, vip: IpAddr, link_index: u32) {
        if let Some(other) = self.held.insert(vip, link_index).filter(|other| *other != link_index) {
            self.schedule.release(Announced { link: other, vip });
        }
    }

    fn unbound(&mut self, vip: IpAddr, link: &Arc<str>) {
        if let Some(bound) = self.addresses.get_mut(&vip) {
            bound.retain(|bound| bound.link != *link);
            if bound.is_empty() {
                self.addresses.remove(&vip);
            }
        }
        self.release(vip);
    }

    fn release(&mut self, vip: IpAddr) {
        if let Some(link) = self.held.remove(&vip) {
            self.schedule.release(Announced { link, vip });
        }
    }

    fn holders(&self, vip: IpAddr) -> &[HostAddress] {
        self.addresses.get(&vip).map_or(&[], Vec::as_slice)
    }

    /// When a pass is due for a VIP: a probe to be repeated, or another try.
    pub(super) fn next_pass(&self) -> Option<Instant> {
        let retry = self.retries.next_but(|vip| self.probes.is_asked(*vip));
        [self.probes.next(), retry].into_iter().flatten().min()
    }

    pub(super) fn next_announcement(&self) -> Option<Instant> {
        self.schedule.next()
    }

    pub(super) fn due_announcements(&mut self, now: Instant) -> Vec<Announced> {
        let mut due = self.schedule.due(now);
        // An address that somebody removed is bound again first.
        due.retain(|due| self.holders(due.vip).iter().any(|bound| bound.link_index == due.link));
        due
    }

    fn probe(&self, vip: IpAddr, now: Instant) -> Probe {
        if self.assume_free || self.held.contains_key(&vip) {
            return Probe::Free;
        }
        self.probes.current(vip, now)
    }
}

impl<K: Kernel> Driver<K> {
    /// Compares the VIPs that these services use, and those that are due for another reason.
    pub(super) fn decide_vips(
        &mut self,
        keys: &BTreeSet<ServiceKey>,
        steps: &mut Vec<Step>,
        now: Instant,
    ) -> DecidedVips {
        let mut decided = DecidedVips::default();
        let mut vips: BTreeSet<IpAddr> = keys.iter().filter_map(ServiceKey::vip).collect();
        vips.append(&mut self.vips.due);
        vips.extend(self.vips.probes.due(now));
        vips.extend(self.vips.retries.due(now));
        vips.retain(|vip| !self.vips.retries.is_waiting(vip, now));
        let mut to_probe: BTreeMap<Arc<str>, Vec<IpAddr>> = BTreeMap::new();
        for vip in &vips {
            let bound = self.bound(*vip);
            let need = self.need(vip);
            let link =
                if need == Need::Used && bound.is_empty() { self.link_for(*vip) } else { Err(String::new()) };
            let decision = diff::vip(
                *vip,
                &VipView {
                    need,
                    bound: &bound,
                    link: link.clone(),
                    probe: self.vips.probe(*vip, now),
                    role: &self.role,
                    held: need == Need::Unused && self.vip_held(*vip),
                    ledger_usable: self.ledger.usable(),
                },
            );
            if need == Need::Unused
                && bound.is_empty()
                && self.ledger.vip_link(*vip).is_some()
                && !self.vip_held(*vip)
            {
                decided.forgotten.push(*vip);
            }
            if self.vips.held.contains_key(vip)
                && decision.steps.iter().any(|step| matches!(step, Step::BindVip { .. }))
            {
                decided.drifted.insert(*vip);
            }
            steps.extend(decision.steps);
            match (&decision.announcing, &link) {
                (Some(Announcing::Conflict { .. } | Announcing::Pending(_)), Ok(link)) => {
                    if self.vips.probes.may_ask(*vip, now) {
                        self.vips.probes.ask(*vip, now);
                        to_probe.entry(Arc::clone(link)).or_default().push(*vip);
                    }
                }
                _ => self.vips.probes.forget(*vip),
            }
            match decision.announcing {
                Some(announcing) => self.vips.announcing.insert(*vip, announcing),
                None => self.vips.announcing.remove(vip),
            };
            match (decision.announce_on, bound.iter().find(|bound| bound.ours)) {
                (Some(_), Some(address)) if !self.vips.held.contains_key(vip) => {
                    self.vips.found(*vip, address.link_index, now);
                }
                (Some(_), _) => {}
                (None, _) => self.vips.release(*vip),
            }
        }
        if !self.vips.assume_free {
            for (link, vips) in to_probe {
                self.kernel.start_probe(&link, &vips);
            }
        }
        decided.looked_at = vips;
        decided
    }

    fn need(&self, vip: &IpAddr) -> Need {
        let mut need = Need::Unused;
        for key in self.vips.users(vip) {
            let in_force = self.outcomes.get(key).is_some_and(|outcome| !is_refusal(&outcome.programming));
            if in_force {
                return Need::Used;
            }
            need = Need::AsItIs;
        }
        need
    }

    /// Takes in what came of the steps about VIPs.
    pub(super) fn settle_vips(&mut self, applied: &Applied, looked_at: &BTreeSet<IpAddr>, now: Instant) {
        let mut failed = BTreeSet::new();
        for (step, result) in applied.results() {
            match (step, result) {
                (Step::BindVip { vip, link }, Ok(())) => match self.kernel.link_index(link) {
                    Some(link_index) => {
                        let tagged = self.kernel.marks_addresses();
                        self.vips.bound(
                            HostAddress { address: *vip, link: Arc::clone(link), link_index, tagged },
                            now,
                        );
                    }
                    None => self.vips.addresses_known = false,
                },
                (Step::UnbindVip { vip, link }, Ok(())) => {
                    self.ledger.forget_vip(*vip);
                    self.vips.unbound(*vip, link);
                }
                (Step::BindVip { vip, .. } | Step::UnbindVip { vip, .. }, Err(error)) => {
                    warn!(%step, %error, "failed; trying again");
                    if matches!(step, Step::BindVip { .. }) {
                        self.vips.announcing.insert(*vip, Announcing::Refused(format!("{step}: {error}")));
                    }
                    self.vips.release(*vip);
                    self.vips.addresses_known = false;
                    failed.insert(*vip);
                }
                _ => {}
            }
        }
        for vip in looked_at {
            if failed.contains(vip) {
                self.vips.retries.failed(*vip, now);
            } else if !self.vips.probes.is_asked(*vip) {
                // While the network is asked first, the other try is still to come.
                self.vips.retries.settled(vip);
            }
        }
    }

    fn bound(&self, vip: IpAddr) -> Vec<BoundAddress> {
        let marks = self.kernel.marks_addresses();
        let on_host = self.vips.holders(vip).iter();
        on_host
            .map(|address| {
                let ours = is_ours(address, &self.ledger, marks);
                BoundAddress { link: Arc::clone(&address.link), link_index: address.link_index, ours }
            })
            .collect()
    }

    /// A link is chosen once and kept in the ledger, as long as it is there.
    fn link_for(&mut self, vip: IpAddr) -> Result<Arc<str>, String> {
        if let Some(link) = self.ledger.vip_link(vip)
            && self.kernel.link_index(&link).is_some()
        {
            return Ok(link);
        }
        let users = self.vips.users(&vip).filter_map(|key| self.inventory.desired(key));
        let mut real_servers: Vec<IpAddr> =
            users.flat_map(|service| service.destinations.keys().map(|key| key.address)).collect();
        real_servers.sort_unstable();
        real_servers.dedup();
        self.kernel.choose_link(vip, &real_servers)
    }

    /// A service of this VIP is kept because its object has no version known to be good.
    fn vip_held(&self, vip: IpAddr) -> bool {
        self.ledger.services().any(|key| key.vip() == Some(vip) && self.is_held(&key))
    }
}
