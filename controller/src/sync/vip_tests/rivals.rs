//! Others that claim a VIP of ours.

use super::*;

/// Another station claims the VIP, and is found out.
fn claim(node: &mut Node, real_server: Option<IpAddr>) {
    node.driver.claimed(vip(), RIVAL, node.now);
    let macs: BTreeMap<[u8; 6], IpAddr> = real_server.map(|address| (RIVAL, address)).into_iter().collect();
    for (question, _, _) in std::mem::take(&mut node.driver.kernel.to_identify) {
        node.driver.identified(question, macs.clone(), node.now);
    }
}

#[test]
fn a_second_holder_is_told_once_with_its_name_and_the_vip_stays_until_it_is_gone() {
    let mut node = served();
    node.events();
    let real_server = "192.168.40.12".parse().ok();
    let announced = node.driver.kernel.announced.len();
    for _ in 0..9 {
        claim(&mut node, real_server);
        node.pass(Scope::Changes);
    }
    let (holds, reason, message) = node.condition("web", "Announced");
    assert!(!holds && reason == Reason::VIPConflict, "{reason}: {message}");
    assert!(message.contains("02:00:00:00:00:09") && message.contains("192.168.40.12"), "{message}");
    assert_eq!(node.events(), [Reason::VIPConflict]);
    assert!(node.holds_vip(), "whoever came later does not get it");
    assert_eq!(node.driver.kernel.announced.len(), announced + 1, "one defence in ten seconds");
    let metrics = node.driver.metrics.plain_text(&node.board);
    assert!(metrics.contains("lvs_vip_conflicts{vip=\"172.16.21.10\"} 1"), "{metrics}");

    let mut questions = 0;
    for _ in 0..22 {
        node.pass(Scope::Changes);
        node.driver.announce(node.now);
        questions += std::mem::take(&mut node.driver.kernel.asked).len();
    }
    assert!((2..=6).contains(&questions), "{questions} questions");
    node.now += Duration::from_secs(2);
    assert!(node.driver.wants_pass(node.now));
    node.pass(Scope::Changes);
    assert!(node.condition("web", "Announced").0);
    let metrics = node.driver.metrics.plain_text(&node.board);
    assert!(!metrics.contains("lvs_vip_conflicts{"), "{metrics}");
}

#[test]
fn a_claim_of_a_vip_that_is_not_held_says_nothing() {
    let mut node = Node::new();
    node.driver.claimed(vip(), RIVAL, node.now);
    assert!(node.driver.kernel.to_identify.is_empty() && node.driver.kernel.announced.is_empty());
    assert_eq!(node.driver.next_deadline(), None);
}

#[test]
fn a_host_that_claims_a_hundred_vips_is_looked_into_once() {
    let mut node = served();
    let others: Vec<IpAddr> = (11..110).map(|last| IpAddr::from([172, 16, 21, last])).collect();
    for (number, other) in others.iter().enumerate() {
        node.declare_at(&format!("web-{number}"), *other, 80);
    }
    node.settle();
    assert_eq!(node.driver.vips.held(), 100);
    for claimed in others.iter().chain(&[vip()]) {
        node.driver.claimed(*claimed, RIVAL, node.now);
    }
    let asked = std::mem::take(&mut node.driver.kernel.to_identify);
    let real_server: IpAddr = "192.168.40.12".parse().expect("an address");
    let [(question, _, suspects)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(suspects[..], [real_server]);
    node.driver.identified(*question, BTreeMap::from([(RIVAL, real_server)]), node.now);
    node.pass(Scope::Changes);
    for name in ["web", "web-0", "web-98"] {
        let (holds, _, message) = node.condition(name, "Announced");
        assert!(!holds && message.contains("192.168.40.12"), "{name}: {message}");
    }
    // What it claims a little later is answered from memory.
    node.declare_at("late", [172, 16, 21, 110].into(), 80);
    node.settle();
    node.driver.claimed([172, 16, 21, 110].into(), RIVAL, node.now);
    node.pass(Scope::Changes);
    assert!(node.driver.kernel.to_identify.is_empty());
    assert!(node.condition("late", "Announced").2.contains("192.168.40.12"));
}

#[test]
fn six_real_servers_that_answer_for_a_vip_are_all_found_out_by_one_question() {
    let mut node = served();
    let stations: BTreeMap<[u8; 6], IpAddr> =
        (12..18).map(|last| ([2, 0, 0, 0, 0, last], IpAddr::from([192, 168, 40, last]))).collect();
    for mac in stations.keys() {
        node.driver.claimed(vip(), *mac, node.now);
    }
    let asked = std::mem::take(&mut node.driver.kernel.to_identify);
    let [(question, _, _)] = asked[..] else { panic!("{asked:?}") };
    node.driver.identified(question, stations.clone(), node.now);
    // One after the other is put right.
    for (mac, real_server) in &stations {
        node.pass(Scope::Changes);
        let message = node.condition("web", "Announced").2;
        assert!(message.contains(&format!("the real server {real_server} ")), "{message}");
        for _ in 0..5 {
            node.now += Duration::from_secs(5);
            for other in stations.keys().filter(|other| *other > mac) {
                node.driver.claimed(vip(), *other, node.now);
            }
        }
    }
    node.pass(Scope::Changes);
    assert!(node.condition("web", "Announced").0);
    assert!(node.driver.kernel.to_identify.is_empty());
}

#[test]
fn a_real_server_that_was_down_when_it_was_looked_for_is_found_out_later() {
    let mut node = served();
    claim(&mut node, None);
    node.pass(Scope::Changes);
    assert!(node.condition("web", "Announced").2.contains("another Director or host"));
    let mut questions = 0;
    for _ in 0..70 {
        node.driver.claimed(vip(), RIVAL, node.now);
        questions += node.driver.kernel.to_identify.len();
        claim(&mut node, "192.168.40.12".parse().ok());
        node.pass(Scope::Changes);
    }
    assert_eq!(questions, 1);
    assert!(node.condition("web", "Announced").2.contains("the real server 192.168.40.12"));
}

#[test]
fn who_took_a_vip_meanwhile_is_heard_also_when_nobody_can_be_asked() {
    let mut node = back_and_mute();
    node.pass(Scope::Changes);
    node.driver.claimed(vip(), RIVAL, node.now);
    assert!(node.driver.kernel.announced.is_empty(), "what is not announced is not defended");
    claim(&mut node, None);
    node.pass(Scope::Changes);
    let (holds, reason, message) = node.condition("web", "Announced");
    assert!(!holds && reason == Reason::VIPConflict, "{reason}: {message}");
    node.driver.announce(node.now);
    assert!(node.driver.kernel.announced.is_empty(), "no burst");
    assert!(node.driver.kernel.listening.contains(&vip()));
}
