//! From a file's bytes to objects, or to everything that is wrong with the file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lvs_crds::{DirectorSpec, GROUP, RealServerSpec, VERSION, VirtualServiceSpec};
use lvs_plan::{Kind, ObjectKey, Spec};
use serde::de::DeserializeOwned;

use super::tree::{self, Node, Position, Value};
use super::typed::{self, Fault, Path};

/// More findings of one file than this are counted, not listed.
const MAX_FAULTS: usize = 20;

/// The fields that every object has at its top.
const TOP_LEVEL: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
/// The fields of a `List`.
const LIST_TOP_LEVEL: [&str; 4] = ["apiVersion", "kind", "metadata", "items"];

/// An object as a file declares it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Declared {
    pub(super) key: ObjectKey,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) spec: Spec,
    /// Where it begins.
    pub(super) at: Position,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parsed {
    pub(super) objects: Vec<Declared>,
    /// `apiVersion` and kind of objects of other groups, which are none of our business.
    pub(super) skipped: BTreeSet<String>,
}

/// Reads a file. It is good as a whole or not at all.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Vec<Fault>> {
    let mut file = Reading::default();
    tree::documents(bytes, |document| match document {
        Ok(node) => file.document(&node, &Path::Root),
        Err(error) => file.fault(Fault { at: error.at, field: String::new(), message: error.message }),
    });
    file.finish()
}

#[derive(Default)]
struct Reading {
    parsed: Parsed,
    places: BTreeMap<ObjectKey, Position>,
    faults: Vec<Fault>,
    unlisted: usize,
}

impl Reading {
    fn finish(mut self) -> Result<Parsed, Vec<Fault>> {
        if self.faults.is_empty() {
            return Ok(self.parsed);
        }
        if self.unlisted > 0 {
            let message = format!("{} more errors in this file are not listed", self.unlisted);
            self.faults.push(Fault { at: Position::default(), field: String::new(), message });
        }
        Err(self.faults)
    }

    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        } else {
            self.unlisted += 1;
        }
    }

    fn document(&mut self, node: &Node, path: &Path<'_>) {
        if !matches!(node.value, Value::Map(_)) {
            self.fault(Fault {
                at: node.at,
                field: path.to_string(),
                message: format!("this is {}, not an object with apiVersion and kind", node.value.describe()),
            });
            return;
        }
        let (Some(api_version), Some(kind)) =
            (self.word(node, path, "apiVersion"), self.word(node, path, "kind"))
        else {
            return;
        };
        if api_version == "v1" && kind == "List" {
            return self.list(node, path);
        }
        match api_version.split_once('/') {
            Some((GROUP, VERSION)) => self.object(node, path, kind),
            Some((GROUP, version)) => self.at_entry(
                node,
                path,
                "apiVersion",
                format!("the group {GROUP} has no version {version:?}; use {GROUP}/{VERSION}"),
            ),
            _ => {
                self.parsed.skipped.insert(format!("{api_version} {kind}"));
            }
        }
    }

    /// A required string at the top of a document.
    fn word<'n>(&mut self, node: &'n Node, path: &Path<'_>, key: &str) -> Option<&'n str> {
        let (at, message) = match node.entry(key) {
            Some(entry) => match &entry.node.value {
                Value::Text(word) => return Some(word),
                other => (entry.node.at, format!("this is {}, not a string", other.describe())),
            },
            None => (node.at, format!("the field `{key}` is missing")),
        };
        self.fault(Fault { at, field: Path::Key(path, key).to_string(), message });
        None
    }

    fn list(&mut self, node: &Node, path: &Path<'_>) {
        self.unknown_fields(node, path, &LIST_TOP_LEVEL);
        let Some(entry) = node.entry("items") else { return };
        let path = Path::Key(path, "items");
        match &entry.node.value {
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.document(item, &Path::Index(&path, index));
                }
            }
            Value::Null => {}
            other => self.fault(Fault {
                at: entry.node.at,
                field: path.to_string(),
                message: format!("this is {}, not a list of objects", other.describe()),
            }),
        }
    }

    fn object(&mut self, node: &Node, path: &Path<'_>, kind: &str) {
        let (kind, read_spec): (Kind, ReadSpec) = match kind {
            "VirtualService" => (Kind::VirtualService, |node, path, faults| {
                spec::<VirtualServiceSpec>(node, path, faults)
                    .map(|spec| Spec::VirtualService(Arc::new(spec)))
            }),
            "RealServer" => (Kind::RealServer, |node, path, faults| {
                spec::<RealServerSpec>(node, path, faults).map(|spec| Spec::RealServer(Arc::new(spec)))
            }),
            "Director" => (Kind::Director, |node, path, faults| {
                spec::<DirectorSpec>(node, path, faults).map(|spec| Spec::Director(Arc::new(spec)))
            }),
            other => {
                let message = format!(
                    "{GROUP}/{VERSION} has no kind {other:?}; it has VirtualService, RealServer and Director"
                );
                return self.at_entry(node, path, "kind", message);
            }
        };
        self.unknown_fields(node, path, &TOP_LEVEL);
        let mut faults = Vec::new();
        let meta = metadata(node, path, kind, &mut faults);
        let spec = read_spec(node, path, &mut faults);
        for fault in faults {
            self.fault(fault);
        }
        let (Some((key, labels)), Some(spec)) = (meta, spec) else { return };
        if let Some(first) = self.places.insert(key.clone(), node.at) {
            return self.fault(Fault {
                at: node.at,
                field: path.to_string(),
                message: format!(
                    "{} {key} is in this file twice, first at line {}",
                    kind.as_str(),
                    first.line
                ),
            });
        }
        self.parsed.objects.push(Declared { key, labels, spec, at: node.at });
    }

    fn unknown_fields(&mut self, node: &Node, path: &Path<'_>, known: &[&str]) {
        let Value::Map(entries) = &node.value else { return };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            self.fault(typed::unknown_field(entry, path, known));
        }
    }

    fn at_entry(&mut self, node: &Node, path: &Path<'_>, key: &str, message: String) {
        let at = node.entry(key).map_or(node.at, |entry| entry.node.at);
        self.fault(Fault { at, field: Path::Key(path, key).to_string(), message });
    }
}

