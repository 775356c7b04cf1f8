//! The controller: from objects to kernel rules to status.
//!
//! `source` (files in [`manifests`], the API server in [`api`]) hands objects to [`sync`], THE driver, which
//! compares them with the [`kernel`], writes the [`ledger`] and then the kernel, and puts what it knows on the
//! [`board`], from where [`http`] and the status writer take it.

pub mod agent;
pub mod api;
pub mod args;
pub mod board;
mod chain;
pub mod checker;
pub mod cleanup;
pub mod counters;
pub mod crash_point;
pub mod driver_thread;
pub mod http;
pub mod kernel;
pub mod ledger;
pub mod logging;
pub mod manifests;
pub mod metrics;
pub mod plan_command;
pub mod source;
pub mod status_command;
pub mod status_value;
pub mod sync;
pub mod view;
