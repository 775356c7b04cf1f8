//! The difference between where a VIP should be and where it is.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::outcome::Announcing;
use crate::service::{Family, family_of};
use crate::step::Step;

/// Whether this Director may hold a VIP: passed in, so that failover can decide it later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It may.
    Active,
    /// Another Director lives, and nothing yet decides between the two.
    Blocked {
        /// Its node.
        peer: String,
    },
}

/// Another station that answers for a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The real server whose RIP is at that MAC address.
    pub real_server: Option<IpAddr>,
}

impl Holder {
    /// What to do about it.
    pub fn cure(&self) -> &'static str {
        match self.real_server {
            Some(_) => {
                "it must be silent in ARP: set arp_ignore=1 and arp_announce=2 there and bind the VIP to lo"
            }
            None => "free it there",
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mac = mac_text(self.mac);
        match self.real_server {
            Some(address) => write!(f, "the real server {address} with MAC address {mac}"),
            None => write!(f, "another Director or host with MAC address {mac}"),
        }
    }
}

/// Whether another host was found to answer for a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Not asked yet, or the answer is too old.
    Unknown,
    /// Nobody answered.
    Free,
    /// Somebody asked for it at the same time, and neither may take it.
    Contended {
        /// The MAC address that asked.
        mac: [u8; 6],
    },
    /// Somebody did.
    Taken(Holder),
}

/// What came of asking the network who holds a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The index of the link where it was asked: about another the answer says nothing.
    pub link_index: u32,
    /// What may be built on now.
    pub probe: Probe,
    /// So many questions in a row told neither that it is free nor that it is taken.
    pub in_vain: u32,
}

/// After so many of them, as many as RFC 5227 section 1.1 (`PROBE_NUM`) asks, a VIP that we hold is announced
/// again all the same. Waiting longer protects nobody: our kernel answers for the VIP, whoever else has it
/// would have been heard meanwhile, and a question that always fails would keep clients away for ever.
const IN_VAIN: u32 = 3;

/// An address of this host that equals a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundAddress {
    /// The link's name.
    pub link: Arc<str>,
    /// The link's index.
    pub link_index: u32,
    /// Whether it carries our mark (`IFA_PROTO`) or the ledger says that we bound it.
    pub ours: bool,
    /// Why nobody hears what this link sends, if so.
    pub silent: Option<String>,
    /// What keeps some clients from reaching a VIP on this link; empty if nothing does.
    pub findings: String,
}

/// A link that may hold a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub link: Arc<str>,
    /// Its index.
    pub link_index: u32,
    /// Why nobody hears what it sends, if so.
    pub silent: Option<String>,
}

/// Whether the services of this Director need a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// No service uses it.
    Unused,
    /// Services use it, but none of them is in force here (somebody else's differ, or ownership cannot be
    /// written down), or what asked for it has no version known to be good: it is neither bound nor let go.
    AsItIs,
    /// A service that is in force here uses it.
    Used,
}

/// What is known of one VIP when it is compared.
#[derive(Clone, Debug)]
pub struct VipView<'a> {
    /// Whether a service needs it.
    pub need: Need,
    /// Every address of this host that equals it.
    pub bound: &'a [BoundAddress],
    /// The link that should hold it, or why there is none.
    pub link: Result<Place, String>,
    /// The administrator named that link: a VIP that is on another moves there.
    pub link_is_named: bool,
    /// What came of asking the network last, on whichever link.
    pub asked: Option<Asked>,
    /// We hold it, and nobody has been asked for it since its link was silent: somebody else may have taken
    /// it.
    pub was_unheard: bool,
    /// Somebody else who was heard to claim it while we hold it.
    pub rival: Option<Holder>,
    /// Whether this Director may hold it.
    pub role: &'a Role,
    /// Whether ownership can be written down.
    pub ledger_usable: bool,
}

impl VipView<'_> {
    fn asked_on(&self, link_index: u32) -> Option<Asked> {
        self.asked.filter(|asked| asked.link_index == link_index)
    }

    fn probe_on(&self, link_index: u32) -> Probe {
        self.asked_on(link_index).map_or(Probe::Unknown, |asked| asked.probe)
    }
}

