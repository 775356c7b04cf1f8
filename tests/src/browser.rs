//! A headless Chromium that shows a page, driven by its `DevTools` protocol over pipes.
//!
//! Chromium reads commands from its descriptor 3 and writes answers and events to 4: JSON with a zero byte
//! behind each. The crates that speak this protocol bring thousands of generated types, a websocket and an
//! async runtime; the few commands used here need none of that.

mod heard;

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde_json::{Value, json};
use tempfile::TempDir;

pub use heard::Heard;

use crate::apiserver::tethered;
use crate::packages;

/// How long Chromium may take for an answer. Its start takes seconds.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);
/// How long it may take to end by itself.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Moves the pipes from standard input and output to where Chromium wants them.
const MOVE_PIPES: &str = "exec \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null";

/// Fulfilled when the page is loaded.
const LOADED: &str = "new Promise(done => \
    document.readyState === 'complete' ? done() : addEventListener('load', () => done()))";

/// Nothing but the page's own host can be reached, and Chromium asks for nothing by itself.
const FLAGS: &[&str] = &[
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-breakpad",
    // Where there is no graphics card, and where /dev/shm is small, as in containers.
    "--disable-gpu",
    "--disable-dev-shm-usage",
    // A picture is the same everywhere.
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--lang=en-US",
];

/// Chromium with one tab. It ends with this value or with the thread that started it.
pub struct Browser {
    chromium: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    last_command: u64,
    /// The tab, once there is one.
    session: Option<String>,
    heard: Heard,
    /// Its profile and what it prints; gone with it.
    folder: TempDir,
}

/// What a person prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Dark text on a light page.
    Light,
    /// Light text on a dark page.
    Dark,
}

