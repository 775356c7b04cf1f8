use std::time::Duration;

use super::*;
use crate::bench::process::{Memory, ProcessorTime};

fn scale() -> Scale {
    Scale { servers: 1000, services: 1, interval: 1 }
}

fn settings() -> Settings {
    Settings { scales: vec![scale()], ..Settings::whole("controller".into()) }
}

fn checked(who: Checker, scale: Scale, done: u32, used_millis: u64) -> Checked {
    Checked {
        who,
        scale,
        window: Duration::from_secs(10),
        done,
        used: ProcessorTime {
            user: Duration::from_millis(used_millis / 4),
            system: Duration::from_millis(used_millis / 4 * 3),
        },
        whole: Duration::from_millis(3 * used_millis),
        sleeps: 12_000,
        memory: Memory { private: 10_000, resident: 20_000 },
        in_any_second: (980, 1020),
        error: Some(0.0123),
    }
}

fn rows(records: &[Record], title: &str) -> Vec<String> {
    let text = Report { settings: &settings(), records }.markdown();
    let after = text.split_once(title).unwrap_or_else(|| panic!("no {title}: {text}")).1;
    let lines = after.lines().skip(4).take_while(|line| line.starts_with('|'));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_check_costs_what_all_that_were_made_did_and_each_goal_stands_beside_its_figure() {
    let records = [
        checked(Checker::Bare, scale(), 10_000, 1000),
        checked(Checker::Agent, scale(), 10_000, 1300),
        checked(Checker::Agent, scale(), 10_000, 1100),
        checked(Checker::Agent, scale(), 10_000, 1200),
        checked(Checker::Keepalived, scale(), 5000, 1000),
    ]
    .map(Record::Checked);
    assert_eq!(
        rows(&records, "User and system time of 1,000 checks"),
        [
            "| 1,000, 1 s | bare loop | 1 | 1000 of 1000 | 0.100 s | 0.100 .. 0.100 s | 1.00 |  | 0.50 |  | 1200 |",
            "| 1,000, 1 s | agent | 3 | 1000 of 1000 | 0.120 s | 0.110 .. 0.130 s | 1.20 | at most 1.1: **MISSED** | \
             0.60 | at most 1: met | 1200 |",
            "| 1,000, 1 s | keepalived | 1 | 500 of 1000 | 0.200 s | 0.200 .. 0.200 s | 2.00 |  | 1.00 |  | 2400 |",
        ]
    );
}

#[test]
fn the_whole_guest_pays_for_both_ends() {
    let whole = Duration::from_millis(2000);
    let records = [
        checked(Checker::Agent, scale(), 10_000, 1300),
        checked(Checker::Agent, scale(), 10_000, 1100),
        checked(Checker::Agent, scale(), 10_000, 1200),
        Checked { whole, ..checked(Checker::Keepalived, scale(), 10_000, 1000) },
    ]
    .map(Record::Checked);
    assert_eq!(
        rows(&records, "Processor time of the whole guest"),
        [
            "| 1,000, 1 s | agent | 0.030 s | 0.120 s | 0.360 s | 0.330 .. 0.390 s | 1.80 |",
            "| 1,000, 1 s | keepalived | 0.025 s | 0.100 s | 0.200 s | 0.200 .. 0.200 s | 1.00 |",
        ]
    );
}

#[test]
fn the_worst_second_of_all_rounds_counts_but_not_of_who_made_too_few() {
    let uneven =
        |done, in_any_second| Checked { in_any_second, ..checked(Checker::Agent, scale(), done, 1000) };
    let title = "How punctual and how even";
    let found = [uneven(10_000, (990, 1010)), uneven(10_000, (940, 1000))].map(Record::Checked);
    assert_eq!(
        rows(&found, title),
        ["| 1,000, 1 s | agent | 1.23 % | 940 .. 1,010 | 6.0 % | at most 5: **MISSED** | 10.2 MB |"]
    );
    let found = [Record::Checked(uneven(5000, (500, 500)))];
    assert_eq!(
        rows(&found, title),
        ["| 1,000, 1 s | agent | 1.23 % | 500 .. 500 | 0.0 % | too few were made | 10.2 MB |"]
    );
}

#[test]
fn shared_real_servers_are_compared_by_the_time_for_all_destinations() {
    let sharing = settings().sharing;
    // keepalived has made only half of its 10,000 checks a second, the agent all of its 1,000.
    let records =
        [checked(Checker::Agent, sharing, 10_000, 2000), checked(Checker::Keepalived, sharing, 50_000, 8000)]
            .map(Record::Checked);
    assert_eq!(
        rows(&records, "several services"),
        [
            "| 1,000 x 10, 1 s | agent | 1 | 1000 of 1000 | 0.200 s | 0.200 .. 0.200 s | 0.12 | at most 0.2: met |",
            "| 1,000 x 10, 1 s | keepalived | 1 | 5000 of 10000 | 1.600 s | 1.600 .. 1.600 s | 1.00 |  |",
        ]
    );
}

#[test]
fn writes_are_held_against_transitions_and_nothing_may_be_replaced() {
    let flapped = Flapped { servers: 1000, turns: 60, writes: 30_000, set: 30_000, new: 0, del: 1 };
    assert_eq!(
        rows(&[Record::Flapped(flapped)], "fail or return every second"),
        ["| 1,000 | 60 | 60,000 | 30,000 | 30,000 | 0.50 | at most 1: met | 0 | 1 | at most 0: **MISSED** |"]
    );
}

#[test]
fn what_was_not_measured_has_no_table() {
    assert_eq!(Report { settings: &settings(), records: &[] }.markdown(), "");
}
