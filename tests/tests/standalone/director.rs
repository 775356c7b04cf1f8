//! The program under test, on the Director of a network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use lvs_lab::eventually::eventually;
use lvs_lab::foreign::Foreign;
use lvs_lab::http;
use lvs_lab::topology::{Host, Process, Topology};
use serde_json::Value;
use tempfile::TempDir;

/// Where the agent serves. Each Director has a loopback of its own, so the port is always free.
pub(crate) const HTTP: &str = "127.0.0.1:9472";

/// A network, and on its Director a directory of manifests, a state directory, foreign things, and mostly an agent.
pub(crate) struct Director {
    agent: Option<Process>,
    pub(crate) foreign: Foreign,
    pub(crate) network: Topology,
    files: TempDir,
}

impl Director {
    /// The tutorial's network with an agent that runs over an empty directory and is ready.
    pub(crate) fn tutorial() -> Self {
        let mut director = Self::without_agent(Topology::tutorial().unwrap());
        director.start();
        director.await_ready();
        director
    }

    /// A network whose Director has no agent yet.
    pub(crate) fn without_agent(network: Topology) -> Self {
        let foreign = Foreign::plant(&network["director"]).unwrap();
        Self::beside(foreign, network)
    }

    /// The same with these things of others on the Director.
    pub(crate) fn beside(foreign: Foreign, network: Topology) -> Self {
        let files = tempfile::tempdir().unwrap();
        fs::create_dir(files.path().join("objects")).unwrap();
        Self { agent: None, foreign, network, files }
    }

    pub(crate) fn host(&self) -> &Host {
        &self.network["director"]
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.files.path().join("objects")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.files.path().join("state")
    }

    fn log(&self) -> PathBuf {
        self.files.path().join("log")
    }

