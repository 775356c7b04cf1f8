//! How many rules, and which: the same ones for everybody who is measured.

use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::farm::address;

/// Services and destinations of each.
///
/// Ten services share a VIP. Real servers are hosts that serve many services, as they do in life: fifty sets of them are
/// used in turn. The first service has a set of its own, so that one weight can change in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    /// Virtual services.
    pub services: u32,
    /// Destinations of each.
    pub destinations: u32,
}

const SERVICES_PER_VIP: u32 = 10;
const SETS: u32 = 50;
const FIRST_PORT: u16 = 8000;
const MAX_SERVICES: u32 = 100_000;
const MAX_DESTINATIONS: u32 = 100;

/// The Director's address; the real servers are in its subnet.
pub const DIRECTOR: &str = "10.1.0.1/16";
/// The real server whose weight changes.
pub const CHANGING: &str = "set0-0";
/// The scheduler of every service.
pub const SCHEDULER: &str = "wlc";

impl Shape {
    /// A shape within the limits that its addresses set.
    pub fn new(services: u32, destinations: u32) -> Result<Self> {
        ensure!(
            services <= MAX_SERVICES && (1..=MAX_DESTINATIONS).contains(&destinations),
            "at most {MAX_SERVICES} services with 1 to {MAX_DESTINATIONS} destinations each"
        );
        Ok(Self { services, destinations })
    }

    /// VIP and port of a service, counted from 0.
    pub fn service(self, number: u32) -> (Ipv4Addr, u16) {
        let vip = address(2, 0, number / SERVICES_PER_VIP);
        (vip, FIRST_PORT + (number % SERVICES_PER_VIP) as u16)
    }

    /// The addresses of a service's destinations.
    pub fn real_servers(self, service: u32) -> impl Iterator<Item = Ipv4Addr> {
        let set = Self::set(service);
        (0..self.destinations).map(move |number| self.real_server(set, number))
    }

    /// How many VIPs there are.
    pub fn vips(self) -> u32 {
        self.services.div_ceil(SERVICES_PER_VIP)
    }

    /// Objects in the manifests.
    pub fn objects(self) -> u32 {
        self.services + self.sets() * self.destinations
    }

    /// Rules in the kernel: services and their destinations.
    pub fn rules(self) -> u32 {
        self.services * (1 + self.destinations)
    }

    fn set(service: u32) -> u32 {
        if service == 0 { 0 } else { 1 + (service - 1) % SETS }
    }

    fn sets(self) -> u32 {
        self.services.min(1 + SETS)
    }

    fn real_server(self, set: u32, number: u32) -> Ipv4Addr {
        address(1, 1, set * self.destinations + number)
    }

    /// What `ipvsadm -R` reads.
    pub fn ipvsadm(self) -> String {
        let mut text = String::new();
        for number in 0..self.services {
            let (vip, port) = self.service(number);
            let _ = writeln!(text, "-A -t {vip}:{port} -s {SCHEDULER}");
            for real_server in self.real_servers(number) {
                let _ = writeln!(text, "-a -t {vip}:{port} -r {real_server}:{port} -g -w 1");
            }
        }
        text
    }

    /// A `keepalived.conf` without health checks, so that every real server is in service at once.
    pub fn keepalived(self) -> String {
        let mut text = String::new();
        for number in 0..self.services {
            let (vip, port) = self.service(number);
            let _ = writeln!(
                text,
                "virtual_server {vip} {port} {{\n  lb_algo {SCHEDULER}\n  lb_kind DR\n  protocol TCP"
            );
            for real_server in self.real_servers(number) {
                let _ = writeln!(text, "  real_server {real_server} {port} {{\n    weight 1\n  }}");
            }
            text += "}\n";
        }
        text
    }

