//! The rules of a `VirtualService`.

use super::{Check, rules};

/// Most entries in `spec.ports`.
pub const MAX_PORTS: u64 = 64;

/// Most entries in `spec.realServerSelector.matchExpressions`. The API server refuses a CEL rule whose cost it
/// cannot bound.
pub const MAX_EXPRESSIONS: u64 = 64;

/// Longest `spec.persistence.timeoutSeconds`: 31 days, where `ipvsadm` ends too. The kernel keeps seconds times
/// HZ in 32 bits (`ip_vs_ctl.c`, `ip_vs_add_service`), so with HZ=1000 the value wraps from 49.7 days on.
pub const MAX_PERSISTENCE_SECONDS: i64 = 31 * 86_400;

/// Longest `spec.drainTimeoutSeconds`: a day.
pub const MAX_DRAIN_SECONDS: i64 = 86_400;

rules! {
    /// The rules of a `VirtualService`.
    VirtualServiceRule

    /// Either the VIP says which packets are meant, or a mark that somebody else sets.
    VipOrFirewallMark {
        at: "spec", field: "spec",
        Check::Cel("has(self.vip) != has(self.firewallMark)"),
        "spec must have exactly one of vip (with ports) and firewallMark (with family): set one and leave the other out"
    }

    /// What [`std::net::IpAddr`] and Go's `netip.ParseAddr` read, without zones and IPv4-mapped IPv6: IPVS
    /// knows neither.
    VipIsAddress {
        at: "spec.vip", field: "spec.vip",
        Check::Cel("isIP(self)"),
        "vip must be one IPv4 or IPv6 address, such as 172.16.21.10 or 2001:db8::10: no prefix length, no port, no zone, no IPv4-mapped IPv6"
    }

    /// One spelling for each address (RFC 5952), so that a field selector and a conflict see the same VIP.
    VipIsCanonical {
        at: "spec.vip", field: "spec.vip",
        Check::Cel("!isIP(self) || ip.isCanonical(self)"),
        "vip must be in canonical form (RFC 5952): lower case, no leading zeros, the longest run of zeros as `::`, such as 2001:db8::10"
    }

    /// A VIP is routed to the Director and answered for in ARP or NDP; these cannot be.
    VipIsGlobalUnicast {
        at: "spec.vip", field: "spec.vip",
        Check::Cel("!isIP(self) || !ip.isCanonical(self) || ip(self).isGlobalUnicast()"),
        "vip must be a unicast address that clients can reach (private ranges are fine): not loopback, link-local, multicast, unspecified or 255.255.255.255"
    }

    /// A VIP without a port is no service.
    VipNeedsPorts {
        at: "spec", field: "spec.ports",
        Check::Cel("!has(self.vip) || has(self.firewallMark) || (has(self.ports) && size(self.ports) > 0)"),
        "ports must have at least one entry beside vip: add the ports that clients connect to, such as {port: 80}"
    }

    /// Sixty-four ports are sixty-four services in the kernel; more of them are a firewall mark's job.
    AtMostPorts {
        at: "spec.ports", field: "spec.ports",
        Check::MaxItems(MAX_PORTS),
        "ports must have at most 64 entries: use several VirtualServices of one vip, or a firewallMark"
    }

    /// Two entries of one protocol and port would be one service in the kernel.
    PortsAreUnique {
        at: "spec.ports", field: "spec.ports[]",
        Check::UniqueBy(&["protocol", "port"]),
        "ports must not name a protocol and port twice: remove one of the two entries"
    }

    /// Port 0 would be the kernel's catch-all service, which direct routing has no use for.
    PortInRange {
        at: "spec.ports[].port", field: "spec.ports[].port",
        Check::Range(1, 65_535),
        "port must be 1..65535: name the port that clients connect to, which is the real server's port too"
    }

    /// A mark stands for whatever was marked, whichever port.
    FirewallMarkWithoutPorts {
        at: "spec", field: "spec.ports",
        Check::Cel("!has(self.firewallMark) || has(self.vip) || !has(self.ports) || size(self.ports) == 0"),
        "ports must be left out beside firewallMark: what carries the mark is served, whatever its port"
    }

    /// Mark 0 means unmarked (`ip_vs_ctl.c`, `ip_vs_service_find`).
    FirewallMarkInRange {
        at: "spec.firewallMark", field: "spec.firewallMark",
        Check::Range(1, 4_294_967_295),
        "firewallMark must be 1..4294967295: use the mark that your packet filter sets"
    }

    /// The kernel has one table of marks for each family.
    FirewallMarkNeedsFamily {
        at: "spec", field: "spec.family",
        Check::Cel("!has(self.firewallMark) || has(self.vip) || has(self.family)"),
        "family must be IPv4 or IPv6 beside firewallMark: a mark does not say which packets it is on"
    }

    /// Two sources of one fact would disagree one day.
    FamilyOnlyWithFirewallMark {
        at: "spec", field: "spec.family",
        Check::Cel("!has(self.family) || has(self.firewallMark) || !has(self.vip)"),
        "family must be left out beside vip: the address has its own"
    }

    /// The kernel would take the flag for one of the other scheduler: `sh` and `mh` share the bits
    /// (`include/uapi/linux/ip_vs.h`, `IP_VS_SVC_F_SCHED_SH_*`).
    FlagsFitTheScheduler {
        at: "spec", field: "spec.schedulerFlags",
        Check::Cel("!has(self.schedulerFlags) || self.schedulerFlags.all(f, f.startsWith(self.scheduler + '-'))"),
        "schedulerFlags must fit the scheduler: sh-fallback and sh-port with sh, mh-fallback and mh-port with mh, none with another"
    }

    /// A flag is on or off.
    FlagsAreUnique {
        at: "spec.schedulerFlags", field: "spec.schedulerFlags[]",
        Check::UniqueOf(4),
        "schedulerFlags must not name a flag twice: remove one of the two"
    }

    /// 0 would end persistence before it starts; see [`MAX_PERSISTENCE_SECONDS`] for the other end.
    PersistenceTimeoutInRange {
        at: "spec.persistence.timeoutSeconds", field: "spec.persistence.timeoutSeconds",
        Check::Range(1, MAX_PERSISTENCE_SECONDS),
        "timeoutSeconds must be 1..2678400 (31 days): leave persistence out to have none"
    }

    /// Length 0 would make all clients one; the kernel refuses it for IPv6 (`ip_vs_ctl.c`, `ip_vs_add_service`).
    PrefixLengthInRange {
        at: "spec.persistence.prefixLength", field: "spec.persistence.prefixLength",
        Check::Range(1, 128),
        "prefixLength must be 1..32 for IPv4 and 1..128 for IPv6: leave it out to tell clients apart by their whole address"
    }

    /// An IPv4 address has 32 bits.
    PrefixLengthFitsFamily {
        at: "spec", field: "spec.persistence.prefixLength",
        Check::Cel(
            "!has(self.persistence) || !has(self.persistence.prefixLength) || self.persistence.prefixLength <= 32 || self.persistence.prefixLength > 128 || !(has(self.vip) ? isIP(self.vip) && ip(self.vip).family() == 4 : has(self.family) && self.family == 'IPv4')"
        ),
        "prefixLength must be 1..32 for IPv4: leave it out to tell clients apart by their whole address"
    }

    /// The engine reads the Call-ID of UDP packets and makes IPVS drop all others (`ip_vs_pe_sip.c`,
    /// `ip_vs_sip_fill_param`; `ip_vs_core.c`, `ip_vs_sched_persist`). What carries a mark cannot be seen here.
    SipNeedsUdp {
        at: "spec", field: "spec.persistence.engine",
        Check::Cel(
            "!has(self.persistence) || !has(self.persistence.engine) || !has(self.ports) || self.ports.all(p, p.protocol == 'UDP')"
        ),
        "engine must not be sip beside TCP or SCTP ports, whose packets the kernel would drop: move those ports to a VirtualService of their own"
    }

    /// The kernel ignores the flag for packets that are not UDP (`ip_vs_core.c`, `ip_vs_schedule`), so a TCP
    /// port would silently do without. What carries a mark cannot be seen here.
    OnePacketNeedsUdp {
        at: "spec", field: "spec.onePacket",
        Check::Cel(
            "!has(self.onePacket) || !self.onePacket || !has(self.ports) || self.ports.all(p, p.protocol == 'UDP')"
        ),
        "onePacket must not be set beside TCP or SCTP ports, for which the kernel ignores it: move those ports to a VirtualService of their own"
    }

    /// See [`MAX_EXPRESSIONS`].
    AtMostExpressions {
        at: "spec.realServerSelector.matchExpressions", field: "spec.realServerSelector.matchExpressions",
        Check::MaxItems(MAX_EXPRESSIONS),
        "matchExpressions must have at most 64 entries: give the real servers a label of their own"
    }

    /// `metav1.LabelSelectorRequirement` leaves the check to whoever uses it.
    OperatorIsKnown {
        at: "spec.realServerSelector.matchExpressions[]",
        field: "spec.realServerSelector.matchExpressions[].operator",
        Check::Cel("self.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist']"),
        "operator must be In, NotIn, Exists or DoesNotExist"
    }

    /// `In` without values would select nothing for ever.
    OperatorNeedsValues {
        at: "spec.realServerSelector.matchExpressions[]",
        field: "spec.realServerSelector.matchExpressions[].values",
        Check::Cel("!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)"),
        "values must have at least one entry with operator In or NotIn"
    }

    /// Values that are ignored are a mistake.
    OperatorWithoutValues {
        at: "spec.realServerSelector.matchExpressions[]",
        field: "spec.realServerSelector.matchExpressions[].values",
        Check::Cel("!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || size(self.values) == 0"),
        "values must be left out with operator Exists or DoesNotExist"
    }

    /// A mark's service has no port of its own to check.
    CheckNeedsPort {
        at: "spec", field: "spec.healthCheck.port",
        Check::Cel(
            "!has(self.firewallMark) || has(self.vip) || !has(self.healthCheck) || has(self.healthCheck.port) || !(has(self.healthCheck.tcp) || has(self.healthCheck.http) || has(self.healthCheck.https) || has(self.healthCheck.grpc) || has(self.healthCheck.dns) || has(self.healthCheck.udp))"
        ),
        "port must be given beside firewallMark, whose service has none to check: or use ping or none"
    }

    /// See `SourceAddressFitsAddress`.
    SourceAddressFitsFamily {
        at: "spec", field: "spec.healthCheck.sourceAddress",
        Check::Cel(
            "!has(self.healthCheck) || !has(self.healthCheck.sourceAddress) || !isIP(self.healthCheck.sourceAddress) || !ip.isCanonical(self.healthCheck.sourceAddress) || (has(self.vip) ? !isIP(self.vip) || ip(self.vip).family() == ip(self.healthCheck.sourceAddress).family() : !has(self.family) || (self.family == 'IPv4') == (ip(self.healthCheck.sourceAddress).family() == 4))"
        ),
        "sourceAddress must be of the family of the virtual service: its real servers are, and checks go to them"
    }

    /// See [`MAX_DRAIN_SECONDS`].
    DrainTimeoutInRange {
        at: "spec.drainTimeoutSeconds", field: "spec.drainTimeoutSeconds",
        Check::Range(0, MAX_DRAIN_SECONDS),
        "drainTimeoutSeconds must be 0..86400 (a day): 0 removes a failed real server at once"
    }

    /// See `AddressIsAddress`.
    SorryIsAddress {
        at: "spec.sorryServer.address", field: "spec.sorryServer.address",
        Check::Cel("isIP(self)"),
        "address must be one IPv4 or IPv6 address of the sorry server: no prefix length, no port, no zone, no IPv4-mapped IPv6"
    }

    /// See `AddressIsCanonical`.
    SorryIsCanonical {
        at: "spec.sorryServer.address", field: "spec.sorryServer.address",
        Check::Cel("!isIP(self) || ip.isCanonical(self)"),
        "address must be in canonical form (RFC 5952), the sorry server's too: lower case, no leading zeros, the longest run of zeros as `::`"
    }

    /// See `AddressIsGlobalUnicast`.
    SorryIsGlobalUnicast {
        at: "spec.sorryServer.address", field: "spec.sorryServer.address",
        Check::Cel("!isIP(self) || !ip.isCanonical(self) || ip(self).isGlobalUnicast()"),
        "address must be a unicast address of the sorry server that the Director can reach (private ranges are fine): not loopback, link-local, multicast, unspecified or 255.255.255.255"
    }

    /// Direct routing rewrites only the MAC address.
    SorryFitsFamily {
        at: "spec", field: "spec.sorryServer.address",
        Check::Cel(
            "!has(self.sorryServer) || !isIP(self.sorryServer.address) || (has(self.vip) ? !isIP(self.vip) || ip(self.vip).family() == ip(self.sorryServer.address).family() : !has(self.family) || (self.family == 'IPv4') == (ip(self.sorryServer.address).family() == 4))"
        ),
        "address must be of the family of the virtual service, the sorry server's too: direct routing rewrites only the MAC address"
    }

    /// A percentage.
    PanicThresholdInRange {
        at: "spec.panicThresholdPercent", field: "spec.panicThresholdPercent",
        Check::Range(0, 100),
        "panicThresholdPercent must be 0..100: 0 believes the checks always"
    }

    /// Twenty steps of a second each are the shortest ramp.
    SlowStartInRange {
        at: "spec.slowStartSeconds", field: "spec.slowStartSeconds",
        Check::Cel("self == 0 || (self >= 20 && self <= 3600)"),
        "slowStartSeconds must be 0 (off) or 20..3600: it is 20 steps of at least one second"
    }

    /// See `ignores_weights` in `lvs-plan`.
    SlowStartNeedsWeights {
        at: "spec", field: "spec.slowStartSeconds",
        Check::Cel(
            "!has(self.slowStartSeconds) || self.slowStartSeconds == 0 || !(self.scheduler in ['rr', 'lc', 'dh'])"
        ),
        "slowStartSeconds must be left out with the schedulers rr, lc and dh, which ignore weights: use wrr or wlc"
    }
}
