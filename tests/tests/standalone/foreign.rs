//! What others made, where it touches what is declared.

use lvs_lab::eventually::{eventually, eventually_is};
use lvs_lab::topology::{Topology, tutorial};

use crate::director::{Director, mac};
use crate::{TUTORIAL, unchecked};

const SERVICE: &str = "-t 172.16.21.10:80";

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_service_that_equals_what_is_declared_is_adopted_without_a_write() {
    let mut director = Director::without_agent(Topology::tutorial().unwrap());
    director
        .host()
        .exec(&format!(
            "ipvsadm -A {SERVICE} -s wrr && ipvsadm -a {SERVICE} -r 192.168.40.12 -g -w 1 && \
             ipvsadm -a {SERVICE} -r 192.168.40.13 -g -w 1"
        ))
        .unwrap();
    let by_hand = director.our_table();
    director.write("tutorial.yaml", TUTORIAL);
    director.start();
    director.await_served("web");
    assert_eq!(director.our_table(), by_hand);
    assert_eq!(director.writes(), 1, "the VIP, and nothing in the table");
    // From now on it is ours, and repaired.
    director.host().exec(&format!("ipvsadm -d {SERVICE} -r 192.168.40.12")).unwrap();
    eventually_is("it is repaired", &by_hand, || director.our_table());
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_service_that_differs_is_left_alone_until_it_is_gone() {
    let mut director = Director::without_agent(Topology::tutorial().unwrap());
    director
        .host()
        .exec(&format!("ipvsadm -A {SERVICE} -s rr && ipvsadm -a {SERVICE} -r 192.168.40.12 -m -w 7"))
        .unwrap();
    let by_hand = director.our_table();
    director.write("tutorial.yaml", TUTORIAL);
    director.start();
    let message = director.await_condition("VirtualService", "web", "Programmed", "False", "ForeignService");
    assert!(message.contains("made by somebody else") && message.contains("ipvsadm -D"), "{message}");
    assert_eq!((director.our_table(), director.writes()), (by_hand, 0));
    assert!(!director.holds(tutorial::VIP), "its VIP is not ours to hold either");
    director.host().exec(&format!("ipvsadm -D {SERVICE}")).unwrap();
    director.await_served("web");
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_vip_that_somebody_bound_is_used_as_it_is_and_stays_when_the_object_goes() {
    let mut director = Director::without_agent(Topology::tutorial().unwrap());
    director.host().exec(&format!("ip address add {}/16 dev eth0", tutorial::VIP)).unwrap();
    director.write("tutorial.yaml", &unchecked());
    director.start();
    director.await_served("web");
    let [_, _, message] = director.condition("VirtualService", "web", "Announced");
    assert!(message.contains("bound by somebody else"), "{message}");
    assert_eq!(director.writes(), 3, "the table, and no address");
    director.remove("tutorial.yaml");
    eventually_is("the rules are gone", &lvs_lab::table::Table::default(), || director.our_table());
    assert!(director.addresses().contains(" 172.16.21.10/16 "), "{}", director.addresses());
    director.finish();
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn a_vip_that_another_host_answers_for_is_not_taken_until_that_host_lets_go() {
    let director = Director::tutorial();
    let stranger = &director.network["client"];
    stranger.exec(&format!("ip address add {}/32 dev eth0", tutorial::VIP)).unwrap();
    director.write("tutorial.yaml", &unchecked());
    let message = director.await_condition("VirtualService", "web", "Announced", "False", "VIPConflict");
    assert!(message.contains(&mac(stranger)), "{message}");
    assert!(!director.holds(tutorial::VIP));
    // It stays so through further questions: the condition does not flap.
    let writes = director.writes();
    let asked = director.metric("lvs_passes_total");
    let since = transition(&director);
    eventually("the question was asked again", || {
        let now = director.metric("lvs_passes_total");
        if now > asked + 15 { Ok(()) } else { Err(now.to_string()) }
    });
    assert_eq!((director.writes(), transition(&director)), (writes, since));

    stranger.exec(&format!("ip address delete {}/32 dev eth0", tutorial::VIP)).unwrap();
    director.await_served("web");
    assert!(director.holds(tutorial::VIP));
    director.finish();
}

fn transition(director: &Director) -> String {
    let web = director.object("VirtualService", "web").unwrap();
    let conditions = web["status"]["conditions"].as_array().unwrap().clone();
    let announced = conditions.into_iter().find(|condition| condition["type"] == "Announced").unwrap();
    assert_eq!(announced["reason"], "VIPConflict");
    announced["lastTransitionTime"].as_str().unwrap().to_owned()
}
