//! Datagrams as answers to a question.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, Option<(u16, bool)>, &[u8])| lvs_checks::fuzzing::dns(input.0, input.1, input.2));
