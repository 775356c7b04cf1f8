//! The kernel's connection synchronisation daemon.

use std::{fmt, net::IpAddr};

/// Which half of the daemon: one namespace can run both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// `IP_VS_STATE_MASTER`: sends connections.
    Master,
    /// `IP_VS_STATE_BACKUP`: receives them.
    Backup,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Master => "master",
            Self::Backup => "backup",
        })
    }
}

/// A synchronisation daemon. What is `None` is left to the kernel when it is started, and filled in when it
/// is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// Master or backup.
    pub role: Role,
    /// The link it speaks on, at most 15 bytes.
    pub interface: String,
    /// Daemons of one number hear each other, 0..=255; 0 hears every number.
    pub sync_id: u32,
    /// The longest UDP payload, in bytes (Linux 4.3 and later).
    pub max_payload: Option<u16>,
    /// The multicast group, 224.0.0.81 by default (Linux 4.3 and later).
    pub group: Option<IpAddr>,
    /// The UDP port, 8848 by default (Linux 4.3 and later).
    pub port: Option<u16>,
    /// The TTL or hop limit, 1 by default (Linux 4.3 and later).
    pub ttl: Option<u8>,
}

impl Daemon {
    /// A daemon with the kernel's defaults.
    pub fn new(role: Role, interface: impl Into<String>, sync_id: u32) -> Self {
        Self {
            role,
            interface: interface.into(),
            sync_id,
            max_payload: None,
            group: None,
            port: None,
            ttl: None,
        }
    }
}
