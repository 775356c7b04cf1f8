//! What changes the kernel, and how the kernel says no.

use std::{fmt, io};

use crate::{Daemon, Destination, DestinationKey, Service, ServiceKey, Timeouts, daemon::Role};

/// One change. There is no command that empties the table: it would take what belongs to others too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `IPVS_CMD_NEW_SERVICE`. `EEXIST` if it is there; `ENOENT` if there is no such scheduler or engine.
    NewService(Service),
    /// `IPVS_CMD_SET_SERVICE`: changes settings in place; connections stay. `ESRCH` if it is not there.
    SetService(Service),
    /// `IPVS_CMD_DEL_SERVICE`, with all its destinations. `ESRCH` if it is not there.
    DelService(ServiceKey),
    /// `IPVS_CMD_NEW_DEST`. `ESRCH` without the service, `EEXIST` if it is there, `EINVAL` if
    /// the address is none of a host (for the kernel that is every one until `lo` has been up). A route to it
    /// is not asked for.
    NewDestination {
        /// The service.
        service: ServiceKey,
        /// The destination.
        destination: Destination,
    },
    /// `IPVS_CMD_SET_DEST`: changes settings in place. `ESRCH` without the service, `ENOENT` without the
    /// destination.
    SetDestination {
        /// The service.
        service: ServiceKey,
        /// The destination.
        destination: Destination,
    },
    /// `IPVS_CMD_DEL_DEST`. Errors as with [`Command::SetDestination`].
    DelDestination {
        /// The service.
        service: ServiceKey,
        /// The destination.
        destination: DestinationKey,
    },
    /// `IPVS_CMD_ZERO`: sets the counters of one service and its destinations, or of all, to 0.
    Zero(Option<ServiceKey>),
    /// `IPVS_CMD_SET_CONFIG`.
    SetTimeouts(Timeouts),
    /// `IPVS_CMD_NEW_DAEMON`. `EEXIST` if one of its role runs, `ENODEV` without the link.
    NewDaemon(Daemon),
    /// `IPVS_CMD_DEL_DAEMON`. `ESRCH` if none of this role runs. One that is stopped as soon as it was started
    /// leaves [`CommandError::Unknown`]: its thread ends with `EINTR`, and netlink does not answer that.
    DelDaemon(Role),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewService(service) => write!(f, "add service {}", service.key),
            Self::SetService(service) => write!(f, "change service {}", service.key),
            Self::DelService(key) => write!(f, "delete service {key}"),
            Self::NewDestination { service, destination } => {
                write!(f, "add destination {} to {service}", destination.key)
            }
            Self::SetDestination { service, destination } => {
                write!(f, "change destination {} of {service}", destination.key)
            }
            Self::DelDestination { service, destination } => {
                write!(f, "delete destination {destination} of {service}")
            }
            Self::Zero(None) => f.write_str("zero all counters"),
            Self::Zero(Some(key)) => write!(f, "zero the counters of {key}"),
            Self::SetTimeouts(_) => f.write_str("set the timeouts"),
            Self::NewDaemon(daemon) => {
                write!(f, "start the {} sync daemon on {}", daemon.role, daemon.interface)
            }
            Self::DelDaemon(role) => write!(f, "stop the {role} sync daemon"),
        }
    }
}

/// What became of a command that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The kernel said no, and did nothing.
    #[error("{}", words(*errno, message.as_deref()))]
    Refused {
        /// The errno, positive.
        errno: i32,
        /// The kernel's own words (extended ACK), if it gave any.
        message: Option<String>,
    },
    /// The kernel's answer did not fit into the receive buffer (`ENOBUFS`), or there was none. The command was
    /// carried out or refused; only reading the table tells which.
    #[error("the kernel's answer was lost; read the table to learn what became of it")]
    Unknown,
}

impl CommandError {
    /// The errno of a refusal.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Unknown => None,
        }
    }
}

/// An errno in words, the kernel's own words, and what to do about it where that is known.
pub(crate) fn words(errno: i32, message: Option<&str>) -> String {
    let mut words = io::Error::from_raw_os_error(errno).to_string();
    if let Some(message) = message {
        words.push_str(": ");
        words.push_str(message);
    }
    if errno == rustix::io::Errno::PERM.raw_os_error() {
        words.push_str("; IPVS needs CAP_NET_ADMIN in the initial user namespace");
    }
    words
}
