//! What only a kernel can prove. Each test has network namespaces of its own; `ip` and `tcpdump` are the
//! witnesses, so nothing here is judged by the code under test alone.

// clippy.toml lets tests unwrap, which covers the test functions and not what they call.
#![allow(clippy::unwrap_used)]

mod addresses;
mod announce;
mod listen;
mod monitor;
mod probe;
mod reading;
mod segment;
