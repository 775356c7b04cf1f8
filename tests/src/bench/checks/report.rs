//! Records of health checks as Markdown tables.

use std::fmt::Write as _;

use super::goal;
use super::record::{Checked, Checker, Flapped, Record, Settings};
use super::scale::Scale;
use crate::bench::goal::Goal;
use crate::bench::report::{megabytes, ratio, table};
use crate::bench::shape::with_thousands;
use crate::bench::statistics::Summary;

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
        let parts = [self.costs(), self.whole(), self.regularity(), self.sharing(), self.flapping()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn judge(&self, goal: Goal, figure: f64) -> String {
        goal.judge(figure, self.settings.judged)
    }

    fn checked(&self, who: Checker, scale: Scale) -> Vec<&Checked> {
        let checked = self.records.iter().filter_map(|record| match record {
            Record::Checked(checked) if (checked.who, checked.scale) == (who, scale) => Some(checked),
            _ => None,
        });
        checked.collect()
    }

    fn summary(&self, who: Checker, scale: Scale, figure: fn(&Checked) -> f64) -> Option<Summary> {
        let figures: Vec<f64> = self.checked(who, scale).into_iter().map(figure).collect();
        Summary::of(&figures)
    }

    fn median(&self, who: Checker, scale: Scale, figure: fn(&Checked) -> f64) -> Option<f64> {
        self.summary(who, scale, figure).map(|summary| summary.median)
    }

    fn costs(&self) -> String {
        let mut rows = String::new();
        for scale in self.settings.scales.iter().copied() {
            for who in Checker::ALL {
                let Some(cost) = self.summary(who, scale, Checked::per_thousand) else { continue };
                let to =
                    |other| self.median(other, scale, Checked::per_thousand).map(|other| cost.median / other);
                let (to_bare, to_keepalived) = (to(Checker::Bare), to(Checker::Keepalived));
                let judge = |goal, figure: Option<f64>| {
                    let figure = figure.filter(|_| who == Checker::Agent);
                    figure.map(|figure| self.judge(goal, figure)).unwrap_or_default()
                };
                let _ = writeln!(
                    rows,
                    "| {scale} | {} | {} | {} | {:.3} s | {:.3} .. {:.3} s | {} | {} | {} | {} | {:.0} |",
                    who.name(),
                    cost.count,
                    self.rates(who, scale),
                    cost.median,
                    cost.min,
                    cost.max,
                    ratio(to_bare),
                    judge(goal::TO_BARE, to_bare),
                    ratio(to_keepalived),
                    judge(goal::TO_KEEPALIVED, to_keepalived),
                    self.median(who, scale, Checked::sleeps_per_thousand).unwrap_or_default(),
                );
            }
        }
        table(
            "User and system time of 1,000 checks",
            "real servers, interval | who | rounds | checks a second, of those wanted | median | min .. max | to the \
             bare loop | goal | to keepalived | goal | times asleep for 1,000",
            &rows,
        )
    }

    fn whole(&self) -> String {
        let mut rows = String::new();
        for scale in self.settings.scales.iter().copied() {
            let keepalived = self.median(Checker::Keepalived, scale, Checked::whole_per_thousand);
            for who in Checker::ALL {
                let Some(cost) = self.summary(who, scale, Checked::whole_per_thousand) else { continue };
                let _ = writeln!(
                    rows,
                    "| {scale} | {} | {:.3} s | {:.3} s | {:.3} s | {:.3} .. {:.3} s | {} |",
                    who.name(),
                    self.median(who, scale, Checked::user_per_thousand).unwrap_or_default(),
                    self.median(who, scale, Checked::per_thousand).unwrap_or_default(),
                    cost.median,
                    cost.min,
                    cost.max,
                    ratio(keepalived.map(|keepalived| cost.median / keepalived)),
                );
            }
        }
        table(
            "Processor time of the whole guest for 1,000 checks, with the kernel's own and the real servers'",
            "real servers, interval | who | user time, sampled | user and system time | whole guest | min .. max | to keepalived",
            &rows,
        )
    }

    /// `998 of 1000`.
    fn rates(&self, who: Checker, scale: Scale) -> String {
        let rate = self.median(who, scale, Checked::rate).unwrap_or_default();
        let wanted = self.median(who, scale, Checked::wanted_rate).unwrap_or_default();
        format!("{rate:.0} of {wanted:.0}")
    }

    fn regularity(&self) -> String {
        let mut rows = String::new();
        for scale in self.settings.scales.iter().copied() {
            for who in Checker::ALL {
                let found = self.checked(who, scale);
                let Some(memory) = self.median(who, scale, |checked| megabytes(checked.memory.private))
                else {
                    continue;
                };
                let error = self.median(who, scale, |checked| checked.error.unwrap_or(f64::NAN));
                let error = error.filter(|error| error.is_finite());
                let fewest = found.iter().map(|checked| checked.in_any_second.0).min().unwrap_or_default();
                let most = found.iter().map(|checked| checked.in_any_second.1).max().unwrap_or_default();
                let unevenness = 100.0 * found.iter().map(|checked| checked.unevenness()).fold(0.0, f64::max);
                let goal = match who {
                    Checker::Agent if found.iter().all(|checked| checked.keeps_up()) => {
                        self.judge(goal::UNEVENNESS, unevenness)
                    }
                    _ if found.iter().all(|checked| checked.keeps_up()) => String::new(),
                    _ => "too few were made".to_owned(),
                };
                let _ = writeln!(
                    rows,
                    "| {scale} | {} | {} | {} .. {} | {unevenness:.1} % | {goal} | {memory:.1} MB |",
                    who.name(),
                    error.map(|error| format!("{:.2} %", 100.0 * error)).unwrap_or_default(),
                    with_thousands(fewest),
                    with_thousands(most),
                );
            }
        }
        table(
            "How punctual and how even, and private memory",
            "real servers, interval | who | error of the schedule, p99, of the interval | checks in any second | off the \
             mean | goal | private",
            &rows,
        )
    }

    fn sharing(&self) -> String {
        let (scale, mut rows) = (self.settings.sharing, String::new());
        let keepalived = self.median(Checker::Keepalived, scale, Checked::per_interval);
        for who in Checker::ALL {
            let Some(cost) = self.summary(who, scale, Checked::per_interval) else { continue };
            let to_keepalived = keepalived.map(|keepalived| cost.median / keepalived);
            let goal = to_keepalived.filter(|_| who == Checker::Agent);
            let _ = writeln!(
                rows,
                "| {scale} | {} | {} | {} | {:.3} s | {:.3} .. {:.3} s | {} | {} |",
                who.name(),
                cost.count,
                self.rates(who, scale),
                cost.median,
                cost.min,
                cost.max,
                ratio(to_keepalived),
                goal.map(|figure| self.judge(goal::SHARED, figure)).unwrap_or_default(),
            );
        }
        table(
            "Real servers that serve several services: user and system time until all were checked once",
            "real servers x services, interval | who | rounds | checks a second, of those wanted | median | min .. max | \
             to keepalived | goal",
            &rows,
        )
    }

    fn flapping(&self) -> String {
        let mut rows = String::new();
        for record in self.records {
            let Record::Flapped(flapped) = record else { continue };
            let Flapped { servers, turns, writes, set, new, del } = *flapped;
            let transitions = flapped.transitions();
            let each = f64::from(writes.max(set)) / f64::from(transitions);
            let _ = writeln!(
                rows,
                "| {} | {turns} | {} | {} | {} | {each:.2} | {} | {new} | {del} | {} |",
                with_thousands(servers),
                with_thousands(transitions),
                with_thousands(writes),
                with_thousands(set),
                self.judge(goal::WRITES, each),
                self.judge(goal::REPLACED, f64::from(new + del)),
            );
        }
        table(
            "All real servers fail or return every second; every result counts (fall 1, rise 1)",
            "real servers | turns | transitions, at most | the agent's writes | SET_DEST | for each transition | goal | \
             NEW_DEST | DEL_DEST | goal",
            &rows,
        )
    }
}

/// A figure of a table that takes long to fill, as soon as it is there.
pub(super) fn shown(record: &Record) -> Option<String> {
    let Record::Checked(checked) = record else { return None };
    let (rate, wanted) = (checked.rate(), checked.wanted_rate());
    Some(format!(
        "  {:18} {:12} {rate:.0} of {wanted:.0} checks a second, {:.3} s for 1,000, {:.3} s of the whole guest",
        checked.scale.to_string(),
        checked.who.name(),
        checked.per_thousand(),
        checked.whole_per_thousand()
    ))
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
