use std::collections::{BTreeMap, BTreeSet};

use lvs_plan::{DestinationKey, Reason};

use super::*;
use crate::board::{Board, fixtures};
use crate::checker::tally::{Tallies, Tally};
use crate::counters::fake::FakeCounters;
use crate::metrics::Metrics;
use crate::metrics::checks::Checks;
use crate::metrics::fixtures::{checked, probe, scrape};
use crate::view::ServiceView;
use crate::view::fixtures::{address, mark, service, tcp};

/// Two services with all there is to tell of them.
fn example(counters: &FakeCounters) -> Arc<Scrape> {
    let web = checked(service("web", tcp(80), &[("blue", 12)]));
    let marked = service("marked", mark(7), &[("blue", 12)]);
    let traffic = Traffic { connections: 5, packets: 60, bytes: u64::from(u32::MAX) + 1 };
    let key = DestinationKey { address: address(12), port: 80 };
    counters.set(web.key, key, Count { traffic, active: 4, inactive: 1, weight: 9 });
    let tally = Tally::default();
    tally.note(Duration::from_micros(1_500), None);
    tally.note(Duration::from_secs(2), Some("timeout"));
    let tallies = Tallies { asked: 0, of: [(probe(12, 80), tally.into())].into() };
    scrape(vec![web, marked], &tallies, &mut Checks::default(), counters)
}

/// With a sample in each of the agent's own families too.
fn text(scrape: Arc<Scrape>, format: Format) -> String {
    let (metrics, board) = (Metrics::new("d1"), Board::default());
    metrics.set_vip_conflict(address(1), true);
    metrics.set_preflight_findings([("eth0", "no_route")].into_iter());
    fixtures::put(&board, fixtures::refused("late", Reason::Conflict));
    Pieces::new(metrics.text(&board, format), scrape, format).collect()
}