    /// The objects as manifests: one for each service, one for each real server. No real server is there, so none is
    /// checked.
    pub fn manifests(self) -> String {
        let mut text = String::new();
        let head = "apiVersion: lvs-operator.dev/v1alpha1\nkind:";
        for set in 0..self.sets() {
            for number in 0..self.destinations {
                let address = self.real_server(set, number);
                let _ = writeln!(
                    text,
                    "---\n{head} RealServer\nmetadata: {{name: set{set}-{number}, labels: {{set: \"{set}\"}}}}\n\
                     spec: {{address: {address}, weight: 1}}"
                );
            }
        }
        for number in 0..self.services {
            let (vip, port) = self.service(number);
            let set = Self::set(number);
            let _ = writeln!(
                text,
                "---\n{head} VirtualService\nmetadata: {{name: service{number}}}\n\
                 spec: {{vip: {vip}, ports: [{{port: {port}}}], scheduler: {SCHEDULER}, healthCheck: {{none: {{}}}}, \
                 realServerSelector: {{matchLabels: {{set: \"{set}\"}}}}}}"
            );
        }
        text
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.services == 0 {
            return f.write_str("0");
        }
        write!(f, "{} x {}", with_thousands(self.services), self.destinations)
    }
}

impl FromStr for Shape {
    type Err = anyhow::Error;

    /// `SERVICESxDESTINATIONS`, such as `1000x4`.
    fn from_str(text: &str) -> Result<Self> {
        let what = || format!("{text:?} is not SERVICESxDESTINATIONS, such as 1000x4");
        let (services, destinations) = text.split_once('x').with_context(what)?;
        Self::new(services.parse().with_context(what)?, destinations.parse().with_context(what)?)
    }
}

/// `10,000`.
pub fn with_thousands(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_service_has_an_address_of_its_own_and_as_many_real_servers_as_it_should() {
        let shape = Shape::new(10_000, 4).unwrap();
        let services: BTreeSet<_> = (0..shape.services).map(|number| shape.service(number)).collect();
        assert_eq!(services.len(), 10_000);
        let vips: BTreeSet<_> = services.iter().map(|(vip, _)| *vip).collect();
        assert_eq!((vips.len(), shape.vips()), (1000, 1000));
        for number in [0, 1, 50, 51, 9_999] {
            assert_eq!(shape.real_servers(number).collect::<BTreeSet<_>>().len(), 4, "{number}");
        }
        assert_eq!(shape.rules(), 50_000);
    }

    #[test]
    fn only_the_first_service_uses_the_real_server_that_changes() {
        let shape = Shape::new(1000, 4).unwrap();
        let first: Vec<_> = shape.real_servers(0).collect();
        assert!((1..1000).all(|number| shape.real_servers(number).all(|other| !first.contains(&other))));
        let text = shape.manifests();
        assert_eq!(text.matches("name: set0-0,").count(), 1);
        assert_eq!(text.matches("set: \"0\"").count(), 4 + 1, "four servers and one service");
    }

    #[test]
    fn everybody_is_asked_for_the_same_rules() {
        let shape = Shape::new(2, 1).unwrap();
        assert_eq!(
            shape.ipvsadm(),
            "-A -t 10.2.0.1:8000 -s wlc\n-a -t 10.2.0.1:8000 -r 10.1.1.1:8000 -g -w 1\n\
             -A -t 10.2.0.1:8001 -s wlc\n-a -t 10.2.0.1:8001 -r 10.1.1.2:8001 -g -w 1\n"
        );
        let keepalived = shape.keepalived();
        assert_eq!(keepalived.matches("virtual_server 10.2.0.1 800").count(), 2);
        assert_eq!(keepalived.matches("real_server 10.1.1.2 8001").count(), 1);
        let manifests = shape.manifests();
        assert_eq!(manifests.matches("kind:").count(), shape.objects() as usize);
        assert!(manifests.contains("spec: {vip: 10.2.0.1, ports: [{port: 8001}]"), "{manifests}");
        assert!(manifests.contains("spec: {address: 10.1.1.2,"), "{manifests}");
    }

    #[test]
    fn a_shape_is_read_as_it_is_typed_and_shown_for_people() {
        assert_eq!("10000x4".parse::<Shape>().unwrap().to_string(), "10,000 x 4");
        assert_eq!(Shape::new(0, 1).unwrap().to_string(), "0");
        for bad in ["", "1000", "1000x", "x4", "1000x0", "1000x101", "100001x4", "-1x4"] {
            assert!(bad.parse::<Shape>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(with_thousands(number), text);
        }
    }
}
