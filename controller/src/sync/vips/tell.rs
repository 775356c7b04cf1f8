//! Between the driver and the neighbours: announcing what is held, and hearing that others claim it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use lvs_net::announce::Announced;

use super::identities::Identity;
use crate::kernel::{Kernel, REAL_SERVERS_ASKED};
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

    /// Takes in that another station claimed a VIP, which we may hold: the VIP is defended, and it is found
    /// out who that is.
    pub fn claimed(&mut self, vip: IpAddr, mac: [u8; 6], now: Instant) {
        let Some(claimed) = self.vips.is_listened_for(vip) else { return };
        if self.vips.rivals.sighted(vip, mac, now) {
            self.look_into(claimed, mac, now);
        }
        if self.vips.is_held(vip).is_some() && self.vips.rivals.may_defend(vip, now) {
            self.kernel.announce(&[claimed]);
        }
    }

    /// Takes in which real servers have which MAC addresses, as this question found out.
    pub fn identified(&mut self, question: u64, macs: BTreeMap<[u8; 6], IpAddr>, now: Instant) {
        if !self.vips.identities.answered(question, macs, now) {
            return;
        }
        // Also those on other links: they may have waited for their turn.
        for (vip, mac) in self.vips.rivals.unidentified() {
            if let Some(claimed) = self.vips.is_listened_for(vip) {
                self.look_into(claimed, mac, now);
            }
        }
    }

    fn look_into(&mut self, claimed: Announced, mac: [u8; 6], now: Instant) {
        let Announced { link, vip } = claimed;
        let mut real_servers = self.real_servers(vip);
        real_servers.truncate(REAL_SERVERS_ASKED);
        match self.vips.identities.of(link, mac, &real_servers, now) {
            Identity::Known(holder) => {
                if self.vips.rivals.identified(vip, holder, now) {
                    self.vips.also_due([vip]);
                }
            }
            Identity::Later => {}
            Identity::Ask => {
                let suspects = self.suspects(claimed);
                let question = self.vips.identities.ask(link, mac, &suspects, now);
                self.kernel.identify(question, link, &suspects);
            }
        }
    }

    /// Who may claim VIPs on a link: the real servers of the claimed one first, because a question has room
    /// for so many only, then those of all that are listened for there, because one answer counts for all.
    fn suspects(&self, claimed: Announced) -> Vec<IpAddr> {
        let others = self.vips.listened_for().filter(|other| other.link == claimed.link);
        let mut seen = BTreeSet::new();
        let all =
            std::iter::once(claimed).chain(others).flat_map(|Announced { vip, .. }| self.real_servers(vip));
        all.filter(|real_server| seen.insert(*real_server)).take(REAL_SERVERS_ASKED).collect()
    }
}
