//! What should be written into the status of one object, if anything. Pure.
//!
//! A status has several writers, told apart by field manager (server-side apply): each Director its own entry of
//! `directors`, and one of them the rest.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::Resource as _;
use lvs_crds::{
    Condition, Director, DirectorReport, DirectorRole, DirectorStatus, GROUP, RealServer, RealServerStatus,
    VERSION, VirtualService, VirtualServiceStatus,
};
use lvs_plan::{Kind, ObjectKey};
use serde_json::{Value, json};

use crate::api::directors::{Directors, Mending};
use crate::api::lease::director_manager;
use crate::api::observed::ServerStatus;
use crate::board::Entry;
use crate::status_value::{director_report, real_server_status, virtual_service_status};

/// The field manager of the part that all Directors share.
const SHARED: &str = "lvs-operator";

/// One write by server-side apply.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::api) struct Write {
    pub(in crate::api) manager: String,
    /// The object with nothing but its name and the part of the status.
    pub(in crate::api) body: Value,
}

/// What the server has and who else is there.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Surroundings<'a> {
    pub(in crate::api) directors: &'a Directors,
    /// The status that the server has.
    pub(in crate::api) status: Option<&'a ServerStatus>,
    /// Of a `RealServer`: what other Directors say of the virtual services that use it.
    pub(in crate::api) entries: &'a [DirectorStatus],
    /// Of a `RealServer`: whether we are active for one of them.
    pub(in crate::api) active_here: bool,
    pub(in crate::api) now: Timestamp,
}

/// The writes that bring the status to what we say of the object; none if it is so already.
pub(in crate::api) fn writes(entry: &Entry, around: Surroundings<'_>) -> Vec<Write> {
    match entry.object.key.kind {
        Kind::VirtualService => of_virtual_service(entry, around),
        Kind::RealServer => of_real_server(entry, around).into_iter().collect(),
        Kind::Director => of_director(entry, around).into_iter().collect(),
    }
}

fn of_virtual_service(entry: &Entry, around: Surroundings<'_>) -> Vec<Write> {
    let Surroundings { directors, now, .. } = around;
    let none = VirtualServiceStatus::default();
    let there = around.status.and_then(ServerStatus::as_virtual_service);
    let wanted = virtual_service_status(entry, &directors.me, there, now);
    let there = there.unwrap_or(&none);
    let mut writes = Vec::new();

    let own = wanted.directors.iter().find(|director| director.name == directors.me);
    let own_there = there.directors.iter().find(|director| director.name == directors.me);
    // Without a Lease the others take us for gone and remove the entry.
    if let Some(own) = own.filter(|own| Some(*own) != own_there)
        && (directors.published || directors.others.is_none())
    {
        let status = json!({"directors": [own]});
        writes.push(write(entry, director_manager(&directors.me), &status));
    }

    let active_here = own.is_some_and(|own| own.role == DirectorRole::Active);
    let entries: Vec<&DirectorStatus> = there.directors.iter().collect();
    if !directors.write_shared(active_here, &entries) {
        return writes;
    }
    let shared = VirtualServiceStatus { directors: Vec::new(), ..wanted };
    // Lists are compared by what they hold, all else as it is.
    let rest = |status: &VirtualServiceStatus| VirtualServiceStatus {
        conditions: Vec::new(),
        directors: Vec::new(),
        ..status.clone()
    };
    if rest(&shared) != rest(there) || !holds_all(&there.conditions, &shared.conditions) {
        writes.push(write(entry, SHARED.to_owned(), &shared));
    }
    for (name, mending) in directors.mend(&there.directors) {
        // In the name of that Director: when it is back it takes over its own fields without a conflict.
        let status = match mending {
            Mending::Remove => json!({}),
            Mending::SetUnknown => json!({"directors": [{
                "name": name, "role": DirectorRole::Unknown, "programmed": false,
                "message": "its Lease expired: the node or its agent is down, or cannot reach the API server",
            }]}),
        };
        writes.push(write(entry, director_manager(&name), &status));
    }
    writes
}

fn of_real_server(entry: &Entry, around: Surroundings<'_>) -> Option<Write> {
    let entries: Vec<&DirectorStatus> = around.entries.iter().collect();
    if !around.directors.write_shared(around.active_here, &entries) {
        return None;
    }
    let none = RealServerStatus::default();
    let there = around.status.and_then(ServerStatus::as_real_server);
    let wanted = real_server_status(entry, there, around.now);
    let there = there.unwrap_or(&none);
    let rest = |status: &RealServerStatus| RealServerStatus { conditions: Vec::new(), ..status.clone() };
    let same = rest(&wanted) == rest(there) && holds_all(&there.conditions, &wanted.conditions);
    (!same).then(|| write(entry, SHARED.to_owned(), &wanted))
}

/// Nobody but this Director says anything of it. Until the object has been seen there is nothing to write to.
fn of_director(entry: &Entry, around: Surroundings<'_>) -> Option<Write> {
    if entry.object.uid.is_empty() {
        return None;
    }
    let none = DirectorReport::default();
    let there = around.status.and_then(ServerStatus::as_director);
    let wanted = director_report(entry, there, around.now);
    let there = there.unwrap_or(&none);
    let same = wanted.observed_generation == there.observed_generation
        && holds_all(&there.conditions, &wanted.conditions);
    (!same).then(|| write(entry, director_manager(&around.directors.me), &wanted))
}

/// Others may add conditions of their own; the order is the server's.
fn holds_all(there: &[Condition], wanted: &[Condition]) -> bool {
    wanted.iter().all(|wanted| there.contains(wanted))
}

/// The identity is part of it: the server refuses (409) to write to another object of the same name.
fn write(entry: &Entry, manager: String, status: &impl serde::Serialize) -> Write {
    let object = &entry.object;
    let mut body = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": kind(&object.key),
        "metadata": {"name": &*object.key.name, "uid": object.uid},
        "status": status,
    });
    if !object.key.namespace.is_empty() {
        body["metadata"]["namespace"] = object.key.namespace.as_ref().into();
    }
    Write { manager, body }
}

fn kind(key: &ObjectKey) -> String {
    match key.kind {
        Kind::VirtualService => VirtualService::kind(&()).into_owned(),
        Kind::RealServer => RealServer::kind(&()).into_owned(),
        Kind::Director => Director::kind(&()).into_owned(),
    }
}

/// The virtual services that use a real server.
pub(in crate::api) fn services_of(entry: &Entry) -> BTreeSet<ObjectKey> {
    entry.verdict.virtual_services.iter().cloned().collect()
}

#[cfg(test)]
#[path = "wanted_tests.rs"]
mod tests;
