//! Generic netlink by hand: the floor's sender and the witness's question. It shares no code with `lvs-ipvs`, whose
//! speed is judged against it.
//!
//! ```text
//! nlmsghdr    length u32, type u16, flags u16, sequence u32, port u32      include/uapi/linux/netlink.h
//! genlmsghdr  command u8, version u8, reserved u16                         include/uapi/linux/genetlink.h
//! nlattr      length u16, type u16, value, padding to 4 bytes
//! ```

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::io::Errno;
use rustix::net::netlink::{GENERIC, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, connect, recv, send, socket, sockopt};

use super::shape::{SCHEDULER, Shape};

/// Commands that go with one `send`: more are no faster.
const BATCH: usize = 256;
/// Room for a batch, and for the answers to all of it.
const SOCKET_BUFFER: usize = 4 << 20;
/// The kernel answers within `send`; a dump goes on with each `recv`.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The family that knows the others' numbers.
const CONTROLLER: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// `include/uapi/linux/ip_vs.h`.
const NEW_SERVICE: u8 = 1;
const NEW_DESTINATION: u8 = 5;
const GET_DESTINATIONS: u8 = 8;
const SERVICE: u16 = 1;
const DESTINATION: u16 = 2;
const DIRECT_ROUTING: u32 = 3;

/// Messages for one `send`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// The sequence number of the last one, which asks for an answer.
    last: u32,
}

/// Encodes every rule, in batches that ask for one answer each.
pub(super) fn encode(shape: Shape, family: u16) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut bytes = Vec::new();
    let total = shape.rules() as usize;
    let mut add = |sequence: usize, command: u8, body: Vec<u8>| {
        let last = (sequence + 1).is_multiple_of(BATCH) || sequence + 1 == total;
        let flags = if last { REQUEST | ACK } else { REQUEST };
        message(&mut bytes, family, flags, sequence as u32, command, &body);
        if last {
            batches.push(Batch { bytes: std::mem::take(&mut bytes), last: sequence as u32 });
        }
    };
    let mut sequence = 0;
    for number in 0..shape.services {
        let service = shape.service(number);
        add(sequence, NEW_SERVICE, nested(SERVICE, &full_service(service)));
        sequence += 1;
        for real_server in shape.real_servers(number) {
            let mut body = nested(SERVICE, &service_key(service));
            body.extend(nested(DESTINATION, &destination(real_server, service.1)));
            add(sequence, NEW_DESTINATION, body);
            sequence += 1;
        }
    }
    batches
}

fn message(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, command: u8, body: &[u8]) {
    bytes.extend((20 + body.len() as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([command, 1, 0, 0]);
    bytes.extend(body);
}

fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn nested(kind: u16, attributes: &[u8]) -> Vec<u8> {
    const NESTED: u16 = 0x8000;
    let mut bytes = Vec::with_capacity(4 + attributes.len());
    attribute(&mut bytes, kind | NESTED, attributes);
    bytes
}

/// A `union nf_inet_addr`.
fn address(address: Ipv4Addr) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&address.octets());
    bytes
}

fn service_key((vip, port): (Ipv4Addr, u16)) -> Vec<u8> {
    const AF_INET: u16 = 2;
    const TCP: u16 = 6;
    let mut bytes = Vec::new();
    attribute(&mut bytes, 1, &AF_INET.to_ne_bytes());
    attribute(&mut bytes, 2, &TCP.to_ne_bytes());
    attribute(&mut bytes, 3, &address(vip));
    attribute(&mut bytes, 4, &port.to_be_bytes());
    bytes
}

fn full_service(service: (Ipv4Addr, u16)) -> Vec<u8> {
    let mut bytes = service_key(service);
    attribute(&mut bytes, 6, format!("{SCHEDULER}\0").as_bytes());
    // No flag, and the mask of those that count.
    attribute(&mut bytes, 7, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    attribute(&mut bytes, 8, &0_u32.to_ne_bytes());
    attribute(&mut bytes, 9, &[0xff; 4]);
    bytes
}

fn destination(real_server: Ipv4Addr, port: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    attribute(&mut bytes, 1, &address(real_server));
    attribute(&mut bytes, 2, &port.to_be_bytes());
    for (kind, value) in [(3, DIRECT_ROUTING), (4, 1), (5, 0), (6, 0)] {
        attribute(&mut bytes, kind, &value.to_ne_bytes());
    }
    bytes
}

/// A socket to the IPVS of the network namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Socket {
    socket: OwnedFd,
    buffer: Vec<u8>,
    family: u16,
}

