//! For comparison: a loop that makes the same connections, evenly spaced, each with a socket of its own, and nothing else.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use super::scale::Scale;
use crate::farm::{Farm, PORT};

/// Connections that are started before it looks at those under way.
const AT_ONCE: u64 = 100;

/// Checks the scale's real servers until it is killed. What it cannot do in time it does late.
pub fn run(scale: Scale) -> Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?;
    let mut under_way: HashMap<u64, OwnedFd> = HashMap::new();
    let mut events = Vec::with_capacity(1024);
    let (start, mut started) = (Instant::now(), 0_u64);
    let servers = u64::from(scale.servers);
    let due = |number: u64| {
        let turns = u32::try_from(number / servers).unwrap_or(u32::MAX);
        scale.interval() * turns + scale.interval() * ((number % servers) as u32) / scale.servers
    };
    loop {
        // Who cannot keep up still has to see what became of those under way.
        let before = started;
        while due(started) <= start.elapsed() && started < before + AT_ONCE {
            let server = (started % servers) as u32;
            let address = SocketAddrV4::new(Farm::address(server), PORT);
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
            // It ends by a reset, so that nothing stays in TIME_WAIT.
            sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
            match connect(&socket, &address) {
                Ok(()) | Err(Errno::INPROGRESS) => {}
                Err(error) => return Err(error).with_context(|| format!("cannot connect to {address}")),
            }
            epoll::add(&epoll, &socket, epoll::EventData::new_u64(started), epoll::EventFlags::OUT)?;
            under_way.insert(started, socket);
            started += 1;
        }
        let rest = due(started).saturating_sub(start.elapsed());
        // As epoll counts: whole milliseconds, so that what is due within one is started together.
        let millis = if rest.is_zero() { 0 } else { i64::try_from(rest.as_millis())? + 1 };
        let timeout = Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 };
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&timeout))?;
        for event in &events {
            let event: &epoll::Event = event;
            let data = event.data;
            if let Some(socket) = under_way.remove(&data.u64()) {
                // Refused or not: that is all there is to know.
                let _ = sockopt::socket_error(&socket)?;
            }
        }
    }
}
