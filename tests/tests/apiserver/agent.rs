//! A running agent on a host.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use lvs_lab::eventually::eventually;
use lvs_lab::topology::{Host, Process};
use tempfile::TempDir;

use crate::line::Line;

/// An agent with a state directory and a line to the API server of its own; both outlive it.
pub(crate) struct Seat {
    host: Host,
    node_name: &'static str,
    folder: TempDir,
    pub(crate) line: Line,
}

/// The agent; killed when dropped.
pub(crate) struct Agent {
    host: Host,
    process: Process,
    log: Log,
}

/// What the agent and those before it in its seat have said; a test that fails shows it.
struct Log(PathBuf);

impl Log {
    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap_or_default()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{}", self.text());
        }
    }
}

impl Seat {
    pub(crate) fn new(host: &Host, node_name: &'static str, kubeconfig: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let line = Line::new(host, kubeconfig);
        fs::write(folder.path().join("kubeconfig"), line.kubeconfig(kubeconfig)).unwrap();
        Self { host: host.clone(), node_name, folder, line }
    }

    /// Starts the agent.
    pub(crate) fn start(&self) -> Agent {
        self.start_with(&[])
    }

    /// Starts it with these variables in its environment.
    pub(crate) fn start_with(&self, environment: &[(&str, &str)]) -> Agent {
        let path = |name| self.folder.path().join(name);
        let log = path("log");
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let program = std::env::var("LVS_LAB_CONTROLLER").expect("cargo lab test sets LVS_LAB_CONTROLLER");
        let mut command = Command::new(program);
        command
            .args(["run", "--node-name", self.node_name, "--kubeconfig"])
            .arg(path("kubeconfig"))
            .arg("--state-dir")
            .arg(path("state"))
            // The Leases of Directors are all in one namespace.
            .env("POD_NAMESPACE", "default")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let process = self.host.spawn(&mut command).unwrap();
        Agent { host: self.host.clone(), process, log: Log(log) }
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start_ready(&self) -> Agent {
        let agent = self.start();
        agent.await_ready();
        agent
    }
}

impl Agent {
    /// What it serves under this path.
    pub(crate) fn page(&self, path: &str) -> String {
        self.host.exec(&format!("curl -sS --max-time 20 http://127.0.0.1:9472{path}")).unwrap_or_default()
    }

    pub(crate) fn await_ready(&self) {
        self.await_page("/readyz", "the agent is ready", |page| page == "ok\n");
    }

    pub(crate) fn await_page(&self, path: &str, wish: &str, holds: impl Fn(&str) -> bool) -> String {
        eventually(wish, || {
            let page = self.page(path);
            if holds(&page) { Ok(page) } else { Err(page) }
        })
    }

    /// A number among its metrics.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = self.page("/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("there is no {name} in\n{metrics}"))
    }

    /// A value of `/debug/state`.
    pub(crate) fn debug(&self, pointer: &str) -> serde_json::Value {
        let state: serde_json::Value = serde_json::from_str(&self.page("/debug/state")).unwrap();
        state.pointer(pointer).cloned().unwrap_or_default()
    }

    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    pub(crate) fn await_log(&self, wish: &str, words: &str) {
        eventually(wish, || if self.log().contains(words) { Ok(()) } else { Err(String::new()) });
    }

    pub(crate) fn kill(self) {
        self.process.kill().unwrap();
    }

    pub(crate) fn terminate(self) -> ExitStatus {
        let status = self.process.terminate().unwrap();
        if !status.success() {
            println!("{}", self.log.text());
        }
        status
    }
}
