//! The kernel's IPVS table as ipvsadm, a witness that shares no code with this project, tells it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use crate::topology::Host;

/// Services by their key, as ipvsadm names them: `-t 172.16.21.10:80`, `-u [fd00::1]:53`, `-f 5`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table(pub BTreeMap<String, Service>);

/// A virtual service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The scheduler's name.
    pub scheduler: String,
    /// Other options as ipvsadm prints them, such as `-p 300` or `-o`.
    pub options: Vec<String>,
    /// Destinations by address and port, such as `192.168.40.12:80`.
    pub destinations: BTreeMap<String, Destination>,
}

/// A destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// How packets reach it.
    pub forwarding: Forwarding,
    /// Its weight.
    pub weight: u32,
    /// Other options as ipvsadm prints them.
    pub options: Vec<String>,
}

/// How packets reach a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// Direct routing (`-g`). Local destinations are shown so, too.
    DirectRouting,
    /// Tunnelling (`-i`).
    Tunnel,
    /// Masquerading (`-m`).
    Masquerade,
}

/// Counters of a service or a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients; with direct routing there are none.
    pub packets_out: u64,
}

impl Table {
    /// Reads a host's table.
    pub fn read(host: &Host) -> Result<Self> {
        Self::parse(&host.exec("ipvsadm --save --numeric")?)
    }

    /// Parses what `ipvsadm --save --numeric` prints.
    pub fn parse(text: &str) -> Result<Self> {
        let mut table = Self::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            table.add(line).with_context(|| format!("cannot read ipvsadm's line {line:?}"))?;
        }
        Ok(table)
    }

    /// The service with this key.
    pub fn service(&self, key: &str) -> Option<&Service> {
        self.0.get(key)
    }

    fn add(&mut self, line: &str) -> Result<()> {
        let options = options(line);
        let find = |name: &str| options.iter().find(|(option, _)| *option == name).map(|(_, value)| *value);
        let key = ["-t", "-u", "--sctp-service", "-f"]
            .into_iter()
            .find_map(|option| Some(format!("{option} {}", find(option)?)))
            .context("no service")?;
        let is_other = |option: &str, known: &[&str]| !known.contains(&option) && !key.starts_with(option);
        let others = |known: &[&str]| -> Vec<String> {
            let others = options.iter().filter(|(option, _)| is_other(option, known));
            others.map(|(option, value)| format!("{option} {value}").trim_end().to_owned()).collect()
        };
        match options.first().map(|(option, _)| *option) {
            Some("-A") => {
                let scheduler = find("-s").context("no scheduler")?.to_owned();
                let service =
                    Service { scheduler, options: others(&["-A", "-s"]), destinations: BTreeMap::new() };
                self.0.insert(key, service);
            }
            Some("-a") => {
                let forwarding = match () {
                    () if find("-g").is_some() => Forwarding::DirectRouting,
                    () if find("-i").is_some() => Forwarding::Tunnel,
                    () if find("-m").is_some() => Forwarding::Masquerade,
                    () => bail!("no forwarding method"),
                };
                let weight = find("-w").context("no weight")?.parse().context("no weight")?;
                let address = find("-r").context("no address")?.to_owned();
                let options = others(&["-a", "-r", "-g", "-i", "-m", "-w"]);
                let service = self.0.get_mut(&key).context("a destination before its service")?;
                service.destinations.insert(address, Destination { forwarding, weight, options });
            }
            _ => bail!("neither a service nor a destination"),
        }
        Ok(())
    }
}

/// Options with their values, the empty text if they have none.
fn options(line: &str) -> Vec<(&str, &str)> {
    let mut options: Vec<(&str, &str)> = Vec::new();
    for word in line.split_whitespace() {
        match options.last_mut() {
            Some((_, value)) if !word.starts_with('-') && value.is_empty() => *value = word,
            _ => options.push((word, "")),
        }
    }
    options
}

