//! Thousands of real servers for one test: addresses of one host, with one listener for all of them.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};

use crate::topology::Host;

/// The port of all of them.
pub(crate) const PORT: u16 = 80;
/// Where their addresses are: in a subnet that their host shares with the Director.
const RANGE: &str = "10.1.64.0/18";
const FIRST_NET: u32 = 64;
/// Hosts in each 256 addresses.
const HOSTS: u32 = 250;
/// Room for a neighbour for each of them, in the order in which it may be made.
const NEIGHBOURS: [&str; 3] = ["gc_thresh3", "gc_thresh2", "gc_thresh1"];
/// Room for a connection to each of them that was not accepted yet. A listener without room does not answer.
const BACKLOG: i32 = 65_535;

/// The real servers. They accept connections and say nothing.
pub struct Farm {
    host: Host,
    closes: Arc<AtomicBool>,
    listener: JoinHandle<()>,
}

impl Farm {
    /// Opens it on a host that, unlike a prepared real server, answers ARP for every address it has. It gets
    /// a subnet of its own with the Director.
    pub fn open(host: &Host, director: &Host) -> Result<Self> {
        settle(host)?;
        director.exec("ip address add 10.1.255.253/16 dev eth0")?;
        let listener = host.within(listen)??;
        let closes = Arc::new(AtomicBool::new(false));
        let closed = Arc::clone(&closes);
        let accept =
            move || listener.incoming().take_while(|_| !closed.load(Ordering::Relaxed)).for_each(drop);
        Ok(Self { host: host.clone(), closes, listener: thread::spawn(accept) })
    }

    /// The address of a real server, counted from 0, below 15,000.
    pub fn address(number: u32) -> Ipv4Addr {
        address(1, FIRST_NET, number)
    }

    /// The number of the real server with this address.
    pub(crate) fn number_of(address: Ipv4Addr) -> Option<u32> {
        let [_, _, third, fourth] = address.octets();
        let net = u32::from(third).checked_sub(FIRST_NET)?;
        Some(net * HOSTS + u32::from(fourth).checked_sub(1)?)
    }

    /// From now on all of them refuse.
    pub fn close(self) -> Result<()> {
        self.closes.store(true, Ordering::Relaxed);
        // Wakes the listener, if nobody else did already.
        let _ = self.host.within(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)))?;
        // It cannot panic.
        let _ = self.listener.join();
        Ok(())
    }
}

/// Gives a host the addresses of all real servers, and one from which it speaks for itself.
pub(crate) fn settle(host: &Host) -> Result<()> {
    host.exec(&format!(
        "set -e; ip link set lo up; ip address add 10.1.255.254/16 dev eth0; ip route add local {RANGE} dev lo"
    ))?;
    for setting in ["net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog"] {
        host.set(setting, &BACKLOG.to_string())?;
    }
    // All namespaces share one table of neighbours, whose size is set in the first.
    for name in NEIGHBOURS {
        fs::write(format!("/proc/sys/net/ipv4/neigh/default/{name}"), "32768").context(name)?;
    }
    Ok(())
}

/// Listens on this host for all of them, which were settled on it before.
pub(crate) fn listen() -> Result<TcpListener> {
    let listener =
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).context("the real servers cannot listen")?;
    // Again, for the standard library leaves room for 128.
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// An address in 10.`second`.0.0/16, counted from 0 in the network `third`.
pub(crate) fn address(second: u8, third: u32, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(
        (10 << 24) | (u32::from(second) << 16) | ((third + number / HOSTS) << 8) | (1 + number % HOSTS),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_real_server_has_an_address_of_its_own_in_the_range() {
        let addresses: BTreeSet<_> = (0..15_000).map(Farm::address).collect();
        assert_eq!(addresses.len(), 15_000);
        assert!(addresses.iter().all(|address| (64..128).contains(&address.octets()[2])), "{RANGE}");
        for number in [0, 249, 250, 14_999] {
            assert_eq!(Farm::number_of(Farm::address(number)), Some(number));
        }
    }
}
