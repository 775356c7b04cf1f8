//! What is counted and measured. Names start with `lvs_`; a state that the board holds is read from it at
//! each scrape instead of being kept twice. What belongs to one virtual service or real server is gathered
//! for each scrape.

mod checks;
#[cfg(test)]
mod fixtures;
mod scrape;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use lvs_crds::ConditionStatus;
use lvs_plan::step::DRIFT_KINDS;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::board::Board;

pub use scrape::{Scrape, Scraper};
pub use text::{Format, Pieces};

/// Upper bounds, in seconds: from a pass over one service to a first pass over 10,000, which on an emulated
/// processor took about 2 ms and 10 s (`docs/benchmarks.md`).
const PASS_SECONDS: [f64; 14] =
    [0.000_25, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// Upper bounds, in seconds: from what a busy host's scheduler takes to a few of the shortest intervals.
const DELAY_SECONDS: [f64; 9] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Metrics of the driver and of the checker. Clones share the values.
#[derive(Clone)]
pub struct Metrics {
    kernel_writes: Counter,
    passes: Counter,
    pass_duration: Histogram,
    check_start_delay: Histogram,
    checks_left_out: Counter,
    drift_repaired: Family<DriftLabels, Counter>,
    services: Gauge<u64, AtomicU64>,
    destinations: Gauge<u64, AtomicU64>,
    vips_held: Gauge<u64, AtomicU64>,
    vip_conflicts: Family<VipLabels, Gauge>,
    preflight_findings: Family<FindingLabels, Gauge>,
    node: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DriftLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VipLabels {
    vip: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingLabels {
    link: String,
    finding: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    node: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct ConditionLabels {
    kind: &'static str,
    condition: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectLabels {
    kind: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new("")
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("kernel_writes", &self.kernel_writes.get())
            .field("passes", &self.passes.get())
            .finish_non_exhaustive()
    }
}

impl Metrics {
    /// All at zero, for the Director of this name.
    pub fn new(node: &str) -> Self {
        let drift_repaired = Family::default();
        for kind in DRIFT_KINDS {
            // A counter that appears only with its first increase hides that increase from `rate()`.
            let _: Counter = drift_repaired.get_or_create_owned(&DriftLabels { kind });
        }
        Self {
            kernel_writes: Counter::default(),
            passes: Counter::default(),
            pass_duration: Histogram::new(PASS_SECONDS),
            check_start_delay: Histogram::new(DELAY_SECONDS),
            checks_left_out: Counter::default(),
            drift_repaired,
            services: Gauge::default(),
            destinations: Gauge::default(),
            vips_held: Gauge::default(),
            vip_conflicts: Family::default(),
            preflight_findings: Family::default(),
            node: node.into(),
        }
    }

    /// A pass has ended that took this many steps in the kernel and this long.
    pub fn pass_finished(&self, kernel_writes: u64, took: Duration) {
        self.passes.inc();
        self.kernel_writes.inc_by(kernel_writes);
        self.pass_duration.observe(took.as_secs_f64());
    }

    /// A health check began so much later than it should have.
    pub fn check_began(&self, late: Duration) {
        self.check_start_delay.observe(late.as_secs_f64());
    }

    /// So many health checks are not made because their time has passed.
    pub fn checks_left_out(&self, turns: u32) {
        self.checks_left_out.inc_by(turns.into());
    }

    /// Somebody else's change of this kind was undone.
    pub fn drift_repaired(&self, kind: &'static str) {
        self.drift_repaired.get_or_create(&DriftLabels { kind }).inc();
    }

    /// This many services and destinations should be in the kernel, and this many VIPs are held.
    pub fn set_table(&self, services: u64, destinations: u64, vips_held: u64) {
        self.services.set(services);
        self.destinations.set(destinations);
        self.vips_held.set(vips_held);
    }

    /// Another station answers for a VIP, or none does any more.
    pub fn set_vip_conflict(&self, vip: IpAddr, in_conflict: bool) {
        let labels = VipLabels { vip: vip.to_string() };
        if in_conflict {
            self.vip_conflicts.get_or_create(&labels).set(1);
        } else {
            self.vip_conflicts.remove(&labels);
        }
    }

    /// This was found on these links now.
    pub fn set_preflight_findings<'a>(&self, findings: impl Iterator<Item = (&'a str, &'static str)>) {
        self.preflight_findings.clear();
        for (link, finding) in findings {
            let link = link.to_owned();
            self.preflight_findings.get_or_create(&FindingLabels { link, finding }).set(1);
        }
    }

    /// The agent's own metrics. Others may follow: nothing marks the end.
    pub fn text(&self, board: &Board, format: Format) -> String {
        match format {
            Format::Plain => self.plain_text(board),
            Format::OpenMetrics => self.open_metrics(board),
        }
    }

    /// In the `OpenMetrics` text format.
    ///
    /// # Panics
    /// Never: a `String` takes whatever is written to it.
    fn open_metrics(&self, board: &Board) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry(board)).expect("writing into a String does not fail");
        text.truncate(text.trim_end_matches("# EOF\n").len());
        text
    }

    /// In the text format that Prometheus had before `OpenMetrics`: what a person or an old scraper gets.
    /// There a counter's `HELP` and `TYPE` carry the sample's name.
    pub fn plain_text(&self, board: &Board) -> String {
        let text = self.open_metrics(board);
        let counters: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
        let mut plain = String::with_capacity(text.len());
        for line in text.lines() {
            let mut words = line.splitn(4, ' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("#"), Some(word), Some(name), Some(rest)) if counters.contains(&name) => {
                    plain.extend(["# ", word, " ", name, "_total ", rest]);
                }
                _ => plain.push_str(line),
            }
            plain.push('\n');
        }
        plain
    }

    /// Registries are made for each scrape: they are a list of names and handles.
    fn registry(&self, board: &Board) -> Registry {
        let Self {
            kernel_writes,
            passes,
            pass_duration,
            check_start_delay,
            checks_left_out,
            drift_repaired,
            services,
            destinations,
            vips_held,
            vip_conflicts,
            preflight_findings,
            node,
        } = self;
        let mut registry = Registry::with_prefix("lvs");
        let r = &mut registry;
        r.register(
            "kernel_writes",
            "Steps taken in the kernel's IPVS table and addresses",
            kernel_writes.clone(),
        );
        r.register("passes", "Passes of the driver", passes.clone());
        r.register("pass_duration_seconds", "How long passes took", pass_duration.clone());
        r.register(
            "check_start_delay_seconds",
            "How much later than planned health checks began",
            check_start_delay.clone(),
        );
        r.register(
            "checks_left_out",
            "Health checks that were not made because the host was too busy",
            checks_left_out.clone(),
        );
        r.register("drift_repaired", "Changes by others that were undone, by kind", drift_repaired.clone());
        r.register("services", "IPVS services that should be in the kernel", services.clone());
        r.register("destinations", "IPVS destinations that should be in the kernel", destinations.clone());
        r.register("vips_held", "VIPs that this Director holds and announces", vips_held.clone());
        r.register(
            "vip_conflicts",
            "1 for each VIP that another station answers for, whether it is bound here or not",
            vip_conflicts.clone(),
        );
        r.register(
            "preflight_findings",
            "1 for each setting or missing route that keeps clients from VIPs on a link",
            preflight_findings.clone(),
        );
        let build: Family<BuildLabels, Gauge> = Family::default();
        build
            .get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION"), node: node.to_string() })
            .set(1);
        r.register("build_info", "Always 1; the version and the Director's node are labels", build);
        BoardCounts::of(board).register(r);
        registry
    }
}

