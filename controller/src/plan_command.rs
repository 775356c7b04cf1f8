//! `plan`: the steps that a run would take now.

use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lvs_net::{Net, identity};
use lvs_plan::diff::Role;
use lvs_plan::settings::{self, Decision, Difference};
use lvs_plan::{Change, Kind, Step};

use crate::api::Glance;
use crate::args::Node;
use crate::board::Board;
use crate::kernel::linux::LinuxKernel;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::sync::Driver;
use crate::{api, manifests};

/// How long the API server has to answer.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(30);
/// There are steps to take, or something in the objects is wrong.
const FINDINGS_OR_STEPS: u8 = 2;

/// Prints the plan to standard output, and to standard error what stands against the objects and what a plan cannot
/// know. Exit code 0 if there is nothing to do and nothing wrong, else 2.
///
/// # Errors
/// If the source or the kernel cannot be read. What is wrong in the objects is printed all the same.
pub fn run(node: &Node) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let boot = identity::boot_id().context("cannot tell this boot from others")?;
    let namespace = identity::network_namespace().context("cannot tell the network namespace")?;
    let ledger = Ledger::read(&node.state_dir, &boot, namespace)?;
    let rules_in_force = ledger.services().next().is_some();
    let (Glance { update, role }, net) = runtime.block_on(async {
        let net = Net::connect().context("cannot open an rtnetlink socket")?;
        anyhow::Ok((read_source(node, rules_in_force).await?, net))
    })?;
    let findings = update.state.findings.len();
    for finding in &update.state.findings {
        eprintln!("{finding}");
    }
    let (triggers, _inbox) = mpsc::channel();
    let kernel = LinuxKernel::new(runtime.handle().clone(), net, node.vip_interface.clone(), triggers);
    let now = Instant::now();
    let about_rules =
        |change: &&Change| !matches!(change, Change::Upsert(object) if object.key.kind == Kind::Director);
    let objects = update.changes.iter().filter(about_rules).count();
    let mut driver = Driver::new(kernel, ledger, Board::default(), Metrics::default(), now)
        .with_settings_of(&node.node_name, false);
    driver.ingest(update);
    match role {
        Ok(role) => driver.set_role(role),
        Err(words) => eprintln!("not known: whether another Director holds the VIPs: {words}"),
    }
    let plan = driver.plan(now);
    for refusal in driver.refusals() {
        eprintln!("{refusal}");
    }
    let (plan, settings) = plan?;
    print!("{plan}");
    let writes = print_settings(settings);
    if plan.steps().iter().any(|step| matches!(step, Step::BindVip { .. })) {
        eprintln!(
            "not asked: whether another host answers for a VIP that is to be bound; a run asks the network first and \
             leaves alone what is taken"
        );
    }
    if plan.steps().iter().any(waits_for_its_first_check) {
        eprintln!(
            "with weight 0 at first: a destination with a health check gets its weight when its first check has \
             succeeded (healthCheck: {{none: {{}}}} does without)"
        );
    }
    let wrong = findings > 0 || driver.refusals().next().is_some();
    if objects == 0 {
        eprintln!("{}", nothing_declared(node));
    }
    let nothing = plan.is_empty() && writes == 0;
    match (nothing, wrong) {
        (true, false) => eprintln!("nothing to do: the kernel is as declared"),
        (true, true) => eprintln!("no steps: what is wrong above is not in force"),
        (false, _) => {}
    }
    let clean = nothing && !wrong;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::from(FINDINGS_OR_STEPS) })
}

/// Or its declared weight is 0, which it is then told of for nothing.
fn waits_for_its_first_check(step: &Step) -> bool {
    matches!(step, Step::NewDestination { settings, .. } if settings.weight == 0)
}

/// Prints what is to be written after the steps, and to standard error why something is not. Returns how many settings
/// are to be written.
fn print_settings(decision: Option<Decision>) -> usize {
    match decision {
        Some(Decision::Write(writes)) => {
            for Difference { setting, from, to } in &writes {
                println!("set {setting} to {to} (it is {from})");
            }
            writes.len()
        }
        Some(Decision::Leave(standing)) => {
            let conditions = settings::conditions(&standing, &[]);
            for condition in conditions.iter().filter(|it| it.type_ == "KernelReady" && !it.holds()) {
                eprintln!("not set: {}: {}", condition.reason, condition.message);
            }
            0
        }
        None => 0,
    }
}

fn nothing_declared(node: &Node) -> String {
    let what = "holds no VirtualService and no RealServer";
    match &node.manifests {
        Some(directory) => format!(
            "{} {what}: files end in .yaml, .yml or .json, and folders inside it are not read",
            directory.display()
        ),
        None => format!("the API server {what}"),
    }
}

async fn read_source(node: &Node, rules_in_force: bool) -> Result<Glance> {
    let glance = if let Some(directory) = &node.manifests {
        let directory = directory.clone();
        let update = tokio::task::spawn_blocking(move || manifests::read_once(&directory)).await?;
        // Without an API server there is no word of other Directors.
        Glance { update, role: Ok(Role::Active) }
    } else {
        let glance = tokio::time::timeout(SOURCE_TIMEOUT, api::read_once(node, rules_in_force)).await;
        glance.with_context(|| {
            format!("the API server did not answer within {} s", SOURCE_TIMEOUT.as_secs())
        })??
    };
    let state = &glance.update.state;
    if !state.complete || !state.up_to_date {
        bail!("{}", state.message);
    }
    Ok(glance)
}
