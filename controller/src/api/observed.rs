//! From an object of the API server to an object of the plan and the status that the server has.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use lvs_crds::{
    Director, DirectorReport, RealServer, RealServerStatus, VirtualService, VirtualServiceStatus,
};
use lvs_plan::{Kind, Object, ObjectKey, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::guarded::{Guarded, Malformed};

/// The status that the API server has.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ServerStatus {
    VirtualService(VirtualServiceStatus),
    RealServer(RealServerStatus),
    Director(DirectorReport),
}

impl ServerStatus {
    pub(super) fn as_virtual_service(&self) -> Option<&VirtualServiceStatus> {
        match self {
            Self::VirtualService(status) => Some(status),
            Self::RealServer(_) | Self::Director(_) => None,
        }
    }

    pub(super) fn as_real_server(&self) -> Option<&RealServerStatus> {
        match self {
            Self::RealServer(status) => Some(status),
            Self::VirtualService(_) | Self::Director(_) => None,
        }
    }

    pub(super) fn as_director(&self) -> Option<&DirectorReport> {
        match self {
            Self::Director(status) => Some(status),
            Self::VirtualService(_) | Self::RealServer(_) => None,
        }
    }
}

/// One object as it was seen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Observed {
    pub(super) object: Object,
    pub(super) status: Option<ServerStatus>,
}

/// A kind that is watched.
pub(super) trait Watched:
    Resource<DynamicType = ()> + DeserializeOwned + Clone + std::fmt::Debug + Send + 'static
{
    const KIND: Kind;

    fn into_parts(self) -> (ObjectMeta, Spec, Option<ServerStatus>);

    /// The status alone, if it can be understood.
    fn status(json: Value) -> Option<ServerStatus>;
}

impl Watched for VirtualService {
    const KIND: Kind = Kind::VirtualService;

    fn into_parts(self) -> (ObjectMeta, Spec, Option<ServerStatus>) {
        let Self { metadata, spec, status } = self;
        (metadata, Spec::VirtualService(Arc::new(spec)), status.map(ServerStatus::VirtualService))
    }

    fn status(json: Value) -> Option<ServerStatus> {
        serde_json::from_value(json).ok().map(ServerStatus::VirtualService)
    }
}

impl Watched for RealServer {
    const KIND: Kind = Kind::RealServer;

    fn into_parts(self) -> (ObjectMeta, Spec, Option<ServerStatus>) {
        let Self { metadata, spec, status } = self;
        (metadata, Spec::RealServer(Arc::new(spec)), status.map(ServerStatus::RealServer))
    }

    fn status(json: Value) -> Option<ServerStatus> {
        serde_json::from_value(json).ok().map(ServerStatus::RealServer)
    }
}

impl Watched for Director {
    const KIND: Kind = Kind::Director;

    fn into_parts(self) -> (ObjectMeta, Spec, Option<ServerStatus>) {
        let Self { metadata, spec, status } = self;
        (metadata, Spec::Director(Arc::new(spec)), status.map(ServerStatus::Director))
    }

    fn status(json: Value) -> Option<ServerStatus> {
        serde_json::from_value(json).ok().map(ServerStatus::Director)
    }
}

/// Who the object is.
pub(super) fn key_of<K: Watched>(object: &Guarded<K>) -> ObjectKey {
    key(K::KIND, object.meta())
}

/// Reads one object.
pub(super) fn observe<K: Watched>(object: Guarded<K>) -> Observed {
    let (metadata, spec, status) = match object {
        Guarded::Understood(object) => object.into_parts(),
        Guarded::Malformed(malformed) => {
            let Malformed { metadata, violation, status } = *malformed;
            (metadata, Spec::Malformed(Box::new(violation)), K::status(status))
        }
    };
    let object = Object {
        key: key(K::KIND, &metadata),
        uid: metadata.uid.unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        created: metadata.creation_timestamp.map_or(0, |time| time.0.as_second()),
        labels: metadata.labels.unwrap_or_default(),
        file: None,
        spec,
    };
    Observed { object, status }
}

fn key(kind: Kind, metadata: &ObjectMeta) -> ObjectKey {
    ObjectKey::new(
        kind,
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_keeps_what_decides_about_rules() {
        let object: Guarded<RealServer> = serde_json::from_value(json!({
            "apiVersion": "lvs-operator.dev/v1alpha1", "kind": "RealServer",
            "metadata": {
                "name": "rs1", "namespace": "shop", "uid": "u1", "generation": 3,
                "creationTimestamp": "2023-11-14T22:13:20Z", "labels": {"app": "web"},
            },
            "spec": {"address": "192.168.40.12", "weight": 2},
        }))
        .unwrap();
        assert_eq!(key_of(&object).to_string(), "shop/rs1");
        let Observed { object, status } = observe(object);
        assert_eq!((object.uid.as_str(), object.generation, object.created), ("u1", 3, 1_700_000_000));
        assert_eq!(object.labels["app"], "web");
        assert_eq!(status, None);
    }

    #[test]
    fn an_object_that_cannot_be_understood_is_there_with_what_is_wrong_and_its_status() {
        let web = observe::<VirtualService>(malformed("VirtualService"));
        let rs1 = observe::<RealServer>(malformed("RealServer"));
        for object in [&web.object, &rs1.object] {
            let Spec::Malformed(violation) = &object.spec else { panic!("{:?}", object.spec) };
            assert_eq!(violation.field, "spec");
        }
        assert_eq!((web.object.key.kind, rs1.object.key.kind), (Kind::VirtualService, Kind::RealServer));
        assert_eq!(web.status.unwrap().as_virtual_service().unwrap().observed_generation, Some(3));
    }

    fn malformed<K: Watched>(kind: &str) -> Guarded<K> {
        serde_json::from_value(json!({
            "apiVersion": "lvs-operator.dev/v1alpha1", "kind": kind,
            "metadata": {"name": "bad", "namespace": "default"}, "spec": 7,
            "status": {"observedGeneration": 3},
        }))
        .unwrap()
    }
}
