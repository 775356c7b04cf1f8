//! Entries for tests, which read like sentences.

use std::collections::BTreeMap;
use std::sync::Arc;

use lvs_crds::{
    ConditionStatus, DirectorRole, DirectorSpec, RealServerCounts, RealServerSpec, VirtualServiceSpec,
};
use lvs_plan::conditions::ConditionValue;
use lvs_plan::{Kind, Object, ObjectKey, Reason, Spec};
use serde_json::json;

use super::{Board, DirectorVerdict, Entry, Verdict};

/// Puts an entry on the board.
pub(crate) fn put(board: &Board, entry: Entry) {
    board.lock().entries.insert(entry.object.key.clone(), Arc::new(entry));
}

/// An accepted virtual service at 172.16.21.10 whose `Announced` condition has this reason.
pub(crate) fn virtual_service(name: &str, announced: Reason) -> Entry {
    let spec = json!({"vip": "172.16.21.10", "ports": [{"port": 80}]});
    virtual_service_of(name, spec, Reason::Accepted, announced)
}

/// A virtual service that was refused for this reason while its last accepted version is in force.
pub(crate) fn refused(name: &str, reason: Reason) -> Entry {
    let spec = json!({"vip": "172.16.21.99", "ports": [{"port": 80}]});
    virtual_service_of(name, spec, reason, Reason::Announced)
}

/// An accepted firewall mark's service.
pub(crate) fn firewall_mark(name: &str, mark: u32) -> Entry {
    let spec = json!({"firewallMark": mark, "family": "IPv4"});
    virtual_service_of(name, spec, Reason::Accepted, Reason::NotApplicable)
}

/// An accepted real server of these virtual services, `namespace/name`.
pub(crate) fn real_server(name: &str, virtual_services: &[&str]) -> Entry {
    let spec: RealServerSpec = serde_json::from_value(json!({"address": "192.168.40.12"})).expect("a spec");
    let conditions =
        vec![condition("Accepted", true, Reason::Accepted), condition("Ready", true, Reason::Ready)];
    Entry {
        object: object(Kind::RealServer, name, Spec::RealServer(Arc::new(spec))).into(),
        verdict: Verdict {
            conditions,
            observed_generation: 1,
            director: None,
            real_servers: None,
            virtual_services: virtual_services.iter().map(|name| virtual_service_key(name)).collect(),
        },
    }
}

/// A Director whose kernel is as it must be, or whose `KernelReady` has this reason.
pub(crate) fn director(name: &str, reason: Reason) -> Entry {
    let holds = reason == Reason::Ready;
    let conditions = ["KernelReady", "Ready"].map(|type_| condition(type_, holds, reason)).to_vec();
    let spec = Spec::Director(Arc::new(DirectorSpec::default()));
    let mut object = object(Kind::Director, name, spec);
    object.key = ObjectKey::new(Kind::Director, "", name);
    Entry {
        object: object.into(),
        verdict: Verdict {
            conditions,
            observed_generation: 1,
            director: None,
            real_servers: None,
            virtual_services: Vec::new(),
        },
    }
}

fn virtual_service_key(name: &str) -> ObjectKey {
    let (namespace, name) = name.split_once('/').expect("a namespace and a name");
    ObjectKey::new(Kind::VirtualService, namespace, name)
}

/// The entry, about another generation of its object.
pub(crate) fn generation(mut entry: Entry, generation: i64) -> Entry {
    Arc::make_mut(&mut entry.object).generation = generation;
    entry.verdict.observed_generation = generation;
    entry
}

fn virtual_service_of(name: &str, spec: serde_json::Value, accepted: Reason, announced: Reason) -> Entry {
    let spec: VirtualServiceSpec = serde_json::from_value(spec).expect("a spec");
    let is_accepted = accepted == Reason::Accepted;
    let is_announced = matches!(announced, Reason::Announced | Reason::NotApplicable);
    let ready = if !is_accepted {
        accepted
    } else if is_announced {
        Reason::Ready
    } else {
        announced
    };
    let conditions = vec![
        condition("Accepted", is_accepted, accepted),
        condition("Programmed", true, Reason::Programmed),
        condition("Announced", is_announced, announced),
        condition("RealServersReady", true, Reason::Ready),
        condition("Ready", ready == Reason::Ready, ready),
    ];
    let role = if is_announced { DirectorRole::Active } else { DirectorRole::Standby };
    Entry {
        object: object(Kind::VirtualService, name, Spec::VirtualService(Arc::new(spec))).into(),
        verdict: Verdict {
            conditions,
            observed_generation: 1,
            director: Some(DirectorVerdict { role, programmed: true, message: String::new() }),
            real_servers: Some(RealServerCounts { total: 2, healthy: 2, in_service: 2 }),
            virtual_services: Vec::new(),
        },
    }
}

fn condition(type_: &'static str, holds: bool, reason: Reason) -> ConditionValue {
    let status = if holds { ConditionStatus::True } else { ConditionStatus::False };
    let message = if holds { String::new() } else { format!("because of {reason}") };
    ConditionValue { type_, status, reason, message }
}

fn object(kind: Kind, name: &str, spec: Spec) -> Object {
    Object {
        key: ObjectKey::new(kind, "default", name),
        uid: String::new(),
        generation: 1,
        created: 0,
        labels: BTreeMap::new(),
        file: None,
        spec,
    }
}
