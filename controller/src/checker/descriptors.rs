//! Every check under way has a socket. The usual limit of 1,024 is for programs that use `select`.

use std::fs;

use rustix::process::{Resource, Rlimit, setrlimit};
use tracing::warn;

/// Raises the number of files that this process may have open to what the administrator allows.
pub fn raise() {
    // Asking the kernel needs the call that sets it, which a sandbox may forbid.
    let Ok(limits) = fs::read_to_string("/proc/self/limits") else { return };
    let Some((current, maximum)) = open_files(&limits) else { return };
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        warn!(
            %error, limit = current,
            "the limit of open files stays as it is; more health checks than that at a time cannot be made"
        );
    }
}

/// The soft and the hard limit of open files; `None` stands for no limit.
fn open_files(limits: &str) -> Option<(Option<u64>, Option<u64>)> {
    let mut words = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace();
    let mut limit = || match words.next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    };
    Some((limit()?, limit()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_of_limits_is_understood() {
        let table = "\
Limit                     Soft Limit           Hard Limit           Units
Max processes             96048                96048                processes
Max open files            1024                 524288               files
";
        assert_eq!(open_files(table), Some((Some(1024), Some(524_288))));
        let unlimited = table.replace("1024 ", "unlimited ");
        assert_eq!(open_files(&unlimited), Some((None, Some(524_288))));
        assert!(open_files(&fs::read_to_string("/proc/self/limits").unwrap()).is_some());
    }
}
