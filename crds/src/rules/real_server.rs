//! The rules of a `RealServer`.

use super::{Check, rules};

/// Highest `spec.weight`. The kernel has 31 bits for it, but only the ratio between real servers counts.
pub const MAX_WEIGHT: i64 = 65_535;

/// Highest threshold. The kernel compares it with a signed count of connections (`ip_vs.h`,
/// `ip_vs_dest_totalconns`).
pub const MAX_THRESHOLD: i64 = 2_147_483_647;

rules! {
    /// The rules of a `RealServer`.
    RealServerRule

    /// See `VipIsAddress`.
    AddressIsAddress {
        at: "spec.address", field: "spec.address",
        Check::Cel("isIP(self)"),
        "address must be one IPv4 or IPv6 address, such as 192.168.40.12 or 2001:db8::12: no prefix length, no port, no zone, no IPv4-mapped IPv6"
    }

    /// See `VipIsCanonical`.
    AddressIsCanonical {
        at: "spec.address", field: "spec.address",
        Check::Cel("!isIP(self) || ip.isCanonical(self)"),
        "address must be in canonical form (RFC 5952): lower case, no leading zeros, the longest run of zeros as `::`, such as 2001:db8::12"
    }

    /// The Director resolves it to a MAC address; the kernel refuses a destination that is not unicast
    /// (`ip_vs_ctl.c`, `ip_vs_new_dest`). Link-local IPv6 needs a zone, which IPVS does not know.
    AddressIsGlobalUnicast {
        at: "spec.address", field: "spec.address",
        Check::Cel("!isIP(self) || !ip.isCanonical(self) || ip(self).isGlobalUnicast()"),
        "address must be a unicast address that the Director can reach (private ranges are fine): not loopback, link-local, multicast, unspecified or 255.255.255.255"
    }

    /// See [`MAX_WEIGHT`].
    WeightInRange {
        at: "spec.weight", field: "spec.weight",
        Check::Range(0, MAX_WEIGHT),
        "weight must be 0..65535: only ratios between real servers count; 0 takes no new connections"
    }

    /// See [`MAX_THRESHOLD`].
    UpperThresholdInRange {
        at: "spec.upperThreshold", field: "spec.upperThreshold",
        Check::Range(0, MAX_THRESHOLD),
        "upperThreshold must be 0..2147483647 connections: 0 or leaving it out is no limit"
    }

    /// See [`MAX_THRESHOLD`].
    LowerThresholdInRange {
        at: "spec.lowerThreshold", field: "spec.lowerThreshold",
        Check::Range(0, MAX_THRESHOLD),
        "lowerThreshold must be 0..2147483647 connections: 0 or leaving it out is three quarters of upperThreshold"
    }

    /// The kernel refuses it with ERANGE (`ip_vs_ctl.c`, `ip_vs_add_dest`), also when there is no upper one.
    ThresholdsInOrder {
        at: "spec", field: "spec.lowerThreshold",
        Check::Cel(
            "!has(self.lowerThreshold) || self.lowerThreshold <= (has(self.upperThreshold) ? self.upperThreshold : 0)"
        ),
        "lowerThreshold must be at most upperThreshold: raise upperThreshold (0 is none, and then there is no lower one either) or lower this one"
    }

    /// See `PortInRange`.
    PortInRange {
        at: "spec.port", field: "spec.port",
        Check::Range(1, 65_535),
        "port must be 1..65535 and one of the virtual service's ports: leave it out to serve all of them"
    }

    /// A socket of one family cannot ask an address of the other.
    SourceAddressFitsAddress {
        at: "spec", field: "spec.healthCheck.sourceAddress",
        Check::Cel(
            "!has(self.healthCheck) || !has(self.healthCheck.sourceAddress) || !isIP(self.healthCheck.sourceAddress) || !ip.isCanonical(self.healthCheck.sourceAddress) || !isIP(self.address) || ip(self.healthCheck.sourceAddress).family() == ip(self.address).family()"
        ),
        "sourceAddress must be of the family of the real server's address: checks go from the one to the other"
    }
}
