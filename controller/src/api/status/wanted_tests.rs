use std::collections::BTreeMap;
use std::sync::Arc;

use lvs_plan::Reason;

use super::*;
use crate::api::peers::{Director, Standing};
use crate::board::fixtures;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// We are d1; these are the others, with what their Leases say.
fn with(others: &[(&str, Standing)]) -> Directors {
    let others = others
        .iter()
        .map(|(name, standing)| ((*name).to_owned(), Director { standing: *standing, ready: true }));
    Directors {
        me: "d1".to_owned(),
        ready: true,
        published: true,
        others: Some(others.collect::<BTreeMap<_, _>>()),
    }
}

fn around<'a>(directors: &'a Directors, status: Option<&'a ServerStatus>, second: i64) -> Surroundings<'a> {
    Surroundings { directors, status, entries: &[], active_here: false, now: at(second) }
}

fn managers(writes: &[Write]) -> Vec<&str> {
    writes.iter().map(|write| write.manager.as_str()).collect()
}

/// The status after these writes, as the server would merge them: each manager's fields replace what it had.
fn merged(before: Option<&ServerStatus>, writes: &[Write]) -> ServerStatus {
    let mut status = before.and_then(ServerStatus::as_virtual_service).cloned().unwrap_or_default();
    for write in writes {
        let part: VirtualServiceStatus = serde_json::from_value(write.body["status"].clone()).unwrap();
        match write.manager.strip_prefix("lvs-operator.") {
            None => status = VirtualServiceStatus { directors: status.directors, ..part },
            Some(name) => {
                status.directors.retain(|director| director.name != name);
                status.directors.extend(part.directors);
            }
        }
    }
    ServerStatus::VirtualService(status)
}

fn entry_of(name: &str, role: DirectorRole) -> DirectorStatus {
    DirectorStatus {
        name: name.to_owned(),
        role,
        programmed: true,
        observed_generation: Some(1),
        message: String::new(),
    }
}

fn with_entry(status: &ServerStatus, entry: DirectorStatus) -> ServerStatus {
    let mut status = status.as_virtual_service().unwrap().clone();
    status.directors.retain(|director| director.name != entry.name);
    status.directors.push(entry);
    ServerStatus::VirtualService(status)
}

#[test]
fn the_first_visit_writes_our_entry_and_the_shared_part_and_the_second_writes_nothing() {
    let directors = with(&[]);
    let entry = fixtures::virtual_service("web", Reason::Announced);
    let first = writes(&entry, around(&directors, None, 100));
    assert_eq!(managers(&first), ["lvs-operator.d1", "lvs-operator"]);
    assert!(first[1].body["status"].get("directors").is_none(), "{}", first[1].body);
    assert_eq!(first[1].body["status"]["activeDirector"], "d1");
    let there = merged(None, &first);
    assert_eq!(writes(&entry, around(&directors, Some(&there), 9_999)), []);
}

#[test]
fn a_restarted_agent_keeps_the_times_that_the_server_has() {
    let directors = with(&[]);
    let good = fixtures::virtual_service("web", Reason::Announced);
    let there = merged(None, &writes(&good, around(&directors, None, 100)));
    let conflict = fixtures::virtual_service("web", Reason::VIPConflict);
    let second = writes(&conflict, around(&directors, Some(&there), 500));
    let conditions =
        &second.iter().find(|write| write.manager == SHARED).unwrap().body["status"]["conditions"];
    let time = |type_: &str| {
        let conditions = conditions.as_array().unwrap();
        conditions.iter().find(|condition| condition["type"] == type_).unwrap()["lastTransitionTime"].clone()
    };
    assert_eq!(time("Accepted"), at(100).to_string());
    assert_eq!(time("Announced"), at(500).to_string());
}

#[test]
fn the_order_of_conditions_and_conditions_of_others_are_no_difference() {
    let directors = with(&[]);
    let entry = fixtures::virtual_service("web", Reason::Announced);
    let there = merged(None, &writes(&entry, around(&directors, None, 100)));
    let mut status = there.as_virtual_service().unwrap().clone();
    let mut foreign = status.conditions[0].clone();
    foreign.type_ = "example.com/Reviewed".to_owned();
    status.conditions.reverse();
    status.conditions.push(foreign);
    assert_eq!(writes(&entry, around(&directors, Some(&ServerStatus::VirtualService(status)), 200)), []);
}

#[test]
fn a_status_that_somebody_changed_is_put_right() {
    let directors = with(&[]);
    let entry = fixtures::virtual_service("web", Reason::Announced);
    let there = merged(None, &writes(&entry, around(&directors, None, 100)));
    let mut status = there.as_virtual_service().unwrap().clone();
    status.active_director = Some("nobody".to_owned());
    let mended = writes(&entry, around(&directors, Some(&ServerStatus::VirtualService(status)), 200));
    assert_eq!(managers(&mended), ["lvs-operator"]);
}

