//! Objects as the pure part sees them: the same whether they come from the API server or from a file.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use lvs_crds::{RealServerSpec, VirtualServiceSpec};

use crate::selector::Selector;
use crate::service::{Family, ServiceKey, ServiceSettings};
use crate::validate::Violation;

/// The kinds that decide about rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `RealServer`.
    RealServer,
    /// `VirtualService`.
    VirtualService,
}

impl Kind {
    /// The kind as manifests spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RealServer => "RealServer",
            Self::VirtualService => "VirtualService",
        }
    }
}

/// What identifies an object. Sorts by kind, namespace, name. Cheap to clone, and no larger than a pointer: some forty
/// copies of it are kept for each virtual service.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ObjectKey(Arc<KeyParts>);

/// What an [`ObjectKey`] consists of.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyParts {
    /// The kind.
    pub kind: Kind,
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key from borrowed parts.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self::of_parts(kind, namespace.into(), name.into())
    }

    /// A key from parts that others may share.
    pub fn of_parts(kind: Kind, namespace: Arc<str>, name: Arc<str>) -> Self {
        Self(Arc::new(KeyParts { kind, namespace, name }))
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
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
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

/// The spec of either kind. Which one a malformed spec should have been, the object's key says.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// Of a `VirtualService`.
    VirtualService(Arc<VirtualServiceSpec>),
    /// Of a `RealServer`.
    RealServer(Arc<RealServerSpec>),
    /// It does not fit the types of this version of the API: where, and why.
    Malformed(Violation),
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
}
