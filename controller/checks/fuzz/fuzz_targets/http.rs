//! Bodies in two pieces against text or an expression, and entries of `expectedStatuses`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lvs_checks::fuzzing::{body, statuses};

fuzz_target!(|input: (Option<&str>, Option<&str>, u16, &[u8])| {
    let (contains, regex, first, bytes) = input;
    body(contains, regex, bytes, usize::from(first));
    statuses(&[contains, regex].into_iter().flatten().map(str::to_owned).collect::<Vec<_>>(), first);
});
