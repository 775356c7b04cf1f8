//! The CRD manifests under `crds/yaml/`, generated from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::{Director, RealServer, VirtualService};

const HEADER: &str =
    "# Generated from crds/src by `cargo crdgen`: change the types or rules there, then run it again.\n";

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The file's name in `crds/yaml/`.
    pub file: String,
    /// What is in it.
    pub text: String,
}

/// The CRDs, sorted by file name.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![Director::crd(), RealServer::crd(), VirtualService::crd()]
}

/// The manifests, sorted by file name.
pub fn manifests() -> Vec<Manifest> {
    crds().iter().map(manifest).collect()
}

fn manifest(crd: &CustomResourceDefinition) -> Manifest {
    let mut value = serde_json::to_value(crd).expect("a CRD is JSON");
    whole_numbers(&mut value);
    let body = serde_saphyr::to_string(&value).expect("JSON is YAML");
    let name = crd.metadata.name.as_deref().expect("a derived CRD has a name");
    Manifest { file: format!("{name}.yaml"), text: format!("{HEADER}{}\n", body.trim_end()) }
}

/// `k8s-openapi` keeps limits as floating point; `maximum: 65535.0` is right but reads wrong.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            // Every limit is far below 2^53, where floating point stops being exact.
            if let Some(float) = number.as_f64()
                && number.is_f64()
                && float.fract() == 0.0
            {
                *value = Value::from(float as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_files_in_crds_yaml_are_those_that_the_types_give() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml");
        let entries = std::fs::read_dir(&folder).expect("crds/yaml is there");
        let found: BTreeMap<String, String> = entries
            .map(|entry| {
                let path = entry.expect("crds/yaml can be listed").path();
                let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
                (name, std::fs::read_to_string(&path).expect("it is a text file"))
            })
            .collect();
        let expected: BTreeMap<String, String> =
            manifests().into_iter().map(|manifest| (manifest.file, manifest.text)).collect();
        assert!(found.keys().eq(expected.keys()), "crds/yaml has {:?}: run `cargo crdgen`", found.keys());
        for (file, text) in &expected {
            assert!(found[file] == *text, "crds/yaml/{file} is out of date: run `cargo crdgen`");
        }
    }

    #[test]
    fn a_manifest_reads_back_as_the_crd_it_was_made_from() {
        for (crd, manifest) in crds().iter().zip(manifests()) {
            let read: CustomResourceDefinition = serde_saphyr::from_str(&manifest.text).expect("it is a CRD");
            assert_eq!(&read, crd);
        }
    }

    #[test]
    fn kubectl_get_shows_the_columns_of_the_design() {
        let columns = |crd: &CustomResourceDefinition| -> Vec<String> {
            let columns = crd.spec.versions[0].additional_printer_columns.iter().flatten();
            columns.map(|column| column.name.clone()).collect()
        };
        assert_eq!(columns(&Director::crd()), ["READY", "KERNEL-READY", "AGE"]);
        assert_eq!(columns(&RealServer::crd()), ["ADDRESS", "WEIGHT", "READY", "AGE"]);
        assert_eq!(
            columns(&VirtualService::crd()),
            ["VIP", "PORTS", "SCHEDULER", "REALSERVERS", "DIRECTOR", "READY", "AGE"]
        );
    }

    #[test]
    fn kinds_are_found_by_short_name_and_category_and_selected_by_address() {
        let facts = |crd: CustomResourceDefinition| {
            let fields = crd.spec.versions[0].selectable_fields.iter().flatten();
            let fields: Vec<String> = fields.map(|field| field.json_path.clone()).collect();
            (
                crd.spec.names.short_names.unwrap_or_default(),
                crd.spec.names.categories.unwrap_or_default(),
                fields,
            )
        };
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(facts(Director::crd()), (words(&["lvsdir"]), words(&["lvs"]), words(&[])));
        assert_eq!(facts(RealServer::crd()), (words(&["lvsrs"]), words(&["lvs"]), words(&[".spec.address"])));
        assert_eq!(facts(VirtualService::crd()), (words(&["lvsvs"]), words(&["lvs"]), words(&[".spec.vip"])));
    }

    /// API servers warn about formats they do not know, and `null` would be a third state for every rule.
    #[test]
    fn schemas_have_no_unknown_format_and_no_null_below_the_spec() {
        fn look(value: &Value, path: &str) {
            match value {
                Value::Object(fields) => {
                    if let Some(format) = fields.get("format").and_then(Value::as_str) {
                        assert!(["int32", "int64", "date-time"].contains(&format), "{path}: {format}");
                    }
                    assert!(
                        !fields.contains_key("nullable") || path.ends_with(".status"),
                        "{path} is nullable"
                    );
                    fields.iter().for_each(|(name, value)| look(value, &format!("{path}.{name}")));
                }
                Value::Array(items) => items.iter().for_each(|value| look(value, path)),
                _ => {}
            }
        }
        for crd in crds() {
            look(&serde_json::to_value(&crd).expect("a CRD is JSON"), "");
        }
    }

    /// `kubectl explain` has nothing else to teach with.
    #[test]
    fn every_field_is_described() {
        fn look(schema: &Value, path: &str) {
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}.{name}");
                assert!(field["description"].is_string(), "{path} has no description");
                look(field, &path);
                look(&field["items"], &format!("{path}[]"));
            }
        }
        for crd in crds() {
            let schema =
                crd.spec.versions[0].schema.as_ref().expect("it has one").open_api_v3_schema.as_ref();
            look(&serde_json::to_value(schema).expect("a schema is JSON"), &crd.spec.names.kind);
        }
    }
}
