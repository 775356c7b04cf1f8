//! Networks made of namespaces: a host is a network namespace, a switch is a bridge, a cable is a veth pair.
//!
//! They need root and a kernel with IPVS, so they are made inside a guest only. Each has names of its own, so that many
//! tests can have one at the same time. Dropped, everything of it goes.
//!
//! ```no_run
//! use lvs_lab::topology::{Topology, tutorial::VIP};
//!
//! let network = Topology::tutorial()?;
//! network["director"].exec(&format!("ip address add {VIP}/32 dev eth0"))?;
//! network["director"].exec(&format!("ipvsadm -A -t {VIP}:80 -s rr"))?;
//! network["director"].exec(&format!("ipvsadm -a -t {VIP}:80 -r 192.168.40.12"))?;
//! let page = network["client"].exec(&format!("curl -s http://{VIP}/"))?;
//! assert_eq!(page, "rs1 saw 172.16.0.50\n");
//! # anyhow::Ok(())
//! ```

mod blueprint;
mod host;
mod management;
pub mod one_arm;
pub mod tutorial;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::mem;
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::ops::Index;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::guest::PROGRAMS;
use blueprint::{Blueprint, HostPlan, Naming};
pub use host::{Host, Process};
pub(crate) use management::ManagementAddress;

/// How long a web server may take until it listens. Starting a program takes its time when a machine is emulated.
const WEB_LIMIT: Duration = Duration::from_mins(1);

/// A running network.
pub struct Topology {
    hosts: BTreeMap<&'static str, Host>,
    /// Namespaces that exist, in the order they were made.
    namespaces: Vec<String>,
    /// The web servers that run, by their hosts' names.
    servers: BTreeMap<&'static str, Process>,
    management: Vec<ManagementAddress>,
}

impl Topology {
    /// The classic LVS-DR tutorial's network; see [`tutorial`].
    pub fn tutorial() -> Result<Self> {
        Self::build(&tutorial::blueprint(), &Naming::unique())
    }

    /// VIP and real servers in one subnet, IPv4 and IPv6; see [`one_arm`].
    pub fn one_arm() -> Result<Self> {
        Self::build(&one_arm::blueprint(), &Naming::unique())
    }

    /// [`Topology::tutorial`] with namespaces named as its hosts are, which stays when this process ends.
    pub fn tutorial_to_stay() -> Result<()> {
        let mut network = Self::build(&tutorial::blueprint(), &Naming::plain())?;
        mem::take(&mut network.servers).into_values().for_each(mem::forget);
        mem::forget(network);
        Ok(())
    }

