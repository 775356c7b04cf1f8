//! Between the driver and the neighbours: announcing what is held, and hearing that others claim it.

use std::net::IpAddr;
use std::time::Instant;

use lvs_plan::diff::Holder;

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
            let real_servers = self.real_servers(vip);
            self.kernel.identify(claimed, mac, &real_servers);
        }
        if self.vips.rivals.may_defend(vip, now) {
            self.kernel.announce(&[claimed]);
        }
    }

    /// Takes in who claims a VIP.
    pub fn identified(&mut self, vip: IpAddr, holder: Holder) {
        if self.vips.rivals.identified(vip, holder) {
            self.vips.also_due([vip]);
        }
    }
}
