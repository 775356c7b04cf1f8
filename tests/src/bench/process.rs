//! Memory, processor time and wake-ups of a program with all its processes, and the processor time of the whole
//! machine, from `/proc`.

use std::fs;
use std::ops::AddAssign;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// `USER_HZ`, in which `/proc/PID/stat` counts: 100 on every architecture that Debian has.
const TICK: Duration = Duration::from_millis(10);

/// Memory by `/proc/PID/smaps_rollup`, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// `Private_Clean` and `Private_Dirty`: what would be free without the program.
    pub private: u32,
    /// `Rss`: what is in memory, shared pages too.
    pub resident: u32,
}

impl AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        self.private += other.private;
        self.resident += other.resident;
    }
}

impl Memory {
    /// Of a process and its descendants, and how many processes those are.
    pub(super) fn of(process: u32) -> Result<(Self, usize)> {
        let processes = with_descendants(process);
        let mut memory = Self::default();
        for process in &processes {
            let path = format!("/proc/{process}/smaps_rollup");
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            memory += Self::parse(&text).with_context(|| format!("cannot understand {path}"))?;
        }
        Ok((memory, processes.len()))
    }

    fn parse(rollup: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u32>().ok()
        };
        Some(Self { private: field("Private_Clean")? + field("Private_Dirty")?, resident: field("Rss")? })
    }
}

/// Processor time of a program: in the program itself, and in the kernel for it.
///
/// The kernel measures the sum and divides it by samples (`cputime_adjust` in `kernel/sched/cputime.c`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessorTime {
    /// In the program.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

impl AddAssign for ProcessorTime {
    fn add_assign(&mut self, other: Self) {
        self.user += other.user;
        self.system += other.system;
    }
}

impl ProcessorTime {
    /// That a process and its descendants have used.
    pub(super) fn of(process: u32) -> Result<Self> {
        let mut used = Self::default();
        for process in with_descendants(process) {
            let path = format!("/proc/{process}/stat");
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            used += Self::parse(&text).with_context(|| format!("cannot understand {path}"))?;
        }
        Ok(used)
    }

    /// `utime` and `stime`, fields 14 and 15; the second, the program's name in brackets, may hold anything.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ').skip(14 - 3);
        let mut next = || Some(TICK * fields.next()?.parse::<u32>().ok()?);
        Some(Self { user: next()?, system: next()? })
    }

    /// What was used since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }

    /// Both together.
    pub fn total(self) -> Duration {
        self.user + self.system
    }
}

/// Processor time of the whole machine since it started, the kernel's own included: what its processors were not idle.
///
/// Counted from the idle time, which the kernel measures where it samples the rest (`get_idle_time` in `fs/proc/stat.c`).
pub(super) fn machine_time() -> Result<Duration> {
    let read = |path| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let (uptime, stat) = (read("/proc/uptime")?, read("/proc/stat")?);
    busy(&uptime, &stat).context("cannot understand /proc/uptime and /proc/stat")
}

/// Uptime times processors, less `idle` and `iowait`, the fourth and fifth figures of the first line.
fn busy(uptime: &str, stat: &str) -> Option<Duration> {
    let uptime = Duration::from_secs_f64(uptime.split_whitespace().next()?.parse().ok()?);
    let numbered = |name: &str| name.strip_prefix("cpu").is_some_and(|rest| !rest.is_empty());
    let names = stat.lines().filter_map(|line| line.split_whitespace().next());
    let processors = u32::try_from(names.filter(|name| numbered(name)).count()).ok()?;
    let mut figures = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().skip(3);
    let mut next = || figures.next()?.parse::<u64>().ok();
    let idle = Duration::from_millis((next()? + next()?) * TICK.as_millis() as u64);
    Some((uptime * processors).saturating_sub(idle))
}

/// How often the threads that a process and its descendants have now went to sleep, to be woken for something.
pub(super) fn sleeps(process: u32) -> Result<u64> {
    let mut sleeps = 0;
    for process in with_descendants(process) {
        let path = format!("/proc/{process}/task");
        for thread in fs::read_dir(&path).with_context(|| format!("cannot read {path}"))? {
            // A thread may end meanwhile.
            let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
            sleeps += parse_sleeps(&status).unwrap_or_default();
        }
    }
    Ok(sleeps)
}

fn parse_sleeps(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()
}

fn with_descendants(process: u32) -> Vec<u32> {
    let mut found = vec![process];
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
        found.extend(children.unwrap_or_default().split_whitespace().flat_map(str::parse::<u32>));
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_memory_is_clean_and_dirty_together() {
        let rollup = "\
55d0-7ffd ---p 00000000 00:00 0                          [rollup]
Rss:                9000 kB
Pss:                8000 kB
Shared_Clean:       1000 kB
Private_Clean:       500 kB
Private_Dirty:      7400 kB
";
        assert_eq!(Memory::parse(rollup), Some(Memory { private: 7900, resident: 9000 }));
        assert_eq!(Memory::parse("Rss: 9000 kB\n"), None);
    }

    #[test]
    fn processor_time_is_user_and_system_time_whatever_the_programs_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 31 12 5 6 20 0 1 0 100 1 1 1";
        let time = |user, system| ProcessorTime {
            user: Duration::from_millis(user),
            system: Duration::from_millis(system),
        };
        assert_eq!(ProcessorTime::parse(stat), Some(time(310, 120)));
        assert_eq!(ProcessorTime::parse("7 (a) S 1"), None);
        assert_eq!(time(400, 130).since(time(310, 120)).total(), Duration::from_millis(100));
    }

    #[test]
    fn a_machine_is_busy_when_it_is_neither_idle_nor_waits_for_its_disk() {
        let stat = "cpu  900 0 900 1200 300 0 9 0 0 0\ncpu0 1 0 0 0 0\ncpu1 1 0 0 0 0\nintr 7\nctxt 9\n";
        assert_eq!(busy("10.00 7.00\n", stat), Some(Duration::from_secs(20 - 15)));
        assert_eq!(busy("10.00 7.00\n", "intr 7\n"), None);
        assert!(machine_time().is_ok_and(|time| !time.is_zero()));
    }

    #[test]
    fn going_to_sleep_is_what_a_thread_does_of_itself() {
        let status = "Threads:\t1\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n";
        assert_eq!(parse_sleeps(status), Some(150));
        // Threads of other tests end meanwhile, and theirs are counted no more.
        crate::eventually::eventually("this thread sleeps", || {
            let before = sleeps(std::process::id()).map_err(|error| error.to_string())?;
            std::thread::sleep(Duration::from_millis(1));
            let after = sleeps(std::process::id()).map_err(|error| error.to_string())?;
            if after > before { Ok(()) } else { Err(format!("{before}, then {after}")) }
        });
    }

    #[test]
    fn this_process_has_memory_of_its_own() {
        let (memory, processes) = Memory::of(std::process::id()).unwrap();
        assert!(processes >= 1 && memory.private > 0 && memory.private <= memory.resident, "{memory:?}");
        assert!(ProcessorTime::of(std::process::id()).is_ok());
    }
}
