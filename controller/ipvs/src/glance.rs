//! The table as `/proc/net/ip_vs` shows it: a hundredth of the cost of asking for it, and not all of it.

use std::{
    collections::HashMap,
    fs::File,
    hash::{DefaultHasher, Hash, Hasher as _},
    io::{self, BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{Family, Protocol, ServiceKey};

/// The kernel's text, of the network namespace of the thread that reads it.
const TABLE: &str = "/proc/thread-self/net/ip_vs";

/// After the arrow, the address, the method and the weight of a destination follow two counters.
const LASTING_WORDS: usize = 4;

/// What the kernel's text says of each service at this moment, as a fingerprint. `key` turns the key of a service
/// into that of the map, or leaves the service out. Needs no privilege.
///
/// Two fingerprints of a service that differ mean that somebody changed it: its scheduler, its persistence, or the
/// address, forwarding method, weight or order of its destinations. Traffic changes nothing. Two that are equal do
/// not prove that nothing changed, because the text leaves out thresholds, the flags of `sh` and `mh`, the
/// persistence engine, and for IPv6 one-packet scheduling (`ip_vs_ctl.c`, `ip_vs_info_seq_show`).
///
/// The text does not tell the family of a firewall mark: what it says of a mark stands under both. Like a dump, it is
/// not a snapshot while others add and delete services.
///
/// # Errors
/// What reading the file said; `NotFound` if `ip_vs` is not loaded.
pub fn glance<K: Eq + Hash>(key: impl Fn(ServiceKey) -> Option<K>) -> io::Result<HashMap<K, u64>> {
    parse(BufReader::new(File::open(TABLE)?), key)
}

/// What cannot be understood is left out, so that nobody takes it for unchanged.
fn parse<K: Eq + Hash>(
    mut text: impl BufRead,
    key: impl Fn(ServiceKey) -> Option<K>,
) -> io::Result<HashMap<K, u64>> {
    let mut services = HashMap::new();
    let mut add = |service: Option<(Keys, DefaultHasher)>| {
        let Some((keys, hasher)) = service else { return };
        for key in keys.into_iter().flatten().filter_map(&key) {
            let fingerprint: &mut u64 = services.entry(key).or_default();
            *fingerprint = fingerprint.wrapping_add(hasher.finish());
        }
    };
    let mut service: Option<(Keys, DefaultHasher)> = None;
    let mut line = Vec::new();
    while text.read_until(b'\n', &mut line)? > 0 {
        if line.starts_with(b" ") {
            if let Some((_, hasher)) = &mut service {
                hasher.write(lasting(&line));
            }
        } else {
            add(service.take());
            service = str::from_utf8(&line).ok().and_then(keys).map(|keys| {
                let mut hasher = DefaultHasher::new();
                hasher.write(&line);
                (keys, hasher)
            });
        }
        line.clear();
    }
    add(service);
    Ok(services)
}

/// A destination's line without its counters.
fn lasting(line: &[u8]) -> &[u8] {
    let mut words = 0;
    let ends = line.windows(2).position(|pair| {
        words += usize::from(pair[0] != b' ' && pair[1] == b' ');
        words == LASTING_WORDS
    });
    ends.map_or(line, |end| &line[..=end])
}

/// One service, or a firewall mark of either family.
type Keys = [Option<ServiceKey>; 2];

/// The services that a line may be about; `None` for the headings.
fn keys(line: &str) -> Option<Keys> {
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
        parse((HEAD.to_owned() + &services.concat()).as_bytes(), Some).unwrap()
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
    fn only_what_is_asked_for_is_kept() {
        let six = |key: ServiceKey| (key != web()).then_some("six");
        let text = HEAD.to_owned() + WEB + SIX;
        let kept: Vec<&str> = parse(text.as_bytes(), six).unwrap().into_keys().collect();
        assert_eq!(kept, ["six"]);
    }

    #[test]
    fn what_is_no_service_is_left_out() {
        assert!(glance(&["IP_250  AC10150A:0050 wlc \n", "TCP  nonsense wlc \n", "TCP\n"]).is_empty());
        assert!(parse(&b""[..], Some).unwrap().is_empty());
    }
}
