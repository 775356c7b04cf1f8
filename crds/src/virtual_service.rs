//! `VirtualService`: a VIP, its ports and how connections are spread.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Condition, HealthCheck, LabelSelector, rules};

/// A virtual service: an address and ports that clients connect to, and the real servers that answer. The
/// Director forwards each packet by direct routing: it changes only the destination MAC address, so real
/// servers listen on the same port, hold the VIP on `lo` without answering ARP for it, and reply to the client
/// past the Director.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "lvs-operator.dev",
    version = "v1alpha1",
    kind = "VirtualService",
    plural = "virtualservices",
    shortname = "lvsvs",
    category = "lvs",
    namespaced,
    status = "VirtualServiceStatus",
    derive = "PartialEq",
    doc = "A virtual service of the Linux Virtual Server: an address and ports that clients connect to, served by RealServers through direct routing.",
    selectable = ".spec.vip",
    printcolumn = r#"{"name": "VIP", "type": "string", "jsonPath": ".spec.vip"}"#,
    printcolumn = r#"{"name": "PORTS", "type": "string", "jsonPath": ".status.portsSummary"}"#,
    printcolumn = r#"{"name": "SCHEDULER", "type": "string", "jsonPath": ".spec.scheduler"}"#,
    printcolumn = r#"{"name": "REALSERVERS", "type": "string", "jsonPath": ".status.realServersSummary", "description": "Real servers in service, of all that are accepted"}"#,
    printcolumn = r#"{"name": "DIRECTOR", "type": "string", "jsonPath": ".status.activeDirector"}"#,
    printcolumn = r#"{"name": "READY", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::virtual_service_schema)]
pub struct VirtualServiceSpec {
    /// The virtual IP address (VIP) that clients connect to: IPv4 or IPv6, in canonical form, global unicast
    /// (private ranges are fine). The active Director binds it to its network link as /32 or /128 and answers
    /// ARP or NDP for it; the real servers hold it on `lo` and stay silent. Exactly one of `vip` and
    /// `firewallMark` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// The ports served at the VIP: 1..64 entries, each protocol and port once. Each is a service of its own in
    /// the kernel, with the settings of this object. Real servers listen on the same ports: direct routing
    /// cannot map ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ServicePort>,
    /// Serves the packets that carry this firewall mark, 1..4294967295, instead of those for `vip` and `ports`.
    /// Only the IPVS service is made: marking packets and routing them to this host are the administrator's.
    /// Needs `family`. The mark's service exists on every Director and has no VIP to announce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall_mark: Option<i64>,
    /// The address family of the marked packets, IPv4 or IPv6. Only with `firewallMark`, and needed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<IpFamily>,
    /// How a real server is chosen for a new connection. Default: wlc.
    ///
    /// - rr: in turn, whatever the weights
    /// - wrr: in turn, by weight
    /// - lc: fewest connections, whatever the weights
    /// - wlc: fewest connections, by weight
    /// - lblc: one real server for each destination address until it has more connections than its weight
    /// - lblcr: the same with a set of real servers
    /// - dh: by a hash of the destination address, whatever the weights
    /// - sh: by a hash of the client's address
    /// - sed: shortest expected delay, by weight
    /// - nq: an idle real server first, else as sed
    /// - fo: all to the real server with the highest weight
    /// - ovf: to the highest weight, and to the next one when it has more connections than its weight
    /// - mh: by a hash of the client's address that changes little when real servers come and go (Maglev)
    /// - twos: the better of two taken at random, by weight
    ///
    /// The Director's kernel needs the module `ip_vs_<name>`; without it the condition `Programmed` says
    /// `SchedulerMissing`.
    #[serde(default)]
    pub scheduler: Scheduler,
    /// Flags of the schedulers sh and mh, each once. Default: none.
    ///
    /// - sh-fallback, mh-fallback: when the real server of the hash has weight 0, another one takes the
    ///   connection; without it the connection is refused
    /// - sh-port, mh-port: the client's port counts too, so that connections of one client are spread
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scheduler_flags: Vec<SchedulerFlag>,
    /// Keeps a client on the real server that it was given first. Default: none, each connection is scheduled
    /// on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// Schedules each UDP packet on its own and remembers no connection, for services such as DNS whose packets
    /// have nothing to do with each other. Only with UDP ports; with `firewallMark` it acts on UDP packets and
    /// is ignored for others. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_packet: bool,
    /// Selects the real servers in the same namespace by their labels. Left out it selects none; `{}` selects
    /// all of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub real_server_selector: Option<LabelSelector>,
    /// How it is found out whether a real server works. Default: a TCP connection to each TCP port; for
    /// services without one, ping. A real server's own `healthCheck` stands in for this one as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<Box<HealthCheck>>,
    /// What happens to a real server that fails its check. Default: Quiesce.
    ///
    /// - Quiesce: its weight becomes 0, so that established connections may end; after `drainTimeoutSeconds`
    ///   it is removed
    /// - Remove: it is removed at once, and established connections with it
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Seconds that a failed real server stays with weight 0 before it is removed, that the sorry server stays
    /// after it was needed, and after which a drain is over whoever is left, 0..86400. Default: 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = DEFAULT_DRAIN_TIMEOUT_SECONDS))]
    pub drain_timeout_seconds: Option<i32>,
    /// Takes the connections while no real server is in service, for example to say so. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sorry_server: Option<Box<SorryServer>>,
    /// If fewer than this percentage of the real servers with a weight work, 0..100, checks are not believed
    /// and all are used (fail open). Default: 0, off.
    #[serde(default)]
    pub panic_threshold_percent: i32,
    /// Seconds in which the weight of a real server that is new or works again grows to its full value in 20
    /// steps: 20..3600, or 0 for at once. All weights of the service in the kernel are then multiplied by one
    /// number, so that there are steps; only their ratio counts. Not with the schedulers rr, lc and dh, which
    /// ignore weights. Default: 0.
    #[serde(default)]
    pub slow_start_seconds: i32,
}

