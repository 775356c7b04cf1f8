//! What an ICMP socket hears.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, bool, &[u8])| lvs_checks::fuzzing::ping(input.0, input.1, input.2));