/// What the board holds, counted.
struct BoardCounts {
    objects: BTreeMap<&'static str, u64>,
    /// Conditions that do not hold.
    failing: BTreeMap<ConditionLabels, u64>,
    findings: u64,
    up_to_date: bool,
    ready: bool,
}

impl BoardCounts {
    fn of(board: &Board) -> Self {
        let content = board.lock();
        let mut objects = BTreeMap::from([("RealServer", 0), ("VirtualService", 0)]);
        let mut failing = BTreeMap::new();
        for (key, entry) in &content.entries {
            *objects.entry(key.kind.as_str()).or_default() += 1;
            for condition in &entry.verdict.conditions {
                if condition.status == ConditionStatus::False {
                    let labels = ConditionLabels {
                        kind: key.kind.as_str(),
                        condition: condition.type_,
                        reason: condition.reason.as_str(),
                    };
                    *failing.entry(labels).or_default() += 1;
                }
            }
        }
        Self {
            objects,
            failing,
            findings: content.source.findings.len() as u64,
            up_to_date: content.source.up_to_date,
            ready: content.source.complete && content.not_ready.is_empty(),
        }
    }

    fn register(self, registry: &mut Registry) {
        let objects: Family<ObjectLabels, Gauge<u64, AtomicU64>> = Family::default();
        for (kind, count) in self.objects {
            objects.get_or_create(&ObjectLabels { kind }).set(count);
        }
        registry.register("objects", "Objects that the source delivered, by kind", objects);
        let failing: Family<ConditionLabels, Gauge<u64, AtomicU64>> = Family::default();
        for (labels, count) in self.failing {
            failing.get_or_create(&labels).set(count);
        }
        registry.register(
            "conditions_false",
            "Conditions that are False, by kind, condition and reason",
            failing,
        );
        let mut gauge =
            |name: &str, help: &str, value: u64| registry.register(name, help, ConstGauge::new(value));
        gauge("source_findings", "Things that are wrong in the source's documents", self.findings);
        gauge(
            "source_up_to_date",
            "Whether the source of objects is reachable and current",
            self.up_to_date.into(),
        );
        gauge("ready", "Whether /readyz says so", self.ready.into());
    }
}

