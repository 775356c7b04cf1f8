//! What a Director needs from the network below IPVS: which links, addresses and routes the host has,
//! putting a VIP on a link and taking it off, telling neighbours where the VIP lives now, and finding out
//! first whether a stranger already answers for it.
//!
//! | module | holds | does I/O |
//! |---|---|---|
//! | [`link`] | links, addresses and routes as values, [`link::Snapshot`] | no |
//! | [`interface`] | which link a VIP belongs on | no |
//! | [`ethernet`], [`arp`], [`ndp`] | frames: encode and parse | no |
//! | [`announce`] | when to announce ([`announce::Schedule`]) and sending it ([`announce::Announcer`]) | sending only |
//! | [`sighting`] | what a received frame says about an address | no |
//! | [`probe`] | does anybody else hold this VIP, or ask for it too? | yes |
//! | [`listen`] | does anybody claim a VIP that we hold? | yes |
//! | [`netlink`], [`monitor`] | rtnetlink: read, bind, unbind, watch | yes |
//! | [`sysctl`], [`preflight`] | reading `/proc/sys/net`, and what in it stops a Director | reading only |
//! | [`identity`] | boot, network namespace and capabilities of this process | reading only |
//!
//! Everything acts on the network namespace of the calling thread.

pub mod announce;
pub mod arp;
mod decode;
pub mod ethernet;
mod filter;
pub mod identity;
pub mod interface;
pub mod link;
pub mod listen;
mod membership;
pub mod monitor;
pub mod ndp;
pub mod netlink;
mod packet;
pub mod preflight;
pub mod probe;
pub mod segment;
pub mod sighting;
pub mod sysctl;

pub use listen::Listener;
pub use monitor::{Event, Monitor};
pub use netlink::{Error, Net};

/// The `IFA_PROTO` value that marks an address as bound by this project. Kernels older than 5.18
/// ignore the mark, and it reads back as absent.
pub const OUR_PROTOCOL: u8 = 76;
