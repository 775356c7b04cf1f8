use super::*;

fn settings(rounds: u32) -> Settings {
    let mut settings = Settings::whole("driver".into(), "controller".into());
    settings.rounds = rounds;
    settings.sizes = vec![Shape { services: 1000, destinations: 4 }];
    settings
}

fn filled(contender: Contender, seconds: impl IntoIterator<Item = f64>) -> Vec<Record> {
    let shape = Shape { services: 1000, destinations: 4 };
    let record = |seconds| Record::Programming { contender, shape, seconds: Some(seconds), pass: None };
    seconds.into_iter().map(record).collect()
}

#[test]
fn ratios_are_of_medians_and_each_goal_stands_beside_its_figure() {
    let records = [
        filled(Contender::Floor, [0.2, 0.1, 0.9]),
        filled(Contender::Driver, [0.3, 0.22, 0.2]),
        filled(Contender::Ipvsadm, [4.0, 4.4, 5.0]),
        filled(Contender::Keepalived, [2.0, 2.1, 2.2]),
    ]
    .concat();
    let text = Report { settings: &settings(3), records: &records }.markdown();
    let rows: Vec<_> = text.lines().skip(4).collect();
    assert_eq!(
        rows,
        [
            "| 1,000 x 4 | floor | 3 | 0.200 s | 0.100 s .. 0.900 s | 1.00 | 0.91 |  |",
            "| 1,000 x 4 | lvs-operator's driver | 3 | 0.220 s | 0.200 s .. 0.300 s | 1.10 | 1.00 | at most 1.25: met |",
            "| 1,000 x 4 | ipvsadm -R | 3 | 4.400 s | 4.000 s .. 5.000 s | 22.00 | 20.00 | at least 15: met |",
            "| 1,000 x 4 | keepalived's start | 3 | 2.100 s | 2.000 s .. 2.200 s | 10.50 | 9.55 | at least 10: **MISSED** |",
        ],
        "{text}"
    );
}

#[test]
fn fewer_rounds_and_rounds_that_were_not_done_are_told() {
    let mut records = filled(Contender::Keepalived, [200.0]);
    let shape = Shape { services: 1000, destinations: 4 };
    let not_done = Record::Programming { contender: Contender::Keepalived, shape, seconds: None, pass: None };
    records.push(not_done.clone());
    let settings = settings(7);
    let text = Report { settings: &settings, records: &records }.markdown();
    assert!(text.contains("| 2 of 7 (its 300 s were over), 1 not done | 200.0 s |"), "{text}");
    let text = Report { settings: &settings, records: &[not_done] }.markdown();
    assert!(text.contains("| 1 of 7 (its 300 s were over), 1 not done | more than 300 s |"), "{text}");
}

#[test]
fn a_change_is_compared_between_the_smallest_and_the_largest_table() {
    let change = |services, micros: &[u64]| Record::Change {
        shape: Shape { services, destinations: 4 },
        times: micros.iter().copied().map(Duration::from_micros).collect(),
    };
    let records = [change(10, &[900, 1000, 1100]), change(1000, &[1500]), change(10_000, &[1300, 1250])];
    let text = Report { settings: &settings(7), records: &records }.markdown();
    assert!(text.contains("| 10 | 3 | 1.00 ms | 0.90 .. 1.10 ms | 1.00 |  |"), "{text}");
    assert!(text.contains("| 1,000 | 1 | 1.50 ms | 1.50 .. 1.50 ms | 1.50 |  |"), "{text}");
    assert!(text.contains("| 1.27 | at most 1.2: **MISSED** |"), "{text}");
}

#[test]
fn memory_time_at_rest_and_restarts_are_held_against_their_goals() {
    let shape = Shape { services: 1000, destinations: 4 };
    let memory = |subject, private, processes| Record::Memory {
        subject,
        shape,
        memory: Memory { private, resident: 2 * private },
        processes,
    };
    let records = [
        memory(Subject::Agent, 10_000, 1),
        Record::Memory {
            subject: Subject::Agent,
            shape: Shape { services: 10_000, destinations: 4 },
            memory: Memory { private: 20_000, resident: 40_000 },
            processes: 1,
        },
        memory(Subject::Keepalived, 16_000, 2),
        Record::Idle { shape, used: Duration::from_millis(240), window: Duration::from_mins(2) },
        Record::Restart { shape, writes: 1 },
    ];
    let text = Report { settings: &settings(7), records: &records }.markdown();
    for row in [
        "| agent, from files | 1,000 x 4 | 1 | 10.2 MB | 20.5 MB | at most 9.3: **MISSED** |",
        "| agent, from files | 10,000 x 4 | 1 | 20.5 MB | 41.0 MB |  |",
        "| keepalived, this run | 1,000 x 4 | 2 | 16.4 MB | 32.8 MB |  |",
        "| keepalived 2.4.3, measured elsewhere | 1,000 x 4 | | 9.3 MB | | |",
        "| 1,000 x 4 | 0.24 s in 120 s | 0.20 % | at most 0.3: met |",
        "| 1,000 x 4 | 1 | at most 0: **MISSED** |",
    ] {
        assert!(text.contains(row), "{row}\n{text}");
    }
}

#[test]
fn memory_with_objects_from_the_api_server_is_held_against_the_goal_of_its_size() {
    let memory = |services, destinations, private| Record::Memory {
        subject: Subject::AgentFromApiServer,
        shape: Shape { services, destinations },
        memory: Memory { private, resident: 2 * private },
        processes: 1,
    };
    let records =
        [memory(0, 4, 9_000), memory(1000, 10, 24_000), memory(10_000, 4, 60_000), memory(1000, 4, 9_000)];
    let text = Report { settings: &settings(7), records: &records }.markdown();
    for row in [
        "| agent, from the API server | 0 | 1 | 9.2 MB | 18.4 MB | at most 10: met |",
        "| agent, from the API server | 1,000 x 10 | 1 | 24.6 MB | 49.2 MB | at most 24: **MISSED** |",
        "| agent, from the API server | 10,000 x 4 | 1 | 61.4 MB | 122.9 MB | at most 64: met |",
        "| agent, from the API server | 1,000 x 4 | 1 | 9.2 MB | 18.4 MB |  |",
    ] {
        assert!(text.contains(row), "{row}\n{text}");
    }
    assert!(!text.contains("keepalived"), "it is beside the agent with files only: {text}");
    let text = Report { settings: &Settings { judged: false, ..settings(7) }, records: &records }.markdown();
    assert!(text.contains("at most 24: not judged") && !text.contains("MISSED"), "{text}");
}

#[test]
fn what_was_not_measured_has_no_table() {
    assert_eq!(Report { settings: &settings(7), records: &[] }.markdown(), "");
}
