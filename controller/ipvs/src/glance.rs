//! The table as `/proc/net/ip_vs` shows it: a hundredth of the cost of asking for it, and not all of it.

use std::{
    collections::HashMap,
    fs,
    hash::{DefaultHasher, Hasher as _},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{Family, Protocol, ServiceKey};

/// The kernel's text, of the network namespace of the thread that reads it.
const TABLE: &str = "/proc/thread-self/net/ip_vs";

/// What the kernel's text said of each service at one moment, as a fingerprint.
///
/// Two fingerprints of a service that differ mean that somebody changed it: its scheduler, its persistence, or the
/// address, forwarding method, weight or order of its destinations. Traffic changes nothing. Two that are equal do
/// not prove that nothing changed, because the text leaves out thresholds, the flags of `sh` and `mh`, the
/// persistence engine, and for IPv6 one-packet scheduling (`ip_vs_ctl.c`, `ip_vs_info_seq_show`).
///
/// Like a dump, the text is not a snapshot while others add and delete services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    services: HashMap<ServiceKey, u64>,
}

impl Glance {
    /// Reads the text. Needs no privilege.
    ///
    /// # Errors
    /// What reading the file said; `NotFound` if `ip_vs` is not loaded.
    pub fn take() -> io::Result<Self> {
        fs::read_to_string(TABLE).map(|text| Self::parse(&text))
    }

    /// Each service with its fingerprint. The text does not tell the family of a firewall mark: what it says of a
    /// mark stands under both.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceKey, u64)> {
        self.services.iter().map(|(key, fingerprint)| (key, *fingerprint))
    }

    /// What cannot be understood is left out, so that nobody takes it for unchanged.
    fn parse(text: &str) -> Self {
        let mut glance = Self::default();
        let mut service: Option<([Option<ServiceKey>; 2], DefaultHasher)> = None;
        for line in text.lines() {
            if line.starts_with(' ') {
                let Some((_, hasher)) = &mut service else { continue };
                // After the arrow, the address, the method and the weight follow two counters.
                for word in line.split_ascii_whitespace().take(4) {
                    hasher.write(word.as_bytes());
                    hasher.write_u8(b' ');
                }
            } else {
                glance.add(service.take());
                service = keys(line).map(|keys| {
                    let mut hasher = DefaultHasher::new();
                    hasher.write(line.as_bytes());
                    (keys, hasher)
                });
            }
        }
        glance.add(service);
        glance
    }

    fn add(&mut self, service: Option<([Option<ServiceKey>; 2], DefaultHasher)>) {
        let Some((keys, hasher)) = service else { return };
        for key in keys.into_iter().flatten() {
            let fingerprint = self.services.entry(key).or_default();
            *fingerprint = fingerprint.wrapping_add(hasher.finish());
        }
    }
}

/// The services that a line may be about; `None` for the headings.
fn keys(line: &str) -> Option<[Option<ServiceKey>; 2]> {
    let mut words = line.split_ascii_whitespace();
    let protocol = match words.next()? {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        "FWM" => {
            let mark = u32::from_str_radix(words.next()?, 16).ok()?;
            let key = |family| Some(ServiceKey::FirewallMark { mark, family });
            return Some([key(Family::Ipv4), key(Family::Ipv6)]);
        }
        _ => return None,
    };
    let (address, port) = words.next()?.rsplit_once(':')?;
    let address: IpAddr = match address.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into(),
        None => Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?).into(),
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some([Some(ServiceKey::Address { address, protocol, port }), None])
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "IP Virtual Server version 1.2.1 (size=4096)\n\
                        Prot LocalAddress:Port Scheduler Flags\n  \
                        -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";
    const WEB: &str = "TCP  AC10150A:0050 wlc persistent 90000 FFFFFFFF\n  \
                       -> C0A8280C:0050      Route   2      0          5         \n  \
                       -> C0A8280D:0050      Route   1      0          5         \n";
    const SIX: &str = "UDP  [2001:0db8:0000:0000:0000:0000:0000:0010]:0035 rr \n  \
                       -> [2001:0db8:0000:0000:0000:0000:0000:0012]:0035      Route   1      0          0         \n";

    fn glance(services: &[&str]) -> HashMap<ServiceKey, u64> {
        Glance::parse(&(HEAD.to_owned() + &services.concat())).services
    }

    fn web() -> ServiceKey {
        ServiceKey::tcp(([172, 16, 21, 10], 80))
    }

    #[test]
    fn every_kind_of_service_is_found() {
        let six = ServiceKey::Address {
            address: "2001:db8::10".parse().unwrap(),
            protocol: Protocol::Udp,
            port: 53,
        };
        let mark = |family| ServiceKey::FirewallMark { mark: 0x1F, family };
        let mut keys: Vec<ServiceKey> = glance(&[WEB, SIX, "FWM  0000001F rr \n"]).into_keys().collect();
        keys.sort();
        let mut expected = vec![web(), six, mark(Family::Ipv4), mark(Family::Ipv6)];
        expected.sort();
        assert_eq!(keys, expected);
    }

    #[test]
    fn connections_change_no_fingerprint() {
        let busy = WEB.replace("0          5 ", "1234567    89 ");
        assert_ne!(busy, WEB);
        assert_eq!(glance(&[&busy]), glance(&[WEB]));
    }

    #[test]
    fn whatever_the_text_shows_of_a_service_changes_its_fingerprint_and_no_other() {
        let before = glance(&[WEB, SIX]);
        for (from, to) in [
            ("wlc", "wrr"),
            ("wlc ", "wlc ops "),
            ("90000", "90001"),
            ("FFFFFFFF", "FFFFFF00"),
            ("C0A8280D:0050      Route   1", "C0A8280D:0050      Route   7"),
            ("C0A8280D:0050      Route ", "C0A8280D:0050      Masq  "),
            ("C0A8280D", "C0A8280E"),
            ("  -> C0A8280D:0050      Route   1      0          5         \n", ""),
        ] {
            let changed = WEB.replacen(from, to, 1);
            assert_ne!(changed, WEB);
            let after = glance(&[&changed, SIX]);
            assert_ne!(after[&web()], before[&web()], "{from} -> {to}");
            let others = |table: &HashMap<ServiceKey, u64>| {
                let mut table = table.clone();
                table.remove(&web());
                table
            };
            assert_eq!(others(&after), others(&before));
        }
    }

    #[test]
    fn two_services_of_one_mark_have_one_fingerprint_that_changes_with_either() {
        let mark = ServiceKey::FirewallMark { mark: 7, family: Family::Ipv4 };
        let of = |services: &[&str]| glance(services)[&mark];
        assert_ne!(of(&["FWM  00000007 rr \n"]), of(&["FWM  00000007 rr \n", "FWM  00000007 rr \n"]));
    }

    #[test]
    fn what_is_no_service_is_left_out() {
        assert!(glance(&["IP_250  AC10150A:0050 wlc \n", "TCP  nonsense wlc \n", "TCP\n"]).is_empty());
        assert!(Glance::parse("").services.is_empty());
    }
}
