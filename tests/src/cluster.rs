//! `cargo lab cluster`: the operator installed by Helm into a real cluster of two nodes.
//!
//! | module | holds |
//! |---|---|
//! | [`image`] | the agent's image, built as `deploy/Containerfile` says |
//! | [`sandbox`] | namespaces that make a teardown unnecessary |
//! | [`network`] | the switch, its hosts and their addresses |
//! | [`control_plane`] | etcd, API server, controller manager, scheduler |
//! | [`node`] | a guest with containerd and a kubelet |
//! | `joining` | how long nodes may take to join, and when it is all started once more |
//! | [`traffic`] | requests, and who answered them |
//! | [`rights`] | what the agent may do by its roles, and what it does |
//! | [`act`] | the steps that are shown and checked; what they are played with is in `stage` |

pub mod act;
pub mod control_plane;
pub mod image;
mod joining;
pub mod network;
pub mod node;
pub mod rights;
pub mod sandbox;
mod stage;
pub mod traffic;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::apiserver::{KubeBinary, Programs};
use crate::cache::Cache;
use crate::guest::{Accelerator, Image, Kernel, Lost};
use crate::packages::{self, Part};
use crate::progress;

use control_plane::{ControlPlane, Credentials};
use joining::Verdict;
use network::{Network, NodeName};
use node::Node;

/// The nodes. The first is made the active Director, the second one joins later.
pub const NODES: [NodeName; 2] = [NodeName(1), NodeName(2)];

/// What a run showed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The steps that passed.
    pub passed: Vec<Passed>,
    /// The step that did not; the others after it were not tried.
    pub failed: Option<String>,
}

/// A step that passed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Passed {
    /// What it shows.
    pub title: String,
    /// How long it took.
    pub seconds: f64,
}

const REPORT: &str = "report.json";
const IMAGES: &str = "images";
const LOCK: &str = "lock";
/// Folders of ended clusters that are kept to look at.
const KEPT: usize = 2;

/// What a cluster is made of; it can be made while something else goes on.
pub struct Prepared {
    folder: Folder,
}

impl Prepared {
    /// Builds images, Kubernetes and kernel, as far as they are not in the cache. `binary`: a static `lvs-controller`
    /// that is there already.
    pub fn new(binary: Option<&Path>) -> Result<Self> {
        packages::require(&[Part::Guest, Part::Apiserver, Part::Image, Part::Cluster])?;
        let cache = Cache::open()?;
        // Downloads and compiling at once: one waits for the network, the other for the processors.
        let kube = KubeBinary::prepare_in_background(&cache, Programs::Cluster);
        let kernel = Image::prepare(&cache, Kernel::default())?;
        Accelerator::choose(&cache, &kernel)?;
        let binary = binary.map_or_else(image::build_binary, |binary| Ok(binary.to_owned()))?;
        let folder = Folder::new(&cache)?;
        let images = made(folder.path.join(IMAGES))?;
        image::build_agent(&binary, &images)?;
        image::build_pause(&images)?;
        kube.wait()?;
        Ok(Self { folder })
    }

    /// Starts the cluster in a sandbox and plays act three in it. What it shows is printed. `lab` is the lab's own
    /// program, which plays on inside as `lab cluster --inside FOLDER`.
    ///
    /// # Errors
    /// When the cluster did not start. A step that failed is in the report.
    pub fn play(self, lab: &Path) -> Result<Report> {
        // Inside, the end of its standard input is the sign to begin.
        let status =
            self.command(0, lab)?.stdin(Stdio::null()).status().context("cannot start the cluster")?;
        self.folder.report(status)
    }

    /// [`Prepared::play`] in two parts: the cluster starts at once, behind a curtain, and act three is played when the
    /// curtain opens, by a message. If the sender is dropped instead, it never opens.
    ///
    /// # Errors
    /// When the cluster did not start, or was not wanted.
    pub fn play_behind(self, curtain: &Receiver<()>, lab: &Path) -> Result<Report> {
        // What is printed until then stays in the pipe. It holds 64 KiB, and a start says a few lines.
        let (mut printed, printer) = io::pipe().context("cannot make a pipe")?;
        // Whatever is played before the curtain goes first.
        let mut command = self.command(10, lab)?;
        command.stdin(Stdio::piped()).stdout(printer.try_clone()?).stderr(printer);
        let mut inside = command.spawn().context("cannot start the cluster")?;
        // It holds the pipe's other end, and the reading below would never end.
        drop(command);
        if curtain.recv().is_err() {
            // One that has ended cannot be killed, and need not.
            let _ = inside.kill();
            let _ = inside.wait();
            self.folder.remove();
            bail!("the cluster was not wanted any more");
        }
        drop(inside.stdin.take());
        let mut buffer = [0; 16 << 10];
        while let Ok(read @ 1..) = printed.read(&mut buffer) {
            progress::raw(&buffer[..read]);
        }
        let status = inside.wait().context("cannot wait for the cluster")?;
        self.folder.report(status)
    }

    fn command(&self, nice: u8, lab: &Path) -> Result<Command> {
        sandbox::command(nice, lab, &["cluster", "--inside", &self.folder.path.display().to_string()])
    }
}