#[test]
fn a_standby_writes_nothing_but_its_own_entry() {
    let directors = with(&[("d2", Standing::Live)]);
    let blocked = fixtures::virtual_service("web", Reason::PeerWithoutVRRP);
    let active = with_entry(
        &ServerStatus::VirtualService(VirtualServiceStatus::default()),
        entry_of("d2", DirectorRole::Active),
    );
    assert_eq!(managers(&writes(&blocked, around(&directors, Some(&active), 100))), ["lvs-operator.d1"]);
}

#[test]
fn entries_of_dead_directors_are_written_in_their_own_name() {
    let entry = fixtures::virtual_service("web", Reason::Announced);
    let there = merged(None, &writes(&entry, around(&with(&[]), None, 100)));
    let there = with_entry(&there, entry_of("d2", DirectorRole::Active));
    let expired = with(&[("d2", Standing::Expired)]);
    let set_unknown = writes(&entry, around(&expired, Some(&there), 200));
    assert_eq!(managers(&set_unknown), ["lvs-operator.d2"]);
    let unknown = merged(Some(&there), &set_unknown);
    let role = |status: &ServerStatus| {
        let directors = &status.as_virtual_service().unwrap().directors;
        directors.iter().find(|director| director.name == "d2").map(|director| director.role)
    };
    assert_eq!(role(&unknown), Some(DirectorRole::Unknown));
    assert_eq!(writes(&entry, around(&expired, Some(&unknown), 300)), []);

    let gone = with(&[]);
    let removal = writes(&entry, around(&gone, Some(&unknown), 400));
    assert_eq!(managers(&removal), ["lvs-operator.d2"]);
    assert_eq!(role(&merged(Some(&unknown), &removal)), None);
}

#[test]
fn without_a_lease_others_would_remove_our_entry_so_there_is_none() {
    let unpublished = Directors { published: false, ..with(&[("d2", Standing::Live)]) };
    let entry = fixtures::virtual_service("web", Reason::VIPConflict);
    let managers_of =
        |directors: &Directors| managers(&writes(&entry, around(directors, None, 100))).join(" ");
    assert!(!managers_of(&unpublished).contains("lvs-operator.d1"));
    let no_leases_at_all = Directors { others: None, ..unpublished };
    assert!(managers_of(&no_leases_at_all).contains("lvs-operator.d1"));
}

#[test]
fn a_real_server_is_written_by_the_director_that_is_active_for_it() {
    let directors = with(&[("d0", Standing::Live), ("d2", Standing::Live)]);
    let entry = fixtures::real_server("rs1", &["default/web"]);
    let nobody = around(&directors, None, 100);
    assert_eq!(writes(&entry, nobody), [], "d0 has the lowest name");
    assert_eq!(managers(&writes(&entry, Surroundings { active_here: true, ..nobody })), ["lvs-operator"]);
    let elsewhere = [entry_of("d0", DirectorRole::Active)];
    assert_eq!(writes(&entry, Surroundings { active_here: true, entries: &elsewhere, ..nobody }), []);
}

#[test]
fn a_real_server_that_is_as_written_is_not_written_again() {
    let directors = with(&[]);
    let entry = fixtures::real_server("rs1", &["default/web"]);
    let first = writes(&entry, around(&directors, None, 100));
    let status: RealServerStatus = serde_json::from_value(first[0].body["status"].clone()).unwrap();
    assert_eq!(status.virtual_services, ["default/web"]);
    assert_eq!(writes(&entry, around(&directors, Some(&ServerStatus::RealServer(status)), 200)), []);
}

#[test]
fn a_write_names_the_object_that_it_means() {
    let mut entry = fixtures::virtual_service("web", Reason::Announced);
    Arc::make_mut(&mut entry.object).uid = "u1".to_owned();
    let writes = writes(&entry, around(&with(&[]), None, 100));
    assert_eq!(writes[0].body["metadata"], json!({"name": "web", "namespace": "default", "uid": "u1"}));
    assert_eq!(writes[0].body["apiVersion"], "lvs-operator.dev/v1alpha1");
}

#[test]
fn a_director_is_written_by_its_own_agent_once_it_has_been_seen_and_only_if_something_changed() {
    let directors = with(&[("d0", Standing::Live)]);
    let mut entry = fixtures::director("d1", Reason::ForeignIPVS);
    assert_eq!(writes(&entry, around(&directors, None, 100)), [], "nobody knows yet whether it is there");
    Arc::make_mut(&mut entry.object).uid = "u1".to_owned();
    let first = writes(&entry, around(&directors, None, 100));
    assert_eq!(managers(&first), ["lvs-operator.d1"]);
    assert_eq!(first[0].body["metadata"], json!({"name": "d1", "uid": "u1"}), "it has no namespace");
    let there = serde_json::from_value(first[0].body["status"].clone()).unwrap();
    let there = ServerStatus::Director(there);
    assert_eq!(writes(&entry, around(&directors, Some(&there), 9_999)), []);
    let mut ready = fixtures::director("d1", Reason::Ready);
    Arc::make_mut(&mut ready.object).uid = "u1".to_owned();
    assert_eq!(managers(&writes(&ready, around(&directors, Some(&there), 200))), ["lvs-operator.d1"]);
}