type ReadSpec = fn(&Node, &Path<'_>, &mut Vec<Fault>) -> Option<Spec>;

fn spec<T: DeserializeOwned>(node: &Node, path: &Path<'_>, faults: &mut Vec<Fault>) -> Option<T> {
    let entry = required(node, path, "spec", faults)?;
    typed::read(entry, &Path::Key(path, "spec"), faults)
}

fn metadata(
    node: &Node,
    path: &Path<'_>,
    kind: Kind,
    faults: &mut Vec<Fault>,
) -> Option<(ObjectKey, BTreeMap<String, String>)> {
    let entry = required(node, path, "metadata", faults)?;
    let path = Path::Key(path, "metadata");
    let meta: ObjectMeta = typed::read(entry, &path, faults)?;
    let before = faults.len();
    // As an API server does, a namespace of a kind that has none is passed over.
    let namespace = match kind {
        Kind::Director => String::new(),
        Kind::VirtualService | Kind::RealServer => meta.namespace.unwrap_or_else(|| "default".to_owned()),
    };
    if kind != Kind::Director && !is_label(&namespace) {
        faults.push(bad_name(entry, &path, "namespace", &namespace, "of at most 63 of a-z 0-9 -"));
    }
    match &meta.name {
        None => faults.push(Fault {
            at: entry.at,
            field: Path::Key(&path, "name").to_string(),
            message: "the field `name` is missing".to_owned(),
        }),
        Some(name) if !is_subdomain(name) => {
            faults.push(bad_name(entry, &path, "name", name, "of at most 253 of a-z 0-9 - ."));
        }
        Some(_) => {}
    }
    (faults.len() == before).then(|| {
        (ObjectKey::new(kind, &namespace, &meta.name.unwrap_or_default()), meta.labels.unwrap_or_default())
    })
}

fn required<'n>(node: &'n Node, path: &Path<'_>, key: &str, faults: &mut Vec<Fault>) -> Option<&'n Node> {
    match node.entry(key) {
        Some(entry) if entry.node.value != Value::Null => Some(&entry.node),
        _ => {
            faults.push(Fault {
                at: node.at,
                field: Path::Key(path, key).to_string(),
                message: format!("the field `{key}` is missing"),
            });
            None
        }
    }
}

fn bad_name(metadata: &Node, path: &Path<'_>, field: &str, value: &str, rule: &str) -> Fault {
    Fault {
        at: metadata.entry(field).map_or(metadata.at, |entry| entry.node.at),
        field: Path::Key(path, field).to_string(),
        message: format!("{value:?} is not a name {rule}, with a letter or digit at both ends"),
    }
}

/// RFC 1123's label in lower case, as Kubernetes wants it of a namespace.
fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 63
        && name.bytes().all(|byte| inner(byte) || byte == b'-')
        && name.bytes().next().is_some_and(inner)
        && name.bytes().last().is_some_and(inner)
}

