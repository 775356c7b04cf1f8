//! One health check of one real server, as one bounded asynchronous call.
//!
//! A [`Kind`] says what is asked, a [`Target`] where and how it is sent. [`Prepared`] holds what can be made
//! once; [`check`] then asks once and says `Ok`, or why not as a [`Failure`]. When to ask, and what several
//! answers in a row mean, is the caller's business.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use lvs_checks::{Kind, Prepared, Sockets, Target, check};
//!
//! # async fn example() -> Result<(), lvs_checks::PrepareError> {
//! let target = Target { address: [192, 168, 40, 12].into(), port: Some(80), source: None, mark: None };
//! let prepared = Prepared::new(&Kind::Tcp, &target)?;
//! // For all checks to come.
//! let sockets = Sockets::default();
//! match check(&prepared, &target, Duration::from_secs(2), &sockets).await {
//!     Ok(()) => println!("works"),
//!     Err(failure) if failure.is_ours() => println!("not known: {failure}"),
//!     Err(failure) => println!("does not work ({}): {failure}", failure.reason()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What a caller can rely on
//! - A check ends at its timeout at the latest, plus what the runtime is late by. It starts no task and no
//!   thread, and when it ends, or is dropped before, its connection is ended and nothing is left behind: TCP
//!   connections end by a reset, so none stays in `TIME_WAIT`. [`Sockets`] keeps a few sockets without a connection.
//! - What a server sends is looked at up to a limit in bytes that each protocol's file names, and what a
//!   failure quotes of it is short and printable.
//! - Failures of this host are told apart by [`Failure::is_ours`]: they say nothing about the server.
//! - It runs on any tokio runtime that has I/O and time enabled; a `current_thread` one will do.
//!
//! | module | holds | does I/O |
//! |---|---|---|
//! | `kind`, `prepared`, `shared` | what is asked, made ready once, and shared between checks | no |
//! | `failure` | why a check failed, in words and as a label | no |
//! | `dial`, `sockets`, `drive`, `deadline` | sockets with source and mark, or used again; the timeout | yes |
//! | `tcp`, `http`, `tls`, `grpc`, `dns`, `udp`, `ping` | a protocol each | yes |
//! | `http::{statuses, body}`, `dns::message`, `grpc::answer`, `ping::echo` | what answers say | no |
//! | `fuzzing` | what is fed anything, for property tests and fuzzers | no |

mod deadline;
mod dial;
mod dns;
mod drive;
mod failure;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
mod http;
mod kind;
mod ping;
mod prepared;
mod shared;
mod sockets;
mod tcp;
mod tls;
mod udp;

pub use failure::{Awaited, Failure, Peer, REASONS};
pub use kind::Target;
/// What a real server is asked; the settings are the API's own, with its rules taken as kept.
pub use lvs_crds::CheckKind as Kind;
pub use prepared::{PrepareError, Prepared, check};
pub use sockets::Sockets;
