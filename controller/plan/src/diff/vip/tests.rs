use super::*;
use crate::fixtures::address;

const WEB: &str = "172.16.21.10";
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn vip_view<'a>(bound: &'a [BoundAddress], role: &'a Role, probe: Probe) -> VipView<'a> {
    VipView {
        need: Need::Used,
        bound,
        link: at("eth0"),
        link_is_named: false,
        asked: asked_on("eth0", probe),
        was_unheard: false,
        rival: None,
        role,
        ledger_usable: true,
    }
}

fn index(link: &str) -> u32 {
    2 + link.trim_start_matches("eth").parse::<u32>().unwrap()
}

#[allow(clippy::unnecessary_wraps)] // what a view holds
fn asked_on(link: &str, probe: Probe) -> Option<Asked> {
    Some(Asked { link_index: index(link), probe, in_vain: 0 })
}

fn on(link: &str, ours: bool) -> BoundAddress {
    BoundAddress { link: link.into(), link_index: index(link), ours, silent: None, findings: String::new() }
}

#[allow(clippy::unnecessary_wraps)] // what a view holds
fn at(link: &str) -> Result<Place, String> {
    Ok(Place { link: link.into(), link_index: index(link), silent: None })
}

#[allow(clippy::unnecessary_wraps)] // what a view holds
fn silent(link: &str) -> Result<Place, String> {
    Ok(Place { link: link.into(), link_index: index(link), silent: Some(format!("{link} has no carrier")) })
}

fn bind(link: &str) -> Step {
    Step::BindVip { vip: address(WEB), link: link.into() }
}

fn unbind(link: &str) -> Step {
    Step::UnbindVip { vip: address(WEB), link: link.into() }
}

#[test]
fn a_vip_is_bound_only_after_nobody_answered_for_it() {
    let web = address(WEB);
    let asked = vip(web, &vip_view(&[], &Role::Active, Probe::Unknown));
    assert!(asked.ask_on.as_deref() == Some("eth0") && asked.steps.is_empty());
    let free = vip(web, &vip_view(&[], &Role::Active, Probe::Free));
    assert_eq!(free.steps, [Step::BindVip { vip: web, link: "eth0".into() }]);
    let holder = Holder { mac: MAC, real_server: None };
    let taken = vip(web, &vip_view(&[], &Role::Active, Probe::Taken(holder)));
    assert!(taken.steps.is_empty() && taken.ask_on.is_some());
    assert_eq!(taken.announcing, Some(Announcing::Conflict { holder, bound: false }));
    let contended = vip(web, &vip_view(&[], &Role::Active, Probe::Contended { mac: MAC }));
    assert!(contended.steps.is_empty() && contended.ask_on.is_some());
    assert!(matches!(contended.announcing, Some(Announcing::Pending(_))));
}

#[test]
fn an_address_that_somebody_else_bound_is_used_and_never_removed() {
    let web = address(WEB);
    let bound = [on("eth1", false)];
    let used = vip(web, &vip_view(&bound, &Role::Active, Probe::Unknown));
    assert!(used.steps.is_empty() && used.ask_on.is_none() && used.announce_on.is_none());
    assert!(matches!(used.announcing, Some(Announcing::Announced(_))));
    let gone = vip(web, &VipView { need: Need::Unused, ..vip_view(&bound, &Role::Active, Probe::Unknown) });
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
    let web = address(WEB);
    let role = Role::Blocked { peer: "d2".to_owned() };
    let blocked = vip(web, &vip_view(&[], &role, Probe::Free));
    assert!(blocked.steps.is_empty());
    assert_eq!(blocked.announcing, Some(Announcing::PeerWithoutVrrp { peer: "d2".to_owned() }));
    let bound = [on("eth0", true)];
    let lets_go = vip(web, &vip_view(&bound, &role, Probe::Unknown));
    assert_eq!(lets_go.steps, [Step::UnbindVip { vip: web, link: "eth0".into() }]);
}

#[test]
fn an_unwanted_vip_goes_unless_the_ledger_is_unusable() {
    let web = address(WEB);
    let bound = [on("eth0", true)];
    let unwanted = VipView { need: Need::Unused, ..vip_view(&bound, &Role::Active, Probe::Unknown) };
    assert_eq!(vip(web, &unwanted).steps, [Step::UnbindVip { vip: web, link: "eth0".into() }]);
    assert!(vip(web, &VipView { ledger_usable: false, ..unwanted }).steps.is_empty());
}

