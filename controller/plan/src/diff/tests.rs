use super::*;
use crate::desired::DesiredDestination;
use crate::fixtures::{address, object_key, settings, valid_virtual_service};
use crate::object::Kind;
use crate::service::{DestinationSettings, Forwarding};

const WEB: &str = "172.16.21.10";

fn web() -> ServiceKey {
    crate::fixtures::tcp(WEB, 80)
}

fn rip(last: u8) -> DestinationKey {
    DestinationKey { address: IpAddr::from([192, 168, 40, last]), port: 80 }
}

fn direct(weight: u32) -> DestinationSettings {
    DestinationSettings { weight, forwarding: Forwarding::Direct, upper_threshold: 0, lower_threshold: 0 }
}

fn desired(scheduler: &'static str, destinations: &[(u8, u32)]) -> DesiredService {
    let owner = object_key(Kind::VirtualService, "web");
    let destinations = destinations.iter().map(|(last, weight)| {
        let owner = object_key(Kind::RealServer, &format!("rs{last}"));
        (rip(*last), DesiredDestination { owner, settings: direct(*weight) })
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
    ours: bool,
) -> ServiceView<'a> {
    static ALL_NEAR: BTreeMap<DestinationKey, String> = BTreeMap::new();
    ServiceView {
        desired,
        observed,
        ours,
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
        steps(far(view(Some(&wanted), None, false))),
        [
            "add service TCP 172.16.21.10:80 scheduler wrr",
            "add destination TCP 172.16.21.10:80 -> 192.168.40.13:80 direct weight 1",
        ]
    );
    let without = observed("wrr", &[(13, 1)]);
    assert!(steps(far(view(Some(&wanted), Some(&without), true))).is_empty());
    let with = observed("wrr", &[(12, 2), (13, 1)]);
    assert!(steps(far(view(Some(&wanted), Some(&with), true))).is_empty());
}

#[test]
fn a_missing_service_is_added_with_its_destinations() {
    let wanted = desired("wrr", &[(12, 2), (13, 1)]);
    assert_eq!(
        steps(view(Some(&wanted), None, false)),
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
    assert!(steps(view(Some(&wanted), Some(&observed("wrr", &[(12, 2)])), true)).is_empty());
}

#[test]
fn changes_add_first_then_raise_then_silence_then_remove() {
    let wanted = desired("wlc", &[(12, 0), (13, 5), (14, 1)]);
    assert_eq!(
        steps(view(Some(&wanted), Some(&observed("wrr", &[(12, 2), (13, 1), (99, 1)])), true)),
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
    assert!(steps(view(Some(&wanted), Some(&reported), true)).is_empty());
    reported
        .destinations
        .values_mut()
        .for_each(|destination| destination.forwarding = Forwarding::Masquerade);
    assert_eq!(steps(view(Some(&wanted), Some(&reported), true)).len(), 1, "masquerading is repaired");
}

#[test]
fn somebody_elses_service_is_adopted_when_equal_and_left_alone_when_not() {
    let wanted = desired("wrr", &[(12, 2), (13, 1)]);
    let equal = observed("wrr", &[(12, 2), (13, 1)]);
    let decision = service(&web(), view(Some(&wanted), Some(&equal), false));
    assert!(decision.adopt && decision.steps.is_empty() && decision.refused.is_none());

    let others = [
        observed("rr", &[(12, 2), (13, 1)]),
        observed("wrr", &[(12, 2)]),
        observed("wrr", &[(12, 2), (13, 9)]),
        observed("wrr", &[(12, 2), (13, 1), (14, 1)]),
    ];
    for other in others {
        let decision = service(&web(), view(Some(&wanted), Some(&other), false));
        assert!(!decision.adopt && decision.steps.is_empty(), "{other:?}");
        assert!(matches!(decision.refused, Some(Programming::Foreign(_))), "{other:?}");
    }
}

#[test]
fn a_service_that_nobody_asks_for_goes_only_if_it_is_ours_and_not_held() {
    let there = observed("wrr", &[(12, 1)]);
    assert_eq!(steps(view(None, Some(&there), true)), ["remove service TCP 172.16.21.10:80"]);
    assert!(steps(view(None, Some(&there), false)).is_empty(), "foreign");
    assert!(steps(ServiceView { held: true, ..view(None, Some(&there), true) }).is_empty(), "held");
}

#[test]
fn a_destination_is_not_removed_while_a_real_server_has_no_version_known_to_be_good() {
    let wanted = desired("wrr", &[(12, 1)]);
    let there = observed("wrr", &[(12, 7), (13, 1)]);
    let held = ServiceView { destinations_held: true, ..view(Some(&wanted), Some(&there), true) };
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
        steps(without(view(Some(&wanted), Some(&there), true))),
        [
            "change service TCP 172.16.21.10:80 to scheduler wrr",
            "change destination TCP 172.16.21.10:80 -> 192.168.40.12:80 to direct weight 1",
        ]
    );
    assert!(steps(without(view(None, Some(&there), true))).is_empty());
    let decision = service(&web(), without(view(Some(&wanted), None, false)));
    assert!(matches!(decision.refused, Some(Programming::LedgerUnusable(_))));
    assert!(decision.steps.is_empty());
}

fn vip_view<'a>(bound: &'a [BoundAddress], role: &'a Role, probe: Probe) -> VipView<'a> {
    VipView {
        need: Need::Used,
        bound,
        link: Ok("eth0".into()),
        probe,
        role,
        held: false,
        ledger_usable: true,
    }
}

fn on(link: &str, ours: bool) -> BoundAddress {
    BoundAddress { link: link.into(), link_index: 2, ours }
}

#[test]
fn a_vip_is_bound_only_after_nobody_answered_for_it() {
    let at = address(WEB);
    let asked = vip(at, &vip_view(&[], &Role::Active, Probe::Unknown));
    assert!(asked.probe && asked.steps.is_empty());
    let free = vip(at, &vip_view(&[], &Role::Active, Probe::Free));
    assert_eq!(free.steps, [Step::BindVip { vip: at, link: "eth0".into() }]);
    let mac = [2, 0, 0, 0, 0, 9];
    let taken = vip(at, &vip_view(&[], &Role::Active, Probe::Taken { mac }));
    assert!(taken.steps.is_empty());
    assert_eq!(taken.announcing, Some(Announcing::Conflict { mac }));
}

#[test]
fn an_address_that_somebody_else_bound_is_used_and_never_removed() {
    let at = address(WEB);
    let bound = [on("eth1", false)];
    let used = vip(at, &vip_view(&bound, &Role::Active, Probe::Unknown));
    assert!(used.steps.is_empty() && !used.probe && used.announce_on.is_none());
    assert!(matches!(used.announcing, Some(Announcing::Announced(_))));
    let gone = vip(at, &VipView { need: Need::Unused, ..vip_view(&bound, &Role::Active, Probe::Unknown) });
    assert!(gone.steps.is_empty());
}

#[test]
fn a_vip_stays_on_the_link_where_we_bound_it() {
    let bound = [on("eth1", true)];
    let stays = vip(address(WEB), &vip_view(&bound, &Role::Active, Probe::Unknown));
    assert!(stays.steps.is_empty());
    assert_eq!(stays.announce_on.as_deref(), Some("eth1"));
}

#[test]
fn a_blocked_director_binds_nothing_and_lets_go_of_what_it_bound() {
    let at = address(WEB);
    let role = Role::Blocked { peer: "d2".to_owned() };
    let blocked = vip(at, &vip_view(&[], &role, Probe::Free));
    assert!(blocked.steps.is_empty());
    assert_eq!(blocked.announcing, Some(Announcing::PeerWithoutVrrp { peer: "d2".to_owned() }));
    let bound = [on("eth0", true)];
    let lets_go = vip(at, &vip_view(&bound, &role, Probe::Unknown));
    assert_eq!(lets_go.steps, [Step::UnbindVip { vip: at, link: "eth0".into() }]);
}

#[test]
fn an_unwanted_vip_goes_unless_it_is_held_or_the_ledger_is_unusable() {
    let at = address(WEB);
    let bound = [on("eth0", true)];
    let unwanted = VipView { need: Need::Unused, ..vip_view(&bound, &Role::Active, Probe::Unknown) };
    assert_eq!(vip(at, &unwanted).steps, [Step::UnbindVip { vip: at, link: "eth0".into() }]);
    assert!(vip(at, &VipView { held: true, ..unwanted.clone() }).steps.is_empty());
    assert!(vip(at, &VipView { ledger_usable: false, ..unwanted }).steps.is_empty());
}

#[test]
fn a_vip_whose_services_are_not_in_force_here_is_neither_bound_nor_let_go() {
    let at = address(WEB);
    let as_it_is = |bound| VipView { need: Need::AsItIs, ..vip_view(bound, &Role::Active, Probe::Free) };
    let not_here = vip(at, &as_it_is(&[]));
    assert!(not_here.steps.is_empty() && not_here.announcing.is_none() && !not_here.probe);
    let bound = [on("eth0", true)];
    let stays = vip(at, &as_it_is(&bound));
    assert!(stays.steps.is_empty());
    assert_eq!(stays.announce_on.as_deref(), Some("eth0"), "clients still come here");
}

#[test]
fn a_vip_of_ours_goes_on_being_ours_when_somebody_binds_it_elsewhere_too() {
    let bound = [on("eth7", false), on("eth0", true)];
    let stays = vip(address(WEB), &vip_view(&bound, &Role::Active, Probe::Unknown));
    assert!(stays.steps.is_empty());
    assert_eq!(stays.announce_on.as_deref(), Some("eth0"));
    let role = Role::Blocked { peer: "d2".to_owned() };
    let lets_go = vip(address(WEB), &vip_view(&bound, &role, Probe::Unknown));
    assert_eq!(lets_go.steps, [Step::UnbindVip { vip: address(WEB), link: "eth0".into() }]);
}

#[test]
fn an_adopted_service_gets_the_thresholds_that_adoption_does_not_compare() {
    let mut wanted = desired("wrr", &[(12, 2)]);
    wanted.destinations.values_mut().for_each(|destination| destination.settings.upper_threshold = 100);
    let equal = observed("wrr", &[(12, 2)]);
    let decision = service(&web(), view(Some(&wanted), Some(&equal), false));
    assert!(decision.adopt && decision.refused.is_none());
    let steps: Vec<String> = decision.steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        steps,
        ["change destination TCP 172.16.21.10:80 -> 192.168.40.12:80 to direct weight 2 thresholds 0..100"]
    );
}
