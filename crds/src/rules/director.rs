//! The rules of a `Director`.

use super::{Check, rules};

/// Highest timeout. The kernel counts in ticks, in a signed 32-bit number, and has up to 1,000 ticks a second
/// (`ip_vs_ctl.c`, `ip_vs_set_timeout`).
pub const MAX_TIMEOUT_SECONDS: i64 = 2_147_483;

rules! {
    /// The rules of a `Director`.
    DirectorRule

    /// See [`MAX_TIMEOUT_SECONDS`]; 0 would tell the kernel to leave the timeout alone.
    TcpInRange {
        at: "spec.timeouts.tcp", field: "spec.timeouts.tcp",
        Check::Range(1, MAX_TIMEOUT_SECONDS),
        "tcp must be 1..2147483 seconds: leave it out to leave the kernel's alone"
    }

    /// See [`MAX_TIMEOUT_SECONDS`].
    TcpFinInRange {
        at: "spec.timeouts.tcpFin", field: "spec.timeouts.tcpFin",
        Check::Range(1, MAX_TIMEOUT_SECONDS),
        "tcpFin must be 1..2147483 seconds: leave it out to leave the kernel's alone"
    }

    /// See [`MAX_TIMEOUT_SECONDS`].
    UdpInRange {
        at: "spec.timeouts.udp", field: "spec.timeouts.udp",
        Check::Range(1, MAX_TIMEOUT_SECONDS),
        "udp must be 1..2147483 seconds: leave it out to leave the kernel's alone"
    }
}
