//! What is to be done about VIPs.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use lvs_plan::diff::{self, BoundAddress, Need, Place, VipDecision, VipView};
use lvs_plan::step::Step;
use lvs_plan::{Announcing, ServiceKey};
use serde_json::json;
use tracing::{info, warn};

use crate::kernel::{Kernel, is_ours};
use crate::sync::Driver;
use crate::sync::decide::is_refusal;
use crate::sync::probes::Question;

/// What is decided about VIPs in one pass.
#[derive(Debug, Default)]
pub(in crate::sync) struct DecidedVips {
    /// Those that were looked at.
    pub(in crate::sync) looked_at: BTreeSet<IpAddr>,
    /// Of these, those that we held and that somebody removed.
    pub(in crate::sync) drifted: BTreeSet<IpAddr>,
    /// Ledger entries that stand for nothing any more.
    pub(in crate::sync) forgotten: Vec<IpAddr>,
}

/// A question for one link: the VIPs, and real servers that may turn out to hold one.
struct ToAsk {
    question: Question,
    vips: Vec<IpAddr>,
    real_servers: Vec<IpAddr>,
}

impl<K: Kernel> Driver<K> {
    /// Compares the VIPs that these services use, and those that are due for another reason.
    pub(in crate::sync) fn decide_vips(
        &mut self,
        keys: &BTreeSet<ServiceKey>,
        steps: &mut Vec<Step>,
        now: Instant,
    ) -> DecidedVips {
        let mut decided = DecidedVips::default();
        self.look_at_links(now);
        let cleared = self.vips.rivals.cleared(now);
        self.vips.due.extend(cleared);
        let mut vips: BTreeSet<IpAddr> = keys.iter().filter_map(ServiceKey::vip).collect();
        vips.append(&mut self.vips.due);
        vips.extend(self.vips.probes.due(now));
        vips.extend(self.vips.retries.due(now));
        vips.retain(|vip| !self.vips.retries.is_waiting(vip, now));
        let named = self.kernel.named_link();
        let kept = OnceCell::new();
        let mut questions: BTreeMap<Arc<str>, ToAsk> = BTreeMap::new();
        for vip in &vips {
            let bound = self.bound(*vip);
            let ours = bound.iter().filter(|address| address.ours).count();
            let need = self.need(vip, || kept.get_or_init(|| self.kept(&vips)).contains(vip));
            let real_servers = OnceCell::new();
            let link = if need == Need::Used && (bound.is_empty() || named.is_some() || ours > 1) {
                self.place_for(*vip, &real_servers)
            } else {
                Err(String::new())
            };
            let wanted = link.as_ref().ok().map(|place| place.link_index);
            let was_unheard = ours > 0 && self.vips.was_unheard(*vip);
            let view = VipView {
                need,
                bound: &bound,
                link,
                link_is_named: named.is_some(),
                asked: self.vips.asked(*vip, wanted, now),
                was_unheard,
                rival: self.vips.rivals.holder(*vip),
                role: &self.role,
                ledger_usable: self.ledger.usable(),
            };
            let decision = diff::vip(*vip, &view);
            if need == Need::Unused && bound.is_empty() && self.ledger.vip_link(*vip).is_some() {
                decided.forgotten.push(*vip);
            }
            if decision.steps.iter().any(|step| matches!(step, Step::BindVip { .. })) {
                if ours == 0 && self.vips.held.contains_key(vip) {
                    decided.drifted.insert(*vip);
                }
                // Where addresses carry our mark, that says it.
                let moves = bound.iter().filter(|address| address.ours && !self.kernel.marks_addresses());
                self.vips.moving_from.extend(moves.map(|address| (*vip, Arc::clone(&address.link))));
            }
            match &decision.ask_on {
                Some(link) => self.ask_for(*vip, &real_servers, link, &mut questions, now),
                None => self.vips.probes.forget(*vip),
            }
            self.say(*vip, decision.announcing.clone());
            self.hold(*vip, &bound, &decision, was_unheard, now);
            steps.extend(decision.steps);
        }
        if !self.vips.assume_free {
            for (link, ToAsk { question, vips, mut real_servers }) in questions {
                real_servers.sort_unstable();
                real_servers.dedup();
                self.kernel.start_probe(question.number, &link, &vips, &real_servers);
            }
        }
        decided.looked_at = vips;
        decided
    }

    /// Has the VIP asked for on this link with all that are, unless that was done a moment ago.
    fn ask_for(
        &mut self,
        vip: IpAddr,
        real_servers: &OnceCell<Vec<IpAddr>>,
        link: &Arc<str>,
        questions: &mut BTreeMap<Arc<str>, ToAsk>,
        now: Instant,
    ) {
        let Some(index) = self.kernel.link_index(link) else { return };
        if !self.vips.probes.may_ask(vip, index, now) {
            return;
        }
        let real_servers = real_servers.get_or_init(|| self.real_servers(vip));
        let to_ask = questions.entry(Arc::clone(link)).or_insert_with(|| ToAsk {
            question: self.vips.probes.question(index, self.kernel.station(link)),
            vips: Vec::new(),
            real_servers: Vec::new(),
        });
        self.vips.probes.ask(vip, to_ask.question, now);
        to_ask.vips.push(vip);
        to_ask.real_servers.extend(real_servers);
    }

    /// Where the VIP stands from now on.
    fn say(&mut self, vip: IpAddr, announcing: Option<Announcing>) {
        let is_conflict = |state: Option<&Announcing>| matches!(state, Some(Announcing::Conflict { .. }));
        let in_conflict = is_conflict(announcing.as_ref());
        let before = match announcing {
            Some(announcing) => self.vips.announcing.insert(vip, announcing),
            None => self.vips.announcing.remove(&vip),
        };
        if is_conflict(before.as_ref()) != in_conflict {
            self.metrics.set_vip_conflict(vip, in_conflict);
        }
    }