/// What the comparison of one VIP says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VipDecision {
    /// What to do.
    pub steps: Vec<Step>,
    /// Where the VIP stands if the steps work; `None` if it is not needed, or not here.
    pub announcing: Option<Announcing>,
    /// The link on which to ask who holds it, and come again.
    pub ask_on: Option<Arc<str>>,
    /// The link on which we hold it and should announce it.
    pub announce_on: Option<Arc<str>>,
    /// The link on which we hold it and do not announce it yet: claims by others should be heard there all
    /// the same.
    pub listen_on: Option<Arc<str>>,
}

/// Compares one VIP.
pub fn vip(vip: IpAddr, view: &VipView<'_>) -> VipDecision {
    let ours: Vec<&BoundAddress> = view.bound.iter().filter(|address| address.ours).collect();
    let unbind = |addresses: &[&BoundAddress]| {
        let step = |address: &&BoundAddress| Step::UnbindVip { vip, link: Arc::clone(&address.link) };
        addresses.iter().map(step).collect()
    };
    let mut decision = VipDecision::default();
    if view.need == Need::Unused {
        let blocked = matches!(view.role, Role::Blocked { .. });
        if blocked || view.ledger_usable {
            decision.steps = unbind(&ours);
        }
        return decision;
    }
    match (ours.as_slice(), view.role) {
        // Also without a usable ledger: docs/decisions/0006-a-blocked-director-lets-go.md.
        ([_, ..], Role::Blocked { peer }) => {
            decision.announcing = Some(Announcing::PeerWithoutVrrp { peer: peer.clone() });
            decision.steps = unbind(&ours);
        }
        ([first, ..], Role::Active) => keep(vip, view, &ours, first, &mut decision),
        ([], _) if !view.bound.is_empty() => decision.announcing = view.bound.first().map(foreign(vip)),
        ([], _) if view.need == Need::AsItIs => {}
        ([], Role::Blocked { peer }) => {
            decision.announcing = Some(Announcing::PeerWithoutVrrp { peer: peer.clone() });
        }
        ([], Role::Active) => take(vip, view, &mut decision),
    }
    decision
}

/// It is there, bound by somebody else.
fn foreign(vip: IpAddr) -> impl Fn(&BoundAddress) -> Announcing {
    move |foreign| {
        let link = &foreign.link;
        match &foreign.silent {
            Some(words) => unheard(vip, words),
            None => Announcing::Announced(format!(
                "{vip} was already on {link}, bound by somebody else; it is used as it is and will not be removed"
            )),
        }
    }
}

fn unheard(vip: IpAddr, words: &str) -> Announcing {
    Announcing::Unheard(format!("{vip} is bound here but nobody can reach it: {words}"))
}

/// We hold it: it stays, or moves to the link that the administrator named, make before break.
fn keep(
    vip: IpAddr,
    view: &VipView<'_>,
    ours: &[&BoundAddress],
    first: &BoundAddress,
    decision: &mut VipDecision,
) {
    let wanted = view.link.as_ref().ok();
    let in_place = wanted.and_then(|place| ours.iter().copied().find(|address| address.link == place.link));
    let current = in_place.unwrap_or(first);
    if view.was_unheard && current.silent.is_none() {
        heard_again(vip, view, current, decision);
        return;
    }
    if in_place.is_some() && current.silent.is_none() && view.ledger_usable {
        let elsewhere = ours.iter().filter(|address| address.link != current.link);
        decision
            .steps
            .extend(elsewhere.map(|address| Step::UnbindVip { vip, link: Arc::clone(&address.link) }));
    }
    let moving = if in_place.is_none() && view.link_is_named && view.need == Need::Used {
        move_over(vip, view, current, decision)
    } else {
        String::new()
    };
    decision.announcing = Some(match (&current.silent, view.rival) {
        (Some(words), _) => unheard(vip, words),
        (None, Some(holder)) => Announcing::Conflict { holder, bound: true },
        (None, None) => {
            let words = [moving.as_str(), &current.findings];
            let words: Vec<&str> = words.into_iter().filter(|words| !words.is_empty()).collect();
            Announcing::Announced(words.join("; "))
        }
    });
    if current.silent.is_none() {
        decision.announce_on = Some(Arc::clone(&current.link));
    }
}

