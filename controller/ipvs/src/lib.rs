//! A client for the kernel's IP Virtual Server (IPVS), over generic netlink.
//!
//! A [`Client`] reads the table of a network namespace as values and carries out [`Command`]s, thousands at a
//! time. Identity, settings and statistics are types apart: two [`Service`]s are equal when their [`ServiceKey`]
//! and [`ServiceSettings`] are, whatever traffic they have seen.
//!
//! ```no_run
//! use lvs_ipvs::{Client, Command, Destination, DestinationSettings, Service, ServiceKey, ServiceSettings};
//!
//! let mut ipvs = Client::connect()?;
//! let key = ServiceKey::tcp(([172, 16, 21, 10], 80));
//! let server = Destination {
//!     key: std::net::SocketAddr::from(([192, 168, 40, 12], 80)).into(),
//!     settings: DestinationSettings::direct(1),
//! };
//! let commands = [
//!     Command::NewService(Service { key, settings: ServiceSettings::new("wlc") }),
//!     Command::NewDestination { service: key, destination: server },
//! ];
//! for (command, result) in commands.iter().zip(ipvs.batch(&commands)?) {
//!     if let Err(error) = result {
//!         eprintln!("could not {command}: {error}");
//!     }
//! }
//! # Ok::<(), lvs_ipvs::Error>(())
//! ```
//!
//! # What to know about the kernel
//! - Every call, reading too, needs `CAP_NET_ADMIN` in the initial user namespace. Network namespaces are fine.
//! - A batch is carried out command by command; a refusal stops nothing and undoes nothing.
//! - [`CommandError::Unknown`] and [`Error::CutShort`] mean that the kernel's answer was lost, not that nothing
//!   was done. Read again.
//! - IPVS has no events: look, cheaply by a [`glance`]. It has no owners either: what this process did not add
//!   belongs to somebody else, which is why there is no command that flushes the table.
//! - For about three minutes after its deletion a destination slows down every addition
//!   (`ip_vs_ctl.c`, `dest_trash`). Change settings in place, or set the weight to 0, rather than delete and add.

mod client;
mod command;
mod config;
pub mod daemon;
mod destination;
mod error;
mod glance;
mod service;
mod socket;
mod stats;
mod wire;

pub use client::Client;
pub use command::{Command, CommandError};
pub use config::{Info, Timeouts, Version};
pub use daemon::Daemon;
pub use destination::{
    Destination, DestinationEntry, DestinationKey, DestinationSettings, Forwarding, Tunnel, TunnelChecksum,
    TunnelKind,
};
pub use error::Error;
pub use glance::glance;
pub use service::{
    Family, Netmask, Persistence, Protocol, SchedulerFlags, Service, ServiceEntry, ServiceKey,
    ServiceSettings,
};
pub use socket::Options;
pub use stats::Stats;
