//! Which boot, which network namespace, and what this process may do there.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::PathBuf};

/// A file of `/proc` that could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file did not hold what it should.
    #[error("{} holds no {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

/// The capabilities that matter to a Director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// `CAP_NET_ADMIN`: bind addresses, program IPVS.
    pub net_admin: bool,
    /// `CAP_NET_RAW`: packet sockets, so announcing and probing.
    pub net_raw: bool,
}

const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;

/// The random identifier that the kernel makes at each boot, 36 characters.
pub fn boot_id() -> Result<String, Error> {
    Ok(read("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned())
}

/// The inode number of the calling thread's network namespace: the same for all processes in it, and
/// never 0.
pub fn network_namespace() -> Result<u64, Error> {
    let path = "/proc/thread-self/ns/net";
    let metadata = fs::metadata(path).map_err(|source| Error::Read { path: path.into(), source })?;
    Ok(metadata.ino())
}

/// The effective capabilities of the calling thread.
pub fn capabilities() -> Result<Caps, Error> {
    let path = "/proc/thread-self/status";
    effective(&read(path)?).ok_or_else(|| Error::Content { path: path.into(), what: "CapEff line" })
}

fn read(path: &str) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })
}

fn effective(status: &str) -> Option<Caps> {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    let has = |capability: u32| mask & (1 << capability) != 0;
    Some(Caps { net_admin: has(CAP_NET_ADMIN), net_raw: has(CAP_NET_RAW) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_capability_is_read_from_its_own_bit_of_the_effective_set() {
        let status =
            |mask: &str| format!("Name:\tx\nCapPrm:\t0000000000003000\nCapEff:\t{mask}\nSeccomp:\t0\n");
        let both = Caps { net_admin: true, net_raw: true };
        assert_eq!(effective(&status("0000000000003000")), Some(both));
        assert_eq!(effective(&status("0000000000001000")), Some(Caps { net_raw: false, ..both }));
        assert_eq!(effective(&status("0000000000002000")), Some(Caps { net_admin: false, ..both }));
        assert_eq!(effective(&status("000001ffffffcfff")), Some(Caps { net_admin: false, net_raw: false }));
    }

    #[test]
    fn a_status_without_an_effective_set_gives_no_answer() {
        assert_eq!(effective("Name:\tx\n"), None);
        assert_eq!(effective("CapEff:\tzz\n"), None);
    }

    #[test]
    fn the_boot_has_a_uuid_and_the_namespace_a_number() {
        assert_eq!(boot_id().unwrap().len(), 36);
        assert_ne!(network_namespace().unwrap(), 0);
    }
}
