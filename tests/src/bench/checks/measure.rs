//! The measurements, one after the other, inside a guest.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::arrivals::{Arrival, in_any_second, schedule_error};
use super::probes::{Calls, Probes};
use super::record::{Checked, Checker, Flapped, Part, Record, Settings};
use super::scale::{Patience, Scale};
use super::servers::Servers;
use crate::bench::agent;
use crate::bench::contender::{Running, keepalived_with};
use crate::bench::follow::{Event, Tell};
use crate::bench::network::Network;
use crate::bench::process::{Memory, ProcessorTime, machine_time, sleeps};
use crate::guest::PROGRAMS;

/// How long it may take until every real server was checked, or is in service.
const START_LIMIT: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(500);
const TURN: Duration = Duration::from_secs(1);
/// What is usual.
const USUAL: Patience = Patience { fall: 3, rise: 2 };
/// Every result counts, so that every check of a server that flaps is a transition.
const NERVOUS: Patience = Patience { fall: 1, rise: 1 };

/// Measures what the settings say and tells of each step. Needs root and a kernel with IPVS; runs in a guest.
pub fn measure(settings: &Settings, tell: &mut Tell<'_, Record>) -> Result<()> {
    for part in &settings.parts {
        match part {
            Part::Rate => {
                for scale in &settings.scales {
                    rounds(settings, &settings.checkers, *scale, tell)?;
                }
            }
            Part::Sharing => {
                // It would do the same as without sharing.
                let not_bare = settings.checkers.iter().copied().filter(|who| *who != Checker::Bare);
                rounds(settings, &not_bare.collect::<Vec<_>>(), settings.sharing, tell)?;
            }
            Part::Flapping => {
                let flapped = flap(settings, tell)
                    .with_context(|| format!("the agent with {} that flap", settings.flapping))?;
                tell(Event::Found(Record::Flapped(flapped)))?;
            }
        }
    }
    Ok(())
}

fn rounds(
    settings: &Settings,
    checkers: &[Checker],
    scale: Scale,
    tell: &mut Tell<'_, Record>,
) -> Result<()> {
    for round in 0..settings.rounds {
        let mut order = checkers.to_vec();
        order.rotate_left(round as usize % checkers.len().max(1));
        for who in order {
            tell(Event::Doing(format!(
                "{scale}, round {} of {}: {}",
                round + 1,
                settings.rounds,
                who.name()
            )))?;
            let checked =
                check(settings, who, scale).with_context(|| format!("{} with {scale}", who.name()))?;
            tell(Event::Found(Record::Checked(checked)))?;
        }
    }
    Ok(())
}

fn check(settings: &Settings, who: Checker, scale: Scale) -> Result<Checked> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let network = Network::new()?;
    let mut servers = Servers::start(&network)?;
    let mut process = start(who, scale, USUAL, settings, &network, folder.path())?;
    let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    await_all(&mut servers, scale, &mut process).with_context(log)?;
    // After a start checks come more often than once in an interval, until each has its place.
    thread::sleep(settings.settle.max(scale.interval() * 2));

    let before = (ProcessorTime::of(process.id())?, sleeps(process.id())?, machine_time()?);
    let start = servers.now();
    thread::sleep(settings.window_of(scale));
    let end = servers.now();
    let whole = machine_time()?.saturating_sub(before.2);
    let used = ProcessorTime::of(process.id())?.since(before.0);
    let slept = u32::try_from(sleeps(process.id())?.saturating_sub(before.1))?;
    let (memory, _) = Memory::of(process.id())?;
    process.check().with_context(log)?;

    let in_window = |arrival: &Arrival| (start..end).contains(&arrival.at);
    let seen: Vec<_> = servers.arrivals()?.into_iter().filter(in_window).collect();
    ensure!(!seen.is_empty(), "no real server was checked any more\n{}", log());
    process.terminate()?;
    let (fewest, most) = in_any_second(&seen, start..end).context("the window is shorter than a second")?;
    Ok(Checked {
        who,
        scale,
        window: end.saturating_sub(start),
        done: seen.len() as u32,
        used,
        whole,
        sleeps: slept,
        memory,
        in_any_second: (fewest as u32, most as u32),
        error: schedule_error(&seen, scale.interval()).filter(|_| !scale.shares()),
    })
}