impl Browser {
    /// Starts Debian's Chromium, with a profile of its own and an empty tab of this size in pixels.
    pub fn start(width: u32, height: u32) -> Result<Self> {
        let program = packages::program("chromium", "chromium")?;
        let folder = tempfile::tempdir().context("cannot make a folder for Chromium's profile")?;
        let said = fs::File::create(folder.path().join("said"))?;
        let mut command = tethered("sh", "KILL");
        command.args(["-c", MOVE_PIPES, "sh"]).arg(program).args(FLAGS);
        // Chromium refuses to run as root with its sandbox.
        command.args(rustix::process::geteuid().is_root().then_some("--no-sandbox"));
        command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        for variable in ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env(variable, folder.path());
        }
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(said);
        let mut chromium = command.spawn().context("cannot start Chromium")?;
        let commands = chromium.stdin.take().context("its standard input is a pipe")?;
        let answers = chromium.stdout.take().context("its standard output is a pipe")?;
        let (sender, messages) = channel();
        thread::spawn(move || read_messages(answers, &sender));
        let mut browser = Self {
            chromium,
            commands,
            messages,
            last_command: 0,
            session: None,
            heard: Heard::default(),
            folder,
        };
        browser.open_tab(width, height)?;
        Ok(browser)
    }

    fn open_tab(&mut self, width: u32, height: u32) -> Result<()> {
        let tab = self.call("Target.createTarget", &json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": tab["targetId"], "flatten": true});
        let session = self.call("Target.attachToTarget", &attach)?;
        self.session = Some(session["sessionId"].as_str().context("a tab without a session")?.to_owned());
        for domain in ["Page", "Runtime", "Log", "Network", "Inspector"] {
            self.call(&format!("{domain}.enable"), &json!({}))?;
        }
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &size).map(drop)
    }

    /// Goes to an address and waits until its page is loaded; an error if nobody answers there.
    pub fn open(&mut self, url: &str) -> Result<()> {
        let answer = self.call("Page.navigate", &json!({"url": url}))?;
        match answer["errorText"].as_str() {
            None | Some("") => {}
            Some(why) => bail!("{url}: {why}"),
        }
        self.evaluate(LOADED).map(drop)
    }

    /// The value of a JavaScript expression in the page, awaited if it is a promise.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let wish = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", &wish)?;
        let exception = &answer["exceptionDetails"];
        ensure!(exception.is_null(), "{exception}");
        Ok(answer["result"]["value"].take())
    }

    /// Says which colours the person prefers.
    pub fn prefer(&mut self, scheme: Scheme) -> Result<()> {
        let value = if scheme == Scheme::Dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.call("Emulation.setEmulatedMedia", &features).map(drop)
    }

    /// The page as it is seen, as a PNG.
    pub fn screenshot(&mut self) -> Result<Vec<u8>> {
        let answer = self.call("Page.captureScreenshot", &json!({"format": "png"}))?;
        BASE64_STANDARD.decode(answer["data"].as_str().unwrap_or_default()).context("a broken picture")
    }

    /// What it has told since its start.
    pub fn heard(&mut self) -> Result<&Heard> {
        // What happened before this answer was told before it.
        self.call("Runtime.evaluate", &json!({"expression": "0"}))?;
        Ok(&self.heard)
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.last_command += 1;
        let mut command = json!({"id": self.last_command, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        if let Err(error) = self.commands.write_all(format!("{command}\0").as_bytes()) {
            bail!("Chromium takes no command ({error}). {}", self.last_words());
        }
        let end = Instant::now() + ANSWER_LIMIT;
        loop {
            match self.messages.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(mut message) if message["id"] == self.last_command => {
                    ensure!(message["error"].is_null(), "{method}: {}", message["error"]);
                    return Ok(message["result"].take());
                }
                Ok(message) => self.heard.hear(&message),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("no answer to {method} within {} s. {}", ANSWER_LIMIT.as_secs(), self.last_words())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("Chromium has ended instead of {method}. {}", self.last_words())
                }
            }
        }
    }

    fn last_words(&self) -> String {
        let said = fs::read(self.folder.path().join("said")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        format!("The last it said:\n{}", lines[lines.len().saturating_sub(8)..].join("\n"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        // It may have ended already, by a crash.
        let _ = self.commands.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        end_group(&mut self.chromium, END_LIMIT);
    }
}

/// Waits for the leader of a process group to end by itself, for so long at most, and kills what is left of
/// the group.
fn end_group(leader: &mut Child, limit: Duration) {
    let end = Instant::now() + limit;
    let pid = Pid::from_child(leader);
    // The group's number is nobody else's until its leader has been waited for.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(pid), look), Ok(None)) && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
    }
    let _ = kill_process_group(pid, Signal::KILL);
    let _ = leader.wait();
}

/// Hands on each message until the pipe ends or nobody listens any more.
fn read_messages(pipe: impl Read, to: &Sender<Value>) {
    for bytes in BufReader::new(pipe).split(0) {
        let Ok(bytes) = bytes else { return };
        // What is cut off by its end is no message.
        let Ok(message) = serde_json::from_slice(&bytes) else { continue };
        if to.send(message).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::eventually::eventually;

    #[test]
    fn messages_end_with_a_zero_byte_and_one_that_is_cut_off_is_none() {
        let (sender, messages) = channel();
        read_messages(&b"{\"id\":1}\0{\"method\":\"a\"}\0{\"id\":"[..], &sender);
        drop(sender);
        assert_eq!(messages.iter().collect::<Vec<_>>(), [json!({"id": 1}), json!({"method": "a"})]);
    }

    #[test]
    fn what_a_leader_has_started_ends_too_whether_it_crashed_ends_by_itself_or_does_not() {
        for (then, limit) in [
            ("kill -KILL $$", Duration::from_mins(1)),
            ("exit 0", Duration::from_mins(1)),
            ("wait", Duration::from_millis(50)),
        ] {
            let script = format!("sleep 1000 & echo $!; {then}");
            let mut command = Command::new("sh");
            command.args(["-c", &script]).process_group(0).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut leader = command.spawn().unwrap();
            let mut started = String::new();
            BufReader::new(leader.stdout.take().unwrap()).read_line(&mut started).unwrap();
            end_group(&mut leader, limit);
            eventually(then, || {
                let state = fs::read_to_string(format!("/proc/{}/stat", started.trim()));
                // A zombie is nobody's process any more.
                state.ok().filter(|state| !state.contains(") Z ")).map_or(Ok(()), Err)
            });
        }
    }
}
