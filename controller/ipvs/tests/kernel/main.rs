//! What only a kernel with IPVS can prove. Each test has network namespaces of its own and a table that
//! already holds services of others; `ipvsadm` is the witness, so nothing here is judged by the code under test
//! alone.

// clippy.toml lets tests unwrap, which covers the test functions and not what they call.
#![allow(clippy::unwrap_used)]

mod batch;
mod config;
mod copy;
mod errors;
mod glance;
mod host;
mod matrix;
mod overflow;
mod settings;
mod traffic;

/// The example is tested with the rest: what it prints is compared with `ipvsadm -Ln`.
#[path = "../../examples/list.rs"]
#[allow(dead_code)]
mod list;
