//! The netlink socket.
//!
//! The kernel does its work inside `send`: when that returns, every answer is in the receive queue or was
//! dropped. So nothing here ever waits; an empty queue without the expected last answer means that it was lost.
//!
//! The socket is `netlink-sys`' and not neli's. Neli's (0.7.5) cannot set `NETLINK_CAP_ACK` or force the size of its
//! buffers, and lends out nothing but a raw descriptor, so that doing either for it would take unsafe code.

use std::io;

use netlink_sys::{Socket as Netlink, SocketAddr, protocols::NETLINK_GENERIC};
use rustix::{
    io::{Errno, retry_on_intr},
    net::{RecvFlags, SendFlags, recv, send, sockopt},
};

/// Sizes of a connection. The defaults suit tables of any size; smaller ones serve tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Room for the kernel's answers, in bytes (`SO_RCVBUFFORCE`; the kernel counts its own overhead too, and
    /// doubles the number for it). The default holds more than one answer for each command of a batch.
    pub receive_buffer: usize,
    /// How many commands go with one `send`, 1..=512. More are no faster: each is done on its own.
    pub commands_per_send: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { receive_buffer: 4 << 20, commands_per_send: 256 }
    }
}

/// Room for requests, in bytes. The longest command takes less than 256, and `send` refuses what is larger than
/// the buffer with `EMSGSIZE`.
const SEND_BUFFER: usize = 1 << 20;

/// What [`Socket::receive`] found.
#[derive(Debug)]
pub(crate) enum Received<'a> {
    /// A datagram, whole.
    Datagram(&'a [u8]),
    /// Answers were dropped for want of room (`ENOBUFS`). What did arrive follows.
    Overrun,
    /// A datagram that was longer than our buffer and is gone. The next try has a longer one.
    Truncated,
    /// Nothing is left.
    Empty,
}

#[derive(Debug)]
pub(crate) struct Socket {
    netlink: Netlink,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Socket {
    /// Opens a socket that only the kernel can write to. `datagram` is how much one `recv` takes: the kernel
    /// makes the pieces of a dump as long as the longest that was ever asked for (`netlink_dump`).
    pub(crate) fn open(receive_buffer: usize, datagram: usize) -> io::Result<Self> {
        let mut netlink = Netlink::new(NETLINK_GENERIC)?;
        netlink.bind_auto()?;
        netlink.connect(&SocketAddr::new(0, 0))?;
        // Refusals come without a copy of the request, and with the kernel's own words.
        netlink.set_cap_ack(true)?;
        netlink.set_ext_ack(true)?;
        if sockopt::set_socket_recv_buffer_size_force(&netlink, receive_buffer).is_err() {
            sockopt::set_socket_recv_buffer_size(&netlink, receive_buffer)?;
        }
        if sockopt::set_socket_send_buffer_size_force(&netlink, SEND_BUFFER).is_err() {
            sockopt::set_socket_send_buffer_size(&netlink, SEND_BUFFER)?;
        }
        Ok(Self { netlink, buffer: vec![0; datagram], sequence: 0 })
    }

    /// Takes the next `count` sequence numbers and gives the first; they wrap.
    pub(crate) fn take_sequence(&mut self, count: usize) -> u32 {
        let first = self.sequence;
        self.sequence = first.wrapping_add(count as u32);
        first
    }

    pub(crate) fn send(&self, request: &[u8]) -> io::Result<()> {
        retry_on_intr(|| send(&self.netlink, request, SendFlags::empty()))?;
        Ok(())
    }

    pub(crate) fn receive(&mut self) -> io::Result<Received<'_>> {
        // With MSG_TRUNC `recv` reports the real length of what it cut.
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        match retry_on_intr(|| recv(&self.netlink, &mut self.buffer[..], flags)) {
            Ok((_, length)) if length > self.buffer.len() => {
                self.buffer.resize(length.next_power_of_two(), 0);
                Ok(Received::Truncated)
            }
            Ok((_, length)) => Ok(Received::Datagram(&self.buffer[..length])),
            Err(Errno::NOBUFS) => Ok(Received::Overrun),
            Err(Errno::AGAIN) => Ok(Received::Empty),
            Err(error) => Err(error.into()),
        }
    }
}

/// The controller of generic netlink answers everybody and is in every kernel, so it stands in for IPVS.
#[cfg(test)]
mod tests {
    use neli::consts::{
        genl::CtrlCmd,
        nl::{GenlId, NlmF},
    };

    use super::*;
    use crate::wire::{Header, encode, frame};

    fn whole_dump(socket: &mut Socket) -> Result<usize, &'static str> {
        let sequence = socket.take_sequence(1);
        let mut request = Vec::new();
        let header = Header { family: GenlId::Ctrl.into(), flags: NlmF::DUMP, sequence };
        encode::question(&mut request, header, CtrlCmd::Getfamily.into(), None);
        socket.send(&request).unwrap();
        let (mut families, mut cut) = (0, false);
        loop {
            match socket.receive().unwrap() {
                Received::Datagram(datagram) => {
                    let messages = frame::messages(datagram).map(Result::unwrap);
                    families +=
                        messages.filter(|message| matches!(message.answer, frame::Answer::Data(_))).count();
                }
                Received::Truncated => cut = true,
                Received::Overrun => return Err("overrun"),
                Received::Empty => return if cut { Err("truncated") } else { Ok(families) },
            }
        }
    }

    #[test]
    fn a_datagram_that_was_cut_is_noticed_and_fits_the_next_time() {
        let all = whole_dump(&mut Socket::open(1 << 20, 32 << 10).unwrap()).unwrap();
        assert!(all > 0);

        let mut short = Socket::open(1 << 20, 64).unwrap();
        assert_eq!(whole_dump(&mut short), Err("truncated"));
        let enough = (0..4).find_map(|_| whole_dump(&mut short).ok());
        assert_eq!(enough, Some(all));
    }

    #[test]
    fn dropped_answers_are_noticed_and_the_socket_goes_on() {
        let mut socket = Socket::open(1, 4096).unwrap();
        let mut request = Vec::new();
        for sequence in 0..500 {
            encode::family(&mut request, sequence, NlmF::ACK, "no such family");
        }
        socket.take_sequence(500);
        socket.send(&request).unwrap();
        assert!(matches!(socket.receive().unwrap(), Received::Overrun));
        while !matches!(socket.receive().unwrap(), Received::Empty) {}

        assert!(whole_dump(&mut socket).unwrap() > 0);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut socket = Socket::open(4096, 4096).unwrap();
        socket.sequence = u32::MAX;
        assert_eq!((socket.take_sequence(3), socket.take_sequence(1)), (u32::MAX, 2));
    }
}