impl Socket {
    /// Opens it; the kernel loads `ip_vs` if need be.
    pub(super) fn open() -> Result<Self> {
        let socket = socket(AddressFamily::NETLINK, SocketType::RAW, Some(GENERIC))
            .context("cannot open a netlink socket")?;
        connect(&socket, &SocketAddrNetlink::new(0, 0)).context("cannot connect to the kernel")?;
        sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER)
            .and_then(|()| sockopt::set_socket_send_buffer_size_force(&socket, SOCKET_BUFFER))
            .context("cannot enlarge a socket's buffers")?;
        let mut opened = Self { socket, buffer: vec![0; 32 << 10], family: 0 };
        let (mut body, mut request) = (Vec::new(), Vec::new());
        attribute(&mut body, FAMILY_NAME, b"IPVS\0");
        message(&mut request, CONTROLLER, REQUEST | ACK, 0, GET_FAMILY, &body);
        let mut family = None;
        opened.ask(&request, |answer| family = family_id(answer).or(family))?;
        opened.family = family.context("the kernel does not know IPVS")?;
        Ok(opened)
    }

    /// The number of IPVS.
    pub(super) fn family(&self) -> u16 {
        self.family
    }

    /// Sends batches, each after the answer to the one before.
    pub(super) fn send(&mut self, batches: &[Batch]) -> Result<()> {
        for batch in batches {
            self.ask(&batch.bytes, |_| {}).with_context(|| format!("in the batch up to {}", batch.last))?;
        }
        Ok(())
    }

    /// How many destinations a service has; 0 if it does not exist.
    pub(super) fn destinations(&mut self, service: (Ipv4Addr, u16)) -> Result<u32> {
        let mut request = Vec::new();
        let body = nested(SERVICE, &service_key(service));
        message(&mut request, self.family, REQUEST | DUMP, 0, GET_DESTINATIONS, &body);
        let mut found = 0;
        self.ask(&request, |_| found += 1)?;
        Ok(found)
    }

    /// Sends one request or batch and hands on what comes, until an acknowledgement or the end of a dump.
    fn ask(&mut self, request: &[u8], mut answer: impl FnMut(&[u8])) -> Result<()> {
        let sent = send(&self.socket, request, SendFlags::empty()).context("cannot send to the kernel")?;
        ensure!(sent == request.len(), "the kernel took {sent} of {} bytes", request.len());
        let end = Instant::now() + ANSWER_LIMIT;
        loop {
            let received = match recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((received, _)) => received,
                Err(Errno::AGAIN | Errno::INTR) if Instant::now() < end => continue,
                Err(error) => return Err(error).context("no answer from the kernel"),
            };
            let mut rest = &self.buffer[..received];
            while rest.len() >= 16 {
                let length = u32_at(rest, 0) as usize;
                ensure!((16..=rest.len()).contains(&length), "the kernel's answer was cut");
                let (message, following) = rest.split_at(length);
                match u16_at(message, 4) {
                    DONE => return Ok(()),
                    ERROR => match u32_at(message, 16).cast_signed() {
                        0 => return Ok(()),
                        errno => bail!("{}", Errno::from_raw_os_error(-errno)),
                    },
                    _ => answer(message),
                }
                // The last message may end without its padding.
                let padding = (length.next_multiple_of(4) - length).min(following.len());
                rest = &following[padding..];
            }
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

fn family_id(message: &[u8]) -> Option<u16> {
    let mut rest = message.get(20..)?;
    while rest.len() >= 6 {
        let length = usize::from(u16_at(rest, 0)).max(4);
        if u16_at(rest, 2) == FAMILY_ID {
            return Some(u16_at(rest, 4));
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    /// Written down from the headers, not from what the encoder gives.
    const FIRST_SERVICE: &[u8] = &[
        0x68, 0, 0, 0, 0x1f, 0, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, // 104 bytes, family 31, a request
        1, 1, 0, 0, // new service, version 1
        0x54, 0, 0x01, 0x80, // the service
        6, 0, 1, 0, 2, 0, 0, 0, // AF_INET
        6, 0, 2, 0, 6, 0, 0, 0, // TCP
        20, 0, 3, 0, 10, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // 10.2.0.1
        6, 0, 4, 0, 0x1f, 0x40, 0, 0, // port 8000, in network order
        8, 0, 6, 0, b'w', b'l', b'c', 0, // scheduler
        12, 0, 7, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, // flags
        8, 0, 8, 0, 0, 0, 0, 0, // no persistence
        8, 0, 9, 0, 0xff, 0xff, 0xff, 0xff, // netmask
    ];
    const FIRST_DESTINATION: &[u8] = &[
        0x84, 0, 0, 0, 0x1f, 0, 0x05, 0, 1, 0, 0, 0, 0, 0, 0, 0, // 132 bytes, asks for an answer
        5, 1, 0, 0, // new destination
        0x30, 0, 0x01, 0x80, // of the service
        6, 0, 1, 0, 2, 0, 0, 0, //
        6, 0, 2, 0, 6, 0, 0, 0, //
        20, 0, 3, 0, 10, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
        6, 0, 4, 0, 0x1f, 0x40, 0, 0, //
        0x40, 0, 0x02, 0x80, // the destination
        20, 0, 1, 0, 10, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // 10.1.1.1
        6, 0, 2, 0, 0x1f, 0x40, 0, 0, // the same port
        8, 0, 3, 0, 3, 0, 0, 0, // direct routing
        8, 0, 4, 0, 1, 0, 0, 0, // weight 1
        8, 0, 5, 0, 0, 0, 0, 0, 8, 0, 6, 0, 0, 0, 0, 0, // no thresholds
    ];

    #[test]
    fn a_rule_is_encoded_as_the_kernels_headers_say() {
        let batches = encode(Shape::new(1, 1).unwrap(), 31);
        assert_eq!(batches, [Batch { bytes: [FIRST_SERVICE, FIRST_DESTINATION].concat(), last: 1 }]);
    }

    #[test]
    fn only_the_last_of_each_batch_asks_for_an_answer() {
        let batches = encode(Shape::new(100, 4).unwrap(), 31);
        let flags: Vec<Vec<u16>> = batches
            .iter()
            .map(|batch| {
                let mut flags = Vec::new();
                let mut rest = batch.bytes.as_slice();
                while !rest.is_empty() {
                    flags.push(u16_at(rest, 6));
                    rest = &rest[u32_at(rest, 0) as usize..];
                }
                flags
            })
            .collect();
        assert_eq!(flags.iter().map(Vec::len).collect::<Vec<_>>(), [256, 244]);
        for batch in flags {
            let (last, others) = batch.split_last().unwrap();
            assert!(*last == REQUEST | ACK && others.iter().all(|flags| *flags == REQUEST));
        }
        assert_eq!(batches.iter().map(|batch| batch.last).collect::<Vec<_>>(), [255, 499]);
    }
}