#[test]
fn a_vip_whose_services_are_not_in_force_here_is_neither_bound_nor_let_go() {
    let web = address(WEB);
    let as_it_is = |bound| VipView { need: Need::AsItIs, ..vip_view(bound, &Role::Active, Probe::Free) };
    let not_here = vip(web, &as_it_is(&[]));
    assert!(not_here.steps.is_empty() && not_here.announcing.is_none() && not_here.ask_on.is_none());
    let bound = [on("eth0", true)];
    let stays = vip(web, &as_it_is(&bound));
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
fn a_blocked_director_lets_go_also_without_a_usable_ledger() {
    let role = Role::Blocked { peer: "d2".to_owned() };
    let bound = [on("eth0", true)];
    let view = VipView { ledger_usable: false, ..vip_view(&bound, &role, Probe::Unknown) };
    assert_eq!(vip(address(WEB), &view).steps, [unbind("eth0")]);
    let foreign = [on("eth0", false)];
    let view = VipView { ledger_usable: false, ..vip_view(&foreign, &role, Probe::Unknown) };
    assert!(vip(address(WEB), &view).steps.is_empty(), "what carries no mark of ours is not ours");
}

#[test]
fn without_a_ledger_a_vip_is_not_even_asked_for() {
    let view = VipView { ledger_usable: false, ..vip_view(&[], &Role::Active, Probe::Unknown) };
    let decision = vip(address(WEB), &view);
    assert!(decision.steps.is_empty() && decision.ask_on.is_none());
    assert!(matches!(decision.announcing, Some(Announcing::Pending(_))));
}

#[test]
fn a_vip_that_somebody_else_claims_stays_bound_and_announced() {
    let bound = [on("eth0", true)];
    let holder = Holder { mac: MAC, real_server: Some(address("192.168.40.12")) };
    let view = VipView { rival: Some(holder), ..vip_view(&bound, &Role::Active, Probe::Unknown) };
    let decision = vip(address(WEB), &view);
    assert!(decision.steps.is_empty());
    assert_eq!(decision.announcing, Some(Announcing::Conflict { holder, bound: true }));
    assert_eq!(decision.announce_on.as_deref(), Some("eth0"));
}

#[test]
fn on_a_link_that_nobody_hears_a_vip_stays_bound_and_is_not_called_announced() {
    let bound = [BoundAddress { silent: Some("no carrier".to_owned()), ..on("eth0", true) }];
    let stays = vip(address(WEB), &vip_view(&bound, &Role::Active, Probe::Unknown));
    assert!(stays.steps.is_empty() && stays.announce_on.is_none());
    assert!(matches!(stays.announcing, Some(Announcing::Unheard(words)) if words.contains("no carrier")));
    let view = VipView { link: silent("eth0"), ..vip_view(&[], &Role::Active, Probe::Free) };
    let not_bound = vip(address(WEB), &view);
    assert!(not_bound.steps.is_empty() && not_bound.ask_on.is_none(), "silence there proves nothing");
    assert!(matches!(not_bound.announcing, Some(Announcing::Unheard(_))));
}

#[test]
fn on_a_link_that_is_heard_again_a_vip_is_announced_only_when_nobody_took_it_meanwhile() {
    let bound = [on("eth0", true)];
    let back = |probe| {
        let view = VipView { was_unheard: true, ..vip_view(&bound, &Role::Active, probe) };
        let decision = vip(address(WEB), &view);
        assert!(decision.steps.is_empty(), "it stays bound: {decision:?}");
        decision
    };
    for probe in [Probe::Unknown, Probe::Contended { mac: MAC }] {
        let asks = back(probe);
        assert!(asks.ask_on.as_deref() == Some("eth0") && asks.announce_on.is_none());
        assert_eq!(asks.listen_on.as_deref(), Some("eth0"), "who took it may be heard before he answers");
        assert!(matches!(asks.announcing, Some(Announcing::Pending(_))));
    }
    let holder = Holder { mac: MAC, real_server: None };
    for (probe, announcing) in [
        (Probe::Free, Announcing::Announced(String::new())),
        (Probe::Taken(holder), Announcing::Conflict { holder, bound: true }),
    ] {
        let answered = back(probe);
        assert!(answered.ask_on.is_none() && answered.announce_on.as_deref() == Some("eth0"));
        assert_eq!(answered.announcing, Some(announcing));
    }
}

#[test]
fn a_vip_that_is_heard_again_and_cannot_be_asked_for_is_announced_after_three_tries() {
    let bound = [on("eth0", true)];
    let after = |link_index, probe, in_vain| {
        let asked = Some(Asked { link_index, probe, in_vain });
        vip(
            address(WEB),
            &VipView { was_unheard: true, asked, ..vip_view(&bound, &Role::Active, Probe::Free) },
        )
    };
    for probe in [Probe::Unknown, Probe::Contended { mac: MAC }] {
        assert_eq!(after(2, probe, 2).announce_on, None);
        let announced = after(2, probe, 3);
        assert!(announced.announce_on.as_deref() == Some("eth0") && announced.ask_on.is_none());
        assert_eq!(announced.announcing, Some(Announcing::Announced(String::new())));
        assert_eq!(after(3, probe, 3).announce_on, None, "those were tries on another link");
    }
    let holder = Holder { mac: MAC, real_server: None };
    let taken = after(2, Probe::Taken(holder), 3).announcing;
    assert_eq!(taken, Some(Announcing::Conflict { holder, bound: true }));
}

#[test]
fn who_is_heard_to_claim_a_vip_while_it_is_asked_for_is_a_second_holder() {
    let bound = [on("eth0", true)];
    let holder = Holder { mac: MAC, real_server: None };
    let view =
        VipView { was_unheard: true, rival: Some(holder), ..vip_view(&bound, &Role::Active, Probe::Unknown) };
    let decision = vip(address(WEB), &view);
    assert_eq!(decision.announcing, Some(Announcing::Conflict { holder, bound: true }));
    assert!(decision.ask_on.is_none() && decision.announce_on.as_deref() == Some("eth0"));
}

#[test]
fn an_answer_counts_on_the_link_where_it_was_asked_and_on_no_other() {
    let web = address(WEB);
    let elsewhere = asked_on("eth1", Probe::Free);
    let asks = vip(web, &VipView { asked: elsewhere, ..vip_view(&[], &Role::Active, Probe::Free) });
    assert!(asks.steps.is_empty() && asks.ask_on.as_deref() == Some("eth0"), "{asks:?}");
    let bound = [on("eth0", true)];
    let view = VipView { was_unheard: true, ..vip_view(&bound, &Role::Active, Probe::Free) };
    let asks = vip(web, &VipView { asked: elsewhere, ..view.clone() });
    assert!(asks.announce_on.is_none() && asks.ask_on.as_deref() == Some("eth0"), "{asks:?}");
    let view = VipView { was_unheard: false, link: at("eth1"), link_is_named: true, ..view };
    let asks = vip(web, &view);
    assert!(asks.steps.is_empty() && asks.ask_on.as_deref() == Some("eth1"), "{asks:?}");
}

#[test]
fn a_vip_asks_on_the_link_that_holds_it_before_it_moves_to_the_named_one() {
    let bound = [on("eth0", true)];
    let view = VipView {
        link: at("eth1"),
        link_is_named: true,
        was_unheard: true,
        ..vip_view(&bound, &Role::Active, Probe::Unknown)
    };
    assert_eq!(vip(address(WEB), &view).ask_on.as_deref(), Some("eth0"));
    let free = vip(address(WEB), &VipView { asked: asked_on("eth0", Probe::Free), ..view });
    assert!(free.steps.is_empty(), "the answer is about eth0: {free:?}");
}

#[test]
fn what_stands_in_the_way_of_clients_is_said_beside_an_announced_vip() {
    let bound = [BoundAddress { findings: "rp_filter is 1".to_owned(), ..on("eth0", true) }];
    let decision = vip(address(WEB), &vip_view(&bound, &Role::Active, Probe::Unknown));
    assert_eq!(decision.announcing, Some(Announcing::Announced("rp_filter is 1".to_owned())));
}

#[test]
fn a_vip_moves_to_the_named_link_by_binding_there_first() {
    let here = [on("eth0", true)];
    let view =
        VipView { link: at("eth1"), link_is_named: true, ..vip_view(&here, &Role::Active, Probe::Unknown) };
    let asked = vip(address(WEB), &view);
    assert_eq!((asked.steps.len(), asked.ask_on.as_deref()), (0, Some("eth1")));
    assert_eq!(asked.announce_on.as_deref(), Some("eth0"), "meanwhile");
    let free = vip(address(WEB), &VipView { asked: asked_on("eth1", Probe::Free), ..view.clone() });
    assert_eq!(free.steps, [bind("eth1")]);
    let both = [on("eth0", true), on("eth1", true)];
    let moved = vip(address(WEB), &VipView { bound: &both, ..view });
    assert_eq!(moved.steps, [unbind("eth0")]);
    assert_eq!(moved.announce_on.as_deref(), Some("eth1"));
}

#[test]
fn a_vip_stays_where_it_is_when_it_cannot_move_and_says_why() {
    let here = [on("eth0", true)];
    let holder = Holder { mac: MAC, real_server: None };
    for (link, probe, why) in [
        (Err("there is no interface eth1".to_owned()), Probe::Free, "no interface"),
        (silent("eth1"), Probe::Free, "no carrier"),
        (at("eth1"), Probe::Taken(holder), "02:00:00:00:00:09"),
    ] {
        let asked = asked_on("eth1", probe);
        let view = VipView { link, link_is_named: true, asked, ..vip_view(&here, &Role::Active, probe) };
        let stays = vip(address(WEB), &view);
        assert!(stays.steps.is_empty() && stays.announce_on.as_deref() == Some("eth0"));
        assert!(
            matches!(&stays.announcing, Some(Announcing::Announced(words)) if words.contains("stays on eth0") && words.contains(why)),
            "{stays:?}"
        );
    }
}
