//! Two hosts on one Ethernet segment: network namespaces joined by a veth pair.
//!
//! ```text
//!  director                              neighbour
//!  d0  192.168.40.2/24, fd00:40::2/64 ── n0  192.168.40.3/24, fd00:40::3/64
//! ```

use std::{
    fs::File,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use lvs_net::{Net, link::Link};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

/// The Ethernet address of the Director's link.
pub(crate) const D0: [u8; 6] = [0x02, 0, 0, 0, 0x40, 0x02];
/// The Ethernet address of the neighbour's link.
pub(crate) const N0: [u8; 6] = [0x02, 0, 0, 0, 0x40, 0x03];

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The two hosts; gone when the value is dropped.
pub(crate) struct Segment {
    pub(crate) director: String,
    pub(crate) neighbour: String,
}

impl Segment {
    pub(crate) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |host: &str| format!("lvs-net-{}-{number}-{host}", std::process::id());
        let segment = Self { director: name("d"), neighbour: name("n") };
        ip(&format!("netns add {}", segment.director));
        ip(&format!("netns add {}", segment.neighbour));
        ip(&format!(
            "-n {} link add d0 address 02:00:00:00:40:02 type veth peer name n0 address 02:00:00:00:40:03 netns {}",
            segment.director, segment.neighbour
        ));
        for (host, link, last) in [(&segment.director, "d0", 2), (&segment.neighbour, "n0", 3)] {
            ip(&format!("-n {host} link set lo up"));
            ip(&format!("-n {host} link set {link} up"));
            ip(&format!("-n {host} address add 192.168.40.{last}/24 dev {link}"));
            ip(&format!("-n {host} address add fd00:40::{last}/64 dev {link} nodad"));
        }
        segment
    }

    /// `ip` in the Director's namespace.
    pub(crate) fn d(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.director));
    }

    /// `ip` in the neighbour's namespace.
    pub(crate) fn n(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.neighbour));
    }

    /// `ip -json` in the Director's namespace.
    pub(crate) fn d_json(&self, arguments: &str) -> Vec<Value> {
        json(&format!("-n {} -j {arguments}", self.director))
    }

    /// `ip -json` in the neighbour's namespace.
    pub(crate) fn n_json(&self, arguments: &str) -> Vec<Value> {
        json(&format!("-n {} -j {arguments}", self.neighbour))
    }

    /// The JSON object that `ip address` has for this address on `d0`, if there is one.
    pub(crate) fn on_d0(&self, local: &str) -> Option<Value> {
        let links = self.d_json("address show dev d0");
        let addresses =
            links.iter().flat_map(|link| link["addr_info"].as_array().cloned().unwrap_or_default());
        addresses.into_iter().find(|address| address["local"] == local)
    }

    /// Runs `test` on a thread that is in the Director's namespace, with a tokio runtime of its own.
    pub(crate) fn on_director<T: Send>(&self, test: impl AsyncFnOnce() -> T + Send) -> T {
        run_in(&self.director, test)
    }

    /// Sets a sysctl in the Director's namespace.
    pub(crate) fn d_sysctl(&self, setting: &str) {
        run(Command::new("ip").args(["netns", "exec", &self.director, "sysctl", "-qw", setting]));
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        for host in [&self.director, &self.neighbour] {
            let _ = Command::new("ip").args(["netns", "delete", host]).status();
        }
    }
}

/// Runs `test` on a thread of its own in the named namespace.
pub(crate) fn run_in<T: Send>(namespace: &str, test: impl AsyncFnOnce() -> T + Send) -> T {
    let path = format!("/run/netns/{namespace}");
    let body = move || {
        let file = File::open(path).unwrap();
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test())
    };
    thread::scope(|scope| match scope.spawn(body).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// The link with this name in the namespace of the calling thread.
pub(crate) async fn link(net: &Net, name: &str) -> Link {
    net.links().await.unwrap().into_iter().find(|link| link.name == name).unwrap()
}

/// Asks again and again until `probe` has an answer; fails after 5 s.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "not within 5 s: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split_whitespace()));
}

fn json(arguments: &str) -> Vec<Value> {
    let text = run(Command::new("ip").args(arguments.split_whitespace()));
    let values: Vec<Value> =
        if text.trim().is_empty() { Vec::new() } else { serde_json::from_str(&text).unwrap() };
    // iproute2 prints an empty object for what a filter left out.
    values.into_iter().filter(|value| value.as_object().is_some_and(|object| !object.is_empty())).collect()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    String::from_utf8(output.stdout).unwrap()
}
