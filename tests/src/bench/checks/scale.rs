//! How many real servers are checked, how often and for how many services: the same for everybody who is measured.

use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::bench::shape::{SCHEDULER, with_thousands};
use crate::farm::{Farm, PORT, address};

/// Real servers, each checked once in an interval for each service, or once for all.
///
/// Ten real servers make a group, and a group has services of its own, each with a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// Real servers.
    pub servers: u32,
    /// Services that each of them serves.
    pub services: u32,
    /// Seconds between two checks of one real server for one service.
    pub interval: u32,
}

const GROUP: u32 = 10;
const MAX_SERVERS: u32 = 15_000;
const MAX_DESTINATIONS: u32 = 100_000;

/// How many results in a row make a real server fail and return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    pub(super) fall: u32,
    pub(super) rise: u32,
}

impl Scale {
    /// A scale within the limits that its addresses set.
    pub fn new(servers: u32, services: u32, interval: u32) -> Result<Self> {
        let destinations = servers.saturating_mul(services);
        ensure!(
            (GROUP..=MAX_SERVERS).contains(&servers)
                && services > 0
                && destinations <= MAX_DESTINATIONS
                && (1..=3600).contains(&interval),
            "{GROUP} to {MAX_SERVERS} real servers, at most {MAX_DESTINATIONS} destinations, 1 to 3600 seconds"
        );
        Ok(Self { servers, services, interval })
    }

    /// The time between two checks.
    pub fn interval(self) -> Duration {
        Duration::from_secs(self.interval.into())
    }

    /// Destinations in the kernel, which is also how many checks there are in an interval if none is shared.
    pub fn destinations(self) -> u32 {
        self.servers * self.services
    }

    /// Whether a real server serves more than one service.
    pub fn shares(self) -> bool {
        self.services > 1
    }

    fn groups(self) -> impl Iterator<Item = (u32, std::ops::Range<u32>)> {
        let members = move |group: u32| (group * GROUP)..(group * GROUP + GROUP).min(self.servers);
        (0..self.servers.div_ceil(GROUP)).map(move |group| (group, members(group)))
    }

    fn vips(self, group: u32) -> impl Iterator<Item = Ipv4Addr> {
        (0..self.services).map(move |service| address(2, 0, group * self.services + service))
    }

    /// The objects as manifests.
    pub(super) fn manifests(self, patience: Patience) -> String {
        let head = "apiVersion: lvs-operator.dev/v1alpha1\nkind:";
        let Patience { fall, rise } = patience;
        let check = format!("{{tcp: {{}}, intervalSeconds: {}, fall: {fall}, rise: {rise}}}", self.interval);
        let mut text = String::new();
        for (group, members) in self.groups() {
            for number in members {
                let address = Farm::address(number);
                let _ = writeln!(
                    text,
                    "---\n{head} RealServer\nmetadata: {{name: server{number}, labels: {{group: \"{group}\"}}}}\n\
                     spec: {{address: {address}}}"
                );
            }
            for (number, vip) in self.vips(group).enumerate() {
                let _ = writeln!(
                    text,
                    "---\n{head} VirtualService\nmetadata: {{name: group{group}-{number}}}\n\
                     spec: {{vip: {vip}, ports: [{{port: {PORT}}}], scheduler: {SCHEDULER}, healthCheck: {check}, \
                     realServerSelector: {{matchLabels: {{group: \"{group}\"}}}}}}"
                );
            }
        }
        text
    }

    /// A `keepalived.conf` with the same services and checks.
    pub(super) fn keepalived(self) -> String {
        let mut text = String::new();
        for (group, members) in self.groups() {
            for vip in self.vips(group) {
                let _ = writeln!(
                    text,
                    "virtual_server {vip} {PORT} {{\n  delay_loop {}\n  lb_algo {SCHEDULER}\n  lb_kind DR\n  \
                     protocol TCP",
                    self.interval
                );
                for number in members.clone() {
                    let _ = writeln!(
                        text,
                        "  real_server {} {PORT} {{\n    weight 1\n    TCP_CHECK {{\n      connect_timeout 1\n    }}\n  }}",
                        Farm::address(number)
                    );
                }
                text += "}\n";
            }
        }
        text
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_thousands(self.servers))?;
        if self.shares() {
            write!(f, " x {}", self.services)?;
        }
        write!(f, ", {} s", self.interval)
    }
}

impl FromStr for Scale {
    type Err = anyhow::Error;

    /// `SERVERS@SECONDS`, such as `1000@1`.
    fn from_str(text: &str) -> Result<Self> {
        let what = || format!("{text:?} is not SERVERS@SECONDS, such as 1000@1");
        let (servers, interval) = text.split_once('@').with_context(what)?;
        Self::new(servers.parse().with_context(what)?, 1, interval.parse().with_context(what)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_asked_for_the_same_checks() {
        let scale = Scale::new(20, 10, 1).unwrap();
        let manifests = scale.manifests(Patience { fall: 2, rise: 1 });
        assert_eq!(manifests.matches("kind: RealServer\n").count(), 20);
        assert_eq!(manifests.matches("kind: VirtualService\n").count(), 2 * 10);
        assert_eq!(manifests.matches("{tcp: {}, intervalSeconds: 1, fall: 2, rise: 1}").count(), 20);
        let keepalived = scale.keepalived();
        assert_eq!(keepalived.matches("virtual_server 10.2.0.").count(), 20);
        assert_eq!(keepalived.matches("TCP_CHECK").count(), scale.destinations() as usize);
        assert_eq!(keepalived.matches("real_server 10.1.64.20 80").count(), 10);
    }

    #[test]
    fn a_scale_is_read_as_it_is_typed_and_shown_for_people() {
        assert_eq!("10000@10".parse::<Scale>().unwrap().to_string(), "10,000, 10 s");
        assert_eq!(Scale::new(1000, 10, 1).unwrap().to_string(), "1,000 x 10, 1 s");
        for bad in ["", "1000", "1000@", "@1", "5@1", "15001@1", "1000@0"] {
            assert!(bad.parse::<Scale>().is_err(), "{bad:?}");
        }
    }
}
