//! Test builders that read like sentences.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use lvs_crds::{Protocol, RealServerSpec, VirtualServiceSpec};

use crate::object::{Kind, Object, ObjectKey, Spec, ValidVirtualService};
use crate::selector::Selector;
use crate::service::{DestinationSettings, Forwarding, ServiceKey, ServiceSettings};

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().expect("a test's address")
}

pub(crate) fn tcp(vip: &str, port: u16) -> ServiceKey {
    ServiceKey::Address { vip: address(vip), protocol: Protocol::Tcp, port }
}

pub(crate) fn object_key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey::new(kind, "default", name)
}

pub(crate) fn settings(scheduler: &'static str) -> ServiceSettings {
    ServiceSettings { scheduler: scheduler.into(), one_packet: false, scheduler_flags: 0, persistence: None }
}

pub(crate) fn direct(weight: u32) -> DestinationSettings {
    DestinationSettings { weight, forwarding: Forwarding::Direct, upper_threshold: 0, lower_threshold: 0 }
}

pub(crate) fn valid_virtual_service(
    services: Vec<ServiceKey>,
    scheduler: &'static str,
) -> ValidVirtualService {
    let family = services[0].family();
    let selector = Selector::default();
    ValidVirtualService { services, family, settings: settings(scheduler), selector, policy: None }
}

/// A virtual service from its spec as YAML-like JSON, created at `created`.
pub(crate) fn virtual_service(name: &str, created: i64, spec: &serde_json::Value) -> Object {
    let spec: VirtualServiceSpec = serde_json::from_value(spec.clone()).expect("a test's spec");
    object(Kind::VirtualService, name, created, &[], Spec::VirtualService(Arc::new(spec)))
}

/// A real server labelled `app: <app>`.
pub(crate) fn real_server(name: &str, created: i64, app: &str, spec: &serde_json::Value) -> Object {
    let spec: RealServerSpec = serde_json::from_value(spec.clone()).expect("a test's spec");
    object(Kind::RealServer, name, created, &[("app", app)], Spec::RealServer(Arc::new(spec)))
}

fn object(kind: Kind, name: &str, created: i64, labels: &[(&str, &str)], spec: Spec) -> Object {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Object {
        key: object_key(kind, name),
        uid: String::new(),
        generation: 1,
        created,
        labels,
        file: None,
        spec,
    }
}