/// Where one cluster has its files, in the cache. The folder of a lab that was killed goes when the next one comes.
struct Folder {
    path: PathBuf,
    /// Held while the folder is in use.
    _lock: File,
}

impl Folder {
    fn new(cache: &Cache) -> Result<Self> {
        let clusters = made(cache.root().join("clusters"))?;
        let mut left: Vec<_> = fs::read_dir(&clusters)?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| is_left(path))
            .collect();
        left.sort();
        for path in left.iter().rev().skip(KEPT) {
            let _ = fs::remove_dir_all(path);
        }
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis());
        let path = clusters.join(format!("{now}-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        let lock = File::create(path.join(LOCK)).and_then(|lock| lock.lock().map(|()| lock));
        let lock = lock.with_context(|| format!("a lock in {}", path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    /// What was shown inside, which has ended.
    fn report(self, status: ExitStatus) -> Result<Report> {
        let report = fs::read(self.path.join(REPORT)).unwrap_or_default();
        let report: Report = serde_json::from_slice(&report).unwrap_or_default();
        if status.success() {
            self.remove();
        } else {
            self.keep_logs();
            if report.failed.is_none() {
                bail!("the cluster did not come up ({status})");
            }
        }
        Ok(report)
    }

    fn remove(self) {
        let _ = fs::remove_dir_all(&self.path);
    }

    fn keep_logs(self) {
        // Large, and the same every time.
        let _ = fs::remove_dir_all(self.path.join(IMAGES));
        progress::fail(&format!("the logs of the cluster are in {}", self.path.display()));
    }
}

/// Whether nobody uses a cluster's folder any more.
fn is_left(path: &Path) -> bool {
    File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

/// The part of [`Prepared::play`] inside the sandbox.
pub fn inside(lab: &Path, folder: &Path) -> Result<()> {
    sandbox::enter()?;
    let cluster = Cluster::start(lab, folder)?;
    // Whoever has started this has the other end, and lets go of it when act three is wanted.
    io::stdin().read_to_end(&mut Vec::new()).context("waiting for the sign to begin")?;
    let mut report = Report::default();
    let result = act::play(&cluster, &mut report);
    fs::write(folder.join(REPORT), serde_json::to_vec(&report)?).context("writing the report")?;
    result
}

/// A running cluster.
pub struct Cluster {
    /// Its control plane.
    pub plane: ControlPlane,
    /// Its nodes.
    pub nodes: [Node; 2],
    /// The hosts beside them.
    pub network: Network,
}

impl Cluster {
    /// Starts it, with what it logs in `folder`, and waits until its nodes are ready. If one does not join, control
    /// plane and nodes are started once more; the hosts beside them stay.
    pub fn start(lab: &Path, folder: &Path) -> Result<Self> {
        let step = progress::step("starting a cluster of two nodes");
        let cache = Cache::open()?;
        let kube = KubeBinary::prepare_in_background(&cache, Programs::Cluster).wait()?;
        let network = Network::build(lab, &NODES)?;
        let start = |number| {
            let state = made(folder.join(format!("control-plane-{number}")))?;
            let images = folder.join(IMAGES);
            let setup = node::Setup { cache: &cache, kube: &kube, credentials: &state, images: &images };
            start_nodes(setup, &step)
        };
        let (plane, nodes) = joining::start(start, progress::line)?;
        step.done();
        Ok(Self { plane, nodes, network })
    }
}

/// Starts control plane and nodes. After an error nothing of them runs.
fn start_nodes(setup: node::Setup<'_>, step: &progress::Step) -> Result<(ControlPlane, [Node; 2])> {
    let credentials = Credentials::write(setup.credentials, &NODES)?;
    // They boot while the control plane starts.
    let (nodes, plane) = thread::scope(|scope| {
        let nodes = NODES.map(|name| scope.spawn(move || Node::boot(name, setup)));
        let plane = ControlPlane::start(setup.kube, setup.credentials, &credentials, step);
        let nodes = nodes.map(|node| node.join().unwrap_or_else(|_| Err(anyhow!("booting a node panicked"))));
        (nodes, plane)
    });
    let [first, second] = nodes;
    let (nodes, plane) = ([first?, second?], plane?);
    wait_until_joined(&plane, &nodes, step)?;
    Ok((plane, nodes))
}

fn wait_until_joined(plane: &ControlPlane, nodes: &[Node], step: &progress::Step) -> Result<()> {
    let start = Instant::now();
    loop {
        let sights = nodes.iter().map(|node| node.look(plane)).collect::<Result<Vec<_>>>()?;
        match joining::judge(&sights, start.elapsed()) {
            Verdict::Joined => return Ok(()),
            Verdict::Waiting(note) => step.note(note),
            Verdict::Lost(lost, why) => {
                let lost = nodes.iter().filter(|node| lost.contains(&node.name()));
                let words: Vec<_> = lost.map(Node::last_words).collect();
                bail!(Lost { why, words: words.join("\n") });
            }
        }
        thread::sleep(Duration::from_millis(500));
    }
}

fn made(folder: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}