    /// Writes a manifest as editors do: a new file, moved to its place.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let new = self.files.path().join(name);
        fs::write(&new, content).unwrap();
        fs::rename(new, self.manifests().join(name)).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.manifests().join(name)).unwrap();
    }

    /// Starts the agent.
    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts the agent with further flags. Its log goes on where that of the last one ended.
    pub(crate) fn start_with(&mut self, flags: &[&str]) {
        self.agent = Some(self.spawn(flags, &[]));
    }

    /// Starts an agent with further flags and variables, for whoever wants to see how it ends.
    pub(crate) fn spawn(&self, flags: &[&str], environment: &[(&str, &str)]) -> Process {
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.command(&self.state_dir(), "run");
        command.args(flags).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.host().spawn(&mut command).unwrap()
    }

    /// `lvs-controller COMMAND` for this node, not started.
    fn command(&self, state_dir: &Path, command: &str) -> Command {
        let mut run = Command::new(program());
        run.arg(command);
        run.args(["--node-name", "d1", "--manifests"]).arg(self.manifests());
        run.arg("--state-dir").arg(state_dir);
        run
    }

    /// Runs `lvs-controller COMMAND` for this node to its end.
    pub(crate) fn run(&self, command: &str, flags: &[&str]) -> Output {
        self.run_in(&self.state_dir(), command, flags)
    }

    /// The same with another state directory.
    pub(crate) fn run_in(&self, state_dir: &Path, command: &str, flags: &[&str]) -> Output {
        let mut run = self.command(state_dir, command);
        run.args(flags);
        self.host().within(|| run.output()).unwrap().unwrap()
    }

    /// Runs `lvs-controller` with these arguments alone to its end, which comes within a minute.
    pub(crate) fn run_bare(&self, arguments: &[&str]) -> Output {
        let mut run = Command::new("timeout");
        run.arg("60").arg(program()).args(arguments);
        self.host().within(|| run.output()).unwrap().unwrap()
    }

    /// Takes the running agent.
    pub(crate) fn take_agent(&mut self) -> Process {
        self.agent.take().expect("an agent runs")
    }

    /// Asks the agent for a path: status code and body. None while it does not serve.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        self.get_within(path, Duration::from_secs(10))
    }

    /// The same for a page that may take longer.
    pub(crate) fn get_within(&self, path: &str, limit: Duration) -> Option<(u16, String)> {
        let answer = self.host().within(|| http::get(HTTP.parse().unwrap(), path, limit)).unwrap();
        answer.ok().map(|(status, body)| (status.as_u16(), body))
    }

    /// The body of a path. An agent that was started just now may not listen yet.
    fn body(&self, path: &str) -> String {
        let (code, body) = eventually(&format!("{path} is served"), || {
            self.get(path).ok_or_else(|| format!("no answer; log:\n{}", self.logged()))
        });
        assert_eq!(code, 200, "{path}: {body}");
        body
    }

    /// What the agent logged.
    pub(crate) fn logged(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Waits until `/readyz` is 200.
    pub(crate) fn await_ready(&self) {
        eventually("the agent is ready", || match self.get("/readyz") {
            Some((200, _)) => Ok(()),
            other => Err(format!("{other:?}; log:\n{}", self.logged())),
        });
    }

    /// Waits until the agent serves and says that it is not ready; returns why.
    pub(crate) fn await_not_ready(&self, why: &str) -> String {
        let words = eventually(&format!("the agent is not ready: {why}"), || match self.get("/readyz") {
            Some((503, words)) if words.contains(why) => Ok(words),
            other => Err(format!("{other:?}; log:\n{}", self.logged())),
        });
        assert_eq!(self.get("/healthz").map(|(code, _)| code), Some(200));
        words
    }

    /// A metric by its name and labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = self.body("/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).parse().unwrap()
    }

    /// Steps taken in the kernel since the agent started.
    pub(crate) fn writes(&self) -> u64 {
        self.metric("lvs_kernel_writes_total")
    }

    /// How often drift of this kind was repaired since the agent started.
    pub(crate) fn repaired(&self, kind: &str) -> u64 {
        self.metric(&format!("lvs_drift_repaired_total{{kind=\"{kind}\"}}"))
    }

    /// `/debug/state`.
    pub(crate) fn debug_state(&self) -> Value {
        serde_json::from_str(&self.body("/debug/state")).unwrap()
    }

    /// An object in `/status`, if it is there.
    pub(crate) fn object(&self, kind: &str, name: &str) -> Option<Value> {
        let list: Value = serde_json::from_str(&self.body("/status")).unwrap();
        assert_eq!((&list["kind"], &list["apiVersion"]), (&Value::from("List"), &Value::from("v1")));
        let mut items = list["items"].as_array().unwrap().iter();
        items.find(|item| item["kind"] == kind && item["metadata"]["name"] == name).cloned()
    }

    /// A condition of an object: status, reason and message; empty while there is none.
    pub(crate) fn condition(&self, kind: &str, name: &str, type_: &str) -> [String; 3] {
        let object = self.object(kind, name).unwrap_or_default();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let condition =
            conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default();
        ["status", "reason", "message"].map(|field| condition[field].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until a condition has this status and reason; returns its message.
    pub(crate) fn await_condition(
        &self,
        kind: &str,
        name: &str,
        type_: &str,
        status: &str,
        reason: &str,
    ) -> String {
        eventually(&format!("{kind} {name}: {type_} is {status}, {reason}"), || {
            let [now, why, message] = self.condition(kind, name, type_);
            if now == status && why == reason {
                return Ok(message);
            }
            Err(format!("{now}, {why}: {message}; log:\n{}", self.logged()))
        })
    }

    /// Waits until the virtual service is Ready: its rules are in the kernel and its VIP is bound.
    pub(crate) fn await_served(&self, name: &str) {
        self.await_condition("VirtualService", name, "Ready", "True", "Ready");
    }

    /// Addresses of the Director's link, as `ip` lists them.
    pub(crate) fn addresses(&self) -> String {
        self.host().exec("ip -oneline address show dev eth0").unwrap()
    }

    pub(crate) fn holds(&self, vip: &str) -> bool {
        self.addresses().contains(&format!(" {vip}/"))
    }

    /// The table of our services and no others: the foreign ones are compared by [`Foreign`].
    pub(crate) fn our_table(&self) -> lvs_lab::table::Table {
        let mut table = lvs_lab::table::Table::read(self.host()).unwrap();
        table.0.retain(|key, _| !key.contains("10.99.0.") && key != "-f 99");
        table
    }

    /// Nothing foreign was touched, and the network comes down.
    pub(crate) fn finish(mut self) {
        self.foreign.assert_untouched();
        drop(self.agent.take());
        self.network.teardown().unwrap();
    }
}

/// The table that these `ipvsadm` commands make, in a namespace of its own: what the kernel itself prints for them.
pub(crate) fn table_by_hand(rules: &str) -> lvs_lab::table::Table {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let namespace = format!("by-hand-{}-{number}", std::process::id());
    let ip = |arguments: &[&str]| {
        let output = Command::new("ip").args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    ip(&["netns", "add", &namespace]);
    let host = Host::new("by-hand", namespace.clone());
    // A destination needs a route, and any one will do.
    host.exec("ip link set lo up; ip link add d0 type dummy; ip link set d0 up; ip route add default dev d0; ip -6 route add default dev d0").unwrap();
    host.exec(&format!("ipvsadm --restore <<'END'\n{rules}END")).unwrap();
    let table = lvs_lab::table::Table::read(&host).unwrap();
    ip(&["netns", "delete", &namespace]);
    table
}

/// Text of a process's output.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The Ethernet address of a host's first link. (`/sys` shows the links of whoever mounted it.)
pub(crate) fn mac(host: &Host) -> String {
    let link = host.exec("ip -brief link show dev eth0").unwrap();
    link.split_whitespace().nth(2).expect("NAME STATE MAC").to_owned()
}

pub(crate) fn program() -> String {
    std::env::var("LVS_LAB_CONTROLLER").expect("LVS_LAB_CONTROLLER names the controller: cargo lab test")
}
