//! What somebody else has put on a Director. The controller must leave it exactly as it is, so every test that changes a
//! kernel plants it first and compares in the end.

use anyhow::{Result, ensure};

use crate::topology::Host;

/// Services of other protocols, schedulers, flags and forwarding methods than the project's own, on addresses that no
/// fixture uses.
const SERVICES: &str = "\
-A -t 10.99.0.1:99 -s wlc -p 600
-a -t 10.99.0.1:99 -r 10.99.0.1:99 -m -w 7
-A -u 10.99.0.1:99 -s rr -o
-A -f 99 -s sh -b sh-port
";

/// Addresses, one with a lifetime's worth of other attributes.
const ADDRESSES: &str = "\
ip address add 10.99.0.1/32 dev eth0
ip address add 10.99.0.2/24 dev eth0 label eth0:foreign scope link
ip address add fd00:99::1/128 dev eth0 nodad
";

/// Foreign services and addresses on a host, as they looked when planted.
#[derive(Debug)]
pub struct Foreign {
    host: Host,
    before: Seen,
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// `None` where there is no table to look at.
    services: Option<Vec<String>>,
    addresses: Vec<String>,
}

impl Foreign {
    /// Puts services and addresses on the host's first link and into its table.
    pub fn plant(host: &Host) -> Result<Self> {
        host.exec(&format!("set -e; {ADDRESSES}"))?;
        host.exec(&format!("ipvsadm --restore <<'END'\n{SERVICES}END"))?;
        let before = Seen { services: Some(services(host)?), addresses: addresses(host)? };
        ensure!(before.are_all_there(), "foreign things are not all there: {before:?}");
        Ok(Self { host: host.clone(), before })
    }

    /// Puts addresses on the host's first link only. Where the kernel has not loaded IPVS, a look at the table would.
    pub fn plant_addresses(host: &Host) -> Result<Self> {
        host.exec(&format!("set -e; {ADDRESSES}"))?;
        let before = Seen { services: None, addresses: addresses(host)? };
        ensure!(before.are_all_there(), "foreign things are not all there: {before:?}");
        Ok(Self { host: host.clone(), before })
    }

    /// Compares.
    ///
    /// # Panics
    /// If a foreign service, destination or address changed or is gone.
    pub fn assert_untouched(&self) {
        const READABLE: &str = "a host can be read as long as its network is there";
        let services = self.before.services.is_some().then(|| services(&self.host).expect(READABLE));
        let now = Seen { services, addresses: addresses(&self.host).expect(READABLE) };
        assert_eq!(now, self.before, "foreign services or addresses on {} were touched", self.host.name());
    }
}

impl Seen {
    fn are_all_there(&self) -> bool {
        self.services.as_ref().is_none_or(|services| services.len() == 4) && self.addresses.len() == 3
    }
}

/// A foreign key's lines, whoever wrote them: a destination that somebody added is a change too.
fn services(host: &Host) -> Result<Vec<String>> {
    Ok(lines_with(&host.exec("ipvsadm --save --numeric")?, &[" 10.99.0.", "-f 99 "]))
}

fn addresses(host: &Host) -> Result<Vec<String>> {
    Ok(lines_with(&host.exec("ip -oneline address show dev eth0")?, &[" 10.99.0.", " fd00:99:"]))
}

fn lines_with(text: &str, marks: &[&str]) -> Vec<String> {
    let mut lines: Vec<_> =
        text.lines().filter(|line| marks.iter().any(|mark| line.contains(mark))).map(str::to_owned).collect();
    lines.sort();
    lines
}
