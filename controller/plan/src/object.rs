//! Objects as the pure part sees them: the same whether they come from the API server or from a file.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher as _, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use lvs_crds::{DirectorSpec, RealServerSpec, VirtualServiceSpec};

use crate::health::{Check, Policy};
use crate::selector::Selector;
use crate::service::{Family, ServiceKey, ServiceSettings};
use crate::validate::Violation;

/// The kinds. All but the Director, which is about the node, decide about rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `Director`, which has no namespace.
    Director,
    /// `RealServer`.
    RealServer,
    /// `VirtualService`.
    VirtualService,
}

impl Kind {
    /// The kind as manifests spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Director => "Director",
            Self::RealServer => "RealServer",
            Self::VirtualService => "VirtualService",
        }
    }
}

/// What identifies an object. Sorts by kind, namespace, name. Cheap to clone, and no larger than a pointer: some forty
/// copies of it are kept for each virtual service. Cheap to look up too: its parts are hashed once, when it is made.
#[derive(Clone)]
pub struct ObjectKey(Arc<KeyParts>);

/// What an [`ObjectKey`] consists of.
#[derive(Debug)]
pub struct KeyParts {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty of a kind that has none.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
    /// Of the parts above. Short, so that it fits beside the kind.
    hash: u32,
}

/// One for all keys of this process: nobody outside can choose names whose hashes collide.
static HASHED_BY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl ObjectKey {
    /// A key from borrowed parts.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self::of_parts(kind, namespace.into(), name.into())
    }

    /// A key from parts that others may share.
    pub fn of_parts(kind: Kind, namespace: Arc<str>, name: Arc<str>) -> Self {
        let hash = HASHED_BY.hash_one((kind, &namespace, &name)) as u32;
        Self(Arc::new(KeyParts { kind, namespace, name, hash }))
    }
}

impl PartialEq for ObjectKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.hash == other.hash
                && (&self.name, &self.namespace, self.kind) == (&other.name, &other.namespace, other.kind))
    }
}

impl Eq for ObjectKey {}

impl Hash for ObjectKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.hash);
    }
}

impl Deref for ObjectKey {
    type Target = KeyParts;

    fn deref(&self) -> &KeyParts {
        &self.0
    }
}

impl Ord for ObjectKey {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        let by_namespace = || {
            if Arc::ptr_eq(&self.namespace, &other.namespace) {
                Ordering::Equal
            } else {
                self.namespace.cmp(&other.namespace)
            }
        };
        self.kind.cmp(&other.kind).then_with(by_namespace).then_with(|| self.name.cmp(&other.name))
    }
}

impl PartialOrd for ObjectKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", self.kind.as_str())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object as a source hands it over.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Who it is.
    pub key: ObjectKey,
    /// `metadata.uid`, empty from files.
    pub uid: String,
    /// `metadata.generation`; from files a counter of spec changes that starts at 1.
    pub generation: i64,
    /// `metadata.creationTimestamp`, seconds since 1970; from files 0, so that the name decides who is older.
    pub created: i64,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// The manifest file, if it came from one (its name within the directory).
    pub file: Option<Arc<str>>,
    /// The spec.
    pub spec: Spec,
}

/// The spec of any kind. Which one a malformed spec should have been, the object's key says.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// Of a `VirtualService`.
    VirtualService(Arc<VirtualServiceSpec>),
    /// Of a `RealServer`.
    RealServer(Arc<RealServerSpec>),
    /// Of a `Director`.
    Director(Arc<DirectorSpec>),
    /// It does not fit the types of this version of the API: where, and why.
    Malformed(Box<Violation>),
}

/// A `VirtualServiceSpec` that keeps every rule, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidVirtualService {
    /// The services it asks for; never empty, sorted, without duplicates.
    pub services: Vec<ServiceKey>,
    /// The family of all of them.
    pub family: Family,
    /// The settings that all of them share.
    pub settings: ServiceSettings,
    /// Which real servers it uses.
    pub selector: Selector,
    /// What it says of health; `None` if nothing. See [`Self::policy`].
    pub policy: Option<Arc<Policy>>,
}

impl ValidVirtualService {
    /// How it treats its real servers.
    pub fn policy(&self) -> &Policy {
        self.policy.as_deref().unwrap_or_else(|| Policy::of_nothing_said())
    }
}

/// A `RealServerSpec` that keeps every rule, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidRealServer {
    /// The RIP.
    pub address: IpAddr,
    /// The declared weight.
    pub weight: u16,
    /// Weight 0 in force.
    pub drain: bool,
    /// 0 = off.
    pub upper_threshold: u32,
    /// 0 = off.
    pub lower_threshold: u32,
    /// Restricts the server to this port.
    pub port: Option<u16>,
    /// Left out of every service.
    pub maintenance: bool,
    /// How it is checked, if not as the virtual service says.
    pub check: Option<Arc<Check>>,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_made_apart_are_one_key_and_sort_by_kind_namespace_and_name() {
        let key = |kind, namespace, name| ObjectKey::new(kind, namespace, name);
        let sorted = [
            key(Kind::Director, "", "d1"),
            key(Kind::RealServer, "b", "a"),
            key(Kind::VirtualService, "a", "a"),
            key(Kind::VirtualService, "a", "b"),
            key(Kind::VirtualService, "b", "a"),
        ];
        let again: HashSet<ObjectKey> =
            sorted.iter().map(|it| key(it.kind, &it.namespace, &it.name)).collect();
        for (place, one) in sorted.iter().enumerate() {
            assert!(again.contains(one), "{one:?}");
            for (other_place, other) in sorted.iter().enumerate() {
                assert_eq!(one.cmp(other), place.cmp(&other_place), "{one:?} and {other:?}");
                assert_eq!(one == other, place == other_place);
            }
        }
    }
}
