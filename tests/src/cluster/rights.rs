//! Which rights the agent has by its roles, and which it uses: what the API server's audit log says of its requests.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// The audit policy: one line for each request of service accounts of the operator, none of others.
pub const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: [system:serviceaccount:lvs-system:lvs-operator-director]
- level: None
";

/// A verb on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    verb: String,
    /// With its subresource and group, as in `virtualservices/status.lvs-operator.dev`.
    resource: String,
}

impl Right {
    fn new(verb: &str, resource: &str, group: &str) -> Self {
        let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        Self { verb: verb.to_owned(), resource }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)
    }
}

/// What the agents asked for.
#[derive(Debug, Default)]
pub struct Used {
    /// What was granted.
    pub granted: BTreeSet<Right>,
    /// What was not.
    pub denied: BTreeSet<Right>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    api_group: String,
}

#[derive(Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

/// Reads an audit log. Requests that are about no resource, as for the server's version, need no right.
pub fn used(log: &str) -> Used {
    const FORBIDDEN: u16 = 403;
    let mut used = Used::default();
    // The last line may be half written.
    for event in log.lines().filter_map(|line| serde_json::from_str::<Event>(line).ok()) {
        let Event { verb, object_ref: Some(object), response_status } = event else { continue };
        let ObjectRef { resource, subresource, api_group } = object;
        let resource = if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") };
        let denied = response_status.is_some_and(|status| status.code == FORBIDDEN);
        let rights = if denied { &mut used.denied } else { &mut used.granted };
        rights.insert(Right::new(&verb, &resource, &api_group));
    }
    used
}

/// The rights in a role or cluster role.
pub fn granted(role: &Value) -> BTreeSet<Right> {
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                rights.extend(strings(&rule["verbs"]).iter().map(|verb| Right::new(verb, &resource, &group)));
            }
        }
    }
    rights
}

/// Rights, one a line.
pub fn listed<'a>(rights: impl IntoIterator<Item = &'a Right>) -> String {
    rights.into_iter().map(Right::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_log_tells_what_was_granted_and_what_was_not() {
        let log = r#"{"verb":"watch","objectRef":{"resource":"realservers","apiGroup":"lvs-operator.dev"},"responseStatus":{"code":200}}
{"verb":"patch","objectRef":{"resource":"realservers","subresource":"status","apiGroup":"lvs-operator.dev"},"responseStatus":{"code":200}}
{"verb":"get","objectRef":{"resource":"nodes"},"responseStatus":{"code":404}}
{"verb":"get","objectRef":{"resource":"secrets"},"responseStatus":{"code":403}}
{"verb":"get","responseStatus":{"code":200}}
{"verb":"li"#;
        let Used { granted, denied } = used(log);
        let expected =
            "get nodes\npatch realservers/status.lvs-operator.dev\nwatch realservers.lvs-operator.dev";
        assert_eq!(listed(&granted), expected);
        assert_eq!(listed(&denied), "get secrets");
    }

    #[test]
    fn a_rule_is_every_verb_on_every_resource_of_every_group() {
        let role = serde_json::json!({"rules": [
            {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get"]},
            {"apiGroups": ["apps"], "resources": ["daemonsets"], "resourceNames": ["d"], "verbs": ["get", "watch"]},
        ]});
        let expected = "get daemonsets.apps\nget nodes\nget pods\nwatch daemonsets.apps";
        assert_eq!(listed(&granted(&role)), expected);
    }
}
