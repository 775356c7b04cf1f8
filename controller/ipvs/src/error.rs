//! Why the kernel could not be asked.

use std::io;

use crate::CommandError;

/// A failure that is not one command's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The netlink socket could not be made or set up.
    #[error("cannot open a generic netlink socket")]
    Open(#[source] io::Error),
    /// The kernel has no IPVS and found no module of it.
    #[error("the kernel has no IPVS; load it with `modprobe ip_vs`")]
    NotAvailable,
    /// The socket did not take a request. Nothing is known of what was sent with it.
    #[error("cannot ask the kernel to {what}")]
    Send {
        /// What was asked for.
        what: String,
        /// The socket's answer.
        #[source]
        source: io::Error,
    },
    /// The socket gave no answer.
    #[error("cannot receive the answer when asking the kernel to {what}")]
    Receive {
        /// What was asked for.
        what: String,
        /// The socket's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel refused.
    #[error("the kernel refused to {what}")]
    Refused {
        /// What was asked for.
        what: String,
        /// The kernel's answer.
        #[source]
        source: CommandError,
    },
    /// The answer did not arrive whole: the receive buffer was full (`ENOBUFS`) or too short. Asking again
    /// may help; whatever was changed may have happened or not.
    #[error("the kernel's answer was lost or cut short when asked to {what}; read again")]
    CutShort {
        /// What was asked for.
        what: String,
    },
    /// The kernel's answer is not what `include/uapi/linux/ip_vs.h` says.
    #[error("cannot understand the kernel's answer when asked to {what}: {reason}")]
    Malformed {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}