/// Counters of every service and destination of a host. Keys are those of [`Table`], with `PROTOCOL ADDRESS` for
/// services (`TCP 172.16.21.10:80`, `FWM 5`), and that and ` -> ADDRESS` for destinations. The kernel adds them up every
/// two seconds (`net/netfilter/ipvs/ip_vs_est.c`), so what has just passed is not in them yet.
pub fn counters(host: &Host) -> Result<BTreeMap<String, Counters>> {
    parse_counters(&host.exec("ipvsadm --list --numeric --stats --exact")?)
}

fn parse_counters(text: &str) -> Result<BTreeMap<String, Counters>> {
    let mut all = BTreeMap::new();
    let mut service = String::new();
    // The first three lines are a title and two of headings.
    for line in text.lines().skip(3) {
        let words: Vec<_> = line.split_whitespace().collect();
        let [kind, address, counts @ ..] = words.as_slice() else { continue };
        let number = |n: usize| -> Result<u64> {
            let word = counts.get(n).with_context(|| format!("no counters in {line:?}"))?;
            word.parse().with_context(|| format!("no counter: {word}"))
        };
        let counters = Counters { connections: number(0)?, packets_in: number(1)?, packets_out: number(2)? };
        if *kind == "->" {
            all.insert(format!("{service} -> {address}"), counters);
        } else {
            service = format!("{kind} {address}");
            all.insert(service.clone(), counters);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_table_is_read_with_every_option() {
        let text = "\
-A -t 172.16.21.10:80 -s wrr -p 300
-a -t 172.16.21.10:80 -r 192.168.40.12:80 -g -w 2
-a -t 172.16.21.10:80 -r 192.168.40.13:80 -i -w 0 --tun-type ipip
-A -u [fd00::1]:53 -s rr -o
-A -f 5 -s sh -b sh-port
-a -f 5 -r 192.168.40.12:0 -m -w 1
";
        let table = Table::parse(text).unwrap();
        assert_eq!(table.0.keys().collect::<Vec<_>>(), ["-f 5", "-t 172.16.21.10:80", "-u [fd00::1]:53"]);
        let web = table.service("-t 172.16.21.10:80").unwrap();
        assert_eq!((web.scheduler.as_str(), web.options.as_slice()), ("wrr", &["-p 300".to_owned()][..]));
        let destination = |forwarding, weight, options: &[&str]| Destination {
            forwarding,
            weight,
            options: options.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(web.destinations["192.168.40.12:80"], destination(Forwarding::DirectRouting, 2, &[]));
        assert_eq!(
            web.destinations["192.168.40.13:80"],
            destination(Forwarding::Tunnel, 0, &["--tun-type ipip"])
        );
        assert_eq!(table.service("-u [fd00::1]:53").unwrap().options, ["-o"]);
        assert_eq!(table.service("-f 5").unwrap().options, ["-b sh-port"]);
        assert_eq!(
            table.service("-f 5").unwrap().destinations["192.168.40.12:0"],
            destination(Forwarding::Masquerade, 1, &[])
        );
    }

    #[test]
    fn a_table_that_ipvsadm_would_not_print_is_refused() {
        for line in
            ["-a -t 1.1.1.1:80 -r 2.2.2.2:80 -g -w 1", "-A -t 1.1.1.1:80", "-D -t 1.1.1.1:80", "nonsense"]
        {
            assert!(Table::parse(line).is_err(), "{line}");
        }
        assert_eq!(Table::parse("\n").unwrap(), Table::default());
    }

    #[test]
    fn counters_are_read_for_services_and_their_destinations() {
        let text = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  172.16.21.10:80                     4       24        0     1500        0
  -> 192.168.40.12:80                    3       18        0     1000        0
FWM  5                                   1        1        2       60       70
";
        let counters = parse_counters(text).unwrap();
        let of = |connections, packets_in, packets_out| Counters { connections, packets_in, packets_out };
        assert_eq!(
            counters,
            [
                ("TCP 172.16.21.10:80".to_owned(), of(4, 24, 0)),
                ("TCP 172.16.21.10:80 -> 192.168.40.12:80".to_owned(), of(3, 18, 0)),
                ("FWM 5".to_owned(), of(1, 1, 2)),
            ]
            .into()
        );
    }
}
