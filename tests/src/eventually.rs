//! Waiting for what has to come true, with a generous limit: an emulated guest on a busy machine takes its time, and a
//! test that measures it by accident is a bad test.

use std::thread;
use std::time::{Duration, Instant};

/// Long enough for anything that takes a second on a calm machine.
pub const LIMIT: Duration = Duration::from_mins(1);

/// Asks again and again until the answer is there.
///
/// # Panics
/// If it is not there within [`LIMIT`]. The message has `what` was awaited and the last answer.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(last) if Instant::now() > end => {
                panic!("not within {} s: {what}; last seen: {last}", LIMIT.as_secs())
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// [`eventually`] for a value that has to become equal to another.
///
/// # Panics
/// If it does not within [`LIMIT`].
pub fn eventually_is<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, mut ask: impl FnMut() -> T) {
    eventually(what, || {
        let now = ask();
        if now == *expected { Ok(()) } else { Err(format!("{now:?}, awaited: {expected:?}")) }
    });
}
