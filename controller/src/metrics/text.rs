//! A scrape in the text format, piece by piece: of 10,000 virtual services it has tens of megabytes, and
//! nobody holds them all at once.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use lvs_checks::REASONS;
use lvs_plan::service::protocol_name;
use lvs_plan::{Family as AddressFamily, ObjectKey, ServiceKey};

use super::checks::Outcome;
use super::scrape::Scrape;
use crate::checker::tally::BOUNDS;
use crate::counters::{Count, Traffic};
use crate::view::DestinationView;

/// Pieces are about so long, in bytes.
const PIECE: usize = 64 << 10;

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What a person or an old scraper gets.
    Plain,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

/// Metrics of one name.
struct Family {
    /// Without the prefix, and of a counter without `_total`.
    name: &'static str,
    help: &'static str,
    of: Of,
}

/// What has a sample in a family.
enum Of {
    /// Every destination, by what was counted of it.
    Destination(Type, fn(&DestinationView, Option<&Count>) -> Option<u64>),
    /// Every service.
    Service(fn(&Traffic) -> u64),
    /// Every real server.
    RealServer,
    /// Every virtual service with checks.
    CheckDuration,
    /// Every real server that is checked, in every virtual service.
    Checks,
}

#[derive(Clone, Copy)]
enum Type {
    Counter,
    Gauge,
}

const FAMILIES: [Family; 13] = [
    Family {
        name: "service_connections",
        help: "Connections that the kernel has scheduled for an IPVS service",
        of: Of::Service(|traffic| traffic.connections),
    },
    Family {
        name: "service_packets",
        help: "Packets from clients to an IPVS service",
        of: Of::Service(|traffic| traffic.packets),
    },
    Family {
        name: "service_bytes",
        help: "Bytes from clients to an IPVS service",
        of: Of::Service(|traffic| traffic.bytes),
    },
    Family {
        name: "destination_connections",
        help: "Connections that the kernel has given to a real server",
        of: Of::Destination(Type::Counter, |_, count| Some(count?.traffic.connections)),
    },
    Family {
        name: "destination_packets",
        help: "Packets from clients to a real server",
        of: Of::Destination(Type::Counter, |_, count| Some(count?.traffic.packets)),
    },
    Family {
        name: "destination_bytes",
        help: "Bytes from clients to a real server",
        of: Of::Destination(Type::Counter, |_, count| Some(count?.traffic.bytes)),
    },
    Family {
        name: "destination_active_connections",
        help: "Connections of a real server that are established or being made",
        of: Of::Destination(Type::Gauge, |_, count| Some(count?.active.into())),
    },
    Family {
        name: "destination_inactive_connections",
        help: "Connections of a real server that are ending, and all of UDP",
        of: Of::Destination(Type::Gauge, |_, count| Some(count?.inactive.into())),
    },
    Family {
        name: "destination_weight",
        help: "The weight of a real server that is in force in the kernel",
        of: Of::Destination(Type::Gauge, |_, count| Some(count?.weight.into())),
    },
    Family {
        name: "destination_declared_weight",
        help: "The weight of a real server that is declared",
        of: Of::Destination(Type::Gauge, |destination, _| Some(destination.weight.into())),
    },
    Family {
        name: "real_server_healthy",
        help: "Whether the checks of a real server hold; absent while that is not known",
        of: Of::RealServer,
    },
    Family { name: "check_duration_seconds", help: "How long health checks took", of: Of::CheckDuration },
    Family { name: "checks", help: "Health checks that ended, by result", of: Of::Checks },
];

/// The pieces of a scrape, in order.
#[derive(Debug)]
pub struct Pieces {
    scrape: Arc<Scrape>,
    format: Format,
    /// What stands before it; taken with the first piece.
    text: String,
    /// The next to be written: a family, and in it a service or whatever it is of.
    family: usize,
    place: usize,
    done: bool,
}

impl Pieces {
    /// After the metrics of the agent itself, in the same format.
    pub fn new(agent: String, scrape: Arc<Scrape>, format: Format) -> Self {
        Self { scrape, format, text: agent, family: 0, place: 0, done: false }
    }

    /// Whether the piece that was given was the last.
    pub fn is_done(&self) -> bool {
        self.done
    }
}

impl Iterator for Pieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.done {
            return None;
        }
        let mut lines = Lines { text: std::mem::take(&mut self.text), format: self.format };
        lines.text.reserve(PIECE);
        while let Some(family) = FAMILIES.get(self.family) {
            if self.place == 0 {
                lines.head(family);
            }
            let length = family.length(&self.scrape);
            while self.place < length && lines.text.len() < PIECE {
                family.write(&self.scrape, self.place, &mut lines);
                self.place += 1;
            }
            if self.place < length {
                return Some(lines.text);
            }
            (self.family, self.place) = (self.family + 1, 0);
        }
        if self.format == Format::OpenMetrics {
            lines.text.push_str("# EOF\n");
        }
        self.done = true;
        Some(lines.text)
    }
}

impl Family {
    fn length(&self, scrape: &Scrape) -> usize {
        match self.of {
            Of::Destination(..) | Of::Service(_) => scrape.len(),
            Of::RealServer => scrape.healthy.len(),
            Of::CheckDuration | Of::Checks => scrape.checks.len(),
        }
    }

