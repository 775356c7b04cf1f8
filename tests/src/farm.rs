//! Thousands of real servers for one test: addresses of one host, with one listener for all of them.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};

use crate::topology::Host;

/// Room for a neighbour for each real server, in the order in which it may be made.
const NEIGHBOURS: [&str; 3] = ["gc_thresh3", "gc_thresh2", "gc_thresh1"];

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
        host.exec("ip address add 10.1.255.254/16 dev eth0 && ip route add local 10.1.64.0/18 dev lo")?;
        director.exec("ip address add 10.1.255.253/16 dev eth0")?;
        // All namespaces share one table of neighbours, whose size is set in the first.
        for name in NEIGHBOURS {
            fs::write(format!("/proc/sys/net/ipv4/neigh/default/{name}"), "32768").context(name)?;
        }
        let listener = host.within(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)))??;
        let closes = Arc::new(AtomicBool::new(false));
        let closed = Arc::clone(&closes);
        let accept =
            move || listener.incoming().take_while(|_| !closed.load(Ordering::Relaxed)).for_each(drop);
        Ok(Self { host: host.clone(), closes, listener: thread::spawn(accept) })
    }

    /// The address of a real server, counted from 0, below 15,000.
    pub fn address(number: u32) -> Ipv4Addr {
        Ipv4Addr::new(10, 1, 64 + (number / 250) as u8, 1 + (number % 250) as u8)
    }

    /// From now on all of them refuse, port 80.
    pub fn close(self) -> Result<()> {
        self.closes.store(true, Ordering::Relaxed);
        // Wakes the listener, if nobody else did already.
        let _ = self.host.within(|| TcpStream::connect((Ipv4Addr::LOCALHOST, 80)))?;
        // It cannot panic.
        let _ = self.listener.join();
        Ok(())
    }
}