impl VirtualServiceSpec {
    /// The ports for people, as in `status.portsSummary`: `80/TCP,443/TCP`, or the firewall mark.
    pub fn ports_summary(&self) -> String {
        if let Some(mark) = self.firewall_mark {
            return format!("FWM {mark}");
        }
        let ports: Vec<_> =
            self.ports.iter().map(|entry| format!("{}/{}", entry.port, entry.protocol.as_str())).collect();
        ports.join(",")
    }
}

/// The default of `drainTimeoutSeconds`.
pub const DEFAULT_DRAIN_TIMEOUT_SECONDS: i32 = 300;

/// What happens to a real server that fails its check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// Weight 0; removed after `drainTimeoutSeconds`.
    #[default]
    Quiesce,
    /// Removed at once.
    Remove,
}

/// The server that takes the connections while no real server is in service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SorryServer {
    /// Its own address, by the same rules as a real server's: it is prepared like one, and serves the same
    /// ports. It is not checked.
    pub address: String,
}

/// One port of a virtual service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// A name for people, such as `http`; nothing depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The transport protocol: TCP, UDP or SCTP. Default: TCP.
    #[serde(default)]
    pub protocol: Protocol,
    /// The port that clients connect to, 1..65535. The real servers listen on the same port.
    pub port: i32,
}

/// The transport protocols that IPVS balances.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The protocol as the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum IpFamily {
    /// IPv4.
    IPv4,
    /// IPv6.
    IPv6,
}

/// How a real server is chosen: the kernel's schedulers (`net/netfilter/ipvs/ip_vs_*.c`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Round robin; ignores weights.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Least connections; ignores weights.
    Lc,
    /// Weighted least connections.
    #[default]
    Wlc,
    /// Locality-based least connections.
    Lblc,
    /// Locality-based least connections with replication.
    Lblcr,
    /// Destination hashing; ignores weights.
    Dh,
    /// Source hashing.
    Sh,
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Weighted fail-over: all to the server with the highest weight.
    Fo,
    /// Weighted overflow.
    Ovf,
    /// Maglev hashing.
    Mh,
    /// The power of two choices, weighted.
    Twos,
}