    fn write(&self, scrape: &Scrape, place: usize, lines: &mut Lines) {
        let name = self.name;
        match self.of {
            Of::Service(value) => {
                let (service, traffic) = scrape.service(place);
                let Some(traffic) = traffic else { return };
                lines.begin(name, "_total");
                lines.owner(&service.owner);
                lines.service(&service.key);
                lines.end(value(traffic));
            }
            Of::Destination(type_, value) => {
                let (service, _) = scrape.service(place);
                let samples =
                    scrape.destinations(service).filter_map(|(it, count)| Some((it, value(it, count)?)));
                for (destination, value) in samples {
                    lines.begin(name, if matches!(type_, Type::Counter) { "_total" } else { "" });
                    lines.owner(&service.owner);
                    lines.label("real_server", &destination.owner.name);
                    lines.service(&service.key);
                    lines.end(value);
                }
            }
            Of::RealServer => {
                let (key, healthy) = &scrape.healthy[place];
                lines.begin(name, "");
                lines.label("namespace", &key.namespace);
                lines.label("real_server", &key.name);
                lines.end(u8::from(*healthy));
            }
            Of::CheckDuration => {
                let counted = &scrape.checks[place];
                let mut sum = 0;
                for (range, count) in counted.times.ranges.iter().enumerate() {
                    sum += count;
                    lines.begin(name, "_bucket");
                    lines.owner(&counted.virtual_service);
                    match BOUNDS.get(range) {
                        Some(bound) => lines.label("le", &format!("{:?}", f64::from(*bound) / 1e6)),
                        None => lines.label("le", "+Inf"),
                    }
                    lines.end(sum);
                }
                lines.begin(name, "_sum");
                lines.owner(&counted.virtual_service);
                lines.end(Duration::from_micros(counted.times.micros).as_secs_f64());
                lines.begin(name, "_count");
                lines.owner(&counted.virtual_service);
                lines.end(sum);
            }
            Of::Checks => {
                let counted = &scrape.checks[place];
                // Ways to fail that have not been seen are not told: there are many.
                for Outcome { real_server, failure, count } in &counted.results {
                    lines.begin(name, "_total");
                    lines.owner(&counted.virtual_service);
                    lines.label("real_server", &real_server.name);
                    let failure = failure.and_then(|place| REASONS.get(usize::from(place)));
                    lines.label("result", failure.unwrap_or(&"ok"));
                    lines.end(count);
                }
            }
        }
    }
}

struct Lines {
    text: String,
    format: Format,
}

impl Lines {
    fn head(&mut self, family: &Family) {
        let (type_, suffix) = match family.of {
            Of::Destination(Type::Gauge, _) | Of::RealServer => ("gauge", ""),
            Of::CheckDuration => ("histogram", ""),
            Of::Destination(Type::Counter, _) | Of::Service(_) | Of::Checks => ("counter", "_total"),
        };
        // Only in OpenMetrics a counter's name differs from that of its samples.
        let suffix = if self.format == Format::Plain { suffix } else { "" };
        let Family { name, help, of: _ } = family;
        self.text.extend(["# HELP lvs_", name, suffix, " ", help, ".\n"]);
        self.text.extend(["# TYPE lvs_", name, suffix, " ", type_, "\n"]);
    }

    fn begin(&mut self, name: &str, suffix: &str) {
        self.text.extend(["lvs_", name, suffix, "{"]);
    }

    fn label(&mut self, name: &str, value: &str) {
        if !self.text.ends_with('{') {
            self.text.push(',');
        }
        self.text.extend([name, "=\""]);
        for part in value.split_inclusive(['\\', '"', '\n']) {
            let special = part.len() - 1;
            match part.as_bytes().last() {
                Some(b'\n') => self.text.extend([&part[..special], "\\n"]),
                Some(b'\\' | b'"') => self.text.extend([&part[..special], "\\", &part[special..]]),
                _ => self.text.push_str(part),
            }
        }
        self.text.push('"');
    }

    fn owner(&mut self, virtual_service: &ObjectKey) {
        self.label("namespace", &virtual_service.namespace);
        self.label("virtual_service", &virtual_service.name);
    }

    /// `172.16.21.10:80/TCP`, or the firewall mark. Nothing of it needs escapes.
    fn service(&mut self, key: &ServiceKey) {
        self.text.push_str(",service=\"");
        // Writing into a `String` does not fail.
        let _ = match *key {
            ServiceKey::Address { vip, protocol, port } => {
                let address = std::net::SocketAddr::new(vip, port);
                write!(self.text, "{address}/{}", protocol_name(protocol))
            }
            ServiceKey::FirewallMark { mark, family: AddressFamily::IPv4 } => write!(self.text, "FWM {mark}"),
            ServiceKey::FirewallMark { mark, family: AddressFamily::IPv6 } => {
                write!(self.text, "FWM {mark} IPv6")
            }
        };
        self.text.push('"');
    }

    fn end(&mut self, value: impl std::fmt::Display) {
        let _ = writeln!(self.text, "}} {value}");
    }
}
