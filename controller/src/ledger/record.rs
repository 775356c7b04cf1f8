//! The ledger's format on disk.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use lvs_plan::service::{Family, Protocol};
use lvs_plan::{Kind, ObjectKey, ServiceKey};
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::memory::Memory;
use super::{Entry, Life, Origin, State};

/// The format's version: a program refuses a later one, because it cannot tell what it would lose. Version 2 added
/// services that are about to be removed; all else is as in version 1.
pub(super) const VERSION: u64 = 2;
/// What can be read.
pub(super) const READABLE: RangeInclusive<u64> = 1..=VERSION;

/// A shared string. (serde's own `Deserialize` for `Arc<str>` is behind a feature that would then be on for all.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text(pub(super) Arc<str>);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

/// A service's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Service {
    Address { vip: IpAddr, protocol: Protocol, port: u16 },
    FirewallMark { mark: u32, family: Family },
}

impl From<ServiceKey> for Service {
    fn from(key: ServiceKey) -> Self {
        match key {
            ServiceKey::Address { vip, protocol, port } => Self::Address { vip, protocol, port },
            ServiceKey::FirewallMark { mark, family } => Self::FirewallMark { mark, family },
        }
    }
}

impl From<Service> for ServiceKey {
    fn from(service: Service) -> Self {
        match service {
            Service::Address { vip, protocol, port } => Self::Address { vip, protocol, port },
            Service::FirewallMark { mark, family } => Self::FirewallMark { mark, family },
        }
    }
}

/// The `VirtualService` that a service comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "ObjectName")]
pub(super) struct Object(ObjectKey);

/// How it is written.
#[derive(Deserialize)]
struct ObjectName {
    namespace: Text,
    name: Text,
}

impl From<ObjectName> for Object {
    fn from(ObjectName { namespace: Text(namespace), name: Text(name) }: ObjectName) -> Self {
        Self(ObjectKey::of_parts(Kind::VirtualService, namespace, name))
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Object", 2)?;
        object.serialize_field("namespace", &*self.0.namespace)?;
        object.serialize_field("name", &*self.0.name)?;
        object.end()
    }
}

impl Object {
    pub(super) fn origin(&self, file: Option<&Text>) -> Origin {
        Origin { object: self.0.clone(), file: file.map(|Text(file)| Arc::clone(file)) }
    }
}

impl From<&ObjectKey> for Object {
    fn from(key: &ObjectKey) -> Self {
        Self(key.clone())
    }
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(super) enum Record {
    Intent {
        service: Service,
        object: Object,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<Text>,
    },
    Confirm {
        service: Service,
    },
    Leave {
        service: Service,
        /// All of it as it stands in the kernel, in words.
        was: Text,
    },
    Forget {
        service: Service,
    },
    Vip {
        address: IpAddr,
        link: Text,
    },
    ForgetVip {
        address: IpAddr,
    },
}

impl Record {
    pub(super) fn intent(key: ServiceKey, origin: Origin) -> Self {
        Self::Intent { service: key.into(), object: (&origin.object).into(), file: origin.file.map(Text) }
    }

    pub(super) fn confirm(key: ServiceKey) -> Self {
        Self::Confirm { service: key.into() }
    }

    pub(super) fn leave(key: ServiceKey, was: Arc<str>) -> Self {
        Self::Leave { service: key.into(), was: Text(was) }
    }

    pub(super) fn forget(key: ServiceKey) -> Self {
        Self::Forget { service: key.into() }
    }

    /// Whether it says what is so in the kernel already, and not what is about to happen there.
    pub(super) fn is_fact(&self) -> bool {
        match self {
            Self::Confirm { .. } | Self::Forget { .. } | Self::ForgetVip { .. } => true,
            Self::Intent { .. } | Self::Leave { .. } | Self::Vip { .. } => false,
        }
    }
}

/// The first line of the journal: which snapshot it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JournalHead {
    pub(super) version: u64,
    pub(super) follows: u64,
}

/// Read first, so that a later version is told from a corrupt file.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct VersionOnly {
    pub(super) version: u64,
}

/// The snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Snapshot {
    version: u64,
    boot_id: String,
    netns: u64,
    /// Counts the snapshots, so that a journal is never applied to another one than its own.
    pub(super) number: u64,
    services: Vec<SnapshotService>,
    vips: Vec<SnapshotVip>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SnapshotService {
    service: Service,
    object: Object,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<Text>,
    confirmed: bool,
    /// Of one that is about to be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    was: Option<Text>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SnapshotVip {
    address: IpAddr,
    link: Text,
}

impl Snapshot {
    pub(super) fn of(memory: &Memory, life: &Life, number: u64) -> Self {
        let Life { boot_id, netns } = life.clone();
        let services = memory.services.iter().map(|(key, Entry { origin, state })| SnapshotService {
            service: (*key).into(),
            object: (&origin.object).into(),
            file: origin.file.clone().map(Text),
            confirmed: *state == State::Confirmed,
            was: match state {
                State::Leaving { was } => Some(Text(Arc::clone(was))),
                State::Intent | State::Confirmed => None,
            },
        });
        let vips = memory
            .vips
            .iter()
            .map(|(address, link)| SnapshotVip { address: *address, link: Text(Arc::clone(link)) });
        Self { version: VERSION, boot_id, netns, number, services: services.collect(), vips: vips.collect() }
    }

    /// Whether it is about the kernel of this life.
    pub(super) fn is_of(&self, life: &Life) -> bool {
        self.boot_id == life.boot_id && self.netns == life.netns
    }

    pub(super) fn into_memory(self) -> Memory {
        let services =
            self.services.into_iter().map(|SnapshotService { service, object, file, confirmed, was }| {
                let state = match was {
                    Some(Text(was)) => State::Leaving { was },
                    None if confirmed => State::Confirmed,
                    None => State::Intent,
                };
                (service.into(), Entry { origin: object.origin(file.as_ref()), state })
            });
        let vips = self.vips.into_iter().map(|SnapshotVip { address, link: Text(link) }| (address, link));
        Memory { services: services.collect(), vips: vips.collect() }
    }
}
