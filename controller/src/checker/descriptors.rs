//! Every check under way has a socket. The usual limit of 1,024 is for programs that use `select`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Raises the number of files that this process may have open to what the administrator allows.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        warn!(%error, limit = limit.current, "the limit of open files stays as it is: of more health checks at a time than that, some wait");
    }
}
