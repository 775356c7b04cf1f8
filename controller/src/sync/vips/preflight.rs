//! What on the links of our VIPs keeps clients from reaching them, and when to look again. Pure: the time is
//! passed in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lvs_net::preflight::Finding;

/// Routes may change many times a second and are read as a whole.
const AT_MOST_EVERY: Duration = Duration::from_secs(5);

/// The findings, by link.
#[derive(Debug, Default)]
pub(super) struct Preflight {
    findings: BTreeMap<Arc<str>, Vec<Finding>>,
    looked: Option<Instant>,
    due: bool,
}

/// What changed since the last look.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// On which link, and what.
    pub(super) appeared: Vec<(Arc<str>, Finding)>,
    /// The same for what is no longer so.
    pub(super) gone: Vec<(Arc<str>, Finding)>,
}

impl Preflight {
    /// Something may have changed.
    pub(super) fn look_again(&mut self) {
        self.due = true;
    }

    /// When to look.
    pub(super) fn next(&self) -> Option<Instant> {
        self.looked.filter(|_| self.due).map(|at| at + AT_MOST_EVERY)
    }

    /// Whether to look now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due && self.looked.is_none_or(|at| at + AT_MOST_EVERY <= now)
    }

    /// What a look found on every link that holds VIPs.
    pub(super) fn looked(&mut self, findings: BTreeMap<Arc<str>, Vec<Finding>>, now: Instant) -> Change {
        self.looked = Some(now);
        self.due = false;
        let before = std::mem::replace(&mut self.findings, findings);
        Change { appeared: missing(&self.findings, &before), gone: missing(&before, &self.findings) }
    }

    /// What was found on a link, in words; empty if nothing was.
    pub(super) fn words(&self, link: &str) -> String {
        let findings = self.findings.get(link).into_iter().flatten();
        findings.map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    /// Everything that was found.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Arc<str>, &Finding)> {
        self.findings.iter().flat_map(|(link, findings)| findings.iter().map(move |finding| (link, finding)))
    }
}

fn missing(
    from: &BTreeMap<Arc<str>, Vec<Finding>>,
    in_others: &BTreeMap<Arc<str>, Vec<Finding>>,
) -> Vec<(Arc<str>, Finding)> {
    let all = from.iter().flat_map(|(link, findings)| findings.iter().map(move |finding| (link, finding)));
    all.filter(|(link, finding)| !in_others.get(*link).is_some_and(|others| others.contains(finding)))
        .map(|(link, finding)| (Arc::clone(link), finding.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_appears_once_and_goes_once() {
        let start = Instant::now();
        let mut preflight = Preflight::default();
        let found = || {
            let finding = Finding::SilentInArp { link: "eth0".to_owned(), arp_ignore: 8 };
            BTreeMap::from([("eth0".into(), vec![finding])])
        };
        let appeared = |change: &Change| (change.appeared.len(), change.gone.len());
        assert_eq!(appeared(&preflight.looked(found(), start)), (1, 0));
        assert_eq!(appeared(&preflight.looked(found(), start)), (0, 0));
        assert!(preflight.words("eth0").contains("arp_ignore is 8") && preflight.words("eth1").is_empty());
        assert_eq!(appeared(&preflight.looked(BTreeMap::new(), start)), (0, 1));
    }

    #[test]
    fn it_looks_only_when_something_may_have_changed_and_never_twice_in_five_seconds() {
        let start = Instant::now();
        let mut preflight = Preflight::default();
        assert!(!preflight.is_due(start));
        preflight.look_again();
        assert!(preflight.is_due(start));
        preflight.looked(BTreeMap::new(), start);
        preflight.look_again();
        assert!(!preflight.is_due(start + Duration::from_secs(4)));
        assert_eq!(preflight.next(), Some(start + AT_MOST_EVERY));
        assert!(preflight.is_due(start + AT_MOST_EVERY));
    }
}