impl Scheduler {
    /// The scheduler's name, in the kernel and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Lblc => "lblc",
            Self::Lblcr => "lblcr",
            Self::Dh => "dh",
            Self::Sh => "sh",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Fo => "fo",
            Self::Ovf => "ovf",
            Self::Mh => "mh",
            Self::Twos => "twos",
        }
    }
}

/// Flags that `sh` and `mh` understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SchedulerFlag {
    /// `sh`: another server when the chosen one has weight 0.
    ShFallback,
    /// `sh`: hash the source port too.
    ShPort,
    /// `mh`: another server when the chosen one has weight 0.
    MhFallback,
    /// `mh`: hash the source port too.
    MhPort,
}

/// Keeps a client (or a client network) on one real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Persistence {
    /// How long the kernel remembers a client's real server after its last connection ended, in seconds,
    /// 1..2678400 (31 days). Default: 300.
    #[serde(default = "default_persistence_seconds")]
    pub timeout_seconds: i32,
    /// Clients whose addresses agree in this many leading bits count as one client: 1..32 for IPv4, 1..128 for
    /// IPv6. Default: the whole address, 32 or 128. A shorter one helps with clients behind several proxies of
    /// one network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_length: Option<i32>,
    /// What tells clients apart instead of their address: `sip` reads the Call-ID of SIP over UDP (kernel module
    /// `ip_vs_pe_sip`) and drops packets of other protocols, so it needs UDP ports only. Default: the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<PersistenceEngine>,
}

fn default_persistence_seconds() -> i32 {
    300
}

/// Persistence engines (`net/netfilter/ipvs/ip_vs_pe_*.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PersistenceEngine {
    /// The SIP Call-ID.
    Sip,
}

impl PersistenceEngine {
    /// The engine's name, in the kernel and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sip => "sip",
        }
    }
}

/// What was observed of a virtual service, written by the Directors. Traffic is not counted here;
/// `ipvsadm -Ln --stats` on the Director has the kernel's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::tidy)]
pub struct VirtualServiceStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is said of this virtual service, one entry for each type: `Accepted`, `Programmed`, `Announced`,
    /// `RealServersReady`, and `Ready`, which is True when all of them are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The node name of the Director that holds and announces the VIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_director: Option<String>,
    /// One entry for each Director, written by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub directors: Vec<DirectorStatus>,
    /// The real servers, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub real_servers: Option<RealServerCounts>,
    /// The ports in short, for the column PORTS of `kubectl get`: `80/TCP,443/TCP`, or `FWM 7` for firewall
    /// mark 7. Programs read `spec.ports`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports_summary: Option<String>,
    /// Real servers in service and in total, for the column REALSERVERS of `kubectl get`: `2/3`. Programs read
    /// `realServers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub real_servers_summary: Option<String>,
}

/// What one Director says of a virtual service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DirectorStatus {
    /// The Director's node name.
    pub name: String,
    /// Active: it holds and announces the VIP. Standby: it holds the rules but not the VIP. Unknown: it has not
    /// been heard of lately.
    pub role: DirectorRole,
    /// Whether its kernel holds all rules of the virtual service.
    pub programmed: bool,
    /// The `metadata.generation` that it programmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// A sentence for people: what stands in the way, if anything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A Director's role for one VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DirectorRole {
    /// It holds and announces the VIP.
    Active,
    /// It holds the rules, not the VIP.
    Standby,
    /// It has not been heard of lately.
    Unknown,
}

/// Real servers of a virtual service, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RealServerCounts {
    /// Real servers that are selected and not refused.
    pub total: i32,
    /// Of these, ones whose checks hold, or that are not checked.
    pub healthy: i32,
    /// Of these, ones that take new connections: in the kernel, with a weight above 0.
    pub in_service: i32,
}

impl RealServerCounts {
    /// The counts for people, as in `status.realServersSummary`: `2/3`.
    pub fn summary(self) -> String {
        format!("{}/{}", self.in_service, self.total)
    }
}
