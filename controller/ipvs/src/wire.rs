//! The wire format, without any I/O: netlink messages (RFC 3549), their generic netlink header and the
//! attributes of `include/uapi/linux/ip_vs.h`. Neli's codec reads and writes the framing; what the attributes mean
//! is ours.
//!
//! ```text
//! nlmsghdr    length 4 | type 2, flags 2 | sequence 4 | port 4
//! genlmsghdr  command 1, version 1, reserved 2
//! nlattr      length 2, type 2 | value | padding to 4 bytes          may nest
//! ```
//! Numbers are in the host's byte order, but for addresses, ports and IPv4 masks, which are in the network's.

use neli::consts::nl::NlmF;

pub(crate) mod attrs;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod frame;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod vector_tests;

/// What a request needs besides its command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// The number of the generic netlink family.
    pub(crate) family: u16,
    /// `NLM_F_*` besides `NLM_F_REQUEST`.
    pub(crate) flags: NlmF,
    /// Comes back with every answer.
    pub(crate) sequence: u32,
}
