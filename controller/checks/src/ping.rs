//! Ping: an ICMP echo request is answered (RFC 792, RFC 4443).
//!
//! An unprivileged ICMP datagram socket is used where `net.ipv4.ping_group_range` allows it, else a raw one.
//! A reply counts if it comes from the server's address and repeats what was sent, random bytes among it.

pub(crate) mod echo;

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

use crate::deadline::Deadline;
use crate::dial::Datagrams;
use crate::failure::{Awaited, Failure};
use crate::kind::Target;
use echo::Echo;

/// More than any reply to us has, with the longest IPv4 header before it.
const REPLY_LIMIT: usize = 256;

pub(crate) async fn check(target: &Target, deadline: &Deadline) -> Result<(), Failure> {
    let (socket, raw) = Datagrams::icmp(target)?;
    let echo = Echo::new(target.address.is_ipv4(), raw, random()?);
    socket.send(&echo.request())?;
    let reply = async {
        let mut buffer = [0; REPLY_LIMIT];
        loop {
            let length = socket.receive(&mut buffer).await?;
            if echo.is_answered_by(&buffer[..length]) {
                return Ok(());
            }
        }
    };
    deadline.within(Awaited::Answer, reply).await
}

/// Bytes that nobody can know who has not seen them.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    match getrandom(&mut bytes, GetRandomFlags::empty()) {
        Ok(length) if length == N => Ok(bytes),
        Ok(_) => Err(Failure::Local { action: "make random numbers", errno: 0 }),
        Err(errno) => Err(Failure::local("make random numbers", &io::Error::from(errno))),
    }
}