    /// From now on the VIP is announced, or only listened for, or neither.
    fn hold(
        &mut self,
        vip: IpAddr,
        bound: &[BoundAddress],
        decision: &VipDecision,
        was_unheard: bool,
        now: Instant,
    ) {
        let Some(link) = decision.announce_on.as_ref().or(decision.listen_on.as_ref()) else {
            self.vips.release(vip);
            return;
        };
        // What is about to be bound is not there yet.
        let there = bound.iter().find(|address| address.ours && address.link == *link);
        let Some(index) = there.map(|address| address.link_index) else { return };
        if decision.announce_on.is_none() {
            self.vips.await_answer(vip, index);
        } else if self.vips.held.get(&vip) != Some(&index) {
            match decision.announcing {
                Some(Announcing::Conflict { holder, .. }) if was_unheard => {
                    self.vips.found(vip, index, now);
                    self.vips.rivals.met(vip, holder, now);
                }
                _ if was_unheard => self.vips.heard_again(vip, index, now),
                _ => self.vips.found(vip, index, now),
            }
        }
    }

    /// Looks for what keeps clients from reaching our VIPs, where something may have changed. (IPv6 has no
    /// such settings.)
    fn look_at_links(&mut self, now: Instant) {
        if !self.vips.preflight.is_due(now) {
            return;
        }
        let held = self.vips.held.iter().filter(|(vip, _)| vip.is_ipv4());
        let links: BTreeSet<Arc<str>> = held
            .filter_map(|(vip, index)| {
                let bound = self.vips.holders(*vip).iter().find(|bound| bound.link_index == *index)?;
                Some(Arc::clone(&bound.link))
            })
            .collect();
        let findings = links.into_iter().map(|link| (Arc::clone(&link), self.kernel.preflight(&link)));
        let findings = findings.collect();
        let change = self.vips.preflight.looked(findings, now);
        for (_, finding) in &change.appeared {
            warn!(finding = finding.name(), "{finding}");
        }
        for (link, finding) in &change.gone {
            info!(finding = finding.name(), %link, "this is no longer so");
        }
        if !(change.appeared.is_empty() && change.gone.is_empty()) {
            self.vips.due.extend(self.vips.held.keys());
        }
        let all = || self.vips.preflight.all();
        let shown: Vec<_> = all()
            .map(|(link, finding)| json!({"link": &**link, "finding": finding.name(), "message": finding.to_string()}))
            .collect();
        self.board.lock().debug.insert("preflight", shown.into());
        self.metrics.set_preflight_findings(all().map(|(link, finding)| (&**link, finding.name())));
    }

    fn need(&self, vip: &IpAddr, is_kept: impl FnOnce() -> bool) -> Need {
        let mut need = Need::Unused;
        for key in self.vips.users(vip) {
            let in_force = self.outcomes.get(key).is_some_and(|outcome| !is_refusal(&outcome.programming));
            if in_force {
                return Need::Used;
            }
            need = Need::AsItIs;
        }
        if need == Need::Unused && is_kept() {
            need = Need::AsItIs;
        }
        need
    }

    fn bound(&self, vip: IpAddr) -> Vec<BoundAddress> {
        let marks = self.kernel.marks_addresses();
        let on_host = self.vips.holders(vip).iter();
        on_host
            .map(|address| {
                let link = Arc::clone(&address.link);
                let ours = is_ours(address, &self.ledger, marks)
                    || self.vips.moving_from.contains(&(vip, Arc::clone(&link)));
                let silent = self.kernel.silent(&link);
                let findings = if vip.is_ipv4() { self.vips.preflight.words(&link) } else { String::new() };
                BoundAddress { link, link_index: address.link_index, ours, silent, findings }
            })
            .collect()
    }

    /// The link that the administrator named. Without a name it is chosen once and kept in the ledger, as
    /// long as it is there.
    fn place_for(&mut self, vip: IpAddr, real_servers: &OnceCell<Vec<IpAddr>>) -> Result<Place, String> {
        let kept = self.ledger.vip_link(vip).filter(|link| self.kernel.link_index(link).is_some());
        let link = match kept {
            Some(link) if self.kernel.named_link().is_none() => link,
            _ => {
                let real_servers = real_servers.get_or_init(|| self.real_servers(vip));
                self.kernel.choose_link(vip, real_servers)?
            }
        };
        let gone = || format!("interface {link} is down or no longer there");
        let link_index = self.kernel.link_index(&link).ok_or_else(gone)?;
        let silent = self.kernel.silent(&link);
        Ok(Place { link, link_index, silent })
    }

    /// The real servers of a VIP, sorted.
    pub(in crate::sync) fn real_servers(&self, vip: IpAddr) -> Vec<IpAddr> {
        let users = self.vips.users(&vip).filter_map(|key| self.inventory.desired(key));
        let real_servers: BTreeSet<IpAddr> =
            users.flat_map(|service| service.destinations.keys().map(|key| key.address)).collect();
        real_servers.into_iter().collect()
    }

    /// Those of these VIPs that have a service which is kept because its object has no version known to be
    /// good.
    fn kept(&self, vips: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        let services = self.ledger.services().filter_map(|key| Some((key, key.vip()?)));
        let kept = services.filter(|(key, vip)| vips.contains(vip) && self.is_held(key));
        kept.map(|(_, vip)| vip).collect()
    }
}
