//! Objects as the API server sends them, read so that one that cannot be understood never ends a watch.
//!
//! What is not needed (managed fields, annotations) is dropped before it is parsed. An object whose status cannot
//! be understood, because another version of this program wrote it, is read without it: a status says what
//! was observed, the spec says what is wanted.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use lvs_plan::validate::Violation;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::Value;

use crate::manifests::json;

/// A `K`, or what can be known of an object that should have been one.
#[derive(Clone, Debug)]
pub(super) enum Guarded<K> {
    Understood(Box<K>),
    Malformed(Box<Malformed>),
}

/// An object that does not fit the API of this version.
#[derive(Clone, Debug)]
pub(super) struct Malformed {
    pub(super) metadata: ObjectMeta,
    /// Where it does not fit, and why.
    pub(super) violation: Violation,
    /// Its status as it is.
    pub(super) status: Value,
}

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
            return Ok(Self::Understood(Box::new(object)));
        }
        let status = match &mut value {
            Value::Object(fields) => fields.remove("status").unwrap_or_default(),
            _ => Value::Null,
        };
        match K::deserialize(&value) {
            Ok(object) => Ok(Self::Understood(Box::new(object))),
            Err(error) => {
                let Violation { field, message } = json::violation::<K>(&value)
                    .unwrap_or_else(|| Violation { field: "spec".to_owned(), message: error.to_string() });
                let message = format!("{message}; it does not fit the API of this version");
                let metadata = value.get_mut("metadata").map(Value::take).unwrap_or_default();
                let metadata = ObjectMeta::deserialize(metadata).map_err(D::Error::custom)?;
                let violation = Violation { field, message };
                Ok(Self::Malformed(Box::new(Malformed { metadata, violation, status })))
            }
        }
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
        match self {
            Self::Understood(object) => object.meta(),
            Self::Malformed(malformed) => &malformed.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Understood(object) => object.meta_mut(),
            Self::Malformed(malformed) => &mut malformed.metadata,
        }
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
        let Guarded::Understood(object) = object else { panic!("the spec is fine: {object:?}") };
        assert_eq!(object.spec.vip.as_deref(), Some("172.16.21.10"));
        assert!(object.status.is_none() && object.metadata.managed_fields.is_none());
    }

    #[test]
    fn an_object_that_cannot_be_understood_keeps_its_name_and_says_which_field_does_not_fit() {
        let object = read(json!({
            "apiVersion": "lvs-operator.dev/v1alpha1", "kind": "VirtualService",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"vip": 7},
        }));
        assert_eq!(object.meta().name.as_deref(), Some("web"));
        let Guarded::Malformed(malformed) = object else { panic!("it does not fit: {object:?}") };
        assert_eq!(malformed.violation.field, "spec.vip");
        assert!(malformed.violation.message.contains("expected a string"), "{}", malformed.violation);
    }
}
