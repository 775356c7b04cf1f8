//! The settings of IPVS: files below `/proc/sys`, and timeouts over netlink.

use std::path::Path;

use lvs_ipvs::{Command, CommandError, Timeouts};
use lvs_net::sysctl;
use lvs_plan::settings::{Difference, Setting, Values, WriteError};

use super::super::KernelError;
use crate::chain::chain;

/// Reads the settings that are files. One that is not there is left out.
pub(super) fn sysctls(root: &Path) -> Result<Values, KernelError> {
    let names = Setting::SYSCTLS.into_iter().filter_map(|(setting, _)| Some((setting, setting.sysctl()?)));
    let mut values = Values::new();
    for (setting, name) in names {
        match sysctl::read(root, &path(name)) {
            Ok(value) => {
                values.insert(setting, value);
            }
            Err(error) if error.is_absent() => {}
            Err(error) => return Err(KernelError::Ipvs(chain(&error))),
        }
    }
    Ok(values)
}

/// Writes one of them below the first of these roots that lets it be written.
pub(super) fn write(roots: &[&Path], name: &str, value: i64) -> Result<(), WriteError> {
    sysctl::write(roots, &path(name), value).map_err(|error| {
        let words = chain(&error);
        if error.is_denied() { WriteError::NotAllowed(words) } else { WriteError::Refused(words) }
    })
}

/// `net.ipv4.vs.conntrack` as a path. No part of our names has a dot in it, as names of links may.
fn path(name: &str) -> String {
    name.replace('.', "/")
}

/// What the kernel says of its timeouts.
pub(super) fn timeouts(timeouts: Timeouts) -> Values {
    let Timeouts { tcp_seconds, tcp_fin_seconds, udp_seconds } = timeouts;
    let values = [
        (Setting::TcpTimeout, tcp_seconds),
        (Setting::TcpFinTimeout, tcp_fin_seconds),
        (Setting::UdpTimeout, udp_seconds),
    ];
    values.map(|(setting, seconds)| (setting, i64::from(seconds))).into()
}

/// The command that sets the timeouts among these; `None` if there is none.
pub(super) fn command(writes: &[Difference]) -> Option<Command> {
    let seconds = |setting| {
        let write = writes.iter().find(|write| write.setting == setting);
        // 0 leaves it alone, and so nobody asks for it.
        write.map_or(0, |write| u32::try_from(write.to).unwrap_or(u32::MAX))
    };
    let timeouts = Timeouts {
        tcp_seconds: seconds(Setting::TcpTimeout),
        tcp_fin_seconds: seconds(Setting::TcpFinTimeout),
        udp_seconds: seconds(Setting::UdpTimeout),
    };
    (timeouts != Timeouts::default()).then_some(Command::SetTimeouts(timeouts))
}

/// Why the timeouts could not be set.
pub(super) fn timeouts_error(error: &lvs_ipvs::Error) -> WriteError {
    let denied =
        matches!(error, lvs_ipvs::Error::Refused { source: CommandError::Refused { errno: EPERM, .. }, .. });
    let words = chain(error);
    if denied { WriteError::NotAllowed(words) } else { WriteError::Refused(words) }
}

const EPERM: i32 = 1;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn settings_that_the_kernel_does_not_have_are_left_out_and_the_others_are_written_where_they_are() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("net/ipv4/vs");
        assert_eq!(sysctls(root.path()), Ok(Values::new()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("conntrack"), "1\n").unwrap();
        fs::write(folder.join("expire_nodest_conn"), "0\n").unwrap();
        write(&[root.path()], "net.ipv4.vs.conntrack", 0).unwrap();
        let expected = Values::from([(Setting::Conntrack, 0), (Setting::ExpireNodestConn, 0)]);
        assert_eq!(sysctls(root.path()), Ok(expected));
        fs::write(folder.join("conntrack"), "what\n").unwrap();
        assert!(sysctls(root.path()).is_err());
    }

    #[test]
    fn timeouts_are_set_by_one_command_that_leaves_the_others_alone() {
        let write = |setting, to| Difference { setting, from: 0, to };
        let both = [write(Setting::ExpireNodestConn, 1), write(Setting::UdpTimeout, 30)];
        let timeouts = Timeouts { udp_seconds: 30, ..Timeouts::default() };
        assert!(matches!(command(&both), Some(Command::SetTimeouts(set)) if set == timeouts));
        assert!(command(&both[..1]).is_none());
    }
}