#[test]
fn every_family_of_services_and_real_servers_is_told() {
    let text = text(example(&FakeCounters::default()), Format::Plain);
    let service = r#"namespace="default",virtual_service="web",service="172.16.21.10:80/TCP""#;
    let destination =
        r#"namespace="default",virtual_service="web",real_server="blue",service="172.16.21.10:80/TCP""#;
    let marked = r#"namespace="default",virtual_service="marked",real_server="blue",service="FWM 7""#;
    let web = r#"namespace="default",virtual_service="web""#;
    let lines = [
        format!("lvs_service_connections_total{{{service}}} 5"),
        format!("lvs_service_packets_total{{{service}}} 60"),
        format!("lvs_service_bytes_total{{{service}}} 4294967296"),
        format!("lvs_destination_connections_total{{{destination}}} 5"),
        format!("lvs_destination_packets_total{{{destination}}} 60"),
        format!("lvs_destination_bytes_total{{{destination}}} 4294967296"),
        format!("lvs_destination_active_connections{{{destination}}} 4"),
        format!("lvs_destination_inactive_connections{{{destination}}} 1"),
        format!("lvs_destination_weight{{{destination}}} 9"),
        format!("lvs_destination_declared_weight{{{destination}}} 2"),
        format!("lvs_destination_declared_weight{{{marked}}} 2"),
        r#"lvs_real_server_healthy{namespace="default",real_server="blue"} 1"#.to_owned(),
        format!("lvs_check_duration_seconds_bucket{{{web},le=\"0.001\"}} 0"),
        format!("lvs_check_duration_seconds_bucket{{{web},le=\"0.005\"}} 1"),
        format!("lvs_check_duration_seconds_bucket{{{web},le=\"2.0\"}} 2"),
        format!("lvs_check_duration_seconds_bucket{{{web},le=\"+Inf\"}} 2"),
        format!("lvs_check_duration_seconds_sum{{{web}}} 2.0015"),
        format!("lvs_check_duration_seconds_count{{{web}}} 2"),
        format!("lvs_checks_total{{{web},real_server=\"blue\",result=\"ok\"}} 1"),
        format!("lvs_checks_total{{{web},real_server=\"blue\",result=\"timeout\"}} 1"),
    ];
    for line in &lines {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let samples = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(samples("lvs_checks_total{"), 2, "of failures only what has happened");
    assert_eq!(samples("lvs_destination_weight{"), 1, "the mark has no destination in the kernel");
}

#[test]
fn what_cannot_be_read_is_left_out() {
    let counters = FakeCounters::default();
    counters.break_down();
    let text = text(example(&counters), Format::Plain);
    for absent in
        ["lvs_service_connections_total{", "lvs_destination_bytes_total{", "lvs_destination_weight{"]
    {
        assert!(!text.contains(absent), "{absent} is in\n{text}");
    }
    for known in ["lvs_destination_declared_weight{", "lvs_real_server_healthy{", "lvs_checks_total{"] {
        assert!(text.contains(known), "{known} is not in\n{text}");
    }
}

/// The rules that `promtool check metrics` holds names to, which are those of Prometheus.
#[test]
fn names_and_words_keep_the_rules_of_prometheus() {
    let text = text(example(&FakeCounters::default()), Format::Plain);
    let (mut types, mut helps) = (BTreeMap::new(), BTreeSet::new());
    let mut samples = BTreeSet::new();
    for line in text.lines() {
        if let Some((name, type_)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            assert_eq!(types.insert(name, type_), None, "{name} is told twice");
            samples.clear();
        } else if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
        {
            assert!(helps.insert(name) && help.len() > 10 && help.ends_with('.'), "{line}");
        } else {
            let (name, _) = line.split_once(['{', ' ']).expect("a sample");
            let (last, type_) = types
                .iter()
                .find(|(known, _)| name.starts_with(**known) && is_of(name, known))
                .expect("its type was told");
            assert!(*type_ == "histogram" || name == *last, "{line}");
            assert!(samples.insert(line.rsplit_once(' ').expect("a value").0.to_owned()), "twice: {line}");
        }
    }
    assert!(types.len() >= 28, "{types:?}");
    for (name, type_) in &types {
        assert!(name.starts_with("lvs_") && helps.contains(name), "{name}");
        assert!(name.bytes().all(|it| it.is_ascii_lowercase() || it == b'_'), "{name}");
        assert_eq!(*type_ == "counter", name.ends_with("_total"), "{name} is a {type_}");
        let words: Vec<&str> = name.split('_').collect();
        for word in ["count", "sum", "bucket"] {
            assert_ne!(words.last(), Some(&word), "{name} looks like a part of a histogram");
        }
        for word in [
            "counter",
            "gauge",
            "histogram",
            "summary",
            "s",
            "ms",
            "us",
            "ns",
            "sec",
            "b",
            "kb",
            "mb",
            "bits",
        ] {
            assert!(!words.contains(&word), "{name} has {word} in it");
        }
        for word in ["milliseconds", "microseconds", "minutes", "hours", "kilobytes", "percent"] {
            assert!(!words.contains(&word), "{name} is in no base unit");
        }
        let is_duration = words.contains(&"duration") || words.contains(&"delay");
        assert_eq!(is_duration, name.ends_with("_seconds"), "{name}");
    }
}

fn is_of(sample: &str, name: &str) -> bool {
    matches!(&sample[name.len()..], "" | "_bucket" | "_sum" | "_count")
}

#[test]
fn open_metrics_names_counters_without_their_suffix_and_marks_the_end() {
    let text = text(example(&FakeCounters::default()), Format::OpenMetrics);
    assert!(text.contains("# TYPE lvs_destination_connections counter\n"), "{text}");
    assert!(text.contains("# TYPE lvs_kernel_writes counter\n"), "{text}");
    assert!(text.contains("\nlvs_destination_connections_total{"), "{text}");
    assert!(text.ends_with("\n# EOF\n"));
    assert_eq!(text.matches("# EOF").count(), 1);
}

#[test]
fn labels_that_need_it_are_escaped() {
    let mut lines = Lines { text: "{".to_owned(), format: Format::Plain };
    lines.label("a", "");
    lines.label("b", "x\\y\"\n\"");
    lines.label("c", "é=,}");
    assert_eq!(lines.text, r#"{a="",b="x\\y\"\n\"",c="é=,}""#);
}

#[test]
fn a_large_scrape_comes_in_pieces_of_bounded_length_that_together_are_all_of_it() {
    let counters = FakeCounters::default();
    let real_servers: Vec<(String, u8)> = (1..=4).map(|number| (format!("rs{number}"), number)).collect();
    let real_servers: Vec<(&str, u8)> =
        real_servers.iter().map(|(name, number)| (name.as_str(), *number)).collect();
    let of = |port: u16| -> ServiceView {
        let service = service(&format!("s{port}"), tcp(port), &real_servers);
        for destination in &service.destinations {
            counters.set(service.key, destination.key, Count::default());
        }
        service
    };
    let scrape =
        scrape((1..=1_000).map(of).collect(), &Tallies::default(), &mut Checks::default(), &counters);
    let pieces: Vec<String> = Pieces::new("lvs_x 1\n".to_owned(), scrape, Format::Plain).collect();
    assert!(pieces.len() > 20 && pieces.iter().all(|piece| piece.len() < PIECE + 2_000));
    let all = pieces.concat();
    assert!(all.starts_with("lvs_x 1\n"));
    for family in FAMILIES.iter().take(10) {
        let each = if matches!(family.of, Of::Service(_)) { 1_000 } else { 4_000 };
        let name = format!("lvs_{}", family.name);
        let samples = all.lines().filter(|line| line.starts_with(&name)).count();
        assert_eq!(samples, each, "{name}");
    }
}
