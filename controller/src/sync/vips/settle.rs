//! What came of the steps about VIPs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use lvs_plan::Announcing;
use lvs_plan::step::{Applied, Step};
use tracing::warn;

use crate::kernel::{HostAddress, Kernel};
use crate::sync::Driver;

impl<K: Kernel> Driver<K> {
    /// Takes in what came of the steps about VIPs.
    pub(in crate::sync) fn settle_vips(
        &mut self,
        applied: &Applied,
        looked_at: &BTreeSet<IpAddr>,
        now: Instant,
    ) {
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
                    // After a move the ledger names the other link.
                    if self.ledger.vip_link(*vip).is_some_and(|recorded| recorded == *link) {
                        self.ledger.forget_vip(*vip);
                    }
                    self.vips.unbound(*vip, link);
                }
                (Step::BindVip { vip, .. } | Step::UnbindVip { vip, .. }, Err(error)) => {
                    warn!(%step, %error, "failed; trying again");
                    let words = format!("{step}: {error}");
                    let elsewhere = self.vips.is_held(*vip).filter(|_| !self.vips.holders(*vip).is_empty());
                    match (step, elsewhere) {
                        // The other half of a move.
                        (Step::BindVip { .. }, Some(_)) => {
                            let words = format!("{vip} stays where it is: {words}");
                            // A conflict is worse news than a move that does not come off.
                            if let Some(Announcing::Announced(told)) = self.vips.announcing.get_mut(vip) {
                                *told = words;
                            }
                        }
                        (Step::BindVip { .. }, None) => {
                            self.vips.announcing.insert(*vip, Announcing::Refused(words));
                            self.vips.release(*vip);
                        }
                        _ => {}
                    }
                    self.vips.addresses_known = false;
                    failed.insert(*vip);
                }
                _ => {}
            }
        }
        // What was bound just now is looked at once more: a move has a second half, and its link may have
        // findings.
        for (step, _) in applied.results().filter(|(_, result)| result.is_ok()) {
            if let Step::BindVip { vip, .. } = step {
                self.vips.due.insert(*vip);
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
        if std::mem::take(&mut self.vips.listen_due) {
            let bound = self.vips.listened_for().map(|bound| (bound.vip, bound.link)).collect();
            self.kernel.listen(&bound);
        }
    }
}
