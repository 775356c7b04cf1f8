//! An agent in a guest, and a browser on this machine that shows its page.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum as _;
use lvs_lab::browser::Browser;
use lvs_lab::cache::Cache;
use lvs_lab::eventually::eventually;
use lvs_lab::guest::{Guest, Job, Kernel, Nic, Options};
use lvs_lab::http;
use lvs_lab::loopback::free_ports;

use crate::seen::{self, Noted, Seen, Server};

/// The first address of the management network: the Director's, in a guest that has no other.
const AGENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 20), 9472);
/// For a command in the guest.
const LIMIT: Duration = Duration::from_mins(2);

pub(crate) struct Lab {
    // Dropped before what it shows.
    pub(crate) browser: Browser,
    guest: Guest,
    /// Where this machine has the agent's port.
    port: u16,
}

impl Lab {
    /// An agent with these objects, its page in the browser, and clients that ask all the time.
    pub(crate) fn start(manifest: &str) -> Self {
        let (guest, port) = boot();
        // Seen after a failure only.
        println!("the guest's console and the agent's log: {}", guest.folder().display());
        let browser = Browser::start(1200, 720).unwrap();
        let lab = Self { browser, guest, port };
        lab.declare(manifest);
        lab.sh(&format!("export PAGE={AGENT}\n{}", include_str!("network.sh")));
        let address = (Ipv4Addr::LOCALHOST, port).into();
        eventually("the agent is ready", || match http::get(address, "/readyz", Duration::from_secs(10)) {
            Ok((_, page)) if page == "ok\n" => Ok(()),
            other => Err(format!("{other:?}")),
        });
        lab
    }

    /// The address of this machine at which the agent is.
    pub(crate) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Replaces the agent's objects.
    pub(crate) fn declare(&self, manifest: &str) {
        // A file that appears complete.
        let script = "mkdir -p /etc/lvs-operator && cd /etc/lvs-operator && cat > new && mv new web.yaml";
        let job = Job { input: manifest.to_owned(), ..Job::new(["sh", "-c", script]) };
        self.guest.output(&job, LIMIT).unwrap();
    }

    /// Runs a script in the guest.
    pub(crate) fn sh(&self, script: &str) -> String {
        self.guest.output(&Job::new(["bash", "-c", script]), LIMIT).unwrap()
    }

    /// Starts a command on a host that goes on until what this returns is killed.
    pub(crate) fn start_on(&self, host: &str, command: &str) -> String {
        let started = format!("ip netns exec {host} setsid {command} > /dev/null 2>&1 < /dev/null & echo $!");
        self.sh(&started).trim().to_owned()
    }

    /// Ends what was started so, with all that it has started.
    pub(crate) fn stop(&self, started: &str) {
        self.sh(&format!("kill -- -{started}"));
    }

    /// When the agent's log said that checks of a real server fail, in milliseconds of the guest's clock.
    pub(crate) fn verdicts(&self, name: &str) -> Vec<u64> {
        let line = format!("object=default/{name} reason=CheckFailed");
        let script = format!("grep '{line}' /run/lab/share/agent.log | cut -d ' ' -f 1 | date -f - +%s%3N");
        self.sh(&script).lines().map(|time| time.parse().unwrap()).collect()
    }

    /// What the page shows now.
    pub(crate) fn look(&mut self) -> Seen {
        serde_json::from_value(self.browser.evaluate(&format!("({})()", seen::LOOK)).unwrap()).unwrap()
    }

    /// From now on each snapshot is noted, however late this machine looks.
    pub(crate) fn note_snapshots(&mut self) {
        self.browser.evaluate(&format!("({})({})", seen::NOTE, seen::LOOK)).unwrap();
    }

    pub(crate) fn noted(&mut self) -> Vec<Noted> {
        serde_json::from_value(self.browser.evaluate("noted").unwrap()).unwrap()
    }

    /// Waits until the page shows it.
    pub(crate) fn await_seen<T>(&mut self, what: &str, found: impl Fn(&Seen) -> Option<T>) -> T {
        eventually(what, || {
            let seen = self.look();
            found(&seen).ok_or_else(|| format!("{seen:#?}"))
        })
    }

    /// Waits until the row of a real server of the service `web` is so.
    pub(crate) fn await_row<T>(&mut self, name: &str, what: &str, is: impl Fn(&Server) -> Option<T>) -> T {
        self.await_seen(&format!("{name} {what}"), |seen| is(seen.service("web")?.server(name)?))
    }

    /// Switches the guest off and removes its files, which a failure leaves.
    pub(crate) fn finish(self) {
        drop(self.browser);
        self.guest.stop().unwrap();
    }
}

/// A guest in which the agent can be reached at a port of this machine.
fn boot() -> (Guest, u16) {
    let cache = Cache::open().unwrap();
    let mut left = 3;
    loop {
        let [port] = free_ports().unwrap();
        left -= 1;
        match Guest::boot(&cache, &options(port)) {
            Ok(guest) => return (guest, port),
            // Somebody else was faster than QEMU.
            Err(error) if left > 0 && is_port_taken(&error) => println!("port {port} is taken; once more"),
            Err(error) => panic!("{error:#}"),
        }
    }
}

/// By QEMU's last words.
fn is_port_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("Could not set up host forwarding rule")
}

fn options(port: u16) -> Options {
    let controller = std::env::var("LVS_LAB_CONTROLLER").expect("cargo lab test names the controller");
    let number = |name: &str, default: u32| {
        std::env::var(name).map_or(default, |value| value.parse().expect("cargo lab test tells a number"))
    };
    let default = Options::default();
    let kernel = std::env::var("LVS_LAB_KERNEL").map_or(default.kernel, |name| {
        Kernel::from_str(&name, false).expect("cargo lab test names a kernel")
    });
    Options {
        kernel,
        memory_mib: number("LVS_LAB_MEMORY", default.memory_mib),
        cpus: number("LVS_LAB_CPUS", default.cpus),
        programs: vec![("lvs-controller".to_owned(), PathBuf::from(controller))],
        lab: Some(env!("CARGO_BIN_EXE_lab").into()),
        nic: Nic::BothLoopbacks { port, to: AGENT },
        ..default
    }
}
