//! A host's link into the management network, over which it reaches the API server on the host of the guest.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::host::Host;
use super::{ip, run_batch};

/// Addresses of 10.0.2.0/24 that QEMU's user network leaves alone: it has .2 to .4 itself and gives .15 to the guest.
const LAST_BYTES: std::ops::RangeInclusive<u8> = 20..=250;
/// One file for each address in use, shared by all processes of the guest.
const TAKEN: &str = "/run/lab/management";

/// An address in the management network, 10.0.2.20 to 10.0.2.250, on a host's link `mgmt`.
pub(crate) struct ManagementAddress {
    taken: PathBuf,
    port: String,
}

impl ManagementAddress {
    /// Gives a host the next free address.
    pub(crate) fn give(host: &Host) -> Result<Self> {
        fs::create_dir_all(TAKEN)?;
        for last in LAST_BYTES {
            let taken = PathBuf::from(TAKEN).join(last.to_string());
            match File::create_new(&taken) {
                Ok(_) => {
                    let port = format!("mgmt{last}");
                    let lines = [
                        format!("link add {port} type veth peer name mgmt netns {}", host.namespace()),
                        format!("link set {port} master management up"),
                    ];
                    run_batch(std::process::Command::new("ip"), &lines)?;
                    host.ip_batch(&[
                        "link set mgmt up".to_owned(),
                        format!("address add 10.0.2.{last}/24 dev mgmt"),
                    ])?;
                    return Ok(Self { taken, port });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot create {}", taken.display()));
                }
            }
        }
        bail!("every address of the management network is taken")
    }

    /// Takes it back, and the link with it.
    pub(crate) fn take(self) -> Result<()> {
        ip(&["link", "delete", &self.port])?;
        fs::remove_file(&self.taken).with_context(|| format!("cannot remove {}", self.taken.display()))
    }
}
