//! `run`: puts the parts together. The source, the HTTP server and the status writer share one async thread; the
//! driver has its own, because its calls to the kernel block.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use lvs_net::{Event, Net, identity};
use lvs_plan::ServiceKey;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::api::{Previous, Stop};
use crate::args::{Node, Run};
use crate::board::Board;
use crate::chain::chain;
use crate::counters::Counters;
use crate::driver_thread::{self, Trigger};
use crate::kernel::linux::LinuxKernel;
use crate::kernel::{Kernel, Table};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::source::Update;
use crate::sync::{Driver, NetworkChange};
use crate::{api, checker, cleanup, http, manifests};

/// Updates on their way from the source to the driver's inbox.
const UPDATES: usize = 16;
/// Reports of the network that are told to the driver as one.
const REPORTS: usize = 1024;

/// Runs the agent until it is told to stop. Rules, connections and VIPs stay, unless the API server says that this
/// node is no Director any more.
///
/// # Errors
/// Only what cannot be waited for: missing capabilities, an unusable state directory, a taken port.
pub fn run(args: Run) -> Result<ExitCode> {
    check_capabilities()?;
    let ledger = open_ledger(&args.node)?;
    if let Some(problem) = ledger.problem() {
        warn!(problem, "nothing is added or removed until the ledger can be used");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_stack_size(1 << 20)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let node = args.node.clone();
    if let Stop::Remove(why) = runtime.block_on(serve(args, ledger))? {
        info!(why, "this node is no Director any more: removing what is ours");
        // The driver has ended and let go of the state directory.
        cleanup::run(&node)?;
        // Not before: another Director takes over when the Lease is gone.
        runtime.block_on(api::withdraw(&node));
    }
    Ok(ExitCode::SUCCESS)
}

/// Both are needed for everything the agent does; without them nothing would ever get better by waiting.
///
/// # Errors
/// If one of them is missing, with the way to get it.
pub fn check_capabilities() -> Result<()> {
    let capabilities = identity::capabilities().context("cannot read this process's capabilities")?;
    if !capabilities.net_admin {
        bail!("CAP_NET_ADMIN is missing: run as root, or add NET_ADMIN to the container's capabilities");
    }
    if !capabilities.net_raw {
        bail!(
            "CAP_NET_RAW is missing (needed for ARP): run as root, or add NET_RAW to the container's capabilities"
        );
    }
    Ok(())
}

/// Opens the ledger of this boot and network namespace.
///
/// # Errors
/// If the state directory cannot be used or another agent holds it.
pub fn open_ledger(node: &Node) -> Result<Ledger> {
    let boot = identity::boot_id().context("cannot tell this boot from others")?;
    let namespace = identity::network_namespace().context("cannot tell the network namespace")?;
    let ledger = Ledger::open(&node.state_dir, &boot, namespace)?;
    if ledger.previous_count() > 0 {
        info!(
            services = ledger.previous_count(),
            "the ledger is of another boot or network namespace: nothing in this kernel is ours by it"
        );
    }
    Ok(ledger)
}

async fn serve(args: Run, ledger: Ledger) -> Result<Stop> {
    let board = Board::default();
    let metrics = Metrics::new(&args.node.node_name);
    let servers = http::Servers::bind(args.http, args.metrics_http).await?;
    let (triggers, inbox) = mpsc::channel();
    checker::raise_descriptors();
    let (orders, checks) = checker::start(triggers.clone(), metrics.clone())
        .context("cannot start the thread of the health checks")?;
    let servers = servers.serve(http::Sources {
        board: board.clone(),
        metrics: metrics.clone(),
        node_name: args.node.node_name.clone(),
        driver: triggers.clone(),
        counters: Counters::of_kernel(),
        checks,
    });

    let net = Net::connect().context("cannot open an rtnetlink socket")?;
    let network = tokio::spawn(watch_network(net.clone(), triggers.clone()));
    let mut kernel = LinuxKernel::new(
        tokio::runtime::Handle::current(),
        net,
        args.node.vip_interface.clone(),
        triggers.clone(),
    );
    let mut source = spawn_source(&args.node, &board, triggers.clone(), || in_force(&mut kernel, &ledger))?;
    let driver = Driver::new(kernel, ledger, board, metrics, Instant::now())
        .with_checks(orders)
        .with_settings_of(&args.node.node_name, args.node.manifests.is_none());
    let resync = Duration::from_secs(args.resync_seconds);
    let (alive, driver_ended) = oneshot::channel::<()>();
    let driver = thread::Builder::new()
        .name("driver".to_owned())
        .spawn(move || {
            // Dropped when the thread ends, by a panic too.
            let _alive = alive;
            driver_thread::run(driver, &inbox, resync);
        })
        .context("cannot start the driver's thread")?;

    info!(node = %args.node.node_name, http = %args.http, "the agent runs");
    tokio::select! {
        stop = wait_for_stop() => stop?,
        // Without one of them the agent would look alive and do nothing. Whoever started it starts it again, and
        // rules stay meanwhile.
        _ = driver_ended => {}
        _ = &mut source.ended => bail!("the source of objects ended; its last words are above"),
    }
    let stop = source.why_stopped().await;
    if stop == Stop::Keep {
        info!("stopping: rules, connections and VIPs stay in place");
    }
    let _ = triggers.send(Trigger::Stop);
    source.abort();
    for task in [network, servers] {
        task.abort();
    }
    // A step that has begun is finished and written down.
    let joined = tokio::task::spawn_blocking(move || driver.join()).await;
    match joined {
        Ok(Ok(())) => Ok(stop),
        Ok(Err(_)) | Err(_) => bail!("the driver's thread panicked; its last words are above"),
    }
}

async fn wait_for_stop() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The source that the command line names.
struct Source {
    api: Option<api::Running>,
    tasks: Vec<JoinHandle<()>>,
    /// Resolves when it will deliver nothing any more.
    ended: oneshot::Receiver<()>,
}

impl Source {
    /// With files for objects nobody knows better than whoever stops the agent.
    async fn why_stopped(&self) -> Stop {
        match &self.api {
            Some(api) => api.why_stopped().await,
            None => Stop::Keep,
        }
    }

    fn abort(&self) {
        for task in self.api.iter().map(|api| &api.task).chain(&self.tasks) {
            task.abort();
        }
    }
}

/// What the ledger names, and what stands in the kernel for it.
fn in_force(kernel: &mut impl Kernel, ledger: &Ledger) -> Previous {
    let keys: BTreeSet<ServiceKey> = ledger.services().filter(|key| ledger.is_confirmed(key)).collect();
    let table = if keys.is_empty() { Ok(Table::new()) } else { kernel.services(&keys) };
    let addresses = |table: Table| {
        let destinations = table.into_values().flat_map(|service| service.destinations.into_keys());
        destinations.map(|destination| destination.address).collect()
    };
    Previous {
        virtual_services: ledger.objects(),
        destinations: table
            .map(addresses)
            .inspect_err(|error| warn!(%error, "the rules in force cannot be read"))
            .ok(),
    }
}

/// Starts the source; what it delivers becomes triggers. An API server's lists are compared with what is in force.
fn spawn_source(
    node: &Node,
    board: &Board,
    triggers: Sender<Trigger>,
    in_force: impl FnOnce() -> Previous,
) -> Result<Source> {
    let (sink, mut updates) = tokio::sync::mpsc::channel::<Update>(UPDATES);
    let (alive, ended) = oneshot::channel();
    let mut source = Source { api: None, tasks: Vec::new(), ended };
    match &node.manifests {
        Some(directory) => {
            let directory = directory.clone();
            thread::Builder::new()
                .name("manifests".to_owned())
                .spawn(move || manifests::run(directory, sink))
                .context("cannot start the thread that reads the manifests")?;
            source.tasks.push(tokio::spawn(board.clone().discard_changes()));
        }
        None => source.api = Some(api::spawn(node, in_force(), board.clone(), sink, triggers.clone())),
    }
    source.tasks.push(tokio::spawn(async move {
        let _alive = alive;
        while let Some(update) = updates.recv().await {
            if triggers.send(Trigger::Update(update)).is_err() {
                return;
            }
        }
    }));
    Ok(source)
}

/// Tells the driver of changes to addresses, links and routes; starts again if the watch breaks.
async fn watch_network(net: Net, triggers: Sender<Trigger>) {
    let mut complained = false;
    loop {
        match net.monitor().await {
            Ok(events) => {
                complained = false;
                // Routers may change thousands of routes a second: what waits is told once.
                let mut reports = events.ready_chunks(REPORTS);
                while let Some(events) = reports.next().await {
                    let routes = events.iter().all(|event| matches!(event, Event::RouteChanged));
                    let change = if routes { NetworkChange::Routes } else { NetworkChange::LinksOrAddresses };
                    if triggers.send(Trigger::Network(change)).is_err() {
                        return;
                    }
                }
                warn!("the watch on links and addresses ended; starting it again");
            }
            Err(error) if !complained => {
                complained = true;
                warn!(error = chain(&error), "links and addresses cannot be watched; trying again");
            }
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Whatever happened meanwhile was not reported.
        let _ = triggers.send(Trigger::Network(NetworkChange::LinksOrAddresses));
    }
}

#[cfg(test)]
mod tests {
    use lvs_plan::service::Family;
    use lvs_plan::{Kind, ObjectKey};

    use super::*;
    use crate::kernel::fake::FakeKernel;
    use crate::ledger::Origin;

    #[test]
    fn what_is_in_force_is_not_taken_for_nothing_when_the_kernel_cannot_be_read() {
        let key = ServiceKey::FirewallMark { mark: 1, family: Family::IPv4 };
        let object = ObjectKey::new(Kind::VirtualService, "default", "web");
        let mut kernel = FakeKernel::new();
        kernel.short_reads = 1;
        let mut ledger = Ledger::in_memory();
        assert_eq!(in_force(&mut kernel, &ledger).destinations, Some(BTreeSet::new()), "it is not asked");
        ledger.record_intent(key, Origin { object, file: None });
        ledger.confirm(&key);
        assert_eq!(in_force(&mut kernel, &ledger).destinations, None);
        assert_eq!(
            in_force(&mut kernel, &ledger).destinations,
            Some(BTreeSet::new()),
            "it can be read again"
        );
    }
}
