//! Reading and writing the kernel's settings under `/proc/sys/net`.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Where the settings are on a running system. Tests pass a directory of their own.
pub const ROOT: &str = "/proc/sys";

/// Where a container has the host's settings that it may write: a container runtime mounts [`ROOT`] read-only, and lets
/// nobody mount anything over it.
pub const HOST_ROOT: &str = "/host/proc/sys";

/// A setting that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read the setting {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file could not be written.
    #[error("cannot write the setting {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds no number.
    #[error("the setting {} is not a number: {text:?}", path.display())]
    NotANumber {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
    },
}

impl Error {
    /// Whether there is no such setting.
    pub fn is_absent(&self) -> bool {
        let (Self::Read { source, .. } | Self::Write { source, .. }) = self else { return false };
        source.kind() == io::ErrorKind::NotFound
    }

    /// Whether somebody with more rights, or in another place, could.
    pub fn is_denied(&self) -> bool {
        let (Self::Read { source, .. } | Self::Write { source, .. }) = self else { return false };
        matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
    }
}

/// The IPv4 settings of a link that decide whether a VIP on it is reachable, as they take effect: the
/// kernel uses the greater of the link's value and the one for `all` (`IN_DEV_MAXCONF` in
/// `linux/inetdevice.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ipv4Conf {
    /// Source validation: 0 none, 1 strict (RFC 3704), 2 loose.
    pub rp_filter: i64,
    /// Which ARP requests are answered, 0..=8.
    pub arp_ignore: i64,
    /// Which source address the host's own ARP requests carry, 0..=2.
    pub arp_announce: i64,
}

/// Reads the settings in effect on the link named `link`.
pub fn ipv4_conf(root: &Path, link: &str) -> Result<Ipv4Conf, Error> {
    let effective = |name: &str| -> Result<i64, Error> {
        let conf = root.join("net/ipv4/conf");
        Ok(number(&conf.join("all").join(name))?.max(number(&conf.join(link).join(name))?))
    };
    Ok(Ipv4Conf {
        rp_filter: effective("rp_filter")?,
        arp_ignore: effective("arp_ignore")?,
        arp_announce: effective("arp_announce")?,
    })
}

/// Reads one setting that is a number, by its path below `root`, such as `net/ipv4/ip_forward`.
pub fn read(root: &Path, setting: &str) -> Result<i64, Error> {
    number(&root.join(setting))
}

/// Writes one setting that is a number, by its path below the first of `roots` that lets it be written.
///
/// # Errors
/// If none of them does: that of the first.
pub fn write(roots: &[&Path], setting: &str, value: i64) -> Result<(), Error> {
    let mut first = Ok(());
    for root in roots {
        let path = root.join(setting);
        let written = fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(format!("{value}\n").as_bytes()));
        match written {
            Ok(()) => return Ok(()),
            Err(source) => first = first.and(Err(Error::Write { path, source })),
        }
    }
    first
}

fn number(path: &Path) -> Result<i64, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    parse(&text).ok_or_else(|| Error::NotANumber { path: path.to_owned(), text })
}

fn parse(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory below the system's temporary one that goes away with the value.
    struct Tree(PathBuf);

    impl Tree {
        fn with(name: &str, settings: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("lvs-net-sysctl-{name}-{}", std::process::id()));
            for (setting, value) in settings {
                let path = root.join("net/ipv4/conf").join(setting);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, value).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_greater_of_all_and_the_link_is_in_effect() {
        let tree = Tree::with(
            "greater",
            &[
                ("all/rp_filter", "0\n"),
                ("all/arp_ignore", "1\n"),
                ("all/arp_announce", "0\n"),
                ("bond0.40/rp_filter", "2\n"),
                ("bond0.40/arp_ignore", "0\n"),
                ("bond0.40/arp_announce", "0\n"),
            ],
        );
        let expected = Ipv4Conf { rp_filter: 2, arp_ignore: 1, arp_announce: 0 };
        assert_eq!(ipv4_conf(&tree.0, "bond0.40").unwrap(), expected);
        assert_eq!(read(&tree.0, "net/ipv4/conf/bond0.40/rp_filter").unwrap(), 2);
    }

    #[test]
    fn a_link_that_is_gone_and_a_setting_that_is_no_number_are_named() {
        let tree = Tree::with("named", &[("all/rp_filter", "loose\n")]);
        let bad = ipv4_conf(&tree.0, "eth0").unwrap_err();
        assert!(matches!(&bad, Error::NotANumber { text, .. } if text == "loose\n"), "{bad}");
        let missing = read(&tree.0, "net/ipv4/conf/eth0/rp_filter").unwrap_err();
        assert!(missing.to_string().ends_with("net/ipv4/conf/eth0/rp_filter"), "{missing}");
    }

    #[test]
    fn a_setting_is_written_below_the_first_root_that_lets_it_be() {
        let tree = Tree::with("written", &[("all/arp_ignore", "0\n")]);
        let (setting, nowhere) = ("net/ipv4/conf/all/arp_ignore", tree.0.join("nowhere"));
        write(&[&nowhere, &tree.0], setting, 1).unwrap();
        assert_eq!(read(&tree.0, setting).unwrap(), 1);
        let error = write(&[&nowhere, &nowhere], setting, 1).unwrap_err();
        assert!(error.is_absent() && !error.is_denied(), "{error}");
        assert!(error.to_string().ends_with("nowhere/net/ipv4/conf/all/arp_ignore"), "{error}");
        assert!(!nowhere.exists(), "a setting is never made");
    }

    #[test]
    fn a_setting_that_nobody_may_write_here_is_told_from_one_that_is_not_there() {
        let error =
            |errno| Error::Write { path: PathBuf::new(), source: io::Error::from_raw_os_error(errno) };
        // EACCES, EPERM, EROFS.
        assert!([13, 1, 30].into_iter().all(|errno| error(errno).is_denied() && !error(errno).is_absent()));
        // EINVAL.
        assert!(!error(22).is_denied() && !error(22).is_absent());
    }

    #[test]
    fn the_running_kernel_has_these_settings_for_its_loopback_link() {
        let conf = ipv4_conf(Path::new(ROOT), "lo").unwrap();
        assert!((0..=2).contains(&conf.rp_filter) && (0..=8).contains(&conf.arp_ignore), "{conf:?}");
    }
}
