//! `metav1.LabelSelector` for ten thousand objects.

use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use litemap::LiteMap;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use v1::LabelSelectorRequirement;

/// A label selector, the same in every manifest and in the schema as `metav1.LabelSelector`. That one keeps its labels
/// in a `BTreeMap`, which takes more than 500 bytes for a single one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(with = "v1::LabelSelector")]
pub struct LabelSelector {
    /// Requirements that must all hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_expressions: Option<Vec<LabelSelectorRequirement>>,
    /// Labels that must all be there with these values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<Labels>,
}

/// Labels with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(LiteMap<String, String>);

impl Labels {
    /// The value of a label, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Each label with its value, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(labels: I) -> Self {
        let labels = labels.into_iter();
        // Most name one, and what is kept has no room to spare.
        let mut map = LiteMap::with_capacity(labels.size_hint().0.max(1));
        map.extend(labels);
        Self(map)
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::collections::BTreeMap::<String, String>::deserialize(deserializer)
            .map(|labels| labels.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_reads_and_writes_as_that_of_kubernetes() {
        for text in [
            json!({}),
            json!({"matchLabels": {}}),
            json!({"matchLabels": {"tier": "web", "app": "shop"}}),
            json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a"]}], "matchLabels": {"a": "b"}}),
        ] {
            let ours: LabelSelector = serde_json::from_value(text.clone()).unwrap();
            let theirs: v1::LabelSelector = serde_json::from_value(text.clone()).unwrap();
            assert_eq!(serde_json::to_string(&ours).unwrap(), serde_json::to_string(&theirs).unwrap());
            let labels: Vec<_> = ours.match_labels.iter().flat_map(Labels::iter).collect();
            let theirs = theirs.match_labels.unwrap_or_default();
            assert!(
                labels.into_iter().eq(theirs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            );
        }
        for bad in
            [json!({"matchLabels": {"app": 1}}), json!({"matchLabels": []}), json!({"matchExpressions": {}})]
        {
            assert!(serde_json::from_value::<LabelSelector>(bad.clone()).is_err(), "{bad}");
            assert!(serde_json::from_value::<v1::LabelSelector>(bad).is_err());
        }
    }
}
