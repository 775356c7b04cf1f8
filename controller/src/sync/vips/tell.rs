//! Between the driver and the neighbours: announcing what is held, and hearing that others claim it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use lvs_net::announce::Announced;
use lvs_plan::diff::Holder;

use super::identities::Identity;
use crate::kernel::Kernel;
use crate::sync::Driver;

impl<K: Kernel> Driver<K> {
    /// Sends the announcements that are due, and asks with each whether somebody else holds the VIP.
    pub fn announce(&mut self, now: Instant) {
        let due = self.vips.due_announcements(now);
        if !due.is_empty() {
            self.kernel.announce(&due);
        }
        let to_ask = self.vips.due_questions(due, now);
        if !to_ask.is_empty() {
            self.kernel.ask(&to_ask);
        }
    }

    /// Takes in that another station claimed a VIP, which we may hold: the VIP is defended, and it is found out who
    /// that is.
    pub fn claimed(&mut self, vip: IpAddr, mac: [u8; 6], now: Instant) {
        let Some(claimed) = self.vips.is_held(vip) else { return };
        if self.vips.rivals.sighted(vip, mac, now) {
            match self.vips.identities.of(claimed.link, mac, now) {
                Identity::Known(holder) => self.is_claimed_by(vip, holder),
                Identity::Asked => {}
                Identity::Ask => self.kernel.identify(claimed.link, mac, &self.suspects(claimed)),
            }
        }
        if self.vips.rivals.may_defend(vip, now) {
            self.kernel.announce(&[claimed]);
        }
    }

    /// Takes in who it is that claims VIPs on the link with this index: all that it has claimed until now.
    pub fn identified(&mut self, link: u32, holder: Holder, now: Instant) {
        self.vips.identities.answered(link, holder, now);
        for vip in self.vips.rivals.claimed_by(holder.mac) {
            if self.vips.is_held(vip).is_some_and(|held| held.link == link) {
                self.is_claimed_by(vip, holder);
            }
        }
    }

    fn is_claimed_by(&mut self, vip: IpAddr, holder: Holder) {
        if self.vips.rivals.identified(vip, holder) {
            self.vips.also_due([vip]);
        }
    }

    /// Who may claim VIPs on a link: the real servers of the claimed one first, because a question has room for so
    /// many only, then those of all that are held there, because one answer counts for all.
    fn suspects(&self, claimed: Announced) -> Vec<IpAddr> {
        let others = self.vips.held.iter().filter(|(_, link)| **link == claimed.link).map(|(vip, _)| *vip);
        let mut seen = BTreeSet::new();
        let all = std::iter::once(claimed.vip).chain(others).flat_map(|vip| self.real_servers(vip));
        all.filter(|real_server| seen.insert(*real_server)).collect()
    }
}
