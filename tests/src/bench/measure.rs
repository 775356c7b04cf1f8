//! The measurements, one after the other, inside a guest.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::agent::{self, Agent, Source};
use super::contender::{self, Contender, Driver};
use super::follow::{Event, Tell};
use super::network::Network;
use super::record::{Part, Record, Served, Settings, Subject};
use super::shape::{CHANGING, Shape};

/// How long the driver and the floor may take: far more than they do.
const OWN_LIMIT: Duration = Duration::from_mins(5);
/// Changes before those that count.
const WARM_UP: u32 = 3;

/// Measures what the settings say and tells of each step. Needs root and a kernel with IPVS; runs in a guest.
pub fn measure(settings: &Settings, tell: &mut Tell<'_, Record>) -> Result<()> {
    for part in &settings.parts {
        match part {
            Part::Programming => programming(settings, tell)?,
            Part::Change => changes(settings, tell)?,
            Part::Agent => agents(settings, tell)?,
            Part::Api => {
                if let Some(served) = &settings.served {
                    agent_from_apiserver(settings, served, tell)?;
                }
            }
        }
    }
    Ok(())
}

fn programming(settings: &Settings, tell: &mut Tell<'_, Record>) -> Result<()> {
    // Programs come over 9p, and modules are loaded, the first time.
    let first = Shape { services: 1, destinations: 1 };
    for contender in &settings.contenders {
        tell(Event::Doing(format!("a first try of {}", contender.name())))?;
        one_round(settings, *contender, first, OWN_LIMIT)?;
    }
    for shape in &settings.sizes {
        let mut used = [Duration::ZERO; Contender::ALL.len()];
        for round in 0..settings.rounds as usize {
            let mut order: Vec<_> = settings.contenders.iter().zip(&mut used).collect();
            let turn = round % order.len();
            order.rotate_left(turn);
            for (contender, used) in order {
                if contender.is_peer() && *used >= settings.peer_time {
                    continue;
                }
                let (rounds, name) = (settings.rounds, contender.name());
                tell(Event::Doing(format!("{shape}, round {} of {rounds}: {name}", round + 1)))?;
                let limit = if contender.is_peer() { settings.peer_time } else { OWN_LIMIT };
                let start = Instant::now();
                let record = one_round(settings, *contender, *shape, limit)?;
                *used += start.elapsed();
                tell(Event::Found(record))?;
            }
        }
    }
    Ok(())
}

fn one_round(settings: &Settings, contender: Contender, shape: Shape, limit: Duration) -> Result<Record> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let timing = contender::measure(contender, shape, &settings.driver, folder.path(), limit)
        .with_context(|| format!("{} with {shape}", contender.name()))?;
    Ok(Record::Programming { contender, shape, seconds: timing.seconds, pass: timing.pass })
}

fn changes(settings: &Settings, tell: &mut Tell<'_, Record>) -> Result<()> {
    for shape in &settings.change_sizes {
        tell(Event::Doing(format!("one weight among {shape}")))?;
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let network = Network::new()?;
        let mut driver = Driver::start(&network.director, &settings.driver, *shape, folder.path())?;
        driver.settle()?;
        let mut times = Vec::new();
        for change in 0..WARM_UP + settings.changes {
            let weight = 2 + change;
            let took = driver.change(CHANGING, weight)?;
            if change >= WARM_UP {
                times.push(took);
            }
        }
        let expected = WARM_UP + settings.changes + 1;
        let table = network.director.exec("ipvsadm --save --numeric")?;
        anyhow::ensure!(
            table.matches(&format!(" -w {expected}\n")).count() == 1,
            "the kernel does not have the last weight, {expected}"
        );
        tell(Event::Found(Record::Change { shape: *shape, times }))?;
    }
    Ok(())
}

/// One agent at a time: pages of the program that two of them map are private to neither.
fn agents(settings: &Settings, tell: &mut Tell<'_, Record>) -> Result<()> {
    let rest = settings.rest.as_secs();
    for shape in &settings.memory_sizes {
        tell(Event::Doing(format!("the agent with {shape}: {rest} s at rest")))?;
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let agent = Agent::start(&settings.controller, *shape, Source::Files, folder.path())
            .with_context(|| format!("the agent with {shape}"))?;
        std::thread::sleep(settings.rest);
        let (memory, processes) = agent.memory()?;
        tell(Event::Found(Record::Memory { subject: Subject::Agent, shape: *shape, memory, processes }))?;
        if *shape == settings.standard {
            tell(Event::Doing(format!("the agent with {shape}: {} s at rest", settings.idle.as_secs())))?;
            let used = agent.idle(settings.idle)?;
            tell(Event::Found(Record::Idle { shape: *shape, used, window: settings.idle }))?;
        }
        if shape.services > 0 {
            tell(Event::Doing(format!("the agent with {shape}: restart")))?;
            let writes = agent.restart()?;
            tell(Event::Found(Record::Restart { shape: *shape, writes }))?;
        }
    }
    if settings.contenders.contains(&Contender::Keepalived) {
        let shape = settings.standard;
        tell(Event::Doing(format!("keepalived with {shape}: {rest} s at rest")))?;
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let (memory, processes) = agent::keepalived_memory(shape, folder.path(), settings.rest)?;
        tell(Event::Found(Record::Memory { subject: Subject::Keepalived, shape, memory, processes }))?;
    }
    Ok(())
}

fn agent_from_apiserver(settings: &Settings, served: &Served, tell: &mut Tell<'_, Record>) -> Result<()> {
    let shape = served.shape;
    let what = format!("the agent with {shape} from the API server");
    tell(Event::Doing(what.clone()))?;
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let source = Source::ApiServer { kubeconfig: &served.kubeconfig };
    let mut agent = Agent::start(&settings.controller, shape, source, folder.path()).context(what.clone())?;
    let told = &mut |written: u64| tell(Event::Doing(format!("{what}: {written} statuses written")));
    agent.await_statuses(settings.calm, told).context(what.clone())?;
    tell(Event::Doing(format!("{what}: {} s at rest", settings.rest.as_secs())))?;
    std::thread::sleep(settings.rest);
    let (memory, processes) = agent.memory()?;
    tell(Event::Found(Record::Memory { subject: Subject::AgentFromApiServer, shape, memory, processes }))
}
