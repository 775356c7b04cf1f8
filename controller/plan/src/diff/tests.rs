use std::net::IpAddr;
use std::sync::Arc;

use super::*;
use crate::desired::{DesiredDestination, DesiredService};
use crate::fixtures::{direct, object_key, settings, valid_virtual_service};
use crate::object::Kind;
use crate::service::Forwarding;

const WEB: &str = "172.16.21.10";

fn web() -> ServiceKey {
    crate::fixtures::tcp(WEB, 80)
}

fn rip(last: u8) -> DestinationKey {
    DestinationKey { address: IpAddr::from([192, 168, 40, last]), port: 80 }
}

fn desired(scheduler: &'static str, destinations: &[(u8, u32)]) -> DesiredService {
    let owner = object_key(Kind::VirtualService, "web");
    let destinations = destinations.iter().map(|(last, weight)| {
        let owner = object_key(Kind::RealServer, &format!("rs{last}"));
        (rip(*last), DesiredDestination::simple(owner, direct(*weight)))
    });
    let virtual_service = Arc::new(valid_virtual_service(vec![web()], scheduler));
    DesiredService { owner, virtual_service, destinations: destinations.collect() }
}

fn observed(scheduler: &'static str, destinations: &[(u8, u32)]) -> Service {
    let destinations: BTreeMap<_, _> =
        destinations.iter().map(|(last, weight)| (rip(*last), direct(*weight))).collect();
    Service { settings: settings(scheduler), destinations }
}

fn view<'a>(
    desired: Option<&'a DesiredService>,
    observed: Option<&'a Service>,
    claim: Claim,
) -> ServiceView<'a> {
    static ALL_NEAR: BTreeMap<DestinationKey, String> = BTreeMap::new();
    ServiceView {
        desired: desired.map(DesiredService::as_declared),
        observed,
        claim,
        held: false,
        destinations_held: false,
        ledger_usable: true,
        off_segment: &ALL_NEAR,
    }
}

fn steps(view: ServiceView<'_>) -> Vec<String> {
    crate::step::Plan::new(service(&web(), view).steps).steps().iter().map(ToString::to_string).collect()
}

#[test]
fn a_destination_on_no_link_of_ours_is_not_added_but_stays_where_it_is_already() {
    let wanted = desired("wrr", &[(12, 2), (13, 1)]);
    let off_segment = BTreeMap::from([(rip(12), "behind a router".to_owned())]);
    let far = |view| ServiceView { off_segment: &off_segment, ..view };
    assert_eq!(
        steps(far(view(Some(&wanted), None, Claim::None))),
        [
            "add service TCP 172.16.21.10:80 scheduler wrr",
            "add destination TCP 172.16.21.10:80 -> 192.168.40.13:80 direct weight 1",
        ]
    );
    let without = observed("wrr", &[(13, 1)]);
    assert!(steps(far(view(Some(&wanted), Some(&without), Claim::Confirmed))).is_empty());
    let with = observed("wrr", &[(12, 2), (13, 1)]);
    assert!(steps(far(view(Some(&wanted), Some(&with), Claim::Confirmed))).is_empty());
}

#[test]
fn a_missing_service_is_added_with_its_destinations() {
    let wanted = desired("wrr", &[(12, 2), (13, 1)]);
    assert_eq!(
        steps(view(Some(&wanted), None, Claim::None)),
        [
            "add service TCP 172.16.21.10:80 scheduler wrr",
            "add destination TCP 172.16.21.10:80 -> 192.168.40.12:80 direct weight 2",
            "add destination TCP 172.16.21.10:80 -> 192.168.40.13:80 direct weight 1",
        ]
    );
}

#[test]
fn nothing_is_done_to_a_service_that_is_as_desired() {
    let wanted = desired("wrr", &[(12, 2)]);
    assert!(steps(view(Some(&wanted), Some(&observed("wrr", &[(12, 2)])), Claim::Confirmed)).is_empty());
}

