//! How the end is seen, the same way for everybody: the kernel's own table.
//!
//! Reading the whole table of 10,000 services takes a good part of the time that filling it takes, so it can't be read
//! over and over. A few services, evenly spread and the last one among them, are asked for their destinations; the
//! moment they are complete is the end, if `/proc/net/ip_vs` then shows every rule. If it doesn't, it is read until it
//! does, and the end is the moment at which that reading began.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::netlink::Socket;
use super::shape::Shape;

/// Services that are asked for, besides the last one.
const SAMPLES: u32 = 8;
/// The time between two looks is this part of the time that has passed, within limits: the end is seen to about 1 %, and
/// the questions, which wait for the same lock as the rules, take little from those who are measured.
const PART: u32 = 100;
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(100);

/// Services and destinations in the table of the calling thread's network namespace.
pub(super) fn count() -> Result<(u32, u32)> {
    // `/proc/net` shows the namespace of the process's first thread.
    let table = fs::read_to_string("/proc/thread-self/net/ip_vs").context("cannot read /proc/net/ip_vs")?;
    Ok(count_in(&table))
}

fn count_in(table: &str) -> (u32, u32) {
    let (mut services, mut destinations) = (0, 0);
    // A title and two lines of headings.
    for line in table.lines().skip(3) {
        if line.trim_start().starts_with("->") {
            destinations += 1;
        } else {
            services += 1;
        }
    }
    (services, destinations)
}

/// Waits, in the namespace of the calling thread, until every rule is there. Returns when that was; `None` if it was not
/// within the limit. `alive` is asked now and then and fails when nobody is left who adds rules.
pub(super) fn await_rules(
    shape: Shape,
    start: Instant,
    limit: Duration,
    mut alive: impl FnMut() -> Result<()>,
) -> Result<Option<Instant>> {
    let whole = (shape.services, shape.services * shape.destinations);
    let mut socket = Socket::open()?;
    let mut samples = samples(shape.services).into_iter().peekable();
    loop {
        let asked = Instant::now();
        let complete = match samples.peek() {
            Some(service) => socket.destinations(shape.service(*service))? == shape.destinations,
            None => true,
        };
        if complete && samples.next().is_some() && samples.peek().is_some() {
            continue;
        }
        if complete && count()? == whole {
            return Ok(Some(asked));
        }
        if start.elapsed() > limit {
            return Ok(None);
        }
        alive()?;
        std::thread::sleep((start.elapsed() / PART).clamp(SHORTEST, LONGEST));
    }
}

/// In ascending order, as rules are added by everybody.
fn samples(services: u32) -> Vec<u32> {
    let mut samples: Vec<_> = (0..SAMPLES).map(|part| services / SAMPLES * part).collect();
    samples.push(services.saturating_sub(1));
    samples.retain(|sample| *sample < services);
    samples.dedup();
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_destinations_are_counted_without_the_headings() {
        let table = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A020001:1F40 wlc  
  -> 0A010102:1F40      Route   1      0          0         
  -> 0A010101:1F40      Route   1      0          0         
FWM  00000005 rr  
";
        assert_eq!(count_in(table), (2, 2));
        assert_eq!(count_in(""), (0, 0));
    }

    #[test]
    fn the_last_service_is_always_asked_for() {
        for (services, expected) in
            [(0, &[][..]), (1, &[0]), (5, &[0, 4]), (16, &[0, 2, 4, 6, 8, 10, 12, 14, 15])]
        {
            assert_eq!(samples(services), expected, "{services}");
        }
    }
}