/// RFC 1123's subdomain in lower case, as Kubernetes wants it of an object's name. Unlike in DNS a part may be
/// longer than 63.
fn is_subdomain(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 253
        && name.split('.').all(|part| {
            part.bytes().all(|byte| inner(byte) || byte == b'-')
                && part.bytes().next().is_some_and(inner)
                && part.bytes().last().is_some_and(inner)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "apiVersion: lvs-operator.dev/v1alpha1\nkind: VirtualService\nmetadata: {name: web}\n\
                       spec: {vip: 172.16.21.10, ports: [{port: 80}]}\n";
    const RS1: &str = "apiVersion: lvs-operator.dev/v1alpha1\nkind: RealServer\n\
                       metadata: {name: rs1, namespace: shop, labels: {app: web}}\nspec: {address: 192.168.40.12}\n";

    fn faults(text: &str) -> Vec<Fault> {
        parse(text.as_bytes()).expect_err("the test's file is bad")
    }

    fn only_fault(text: &str) -> (u64, String, String) {
        let faults = faults(text);
        assert_eq!(faults.len(), 1, "{faults:?}");
        (faults[0].at.line, faults[0].field.clone(), faults[0].message.clone())
    }

    #[test]
    fn several_documents_and_lists_give_their_objects_with_the_namespace_default() {
        let indented: String = RS1.lines().map(|line| format!("  {line}\n")).collect();
        let list = format!("apiVersion: v1\nkind: List\nmetadata: {{}}\nitems:\n-{}", &indented[1..]);
        let parsed = parse(format!("{WEB}---\n{list}").as_bytes()).unwrap();
        let keys: Vec<_> = parsed.objects.iter().map(|object| object.key.clone()).collect();
        assert_eq!(
            keys,
            [
                ObjectKey::new(Kind::VirtualService, "default", "web"),
                ObjectKey::new(Kind::RealServer, "shop", "rs1")
            ]
        );
        assert_eq!(parsed.objects[1].labels["app"], "web");
    }

    #[test]
    fn a_director_has_no_namespace_whatever_its_document_says() {
        let director = "apiVersion: lvs-operator.dev/v1alpha1\nkind: Director\n\
                        metadata: {name: d1, namespace: shop}\nspec: {timeouts: {udp: 30}}\n";
        let parsed = parse(director.as_bytes()).unwrap();
        assert_eq!(parsed.objects[0].key, ObjectKey::new(Kind::Director, "", "d1"));
        assert_eq!(parsed.objects[0].key.to_string(), "d1");
        let Spec::Director(spec) = &parsed.objects[0].spec else { panic!("a Director") };
        assert_eq!(spec.timeouts.unwrap().udp, Some(30));
        let (line, field, _) = only_fault(&director.replace("udp", "upd"));
        assert_eq!((line, field.as_str()), (4, "spec.timeouts.upd"));
    }

    #[test]
    fn json_is_good_too() {
        let json = r#"{"apiVersion": "lvs-operator.dev/v1alpha1", "kind": "RealServer",
            "metadata": {"name": "rs1"}, "spec": {"address": "192.168.40.12", "weight": 2}}"#;
        let parsed = parse(json.as_bytes()).unwrap();
        let Spec::RealServer(spec) = &parsed.objects[0].spec else { panic!("a real server") };
        assert_eq!(spec.weight, 2);
    }

    #[test]
    fn other_groups_are_skipped_whatever_they_hold() {
        let text = format!("apiVersion: v1\nkind: Service\nspec: {{anything: [1]}}\n---\n{WEB}");
        let parsed = parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.objects.len(), 1);
        assert_eq!(parsed.skipped, BTreeSet::from(["v1 Service".to_owned()]));
    }

    #[test]
    fn an_unknown_kind_or_version_of_our_group_is_an_error() {
        let (line, field, message) = only_fault(&WEB.replace("VirtualService", "VirtualServer"));
        assert_eq!((line, field.as_str()), (2, "kind"));
        assert!(message.contains("\"VirtualServer\""), "{message}");
        let (line, field, message) = only_fault(&WEB.replace("v1alpha1", "v1"));
        assert_eq!((line, field.as_str()), (1, "apiVersion"));
        assert!(message.contains("use lvs-operator.dev/v1alpha1"), "{message}");
    }

    #[test]
    fn status_is_ignored_with_whatever_is_in_it() {
        let with_status = format!("{WEB}status: [what, ever]\n");
        assert_eq!(parse(with_status.as_bytes()), parse(WEB.as_bytes()));
    }

    #[test]
    fn an_unknown_field_anywhere_makes_the_file_bad_and_all_are_listed() {
        let text =
            format!("{}---\n{}extra: 1\n", WEB.replace("vip:", "vpi:"), RS1.replace("labels", "lables"));
        let fields: Vec<_> = faults(&text).into_iter().map(|fault| (fault.at.line, fault.field)).collect();
        assert_eq!(
            fields,
            [(4, "spec.vpi".to_owned()), (10, "extra".to_owned()), (8, "metadata.lables".to_owned()),]
        );
    }

    #[test]
    fn a_fault_inside_a_list_has_the_way_from_the_root() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: lvs-operator.dev/v1alpha1\n  \
                    kind: RealServer\n  metadata: {name: a}\n  spec: {address: 192.0.2.1, weight: heavy}\n";
        let (line, field, message) = only_fault(text);
        assert_eq!((line, field.as_str()), (7, "items[0].spec.weight"));
        assert!(message.contains("heavy"), "{message}");
    }

    #[test]
    fn what_every_object_needs_is_named_when_it_is_missing() {
        for (text, field) in [
            (WEB.replace("kind: VirtualService\n", ""), "kind"),
            (WEB.replace("metadata: {name: web}\n", ""), "metadata"),
            (WEB.replace("name: web", "namespace: web"), "metadata.name"),
            (WEB.replace("spec: {", "status: {"), "spec"),
            ("just text\n".to_owned(), ""),
            ("apiVersion: 1\nkind: List\n".to_owned(), "apiVersion"),
            ("apiVersion: v1\nkind: List\nitems: {a: b}\n".to_owned(), "items"),
        ] {
            assert_eq!(only_fault(&text).1, field, "{text}");
        }
    }

    #[test]
    fn names_that_the_api_server_would_refuse_are_refused() {
        for name in ["Web", "-web", "web-", "a_b", "''", "a..b"] {
            let (line, field, _) = only_fault(&WEB.replace("name: web", &format!("name: {name}")));
            assert_eq!((line, field.as_str()), (3, "metadata.name"), "{name}");
        }
        assert!(parse(WEB.replace("name: web", "name: a.b-1").as_bytes()).is_ok());
        assert_eq!(only_fault(&RS1.replace("shop", "a.b")).1, "metadata.namespace");
    }

    #[test]
    fn the_same_object_twice_in_one_file_is_an_error_at_the_second() {
        let (line, _, message) = only_fault(&format!("{WEB}---\n{WEB}"));
        assert_eq!(line, 6);
        assert!(message.contains("default/web") && message.contains("line 1"), "{message}");
    }

    #[test]
    fn a_flood_of_faults_is_counted_not_listed() {
        let extra: String = (0..100).map(|number| format!("x{number}: 1\n")).collect();
        let faults = faults(&format!("{WEB}{extra}"));
        assert_eq!(faults.len(), MAX_FAULTS + 1);
        assert_eq!(faults[MAX_FAULTS].message, "80 more errors in this file are not listed");
    }
}
