//! The commands, one file each. They hold arguments and messages; the work is the library's.

use std::io::Write as _;
use std::process::ExitCode;

use lvs_lab::guest::Stream;
use lvs_lab::progress;

pub(crate) mod bench;
pub(crate) mod cluster;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod exec;
mod guest_options;
pub(crate) mod image;
pub(crate) mod in_guest;
pub(crate) mod run;
pub(crate) mod test;
pub(crate) mod up;

/// Copies what a command in the guest writes to the outputs of this one.
fn copy(stream: Stream, bytes: &[u8]) {
    match stream {
        Stream::Output => progress::raw(bytes),
        Stream::Error => {
            let _ = std::io::stderr().write_all(bytes);
        }
    }
}

/// A command's exit code as this one's.
fn exit_code(code: i32) -> ExitCode {
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}