#[cfg(test)]
mod tests {
    use lvs_plan::Reason;

    use super::*;
    use crate::board::fixtures;

    #[test]
    fn every_promised_metric_is_there_before_anything_happened() {
        let text = Metrics::new("d1").plain_text(&Board::default());
        for line in [
            "lvs_kernel_writes_total 0",
            "lvs_passes_total 0",
            "lvs_pass_duration_seconds_count 0",
            "lvs_check_start_delay_seconds_count 0",
            "lvs_checks_left_out_total 0",
            "lvs_services 0",
            "lvs_destinations 0",
            "lvs_vips_held 0",
            "lvs_ready 0",
            "lvs_source_up_to_date 0",
            "lvs_source_findings 0",
            "lvs_objects{kind=\"RealServer\"} 0",
            "lvs_drift_repaired_total{kind=\"address_missing\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.contains(concat!(
            "lvs_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\",node=\"d1\"} 1"
        )));
        assert!(text.contains("# TYPE lvs_drift_repaired_total counter"), "{text}");
    }

    #[test]
    fn a_pass_counts_its_writes_and_its_time() {
        let metrics = Metrics::default();
        let clone = metrics.clone();
        clone.pass_finished(3, Duration::from_millis(3));
        clone.pass_finished(0, Duration::from_secs(60));
        clone.drift_repaired("destination_missing");
        clone.set_table(2, 8, 1);
        let text = metrics.open_metrics(&Board::default());
        for line in [
            "lvs_kernel_writes_total 3",
            "lvs_passes_total 2",
            "lvs_pass_duration_seconds_bucket{le=\"0.005\"} 1",
            "lvs_pass_duration_seconds_bucket{le=\"5.0\"} 1",
            "lvs_pass_duration_seconds_bucket{le=\"+Inf\"} 2",
            "lvs_drift_repaired_total{kind=\"destination_missing\"} 1",
            "lvs_services 2",
            "lvs_destinations 8",
            "lvs_vips_held 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn objects_and_conditions_that_do_not_hold_are_read_from_the_board() {
        let board = Board::default();
        fixtures::put(&board, fixtures::virtual_service("a", Reason::Announced));
        fixtures::put(&board, fixtures::virtual_service("b", Reason::Announced));
        fixtures::put(&board, fixtures::refused("c", Reason::Conflict));
        let text = Metrics::default().plain_text(&board);
        for line in [
            "lvs_objects{kind=\"VirtualService\"} 3",
            "lvs_conditions_false{kind=\"VirtualService\",condition=\"Accepted\",reason=\"Conflict\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn plain_text_names_counters_as_their_samples_are_named() {
        let metrics = Metrics::default();
        let text = metrics.plain_text(&Board::default());
        let mut described = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                described = rest.split_once(' ').map(|(name, type_)| (name.to_owned(), type_.to_owned()));
            } else if !line.starts_with('#') {
                let (name, type_) = described.clone().expect("a type stands before its samples");
                let sample = line.split(['{', ' ']).next().unwrap();
                let good = if type_ == "histogram" { sample.starts_with(&name) } else { sample == name };
                assert!(good, "{sample} stands under {name}");
                assert!(sample.starts_with("lvs_"));
            }
        }
        assert!(!text.contains("# EOF"));
    }
}
