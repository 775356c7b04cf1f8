//! Prints the table of this network namespace as `ipvsadm -Ln` does.
//!
//! ```text
//! cargo run -p lvs-ipvs --example list
//! ```

use std::{fmt, process::ExitCode};

use lvs_ipvs::{
    Client, DestinationEntry, Error, Family, Forwarding, Netmask, Persistence, Protocol, SchedulerFlags,
    Service, ServiceKey,
};

fn main() -> ExitCode {
    match Client::connect().and_then(|mut client| list(&mut client)) {
        Ok(table) => {
            print!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// The table, with its heading.
pub(crate) fn list(client: &mut Client) -> Result<String, Error> {
    let info = client.info()?;
    let mut services = client.services()?;
    services.sort_by_key(|entry| order(&entry.service.key));

    let mut text =
        format!("IP Virtual Server version {} (size={})\n", info.version, info.connection_table_size);
    text.push_str("Prot LocalAddress:Port Scheduler Flags\n");
    text.push_str("  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n");
    for entry in &services {
        text.push_str(&ServiceLine(&entry.service).to_string());
        let mut destinations = client.destinations(&entry.service.key)?;
        destinations.sort_by_key(|entry| entry.destination.key);
        for entry in &destinations {
            text.push_str(&DestinationLine(entry).to_string());
        }
    }
    Ok(text)
}

/// Marks last, and protocols together.
fn order(key: &ServiceKey) -> (u32, Family, Option<Protocol>, ServiceKey) {
    match *key {
        ServiceKey::Address { protocol, .. } => (0, key.family(), Some(protocol), *key),
        ServiceKey::FirewallMark { mark, family } => (mark, family, None, *key),
    }
}

struct ServiceLine<'a>(&'a Service);

impl fmt::Display for ServiceLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Service { key, settings } = self.0;
        let name = key.to_string();
        let (kind, rest) = name.split_once(' ').unwrap_or((&name, ""));
        write!(f, "{kind:<4} {rest} {}", settings.scheduler)?;

        let names = match settings.scheduler.as_str() {
            "sh" => ["sh-fallback", "sh-port", "flag-3"],
            "mh" => ["mh-fallback", "mh-port", "flag-3"],
            _ => ["flag-1", "flag-2", "flag-3"],
        };
        let bits = [SchedulerFlags::SCHED_1, SchedulerFlags::SCHED_2, SchedulerFlags::SCHED_3];
        let set = bits.iter().zip(names).filter(|(bit, _)| settings.scheduler_flags.contains(**bit));
        let set: Vec<&str> = set.map(|(_, name)| name).collect();
        if !set.is_empty() {
            write!(f, " ({})", set.join(","))?;
        }
        if let Some(Persistence { timeout_seconds, netmask }) = settings.persistence {
            write!(f, " persistent {timeout_seconds}")?;
            match netmask {
                _ if netmask == Netmask::host(key.family()) => {}
                Netmask::Ipv4(mask) => write!(f, " mask {mask}")?,
                Netmask::Ipv6(length) => write!(f, " mask {length}")?,
            }
        }
        if let Some(engine) = &settings.engine {
            write!(f, " pe {engine}")?;
        }
        if settings.one_packet {
            f.write_str(" ops")?;
        }
        f.write_str("\n")
    }
}

struct DestinationLine<'a>(&'a DestinationEntry);

impl fmt::Display for DestinationLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DestinationEntry { destination, active_connections, inactive_connections, .. } = self.0;
        let method = match destination.settings.forwarding {
            Forwarding::Masquerade => "Masq",
            Forwarding::Local => "Local",
            Forwarding::Tunnel(_) => "Tunnel",
            Forwarding::Direct => "Route",
            Forwarding::Bypass => "Bypass",
            Forwarding::Other(_) => "?",
        };
        let (address, weight) = (destination.key.to_string(), destination.settings.weight);
        writeln!(
            f,
            "  -> {address:<28} {method:<7} {weight:<6} {active_connections:<10} {inactive_connections:<10}"
        )
    }
}