fn start(
    who: Checker,
    scale: Scale,
    patience: Patience,
    settings: &Settings,
    network: &Network,
    folder: &Path,
) -> Result<Running> {
    match who {
        Checker::Bare => {
            let mut command = Command::new(Path::new(PROGRAMS).join("lab"));
            command.arg("guest-connects").arg(format!("{}@{}", scale.servers, scale.interval));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(folder.join("log"))?);
            Running::start(&network.director, &mut command)
        }
        Checker::Agent => {
            let objects = folder.join("objects");
            fs::create_dir_all(&objects)?;
            fs::write(objects.join("objects.yaml"), scale.manifests(patience))?;
            agent::run(&settings.controller, network, &("--manifests", objects), folder, &[])
        }
        Checker::Keepalived => {
            let mut command = keepalived_with(&scale.keepalived(), folder)?;
            command.stdout(Stdio::null()).stderr(Stdio::null());
            Running::start(&network.director, &mut command)
        }
    }
}

/// Waits until every real server was checked.
fn await_all(servers: &mut Servers, scale: Scale, process: &mut Running) -> Result<()> {
    let end = Instant::now() + START_LIMIT;
    let mut seen = BTreeSet::new();
    loop {
        seen.extend(servers.arrivals()?.iter().map(|arrival| arrival.server));
        if seen.len() >= scale.servers as usize {
            return Ok(());
        }
        process.check()?;
        if Instant::now() > end {
            let limit = START_LIMIT.as_secs();
            bail!("{} of {} real servers were checked within {limit} s", seen.len(), scale.servers);
        }
        thread::sleep(LOOK);
    }
}

fn flap(settings: &Settings, tell: &mut Tell<'_, Record>) -> Result<Flapped> {
    let scale = settings.flapping;
    tell(Event::Doing(format!("{scale}: the agent, until all are in service")))?;
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let network = Network::new()?;
    let servers = Servers::start(&network)?;
    // This loads the module.
    network.director.exec("ipvsadm --list --numeric")?;
    let probes = Probes::set()?;
    let mut process = start(Checker::Agent, scale, NERVOUS, settings, &network, folder.path())?;
    let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    await_weights(&network, scale, &mut process).with_context(log)?;
    let added = probes.calls()?;
    ensure!(
        added.new == scale.destinations(),
        "the probes saw {} destinations added, not {}",
        added.new,
        scale.destinations()
    );
    // Until all is told that is to be told.
    thread::sleep(settings.settle);

    let (calls, writes) = (probes.calls()?, agent::metric(&network.director, "lvs_kernel_writes_total")?);
    let start = Instant::now();
    for turn in 1..=settings.turns {
        tell(Event::Doing(format!("{scale}: turn {turn} of {}", settings.turns)))?;
        servers.refuse(turn % 2 == 1);
        thread::sleep((start + TURN * turn).saturating_duration_since(Instant::now()));
    }
    servers.refuse(false);
    await_weights(&network, scale, &mut process).with_context(log)?;
    thread::sleep(settings.settle);
    let writes = agent::metric(&network.director, "lvs_kernel_writes_total")? - writes;
    let Calls { new, set, del } = probes.calls()?;
    process.terminate()?;
    Ok(Flapped {
        servers: scale.servers,
        turns: settings.turns,
        writes,
        set: set - calls.set,
        new: new - calls.new,
        del: del - calls.del,
    })
}

/// Waits until every destination is in the kernel with its weight, which is 1.
fn await_weights(network: &Network, scale: Scale, process: &mut Running) -> Result<()> {
    let end = Instant::now() + START_LIMIT;
    loop {
        let table = network.director.exec("cat /proc/thread-self/net/ip_vs")?;
        let in_service = table.lines().filter(|line| is_in_service(line)).count();
        if in_service == scale.destinations() as usize {
            return Ok(());
        }
        process.check()?;
        if Instant::now() > end {
            bail!("{in_service} of {} destinations came into service", scale.destinations());
        }
        thread::sleep(LOOK);
    }
}

/// Whether a line of `/proc/net/ip_vs` is a destination with the weight 1.
fn is_in_service(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some("->") && words.nth(2) == Some("1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_services_and_destinations_without_weight_are_not_in_service() {
        for (line, expected) in [
            ("  -> RemoteAddress:Port Forward Weight ActiveConn InActConn", false),
            ("TCP  0A020001:1F40 wlc  ", false),
            ("  -> 0A010102:1F40      Route   1      0          0         ", true),
            ("  -> 0A010102:1F40      Route   0      0          0         ", false),
        ] {
            assert_eq!(is_in_service(line), expected, "{line}");
        }
    }
}
