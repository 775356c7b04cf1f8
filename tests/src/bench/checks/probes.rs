//! The kernel as a witness: how often it was asked to add, change and remove destinations, whoever asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

const TRACING: &str = "/sys/kernel/tracing";
/// The functions of `ip_vs` behind `NEW_DEST`, `SET_DEST` and `DEL_DEST`.
const PROBES: [(&str, &str); 3] =
    [("lab_new", "ip_vs_add_dest"), ("lab_set", "ip_vs_edit_dest"), ("lab_del", "ip_vs_del_dest")];

/// Calls since the probes were set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    pub(super) new: u32,
    pub(super) set: u32,
    pub(super) del: u32,
}

/// Probes in the kernel; removed when dropped.
pub(super) struct Probes {
    profile: PathBuf,
}

impl Probes {
    /// Sets them. The module is loaded.
    pub(super) fn set() -> Result<Self> {
        if !Path::new(TRACING).join("kprobe_events").exists() {
            let status = Command::new("mount").args(["-t", "tracefs", "tracefs", TRACING]).status()?;
            ensure!(status.success(), "cannot mount tracefs");
        }
        let probes = Self { profile: Path::new(TRACING).join("kprobe_profile") };
        for (name, function) in PROBES {
            append("kprobe_events", &format!("p:lab/{name} {function}\n"))?;
        }
        fs::write(Path::new(TRACING).join("events/lab/enable"), "1").context("cannot enable the probes")?;
        Ok(probes)
    }

    /// What they have counted.
    pub(super) fn calls(&self) -> Result<Calls> {
        let profile = fs::read_to_string(&self.profile)?;
        parse(&profile).with_context(|| format!("cannot understand kprobe_profile:\n{profile}"))
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        let _ = fs::write(Path::new(TRACING).join("events/lab/enable"), "0");
        for (name, _) in PROBES {
            let _ = append("kprobe_events", &format!("-:lab/{name}\n"));
        }
    }
}

fn append(file: &str, line: &str) -> Result<()> {
    use std::io::Write as _;
    let path = Path::new(TRACING).join(file);
    let write = || fs::File::options().append(true).open(&path)?.write_all(line.as_bytes());
    write().with_context(|| format!("cannot write {line:?} to {}", path.display()))
}

/// Lines of `name hits misses`.
fn parse(profile: &str) -> Option<Calls> {
    let hits = |name: &str| {
        let line = profile.lines().find_map(|line| line.trim_start().strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Calls { new: hits("lab_new")?, set: hits("lab_set")?, del: hits("lab_del")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_the_first_number_of_each_line() {
        let profile = "  lab_new                                        1000               0\n  \
                       lab_set                                          17               2\n  \
                       lab_del                                           0               0\n";
        assert_eq!(parse(profile), Some(Calls { new: 1000, set: 17, del: 0 }));
        assert_eq!(parse("lab_new 1 0\n"), None);
    }
}
