//! Pure decisions of lvs-operator.
//!
//! Nothing in here talks to a kernel, an API server or a clock: what is known of them comes in as values. The
//! modules follow the flow of data: an object is validated (`validate`), kept with its neighbours
//! (`inventory`), turned into the services that should exist (`desired`), with what is in force of them for
//! reasons of health (`health`), compared with what the kernel holds (`diff`), which gives a [`Plan`] of
//! steps; what came of the steps becomes conditions (`conditions`).

pub mod conditions;
pub mod desired;
pub mod diff;
#[cfg(test)]
mod fixtures;
pub mod health;
pub mod inventory;
pub mod object;
pub mod outcome;
pub mod reason;
pub mod selector;
pub mod service;
pub mod settings;
pub mod step;
pub mod validate;

pub use desired::{DesiredDestination, DesiredService};
pub use inventory::{Change, Inventory};
pub use object::{Kind, Object, ObjectKey, Spec, ValidRealServer, ValidVirtualService};
pub use outcome::{Announcing, Programming};
pub use reason::Reason;
pub use selector::Selector;
pub use service::{
    DestinationKey, DestinationSettings, Family, Forwarding, Service, ServiceKey, ServiceSettings,
};
pub use step::{Plan, Step};