/// Its link is heard again. Whoever took the VIP meanwhile is a second holder like any other.
fn heard_again(vip: IpAddr, view: &VipView<'_>, current: &BoundAddress, decision: &mut VipDecision) {
    let link = &current.link;
    let in_vain = view.asked_on(current.link_index).map_or(0, |asked| asked.in_vain);
    let announcing = match (view.rival, view.probe_on(current.link_index)) {
        (Some(holder), _) | (None, Probe::Taken(holder)) => Announcing::Conflict { holder, bound: true },
        // Who only asks for it is answered by our kernel, and so takes it no more.
        (None, Probe::Unknown | Probe::Contended { .. }) if in_vain < IN_VAIN => {
            decision.ask_on = Some(Arc::clone(link));
            decision.listen_on = Some(Arc::clone(link));
            decision.announcing = Some(Announcing::Pending(format!(
                "asking on {link} whether another host took {vip} while nobody could reach it here"
            )));
            return;
        }
        (None, Probe::Free | Probe::Unknown | Probe::Contended { .. }) => {
            Announcing::Announced(current.findings.clone())
        }
    };
    decision.announcing = Some(announcing);
    decision.announce_on = Some(Arc::clone(link));
}

/// Takes the next step towards the named link; says where the move stands.
fn move_over(vip: IpAddr, view: &VipView<'_>, current: &BoundAddress, decision: &mut VipDecision) -> String {
    let stays = |why: &dyn fmt::Display| format!("{vip} stays on {}: {why}", current.link);
    let place = match &view.link {
        Ok(place) => place,
        Err(words) => return stays(words),
    };
    if let Some(words) = &place.silent {
        return stays(words);
    }
    if !view.ledger_usable {
        return stays(&"the ledger cannot be used");
    }
    let link = &place.link;
    let probe = view.probe_on(place.link_index);
    if probe == Probe::Free {
        decision.steps.push(Step::BindVip { vip, link: Arc::clone(link) });
        return format!("{vip} moves from {} to {link}", current.link);
    }
    decision.ask_on = Some(Arc::clone(link));
    match probe {
        Probe::Taken(holder) => stays(&format!("{holder} answers for it on {link}; {}", holder.cure())),
        _ => format!("asking on {link} whether another host holds {vip}, before it moves there"),
    }
}

/// Nobody on this host has it.
fn take(vip: IpAddr, view: &VipView<'_>, decision: &mut VipDecision) {
    let place = match &view.link {
        Ok(place) => place,
        Err(words) => {
            decision.announcing = Some(Announcing::NoInterface(words.clone()));
            return;
        }
    };
    let link = &place.link;
    if let Some(words) = &place.silent {
        // Silence would prove nothing there.
        decision.announcing = Some(Announcing::Unheard(format!(
            "{vip} is not bound: {words}; who holds it cannot be asked there"
        )));
        return;
    }
    if !view.ledger_usable {
        decision.announcing = Some(Announcing::Pending(
            "the ledger cannot be used, so the VIP is not bound; see the agent's log".to_owned(),
        ));
        return;
    }
    let probe = view.probe_on(place.link_index);
    decision.announcing = Some(match probe {
        Probe::Unknown => Announcing::Pending(format!("asking on {link} whether another host holds {vip}")),
        Probe::Contended { mac } => Announcing::Pending(format!(
            "the host with MAC address {} asks for {vip} too; asking again in a few seconds",
            mac_text(mac)
        )),
        Probe::Taken(holder) => Announcing::Conflict { holder, bound: false },
        Probe::Free => {
            decision.steps.push(Step::BindVip { vip, link: Arc::clone(link) });
            decision.announce_on = Some(Arc::clone(link));
            Announcing::Announced(String::new())
        }
    });
    if probe != Probe::Free {
        decision.ask_on = Some(Arc::clone(link));
    }
}

/// How a MAC address is written.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The prefix length with which a VIP is bound: it is a host's address, never a network.
pub fn vip_prefix(vip: IpAddr) -> u8 {
    match family_of(vip) {
        Family::IPv4 => 32,
        Family::IPv6 => 128,
    }
}

#[cfg(test)]
mod tests;
