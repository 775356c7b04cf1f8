//! A VIP that others claim, that clients cannot reach, or that has to move.

use lvs_lab::eventually::eventually;
use lvs_lab::topology::{Topology, tutorial};

use crate::TUTORIAL;
use crate::director::{Director, mac};

fn served() -> Director {
    let director = Director::tutorial();
    director.write("tutorial.yaml", TUTORIAL);
    director.await_served("web");
    director
}

fn await_announced(director: &Director, status: &str, reason: &str) -> String {
    director.await_condition("VirtualService", "web", "Announced", status, reason)
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_second_host_with_the_vip_is_named_and_the_vip_stays_until_it_is_gone() {
    let director = served();
    let intruder = &director.network["client"];
    // It says nothing by itself: it is found when it is asked, or when it answers somebody.
    intruder.exec(&format!("ip address add {}/32 dev eth0", tutorial::VIP)).unwrap();
    let message = await_announced(&director, "False", "VIPConflict");
    assert!(message.contains(&mac(intruder)), "{message}");
    assert!(director.holds(tutorial::VIP));
    assert_eq!(director.metric(&format!("lvs_vip_conflicts{{vip=\"{}\"}}", tutorial::VIP)), 1);
    intruder.exec(&format!("ip address delete {}/32 dev eth0", tutorial::VIP)).unwrap();
    await_announced(&director, "True", "Announced");
    assert!(director.holds(tutorial::VIP));
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn an_unprepared_real_server_is_named_before_the_vip_is_bound() {
    let director = Director::tutorial();
    director.network["rs1"].set("net.ipv4.conf.all.arp_ignore", "0").unwrap();
    director.network["rs1"].set("net.ipv4.conf.eth0.arp_ignore", "0").unwrap();
    director.write("tutorial.yaml", TUTORIAL);
    let message = await_announced(&director, "False", "VIPConflict");
    assert!(message.contains(tutorial::REAL_SERVERS[0]) && message.contains("arp_ignore=1"), "{message}");
    director.network["rs1"].set("net.ipv4.conf.all.arp_ignore", "1").unwrap();
    director.await_served("web");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn source_validation_without_a_default_route_is_said_beside_the_vip() {
    let director = served();
    director.host().set("net.ipv4.conf.eth0.rp_filter", "1").unwrap();
    director.host().exec("ip route delete default").unwrap();
    let words = eventually("it is found", || {
        let [status, _, message] = director.condition("VirtualService", "web", "Announced");
        if message.contains("rp_filter is 1 on eth0") { Ok(status) } else { Err(message) }
    });
    assert_eq!(words, "True");
    assert_eq!(director.debug_state()["preflight"][0]["finding"], "NoRouteToClients");
    director.host().exec(&format!("ip route add default via {}", tutorial::ROUTER)).unwrap();
    eventually("it is put right", || {
        let [_, _, message] = director.condition("VirtualService", "web", "Announced");
        if message.is_empty() { Ok(()) } else { Err(message) }
    });
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_link_without_carrier_is_told_and_comes_back() {
    let director = Director::without_agent(Topology::tutorial().unwrap());
    let mut director = director;
    director
        .host()
        .exec("ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up")
        .unwrap();
    director.write("tutorial.yaml", TUTORIAL);
    director.start_with(&["--vip-interface", "v0"]);
    director.await_served("web");
    director.host().exec("ip link set v1 down").unwrap();
    let message = await_announced(&director, "False", "NoActiveDirector");
    assert!(message.contains("v0 has no carrier"), "{message}");
    director.host().exec("ip link set v1 up").unwrap();
    await_announced(&director, "True", "Announced");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn who_took_the_vip_while_its_link_had_no_carrier_is_named_when_it_is_back() {
    let mut director = Director::without_agent(Topology::tutorial().unwrap());
    let other = director.network["client"].namespace().to_owned();
    director
        .host()
        .exec(&format!(
            "ip link add v0 type veth peer name v1 address 02:00:00:00:00:77 netns {other}; ip link set v0 up"
        ))
        .unwrap();
    director.network["client"].exec("ip link set v1 up").unwrap();
    director.write("tutorial.yaml", TUTORIAL);
    director.start_with(&["--vip-interface", "v0"]);
    director.await_served("web");
    let other = &director.network["client"];
    other.exec(&format!("ip link set v1 down; ip address add {}/32 dev v1", tutorial::VIP)).unwrap();
    let message = await_announced(&director, "False", "NoActiveDirector");
    assert!(message.contains("v0 has no carrier"), "{message}");
    other.exec("ip link set v1 up").unwrap();
    let message = await_announced(&director, "False", "VIPConflict");
    assert!(message.contains("02:00:00:00:00:77"), "{message}");
    let addresses = director.host().exec("ip -oneline address show dev v0").unwrap();
    assert!(addresses.contains(tutorial::VIP), "it stays bound: {addresses}");
    other.exec(&format!("ip address delete {}/32 dev v1", tutorial::VIP)).unwrap();
    await_announced(&director, "True", "Announced");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_vip_moves_to_another_named_link_and_never_is_on_none() {
    let mut director = served();
    director
        .host()
        .exec("ip link add link eth0 name v0 type macvlan mode bridge && ip link set v0 up")
        .unwrap();
    director.take_agent().terminate().unwrap();
    director.start_with(&["--vip-interface", "v0"]);
    let on = |link: &str| {
        let addresses = director.host().exec(&format!("ip -oneline address show dev {link}")).unwrap();
        addresses.contains(tutorial::VIP)
    };
    eventually("it moves", || {
        let (old, new) = (on("eth0"), on("v0"));
        // Read one after the other: the old one goes only after the new one is there.
        if new && !old { Ok(()) } else { Err(format!("on eth0: {old}, on v0: {new}")) }
    });
    director.await_served("web");
    assert_eq!(director.writes(), 2, "one bind, one unbind");
    director.finish();
}
