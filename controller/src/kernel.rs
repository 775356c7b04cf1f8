//! The kernel as the driver sees it: IPVS table, addresses, and the network around the VIPs.
//!
//! [`Kernel`] has a real implementation (`kernel::linux`) and one in memory (`kernel::fake`) of the same shape.
//! Its calls block; the driver has a thread of its own, because IPVS commands run inside `sendmsg`.

pub mod fake;
pub mod linux;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lvs_net::announce::Announced;
use lvs_net::preflight::Finding;
use lvs_plan::diff::Probe;
use lvs_plan::settings::{Difference, Values, WriteError};
use lvs_plan::step::{Step, StepError};
use lvs_plan::{DestinationKey, Service, ServiceKey};

use crate::ledger::Ledger;

/// A table of services.
pub type Table = BTreeMap<ServiceKey, Service>;

/// A fingerprint of each service that is there, of anybody's.
pub type Glance = HashMap<ServiceKey, u64>;

/// Why the kernel could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// IPVS is not there or does not let us in.
    #[error("{0}")]
    Ipvs(String),
    /// The answer was incomplete; reading again helps.
    #[error("reading the IPVS table was cut short: {0}")]
    CutShort(String),
    /// Links, addresses or routes could not be read.
    #[error("{0}")]
    Network(String),
}

/// An address of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// The address.
    pub address: IpAddr,
    /// The name of its link.
    pub link: Arc<str>,
    /// The index of its link.
    pub link_index: u32,
    /// Whether it carries our `IFA_PROTO`.
    pub tagged: bool,
}

/// How many connections a destination has (`ip_vs_ctl.c`, `ip_vs_genl_fill_dest`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Established ones and, of TCP, those being made (`ip_vs_proto_tcp.c`, `tcp_state_active_table`). Persistence
    /// templates do not count.
    pub active: u32,
    /// All others.
    pub inactive: u32,
}

/// Connections of each destination of these services.
pub type Counted = BTreeMap<ServiceKey, BTreeMap<DestinationKey, Connections>>;

/// Real servers that one question asks for their MAC addresses, at most: more would let every ARP packet of
/// the link through to whoever asks (see `lvs_net::filter`).
pub const REAL_SERVERS_ASKED: usize = 256;

/// What the network answered about a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number of the question.
    pub question: u64,
    /// The VIP.
    pub vip: IpAddr,
    /// The answer.
    pub probe: Probe,
}

/// Whether an address of this host is a VIP that we bound. Only where the kernel cannot carry our mark does the
/// ledger decide: where it can, an address without the mark is somebody else's, whatever was written down.
pub fn is_ours(bound: &HostAddress, ledger: &Ledger, kernel_marks_addresses: bool) -> bool {
    let recorded = || ledger.vip_link(bound.address).is_some_and(|link| link == bound.link);
    bound.tagged || (!kernel_marks_addresses && recorded())
}

/// Everything the driver asks of a kernel.
pub trait Kernel {
    /// Reads these services; those that do not exist are absent from the answer.
    ///
    /// # Errors
    /// If they cannot be read, or not wholly.
    fn services(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Table, KernelError>;

    /// Counts the connections of these services. One that does not exist has no destinations.
    ///
    /// # Errors
    /// If they cannot be read, or not wholly.
    fn connections(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Counted, KernelError>;

    /// Looks at the whole table, cheaply. Two fingerprints of a service that differ mean that it changed; two that are
    /// equal mean that nothing changed that a glance shows (of two services with one mark, not even that).
    ///
    /// # Errors
    /// If it cannot be looked at so.
    fn glance(&mut self) -> Result<Glance, KernelError>;

    /// Reads the settings of IPVS in this network namespace. Those that the kernel does not have are absent, and so
    /// are the timeouts unless they are asked for: files are read in a moment, timeouts take a request.
    ///
    /// # Errors
    /// If they cannot be read.
    fn settings(&mut self, timeouts: bool) -> Result<Values, KernelError>;

    /// Writes each of these settings, whatever becomes of the others.
    fn write_settings(&mut self, writes: &[Difference]) -> Vec<Result<(), WriteError>>;

    /// Processor time that this thread has used, in the kernel too.
    fn processor_time(&self) -> Duration;

    /// Reads the addresses of this host.
    ///
    /// # Errors
    /// If they cannot be read.
    fn addresses(&mut self) -> Result<Vec<HostAddress>, KernelError>;

    /// Whether addresses carry our mark on this kernel (`IFA_PROTO`, Linux 5.18). Where they do not, the ledger
    /// says which are ours.
    fn marks_addresses(&self) -> bool;

    /// Takes every step, in order, whatever becomes of the others.
    fn apply(&mut self, steps: &[Step]) -> Vec<Result<(), StepError>>;

    /// Routes are not as they were: links are chosen by fresh ones from now on.
    fn routes_changed(&mut self);

    /// The link that should hold a VIP.
    ///
    /// # Errors
    /// In words for people, if there is none.
    fn choose_link(&mut self, vip: IpAddr, real_servers: &[IpAddr]) -> Result<Arc<str>, String>;

    /// Why a real server is not on a link of this host, in words for people; `None` if it is.
    ///
    /// # Errors
    /// If the routes cannot be asked.
    fn off_segment(&mut self, real_server: IpAddr) -> Result<Option<String>, KernelError>;

    /// The index of a link that is there and up.
    fn link_index(&mut self, link: &str) -> Option<u32>;

    /// The link that the administrator named for VIPs.
    fn named_link(&self) -> Option<Arc<str>>;

    /// Why nobody hears what a link sends, in words for people; `None` if all is well.
    fn silent(&self, link: &str) -> Option<String>;

    /// The Ethernet address of a link, which tells this host from others on its segment; zero if it has none.
    fn station(&self, link: &str) -> [u8; 6];

    /// Starts to ask on a link who holds these VIPs. The answers come as a trigger, with the number of this
    /// question. These are the real servers that a holder may turn out to be; the first
    /// [`REAL_SERVERS_ASKED`] are asked.
    fn start_probe(&mut self, question: u64, link: &str, vips: &[IpAddr], real_servers: &[IpAddr]);

    /// Starts to find out the MAC addresses of these real servers on the link with this index, of the first
    /// [`REAL_SERVERS_ASKED`]. The answer comes as a trigger, with the number of this question.
    fn identify(&mut self, question: u64, link: u32, real_servers: &[IpAddr]);

    /// These VIPs are bound here, with the index of their link: from now on claims of them by others come as
    /// triggers.
    fn listen(&mut self, held: &BTreeMap<IpAddr, u32>);

    /// Asks once who else holds these VIPs of ours. An answer comes as a claim.
    fn ask(&mut self, vips: &[Announced]);

    /// What on a link keeps clients from reaching IPv4 VIPs there.
    fn preflight(&mut self, link: &str) -> Vec<Finding>;

    /// Tells the neighbours that these VIPs are here (gratuitous ARP, unsolicited neighbour advertisement).
    fn announce(&mut self, vips: &[Announced]);
}
