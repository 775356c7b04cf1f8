//! Records as Markdown tables.

use std::fmt::Write as _;
use std::time::Duration;

use super::contender::{Contender, Pass};
use super::goal::{self, Goal};
use super::process::Memory;
use super::record::{Record, Settings, Subject};
use super::shape::{Shape, with_thousands};
use super::statistics::Summary;

/// Who was measured by the part of the API server.
pub(super) const FROM_API_SERVER: &str = "agent, from the API server";

/// What was found, and how it is held against the goals.
pub struct Report<'a> {
    /// What was to be measured.
    pub settings: &'a Settings,
    /// What was.
    pub records: &'a [Record],
}

impl Report<'_> {
    /// The tables; a part that was not measured has none.
    pub fn markdown(&self) -> String {
        let parts =
            [self.programming(), self.passes(), self.changes(), self.restarts(), self.memory(), self.idle()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn judge(&self, goal: Goal, figure: f64) -> String {
        goal.judge(figure, self.settings.judged)
    }

    fn seconds(&self, who: Contender, of: Shape) -> Vec<Option<f64>> {
        let found = self.records.iter().filter_map(|record| match record {
            Record::Programming { contender, shape, seconds, .. } if (*contender, *shape) == (who, of) => {
                Some(*seconds)
            }
            _ => None,
        });
        found.collect()
    }

    fn median(&self, who: Contender, of: Shape) -> Option<f64> {
        let seconds: Vec<f64> = self.seconds(who, of).into_iter().flatten().collect();
        Summary::of(&seconds).map(|summary| summary.median)
    }

    fn programming(&self) -> String {
        let mut rows = String::new();
        for shape in &self.settings.sizes {
            let ours = self.median(Contender::Driver, *shape);
            let floor = self.median(Contender::Floor, *shape);
            for contender in Contender::ALL {
                let all = self.seconds(contender, *shape);
                if all.is_empty() {
                    continue;
                }
                let done: Vec<f64> = all.iter().copied().flatten().collect();
                let rounds = rounds(all.len(), done.len(), self.settings);
                let Some(summary) = Summary::of(&done) else {
                    let limit = self.settings.peer_time.as_secs();
                    let _ = writeln!(
                        rows,
                        "| {shape} | {} | {rounds} | more than {limit} s | | | | |",
                        contender.name()
                    );
                    continue;
                };
                let to_floor = floor.map(|floor| summary.median / floor);
                let to_ours = ours.map(|ours| summary.median / ours);
                let goal = match contender {
                    Contender::Floor => None,
                    Contender::Driver => to_floor.map(|ratio| self.judge(goal::TO_FLOOR, ratio)),
                    Contender::Ipvsadm => to_ours.map(|ratio| self.judge(goal::IPVSADM, ratio)),
                    Contender::Keepalived => to_ours.map(|ratio| self.judge(goal::KEEPALIVED, ratio)),
                };
                let _ = writeln!(
                    rows,
                    "| {shape} | {} | {rounds} | {} | {} .. {} | {} | {} | {} |",
                    contender.name(),
                    seconds(summary.median),
                    seconds(summary.min),
                    seconds(summary.max),
                    ratio(to_floor),
                    ratio(to_ours),
                    goal.unwrap_or_default()
                );
            }
        }
        table(
            "From objects in memory, or from a program's start, to the last rule in the kernel",
            "services x destinations | who | rounds | median | min .. max | to the floor | to ours | goal",
            &rows,
        )
    }

    /// What the driver's time is made of.
    fn passes(&self) -> String {
        let mut rows = String::new();
        for size in &self.settings.sizes {
            let passes: Vec<Pass> = self
                .records
                .iter()
                .filter_map(|record| match record {
                    Record::Programming { shape, pass, .. } if shape == size => *pass,
                    _ => None,
                })
                .collect();
            let median = |part: fn(&Pass) -> Duration| {
                let values: Vec<f64> = passes.iter().map(|pass| part(pass).as_secs_f64()).collect();
                Summary::of(&values).map(|summary| seconds(summary.median))
            };
            if let (Some(ingest), Some(pass)) = (median(|pass| pass.ingest), median(|pass| pass.pass)) {
                let _ = writeln!(rows, "| {size} | {} | {ingest} | {pass} |", size.objects());
            }
        }
        table(
            "The driver's own clock in these rounds (medians; the pass ends with the report, after the last rule)",
            "services x destinations | objects | objects taken in | the pass",
            &rows,
        )
    }

    fn changes(&self) -> String {
        let found: Vec<(Shape, Summary)> = self
            .records
            .iter()
            .filter_map(|record| match record {
                Record::Change { shape, times } => {
                    let values: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
                    Some((*shape, Summary::of(&values)?))
                }
                _ => None,
            })
            .collect();
        let first = found.first().map(|(_, summary)| summary.median);
        let mut rows = String::new();
        for (place, (shape, summary)) in found.iter().enumerate() {
            let to_first = first.map(|first| summary.median / first);
            let last = place > 0 && place + 1 == found.len();
            let goal = to_first.filter(|_| last).map(|ratio| self.judge(goal::CHANGE, ratio));
            let Summary { count, median, min, max } = summary;
            let _ = writeln!(
                rows,
                "| {} | {count} | {median:.2} ms | {min:.2} .. {max:.2} ms | {} | {} |",
                with_thousands(shape.services),
                ratio(to_first),
                goal.unwrap_or_default()
            );
        }
        table(
            "One weight changes: from the change to the end of the pass, without the 50 ms in which changes pile up",
            "services | changes | median | min .. max | to the first row | goal",
            &rows,
        )
    }

    fn restarts(&self) -> String {
        let mut rows = String::new();
        for record in self.records {
            if let Record::Restart { shape, writes } = record {
                let goal = self.judge(goal::RESTART, f64::from(*writes));
                let _ = writeln!(rows, "| {shape} | {writes} | {goal} |");
            }
        }
        table(
            "Restart of the agent over a full table",
            "services x destinations | kernel writes | goal",
            &rows,
        )
    }

    fn memory(&self) -> String {
        let (mut rows, mut beside_keepalived) = (String::new(), false);
        for record in self.records {
            let Record::Memory { subject, shape, memory, processes } = record else { continue };
            beside_keepalived |= *subject != Subject::AgentFromApiServer;
            let Memory { private, resident } = *memory;
            let (who, goal) = match subject {
                Subject::Agent if *shape == self.settings.standard => {
                    ("agent, from files", self.judge(goal::STANDALONE_MEMORY, megabytes(private)))
                }
                Subject::Agent => ("agent, from files", String::new()),
                Subject::AgentFromApiServer => {
                    let goals = goal::API_SERVER_MEMORY;
                    let goal = goals.into_iter().find(|(of, _)| of == shape);
                    let judged = goal.map(|(_, goal)| self.judge(goal, megabytes(private)));
                    (FROM_API_SERVER, judged.unwrap_or_default())
                }
                Subject::Keepalived => ("keepalived, this run", String::new()),
            };
            let (private, resident) = (megabytes(private), megabytes(resident));
            let _ = writeln!(
                rows,
                "| {who} | {shape} | {processes} | {private:.1} MB | {resident:.1} MB | {goal} |"
            );
        }
        if beside_keepalived {
            rows += "| keepalived 2.4.3, measured elsewhere | 1,000 x 4 | | 9.3 MB | | |\n";
        }
        let rest = self.settings.rest.as_secs();
        table(
            &format!(
                "Memory after {rest} s at rest: private is Private_Clean + Private_Dirty of smaps_rollup, 1 MB is \
                 1,000,000 bytes"
            ),
            "who | services x destinations | processes | private | resident | goal",
            &rows,
        )
    }

    fn idle(&self) -> String {
        let mut rows = String::new();
        for record in self.records {
            if let Record::Idle { shape, used, window } = record {
                let percent = percent(*used, *window);
                let goal = self.judge(goal::IDLE, percent);
                let (used, window) = (used.as_secs_f64(), window.as_secs());
                let _ = writeln!(rows, "| {shape} | {used:.2} s in {window} s | {percent:.2} % | {goal} |");
            }
        }
        table(
            "The agent at rest, from files, drift check and resync included",
            "services x destinations | user and system time | of one processor | goal",
            &rows,
        )
    }
}

fn rounds(taken: usize, done: usize, settings: &Settings) -> String {
    let mut text = taken.to_string();
    if taken < settings.rounds as usize {
        let _ = write!(text, " of {} (its {} s were over)", settings.rounds, settings.peer_time.as_secs());
    }
    if done < taken {
        let _ = write!(text, ", {} not done", taken - done);
    }
    text
}

/// A table with its title; nothing without rows.
pub(super) fn table(title: &str, header: &str, rows: &str) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let rule = "|---".repeat(header.split(" | ").count());
    format!("**{title}**\n\n| {header} |\n{rule}|\n{rows}")
}

fn seconds(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.3} s") } else { format!("{seconds:.1} s") }
}

/// With two decimals.
pub(super) fn ratio(ratio: Option<f64>) -> String {
    ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default()
}

/// Of 1,000,000 bytes.
pub(super) fn megabytes(kib: u32) -> f64 {
    f64::from(kib) * 1024.0 / 1e6
}

fn percent(used: Duration, window: Duration) -> f64 {
    100.0 * used.as_secs_f64() / window.as_secs_f64()
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
