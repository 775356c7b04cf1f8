//! The tutorial's names, how `ipvsadm` shows its service, and what stays when it goes.

use anyhow::Result;

use super::narration::check;
use super::stage::Stage;
pub(super) use crate::topology::tutorial::{CLIENT, FAR_CLIENT, PICTURE, REAL_SERVERS, VIP};

/// The file that the demo is about.
pub(super) const TUTORIAL: &str = "deploy/examples/tutorial/virtualservice.yaml";
/// The folder of objects on the Director, without an API server.
pub(super) const MANIFESTS: &str = "/etc/lvs-operator";
/// The service as `ipvsadm` names it.
pub(super) const SERVICE: &str = "172.16.21.10:80";
/// The real servers' names, in the order of their addresses in [`REAL_SERVERS`].
pub(super) const NAMES: [&str; 2] = ["rs1", "rs2"];

/// A service that somebody else made on the Director.
pub(super) const FOREIGN: &str = "192.168.40.11:8080";
/// How it was made.
pub(super) const FOREIGN_MADE: &str = "ipvsadm -A -t 192.168.40.11:8080 -s rr\n\
                                       ipvsadm -a -t 192.168.40.11:8080 -r 192.168.40.13:8080 -m";

/// Who forwards to a destination and how much, in the words of `ipvsadm -Ln`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Destination<'a> {
    pub(super) address: &'a str,
    pub(super) forwarding: &'a str,
    pub(super) weight: u32,
}

/// The scheduler and destinations of the service in a table by `ipvsadm -Ln`; `None` without the service.
pub(super) fn service(table: &str) -> Option<(&str, Vec<Destination<'_>>)> {
    let mut lines = table.lines().skip_while(|line| !line.starts_with(&format!("TCP  {SERVICE} ")));
    let scheduler = lines.next()?.split_whitespace().nth(2)?;
    let destinations = lines.map_while(|line| {
        let mut words = line.trim_start().strip_prefix("-> ")?.split_whitespace();
        let (address, _port) = words.next()?.rsplit_once(':')?;
        Some(Destination { address, forwarding: words.next()?, weight: words.next()?.parse().ok()? })
    });
    Some((scheduler, destinations.collect()))
}

/// The weights of rs1 and rs2 in such a table; 0 for one that is not there.
pub(super) fn weights(table: &str) -> [u32; 2] {
    let destinations = service(table).map(|(_, destinations)| destinations).unwrap_or_default();
    REAL_SERVERS.map(|address| {
        let found = destinations.iter().find(|destination| destination.address == address);
        found.map_or(0, |destination| destination.weight)
    })
}

/// Takes the objects away by `delete`: the service and the VIP go, what somebody else made stays.
pub(super) fn goes(stage: &Stage, delete: impl FnOnce() -> Result<()>) -> Result<()> {
    let foreign_now = || Ok::<_, anyhow::Error>(foreign(&stage.quietly_on("director", "ipvsadm -Sn")?));
    let foreign_before = foreign_now()?;
    delete()?;
    let all = "ipvsadm -Ln; ip -brief -4 address";
    stage.eventually_on("director", all, "rules and VIP are gone", |seen| !seen.contains(VIP))?;
    let table = stage.on("director", "ipvsadm -Ln")?;
    check(service(&table).is_none(), "the service is gone", &table)?;
    let addresses = stage.on("director", "ip -brief -4 address")?;
    check(!addresses.contains(VIP), "the VIP is gone", &addresses)?;
    let left = foreign_now()?;
    let is_untouched = !left.is_empty() && left == foreign_before;
    check(is_untouched, "the service that somebody else made is untouched", &left)
}

/// The lines of a table by `ipvsadm -Sn` that are the foreign service's.
fn foreign(rules: &str) -> String {
    rules.lines().filter(|line| line.contains(FOREIGN)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  172.16.21.10:80 wrr
  -> 192.168.40.12:80             Route   2      0          3
  -> 192.168.40.13:80             Route   1      0          0
TCP  192.168.40.11:8080 rr
  -> 192.168.40.13:8080           Masq    7      0          0
";

    #[test]
    fn a_table_tells_scheduler_and_destinations_of_the_service_only() {
        let (scheduler, destinations) = service(TABLE).unwrap();
        assert_eq!(scheduler, "wrr");
        assert_eq!(destinations.len(), 2);
        assert_eq!(destinations[0], Destination { address: "192.168.40.12", forwarding: "Route", weight: 2 });
        assert_eq!(weights(TABLE), [2, 1]);
    }

    #[test]
    fn a_table_without_the_service_has_no_weights() {
        let rest: Vec<&str> = TABLE.lines().filter(|line| !line.contains(":80 ")).collect();
        assert_eq!(service(&rest.join("\n")), None);
        assert_eq!(weights(""), [0, 0]);
    }
}
