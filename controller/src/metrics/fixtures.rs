//! Scrapes for tests.

use std::sync::Arc;

use lvs_crds::CheckKind;
use lvs_plan::health::{Probe, Terms};

use super::checks::Checks;
use super::scrape::Scrape;
use crate::checker::tally::Tallies;
use crate::counters::fake::FakeCounters;
use crate::view::fixtures::address;
use crate::view::{ServiceView, View};

/// A TCP check of a real server's port, by default settings.
pub(super) fn probe(number: u8, port: u16) -> Probe {
    let seconds = std::time::Duration::from_secs;
    let terms = Terms {
        kind: CheckKind::Tcp,
        interval: seconds(5),
        timeout: seconds(2),
        fall: 3,
        rise: 2,
        source: None,
        mark: None,
    };
    Probe { address: address(number), port: Some(port), terms: Arc::new(terms) }
}

/// Has every destination of a service checked at its port.
pub(super) fn checked(mut service: ServiceView) -> ServiceView {
    for destination in &mut service.destinations {
        let std::net::IpAddr::V4(address) = destination.key.address else { continue };
        destination.probe = Some(probe(address.octets()[3], destination.key.port));
    }
    service
}

/// One scrape, with what is kept from the one before.
pub(super) fn scrape(
    services: Vec<ServiceView>,
    tallies: &Tallies,
    checks: &mut Checks,
    counters: &FakeCounters,
) -> Arc<Scrape> {
    let view = Arc::new(View { services });
    Arc::new(Scrape::new(view, Some(tallies), checks, &counters.counters()))
}