#[test]
fn changes_add_first_then_raise_then_silence_then_remove() {
    let wanted = desired("wlc", &[(12, 0), (13, 5), (14, 1)]);
    assert_eq!(
        steps(view(Some(&wanted), Some(&observed("wrr", &[(12, 2), (13, 1), (99, 1)])), Claim::Confirmed)),
        [
            "change service TCP 172.16.21.10:80 to scheduler wlc",
            "add destination TCP 172.16.21.10:80 -> 192.168.40.14:80 direct weight 1",
            "change destination TCP 172.16.21.10:80 -> 192.168.40.13:80 to direct weight 5",
            "change destination TCP 172.16.21.10:80 -> 192.168.40.12:80 to direct weight 0",
            "remove destination TCP 172.16.21.10:80 -> 192.168.40.99:80",
        ]
    );
}

#[test]
fn a_local_address_that_the_kernel_reports_as_local_is_as_desired() {
    let wanted = desired("wrr", &[(12, 1)]);
    let mut reported = observed("wrr", &[(12, 1)]);
    reported.destinations.values_mut().for_each(|destination| destination.forwarding = Forwarding::Local);
    assert!(steps(view(Some(&wanted), Some(&reported), Claim::Confirmed)).is_empty());
    reported
        .destinations
        .values_mut()
        .for_each(|destination| destination.forwarding = Forwarding::Masquerade);
    assert_eq!(
        steps(view(Some(&wanted), Some(&reported), Claim::Confirmed)).len(),
        1,
        "masquerading is repaired"
    );
}

#[test]
fn somebody_elses_service_is_adopted_when_equal_and_left_alone_when_not() {
    let wanted = desired("wrr", &[(12, 2), (13, 1)]);
    let equal = observed("wrr", &[(12, 2), (13, 1)]);
    let decision = service(&web(), view(Some(&wanted), Some(&equal), Claim::None));
    assert!(decision.adopt && decision.steps.is_empty() && decision.refused.is_none());

    let others = [
        observed("rr", &[(12, 2), (13, 1)]),
        observed("wrr", &[(12, 2)]),
        observed("wrr", &[(12, 2), (13, 9)]),
        observed("wrr", &[(12, 2), (13, 1), (14, 1)]),
    ];
    for other in others {
        let decision = service(&web(), view(Some(&wanted), Some(&other), Claim::None));
        assert!(!decision.adopt && decision.steps.is_empty(), "{other:?}");
        assert!(matches!(decision.refused, Some(Programming::Foreign(_))), "{other:?}");
    }
}

#[test]
fn what_an_agent_was_about_to_make_when_it_died_is_taken_up_if_it_can_have_made_it() {
    let wanted = desired("wrr", &[(12, 2), (13, 1)]);
    for half_made in [observed("wrr", &[]), observed("wrr", &[(12, 2)]), observed("wrr", &[(12, 2), (13, 1)])]
    {
        let decision = service(&web(), view(Some(&wanted), Some(&half_made), Claim::Intent));
        assert!(decision.adopt && decision.refused.is_none(), "{half_made:?}");
        assert_eq!(decision.steps.len(), 2 - half_made.destinations.len(), "what it lacks is added");
        assert!(decision.steps.iter().all(|step| matches!(step, Step::NewDestination { .. })));
    }
}

#[test]
fn what_an_agent_was_about_to_make_is_somebody_elses_if_it_cannot_have_made_it() {
    let wanted = desired("wrr", &[(12, 2), (13, 1)]);
    let mut masquerading = observed("wrr", &[(12, 2)]);
    masquerading.destinations.values_mut().for_each(|there| there.forwarding = Forwarding::Masquerade);
    for other in
        [observed("rr", &[]), observed("wrr", &[(12, 7)]), observed("wrr", &[(12, 2), (14, 1)]), masquerading]
    {
        let decision = service(&web(), view(Some(&wanted), Some(&other), Claim::Intent));
        assert!(!decision.adopt && decision.steps.is_empty(), "{other:?}");
        assert!(matches!(decision.refused, Some(Programming::Foreign(_))), "{other:?}");
    }
}

