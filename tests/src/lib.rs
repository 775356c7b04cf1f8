//! The lab of lvs-operator: everything that needs a kernel with IPVS, an API server or a cluster.
//!
//! | module | holds | runs |
//! |---|---|---|
//! | [`packages`] | which Debian packages the lab needs, and why | on the host |
//! | [`promtool`] | Prometheus' own checker of metrics | on the host |
//! | [`cache`], [`progress`] | things built once; what is shown while they are built | on the host |
//! | [`guest`] | a QEMU guest with Debian's kernel that sees the host's files | on the host |
//! | [`standing`] | the lab that stays until `down` | on the host |
//! | [`apiserver`] | a real API server, and the Kubernetes programs | on the host |
//! | [`browser`] | a headless Chromium | on the host |
//! | [`topology`] | hosts as network namespaces, joined by switches | in the guest |
//! | [`foreign`], [`table`] | what is not ours on a Director, and the kernel's table as ipvsadm tells it | in the guest |
//! | [`eventually`], [`http`] | waiting with a limit, one request | anywhere |
//! | [`loopback`] | free ports | on the host |
//! | [`objects`] | objects of the API | anywhere |
//! | [`web`], [`farm`], [`load`] | the real servers' web server, thousands of real servers, the client | in the guest |
//! | [`cluster`] | two nodes with kubelets, and the operator installed into them | on the host |
//! | [`demo`] | the tutorial, played and checked | on the host |
//! | [`bench`] | the agent's speed, memory and rest, beside its peers | in the guest, from the host |
//! | [`suites`] | test binaries: finding, building, running, counting | on the host |
//!
//! The lab knows the controller only as a program: it never links it.

pub mod apiserver;
pub mod bench;
pub mod browser;
pub mod cache;
pub mod cluster;
pub mod controller;
pub mod demo;
pub mod eventually;
pub mod farm;
pub mod foreign;
pub mod guest;
pub mod http;
pub mod load;
pub mod loopback;
pub mod objects;
pub mod packages;
pub mod progress;
pub mod promtool;
pub mod standing;
pub mod suites;
pub mod table;
pub mod topology;
pub mod web;
