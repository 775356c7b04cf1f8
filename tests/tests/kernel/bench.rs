//! The bench itself, on a small scale: every part measures, and what it measures is plausible.

use std::path::PathBuf;

use lvs_lab::bench::checks::{self, record as checked, record::Checker};
use lvs_lab::bench::contender::Contender;
use lvs_lab::bench::follow::Event;
use lvs_lab::bench::measure::measure;
use lvs_lab::bench::record::{Record, Settings, Subject};
use lvs_lab::bench::report::Report;
use lvs_lab::packages::find_program;

fn controller() -> PathBuf {
    std::env::var("LVS_LAB_CONTROLLER").expect("LVS_LAB_CONTROLLER names the controller").into()
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn the_bench_fills_changes_rests_and_restarts_and_reports_every_figure() {
    let controller = controller();
    let driver = controller.with_file_name("examples").join("driver");
    assert!(
        driver.exists(),
        "{} is not there: cargo build --package lvs-controller --example driver",
        driver.display()
    );
    let mut settings = Settings::smoke(driver, controller);
    // The lab's tests do without keepalived, which only the bench needs.
    settings.contenders.retain(|who| *who != Contender::Keepalived || find_program("keepalived").is_some());

    let mut records = Vec::new();
    measure(&settings, &mut |event| {
        match event {
            Event::Doing(what) => println!("{what}"),
            Event::Found(record) => records.push(record),
        }
        Ok(())
    })
    .unwrap();

    for contender in &settings.contenders {
        let filled = |record: &Record| {
            matches!(record, Record::Programming { contender: who, seconds: Some(seconds), .. }
                if who == contender && *seconds > 0.0)
        };
        assert_eq!(records.iter().filter(|record| filled(record)).count(), 1, "{contender:?}: {records:?}");
    }
    let changes: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            Record::Change { times, .. } => Some(times.len()),
            _ => None,
        })
        .collect();
    assert_eq!(changes, [3, 3]);
    let writes = |record: &Record| matches!(record, Record::Restart { writes: 0, .. });
    assert_eq!(records.iter().filter(|record| writes(record)).count(), 1, "{records:?}");
    let weighed = |record: &Record| {
        matches!(record, Record::Memory { subject: Subject::Agent, memory, processes: 1, .. }
            if memory.private > 0 && memory.private <= memory.resident)
    };
    assert_eq!(records.iter().filter(|record| weighed(record)).count(), 2, "{records:?}");
    assert!(records.iter().any(|record| matches!(record, Record::Idle { .. })));

    let tables = Report { settings: &settings, records: &records }.markdown();
    println!("{tables}");
    assert!(tables.contains("not judged") && !tables.contains("MISSED"), "{tables}");
}

#[test]
#[ignore = "needs root, network namespaces and IPVS: cargo lab test"]
fn the_bench_of_health_checks_reports_what_real_servers_saw() {
    let mut settings = checked::Settings::smoke(controller());
    // What the kernel is asked to do is counted for all namespaces, and other tests ask for much at the same time.
    settings.parts.retain(|part| *part != checked::Part::Flapping);
    settings.checkers.retain(|who| *who != Checker::Keepalived || find_program("keepalived").is_some());

    let mut records = Vec::new();
    checks::measure::measure(&settings, &mut |event| {
        match event {
            Event::Doing(what) => println!("{what}"),
            Event::Found(record) => records.push(record),
        }
        Ok(())
    })
    .unwrap();

    for who in &settings.checkers {
        let seen = |record: &checked::Record| {
            matches!(record, checked::Record::Checked(checked)
                if checked.who == *who && checked.done > 0 && checked.in_any_second.0 <= checked.in_any_second.1)
        };
        let parts = if *who == Checker::Bare { 1 } else { 2 };
        assert_eq!(records.iter().filter(|record| seen(record)).count(), parts, "{who:?}: {records:?}");
    }
    let tables = checks::report::Report { settings: &settings, records: &records }.markdown();
    println!("{tables}");
    assert!(tables.contains("not judged") && !tables.contains("MISSED"), "{tables}");
}
