//! Whole checks of real servers on the loopback interface.

#![allow(clippy::unwrap_used)]

mod dns;
mod grpc;
mod http;
mod https;
mod noise;
mod ping;
mod server;
mod tcp;
mod udp;
