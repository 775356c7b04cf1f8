//! Objects as the API server sends them, read so that one that cannot be understood never ends a watch.
//!
//! What is not needed (managed fields, annotations) is dropped before it is parsed. An object whose status cannot
//! be understood, because another version of this program wrote it, is read without it: a status says what
//! was observed, the spec says what is wanted.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::Value;

/// A `K`, or the metadata of an object that should have been one.
#[derive(Clone, Debug)]
pub(super) struct Guarded<K>(pub(super) DeserializeGuard<K>);

impl<'de, K> Deserialize<'de> for Guarded<K>
where
    K: DeserializeOwned + Resource,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            metadata.remove("managedFields");
            metadata.remove("annotations");
        }
        if let Ok(object) = K::deserialize(&value) {
            return Ok(Self(DeserializeGuard(Ok(object))));
        }
        if let Value::Object(fields) = &mut value {
            fields.remove("status");
        }
        let object = match K::deserialize(&value) {
            Ok(object) => Ok(object),
            Err(error) => {
                let metadata = value.get_mut("metadata").map(Value::take).unwrap_or_default();
                let metadata = ObjectMeta::deserialize(metadata).map_err(D::Error::custom)?;
                Err(InvalidObject { error: error.to_string(), metadata })
            }
        };
        Ok(Self(DeserializeGuard(object)))
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    use lvs_crds::VirtualService;
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Guarded<VirtualService> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_status_of_another_version_does_not_hide_the_spec() {
        let object = read(json!({
            "apiVersion": "lvs-operator.dev/v1alpha1", "kind": "VirtualService",
            "metadata": {"name": "web", "namespace": "default", "managedFields": [{"manager": "kubectl"}]},
            "spec": {"vip": "172.16.21.10"},
            "status": {"directors": [{"name": "d1", "role": "ARoleOfTheFuture", "programmed": true}]},
        }));
        let object = object.0.0.expect("the spec is fine");
        assert_eq!(object.spec.vip.as_deref(), Some("172.16.21.10"));
        assert!(object.status.is_none() && object.metadata.managed_fields.is_none());
    }

    #[test]
    fn an_object_that_cannot_be_understood_keeps_its_name() {
        let object = read(json!({
            "apiVersion": "lvs-operator.dev/v1alpha1", "kind": "VirtualService",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"vip": 7},
        }));
        assert_eq!(object.meta().name.as_deref(), Some("web"));
        assert!(object.0.0.unwrap_err().error.contains("invalid type"));
    }
}