#[test]
fn an_intent_alone_never_removes_a_service() {
    let there = observed("wrr", &[(12, 2)]);
    let decision = service(&web(), view(None, Some(&there), Claim::Intent));
    assert!(decision.steps.is_empty() && decision.forget);
    let held = ServiceView { held: true, ..view(None, Some(&there), Claim::Intent) };
    assert!(!service(&web(), held).forget, "its object may say more when it is good again");
    let wanted = desired("wrr", &[(12, 7)]);
    let blind = ServiceView { ledger_usable: false, ..view(Some(&wanted), Some(&there), Claim::Intent) };
    let decision = service(&web(), blind);
    assert!(matches!(decision.refused, Some(Programming::LedgerUnusable(_))) && decision.steps.is_empty());
}

#[test]
fn what_an_agent_was_about_to_remove_when_it_died_goes_if_it_is_as_it_was_then() {
    let there = observed("wrr", &[(12, 2)]);
    let leaving = |unchanged| view(None, Some(&there), Claim::Leaving { unchanged });
    assert_eq!(steps(leaving(true)), ["remove service TCP 172.16.21.10:80"]);
    for stays in [
        ServiceView { held: true, ..leaving(true) },
        ServiceView { ledger_usable: false, ..leaving(true) },
        ServiceView { held: true, ..leaving(false) },
    ] {
        assert!(service(&web(), stays).is_nothing(), "{stays:?}");
    }
    let decision = service(&web(), leaving(false));
    assert!(decision.steps.is_empty() && decision.forget, "it may be somebody else's");
    let decision = service(&web(), view(None, None, Claim::Leaving { unchanged: false }));
    assert!(decision.steps.is_empty() && decision.forget, "it is gone");
}

#[test]
fn what_an_agent_was_about_to_remove_and_is_asked_for_again_is_ours_if_it_is_as_it_was_then() {
    let wanted = desired("wlc", &[(12, 2), (13, 1)]);
    let there = observed("wrr", &[(12, 2)]);
    let decision = service(&web(), view(Some(&wanted), Some(&there), Claim::Leaving { unchanged: true }));
    assert!(decision.adopt && decision.refused.is_none() && decision.steps.len() == 2, "{decision:?}");

    // Else it is like anybody's: also what an agent could have begun to make.
    for other in [&there, &observed("wlc", &[(12, 2)])] {
        let decision = service(&web(), view(Some(&wanted), Some(other), Claim::Leaving { unchanged: false }));
        assert!(!decision.adopt && decision.forget && decision.steps.is_empty(), "{decision:?}");
        assert!(matches!(decision.refused, Some(Programming::Foreign(_))), "{decision:?}");
    }
    let equal = observed("wlc", &[(12, 2), (13, 1)]);
    let decision = service(&web(), view(Some(&wanted), Some(&equal), Claim::Leaving { unchanged: false }));
    assert!(decision.adopt && !decision.forget && decision.refused.is_none(), "{decision:?}");
    let again = view(Some(&wanted), None, Claim::Leaving { unchanged: false });
    assert_eq!(steps(again).len(), 3, "it is made anew");
}

#[test]
fn a_service_that_nobody_asks_for_goes_only_if_it_is_ours_and_not_held() {
    let there = observed("wrr", &[(12, 1)]);
    assert_eq!(steps(view(None, Some(&there), Claim::Confirmed)), ["remove service TCP 172.16.21.10:80"]);
    assert!(steps(view(None, Some(&there), Claim::None)).is_empty(), "foreign");
    assert!(
        steps(ServiceView { held: true, ..view(None, Some(&there), Claim::Confirmed) }).is_empty(),
        "held"
    );
}

#[test]
fn a_destination_is_not_removed_while_a_real_server_has_no_version_known_to_be_good() {
    let wanted = desired("wrr", &[(12, 1)]);
    let there = observed("wrr", &[(12, 7), (13, 1)]);
    let held = ServiceView { destinations_held: true, ..view(Some(&wanted), Some(&there), Claim::Confirmed) };
    assert_eq!(
        steps(held),
        ["change destination TCP 172.16.21.10:80 -> 192.168.40.12:80 to direct weight 1"],
        "changes go on"
    );
}

