//! The lab that stays: what `up`, `exec` and `down` are about.
//!
//! A process of its own, the keeper, has booted the guest and started the API server, and both end with it, however it
//! ends. It holds a lock for as long as it lives, so whether a lab is up never depends on a process id that may be
//! another's by now.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::apiserver::{ApiServer, KubeBinary, Programs};
use crate::cache::Cache;
use crate::guest::{Guest, Job, Options};
use crate::{controller, progress};

const NAME: &str = "up";
const LOOK: Duration = Duration::from_millis(100);
/// From the wish to be down until everything has ended.
const DOWN_LIMIT: Duration = Duration::from_mins(1);

/// Where the lab that stays is, and whether it is.
pub struct Standing {
    cache: Cache,
}

impl Standing {
    /// The one of this cache.
    pub fn new(cache: Cache) -> Self {
        Self { cache }
    }

    /// Its guest, if the lab is up.
    pub fn guest(&self) -> Result<Option<Guest>> {
        Ok((self.is_kept()? && self.welcome().is_file()).then(|| Guest::of_another(self.folder())))
    }

    /// Has a keeper started by `command`, which leads to [`Standing::keep`], and returns what it has to say when
    /// everything is up. What it prints until then is printed here.
    pub fn up(&self, mut command: Command) -> Result<String> {
        if self.is_kept()? {
            bail!("a lab is up already: `cargo lab down` stops it");
        }
        let folder = self.folder();
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
            }
            _ => fs::create_dir_all(&folder)?,
        }
        let log = File::create(folder.join("log"))?;
        let mut reader = File::open(folder.join("log"))?;
        let mut keeper = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        loop {
            let ended = keeper.try_wait()?;
            let up = self.welcome().is_file();
            let mut said = Vec::new();
            reader.read_to_end(&mut said)?;
            io::stderr().write_all(&said)?;
            if up {
                return fs::read_to_string(self.welcome()).context("cannot read what the keeper has to say");
            }
            if let Some(status) = ended {
                bail!("the lab did not come up ({status})");
            }
            thread::sleep(LOOK);
        }
    }

    /// The keeper's life: everything is started, `welcome` makes the text that [`Standing::up`] returns, and all ends when
    /// the guest does.
    pub fn keep(
        &self,
        mut options: Options,
        with_apiserver: bool,
        welcome: impl FnOnce(Option<&ApiServer>) -> String,
    ) -> Result<()> {
        let _lock = self.cache.lock(NAME)?;
        let kubernetes =
            with_apiserver.then(|| KubeBinary::prepare_in_background(&self.cache, Programs::ApiServer));
        options.programs.push(("lvs-controller".to_owned(), controller::build()?));
        let server = kubernetes
            .map(|kubernetes| {
                let binary = kubernetes.wait()?;
                let step = progress::step("starting an API server");
                let server = ApiServer::start(&binary)?;
                step.run(
                    server
                        .kubectl()
                        .args(["apply", "--filename"])
                        .arg(controller::checkout().join("crds/yaml")),
                )?;
                step.done();
                anyhow::Ok(server)
            })
            .transpose()?;
        if let Some(server) = &server {
            options.programs.push(("kubectl".to_owned(), server.kubectl_path()));
        }
        let guest = Guest::boot_in(&self.cache, &options, &self.folder())?;
        let step = progress::step("laying cables");
        let limit = Duration::from_mins(2);
        guest.output(&Job::new(["lab", "guest-topology"]), limit)?;
        if let Some(server) = &server {
            // Where kubectl and the controller look when nothing else is said.
            let path = server.guest_kubeconfig().display().to_string();
            let script = "mkdir -p /root/.kube && ln -s \"$0\" /root/.kube/config";
            guest.output(&Job::new(["sh", "-c", script, &path]), limit)?;
        }
        step.done();
        // Complete when it appears.
        let unfinished = self.folder().join("welcome.unfinished");
        fs::write(&unfinished, welcome(server.as_ref()))?;
        fs::rename(&unfinished, self.welcome())?;
        while guest.check_alive().is_ok() {
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Takes the lab down and waits until all of it has ended. Returns whether there was one.
    pub fn down(&self) -> Result<bool> {
        if !self.is_kept()? {
            return Ok(false);
        }
        Guest::of_another(self.folder()).ask_to_stop();
        let end = Instant::now() + DOWN_LIMIT;
        while self.is_kept()? {
            if Instant::now() > end {
                bail!(
                    "the lab is still up after {} s: its log is {}",
                    DOWN_LIMIT.as_secs(),
                    self.folder().join("log").display()
                );
            }
            thread::sleep(LOOK);
        }
        fs::remove_dir_all(self.folder())
            .with_context(|| format!("cannot remove {}", self.folder().display()))?;
        Ok(true)
    }

    fn is_kept(&self) -> Result<bool> {
        Ok(self.cache.try_lock(NAME)?.is_none())
    }

    fn folder(&self) -> PathBuf {
        self.cache.root().join(NAME)
    }

    fn welcome(&self) -> PathBuf {
        self.folder().join("welcome")
    }
}
