//! `cargo lab demo`: the classic LVS-DR tutorial, played and checked.
//!
//! | module | holds |
//! |---|---|
//! | [`act_one`], [`act_two`] | the steps, to be read as the tutorial |
//! | [`narration`] | how acts, steps, commands and checks are printed |
//! | [`stage`] | running commands on hosts of the guest and as the user |
//! | [`health`] | a real server that stops and returns |
//! | [`director`], [`requests`], [`tutorial`] | the controller, the client, names and the kernel's table |
//!
//! Act one runs while the API server of act two is still being built.

mod act_one;
mod act_two;
mod director;
mod health;
pub mod narration;
mod requests;
mod stage;
mod tutorial;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::apiserver::{ApiServer, KubeBinary, Preparation, Programs};
use crate::cache::Cache;
use crate::guest::{self, Accelerator, Guest, Image, Job};
use crate::packages::{self, Part};
use crate::{cluster, controller, progress};
use narration::Narrator;
use stage::Stage;

/// How long laying the network may take: seconds, on a calm machine.
const TOPOLOGY_LIMIT: Duration = Duration::from_mins(2);

/// A cluster takes 3.5 GiB of memory, and the guest of acts one and two may want more than it has.
const ROOM_MIB: u64 = 5_000;

/// How much of the demo is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Acts {
    /// Act one: no API server.
    Standalone,
    /// Acts one and two: no cluster.
    NoCluster,
    /// All three.
    All,
}

/// Plays the demo. The summary is printed in any case; an error is the step that failed.
pub fn play(acts: Acts, guest: guest::Options) -> Result<()> {
    let mut narrator = Narrator::new();
    let parts: &[Part] = match acts {
        Acts::Standalone => &[Part::Guest],
        Acts::NoCluster => &[Part::Guest, Part::Apiserver],
        Acts::All => &[Part::Guest, Part::Apiserver, Part::Image, Part::Cluster],
    };
    packages::require(parts)?;
    let result = play_acts(&mut narrator, acts, guest);
    narrator.summary();
    result
}

fn play_acts(narrator: &mut Narrator, acts: Acts, guest: guest::Options) -> Result<()> {
    let cache = Cache::open()?;
    let programs = match acts {
        Acts::Standalone => None,
        Acts::NoCluster => Some(KubeBinary::prepare_in_background(&cache, Programs::ApiServer)),
        Acts::All => Some(KubeBinary::prepare_in_background(&cache, Programs::Cluster)),
    };
    let stage = set_stage(&cache, guest)?;
    let cluster = acts_one_and_two(narrator, &stage, acts, programs).inspect_err(|_| {
        let log = director::log(&stage);
        if !log.is_empty() {
            progress::line(&format!("\nThe controller's log ends so:\n{log}"));
        }
    })?;
    stage.close()?;
    cluster.map_or(Ok(()), |cluster| act_three(narrator, cluster))
}

/// Builds the controller while the guest's kernel is fetched, boots the guest and lays the network.
fn set_stage(cache: &Cache, mut options: guest::Options) -> Result<Stage> {
    let controller = thread::scope(|scope| -> Result<PathBuf> {
        let image = scope.spawn(|| {
            let image = Image::prepare(cache, options.kernel)?;
            Accelerator::choose(cache, &image)
        });
        let controller = controller::build()?;
        image.join().map_err(|_| anyhow!("preparing the guest's kernel panicked"))??;
        Ok(controller)
    })?;
    options.programs.push(("lvs-controller".to_owned(), controller));
    let guest = Arc::new(Guest::boot(cache, &options)?);
    guest.output(&Job::new(["lab", "guest-topology"]), TOPOLOGY_LIMIT)?;
    Ok(Stage { guest, checkout: controller::checkout() })
}

/// The cluster of act three, which is built, and started if there is room, while act two is played.
struct Cluster {
    curtain: Sender<()>,
    thread: JoinHandle<Result<cluster::Report>>,
}

impl Cluster {
    fn start() -> Result<Self> {
        let lab = guest::this_program()?;
        let (curtain, opens) = channel();
        let thread = thread::spawn(move || {
            let cluster = cluster::Prepared::new(None)?;
            if packages::available_mib() < Some(ROOM_MIB) {
                opens.recv().context("the cluster was not wanted any more")?;
                return cluster.play(&lab);
            }
            cluster.play_behind(&opens, &lab)
        });
        Ok(Self { curtain, thread })
    }

    fn play(self) -> Result<cluster::Report> {
        // If nobody is there to hear it, the thread says why.
        let _ = self.curtain.send(());
        self.thread.join().map_err(|_| anyhow!("the cluster's thread panicked"))?
    }
}

fn acts_one_and_two(
    narrator: &mut Narrator,
    stage: &Stage,
    acts: Acts,
    programs: Option<Preparation>,
) -> Result<Option<Cluster>> {
    act_one::play(narrator, stage)?;
    let Some(programs) = programs else { return Ok(None) };
    if !programs.is_finished() {
        progress::line("\nAct two begins when its API server is built, which happens only once.");
    }
    let programs = programs.wait()?;
    // Not earlier: until now the processors had enough to do.
    let cluster = (acts == Acts::All).then(Cluster::start).transpose()?;
    let step = progress::step("starting an API server");
    let server = ApiServer::start(&programs)?;
    step.done();
    act_two::play(narrator, stage, &server)?;
    Ok(cluster)
}

fn act_three(narrator: &mut Narrator, cluster: Cluster) -> Result<()> {
    narrator.act(
        "Act three: installed by Helm into a cluster",
        "Two nodes with kubelet and containerd, each a virtual machine; the agent runs as a pod.",
    );
    let report = cluster.play()?;
    for step in report.passed {
        narrator.passed(step.title, Duration::from_secs_f64(step.seconds));
    }
    if let Some(step) = report.failed {
        narrator.failed(&step);
        bail!("act three: {step}");
    }
    Ok(())
}