    /// A host by its name in the fixture's picture.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.get(name)
    }

    /// Takes it down and tells of everything that went wrong with that, not of the first thing only.
    pub fn teardown(mut self) -> Result<()> {
        let errors = self.take_down();
        ensure!(errors.is_empty(), "taking a network down:\n{}", errors.join("\n"));
        Ok(())
    }

    fn build(blueprint: &Blueprint, naming: &Naming) -> Result<Self> {
        ensure!(
            Path::new(PROGRAMS).exists(),
            "networks are made in a guest of the lab only: use `cargo lab test`"
        );
        let mut network = Self {
            hosts: BTreeMap::new(),
            namespaces: Vec::new(),
            servers: BTreeMap::new(),
            management: Vec::new(),
        };
        let switch = network.add_host("switch", naming)?;
        // A switch has no address of its own and says nothing.
        switch.set("net.ipv6.conf.default.disable_ipv6", "1")?;
        for plan in &blueprint.hosts {
            network.add_host(plan.name, naming)?;
        }
        switch.ip_batch(&blueprint.switch_lines(naming))?;
        for plan in &blueprint.hosts {
            network.set_up(plan).with_context(|| format!("setting up {}", plan.name))?;
        }
        for plan in blueprint.hosts.iter().filter(|plan| plan.serves) {
            Self::await_server(&network[plan.name])?;
        }
        Ok(network)
    }

    fn add_host(&mut self, name: &'static str, naming: &Naming) -> Result<Host> {
        let host = Host::new(name, naming.namespace(name));
        ip(&["netns", "add", host.namespace()])?;
        self.namespaces.push(host.namespace().to_owned());
        self.hosts.insert(name, host.clone());
        Ok(host)
    }

    fn set_up(&mut self, plan: &HostPlan) -> Result<()> {
        let host = self[plan.name].clone();
        // Before any address is there: a real server has to be quiet in ARP before it holds the VIP.
        for (setting, value) in &plan.settings {
            host.set(setting, value)?;
        }
        host.ip_batch(&plan.host_lines())?;
        if plan.managed {
            self.management.push(ManagementAddress::give(&host)?);
        }
        if plan.serves {
            self.spawn_web(&host)?;
        }
        Ok(())
    }

    fn spawn_web(&mut self, host: &Host) -> Result<()> {
        let mut server = Command::new(Path::new(PROGRAMS).join("lab"));
        server.args(["guest-web", host.name()]);
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.servers.insert(host.name(), host.spawn(&mut server)?);
        Ok(())
    }

    /// Kills the web server of a host: from now on the host refuses connections.
    pub fn stop_web(&mut self, host: &str) -> Result<()> {
        let server = self.servers.remove(host);
        server.with_context(|| format!("no web server runs on {host}"))?.kill()
    }

    /// Starts it again, and waits until it listens.
    pub fn start_web(&mut self, host: &str) -> Result<()> {
        let host = self[host].clone();
        self.spawn_web(&host)?;
        Self::await_server(&host)
    }

    /// The web server of a host, to be sent signals: stopped (SIGSTOP) it accepts connections and never answers.
    pub fn web(&self, host: &str) -> Option<&Process> {
        self.servers.get(host)
    }

    fn await_server(host: &Host) -> Result<()> {
        let end = Instant::now() + WEB_LIMIT;
        let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 80));
        while host.within(|| TcpStream::connect(address).is_err())? {
            if Instant::now() > end {
                bail!("the web server of {} does not listen", host.name());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn take_down(&mut self) -> Vec<String> {
        let mut errors = Vec::new();
        for server in mem::take(&mut self.servers).into_values() {
            if let Err(error) = server.kill() {
                errors.push(format!("{error:#}"));
            }
        }
        for address in self.management.drain(..) {
            if let Err(error) = address.take() {
                errors.push(format!("{error:#}"));
            }
        }
        // The switch was made first and goes last, so that no cable is pulled twice.
        for namespace in self.namespaces.drain(..).rev() {
            if let Err(error) = ip(&["netns", "delete", &namespace]) {
                errors.push(format!("{error:#}"));
            }
        }
        errors
    }
}

impl Index<&str> for Topology {
    type Output = Host;

    /// # Panics
    /// If there is no such host.
    fn index(&self, name: &str) -> &Host {
        self.host(name).unwrap_or_else(|| {
            panic!(
                "no host is named {name}: there are {}",
                self.hosts.keys().copied().collect::<Vec<_>>().join(", ")
            )
        })
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        for error in self.take_down() {
            eprintln!("taking a network down: {error}");
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run ip")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(())
}

/// Runs `ip -batch` on lines; `ip` says the number of a line that fails and its reason, and the error shows the line.
fn run_batch(mut command: Command, lines: &[String]) -> Result<()> {
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ip")?;
    let mut input = child.stdin.take().expect("its standard input is a pipe");
    input.write_all((lines.join("\n") + "\n").as_bytes()).context("cannot write to ip")?;
    drop(input);
    let output = child.wait_with_output().context("cannot wait for ip")?;
    ensure!(
        output.status.success(),
        "ip -batch: {}\n{}",
        String::from_utf8_lossy(&output.stderr).trim_end(),
        lines.join("\n")
    );
    Ok(())
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Naming {
    /// Names that no other network in this guest has.
    fn unique() -> Self {
        Self::with_prefix(format!("{}-{}-", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }
}
