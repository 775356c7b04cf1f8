//! Answers of `grpc.health.v1`: headers, messages, trailers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lvs_checks::fuzzing::{Fields, grpc};

fuzz_target!(|input: (Fields, &[u8], Option<Fields>)| grpc(input.0, input.1, input.2));