#[test]
fn without_a_ledger_nothing_is_added_or_removed_but_known_services_are_changed() {
    let wanted = desired("wrr", &[(12, 1), (13, 1)]);
    let there = observed("rr", &[(12, 7), (99, 1)]);
    let without = |view| ServiceView { ledger_usable: false, ..view };
    assert_eq!(
        steps(without(view(Some(&wanted), Some(&there), Claim::Confirmed))),
        [
            "change service TCP 172.16.21.10:80 to scheduler wrr",
            "change destination TCP 172.16.21.10:80 -> 192.168.40.12:80 to direct weight 1",
        ]
    );
    assert!(steps(without(view(None, Some(&there), Claim::Confirmed))).is_empty());
    let decision = service(&web(), without(view(Some(&wanted), None, Claim::None)));
    assert!(matches!(decision.refused, Some(Programming::LedgerUnusable(_))));
    assert!(decision.steps.is_empty());
}

#[test]
fn an_adopted_service_gets_the_thresholds_that_adoption_does_not_compare() {
    let mut wanted = desired("wrr", &[(12, 2)]);
    wanted.destinations.iter_mut().for_each(|(_, destination)| destination.settings.upper_threshold = 100);
    let equal = observed("wrr", &[(12, 2)]);
    let decision = service(&web(), view(Some(&wanted), Some(&equal), Claim::None));
    assert!(decision.adopt && decision.refused.is_none());
    let steps: Vec<String> = decision.steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        steps,
        ["change destination TCP 172.16.21.10:80 -> 192.168.40.12:80 to direct weight 2 thresholds 0..100"]
    );
}

/// What is in force when a check or maintenance has a say.
fn in_force(destinations: &[(u8, u32)]) -> litemap::LiteMap<DestinationKey, DestinationSettings> {
    destinations.iter().map(|(last, weight)| (rip(*last), direct(*weight))).collect()
}

fn view_in_force<'a>(
    desired: &'a DesiredService,
    table: &'a litemap::LiteMap<DestinationKey, DestinationSettings>,
    observed: &'a Service,
    claim: Claim,
) -> ServiceView<'a> {
    let wanted = desired.in_force(crate::desired::Destinations::InForce(table));
    ServiceView { desired: Some(wanted), ..view(None, Some(observed), claim) }
}

#[test]
fn a_declared_destination_that_should_go_loses_its_weight_where_nothing_may_be_removed() {
    let (wanted, table) = (desired("wrr", &[(12, 2), (13, 1)]), in_force(&[(13, 1)]));
    let with = observed("wrr", &[(12, 2), (13, 1)]);
    let all = view_in_force(&wanted, &table, &with, Claim::Confirmed);
    assert_eq!(steps(all), ["remove destination TCP 172.16.21.10:80 -> 192.168.40.12:80"]);
    // Whom it stands for is known, whatever is not known of others.
    let held = ServiceView { destinations_held: true, ..all };
    assert_eq!(steps(held), ["remove destination TCP 172.16.21.10:80 -> 192.168.40.12:80"]);
    let unwritten = ServiceView { ledger_usable: false, ..all };
    assert_eq!(
        steps(unwritten),
        ["change destination TCP 172.16.21.10:80 -> 192.168.40.12:80 to direct weight 0"]
    );
}

#[test]
fn a_failed_check_does_not_make_somebody_elses_service_equal_to_ours() {
    let (wanted, table) = (desired("wrr", &[(12, 1)]), in_force(&[(12, 0)]));
    let theirs = observed("wrr", &[(12, 0)]);
    let decision = service(&web(), view_in_force(&wanted, &table, &theirs, Claim::None));
    assert!(matches!(decision.refused, Some(Programming::Foreign(_))), "{decision:?}");
    let begun = service(&web(), view_in_force(&wanted, &table, &theirs, Claim::Intent));
    assert!(begun.adopt && begun.refused.is_none(), "{begun:?}");
}
