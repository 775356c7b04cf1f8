//! Sockets of checks, with their source address and their mark.

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::{TcpStream, UdpSocket};

use crate::deadline::Deadline;
use crate::failure::{Awaited, Failure, Peer};
use crate::kind::Target;

const OPENING: &str = "open a socket";
const IN_PROGRESS: i32 = Errno::INPROGRESS.raw_os_error();
/// How the kernel refuses an ICMP datagram socket.
const FORBIDDEN: [i32; 3] =
    [Errno::ACCESS.raw_os_error(), Errno::PERM.raw_os_error(), Errno::PROTONOSUPPORT.raw_os_error()];

/// A socket that does not block, marked and bound as the target wants it.
fn open(target: &Target, kind: Type, protocol: Option<Protocol>) -> Result<Socket, Failure> {
    let domain = Domain::for_address(target.socket_address());
    let socket =
        Socket::new(domain, kind.nonblocking(), protocol).map_err(|error| Failure::local(OPENING, &error))?;
    if let Some(mark) = target.mark {
        socket.set_mark(mark).map_err(|error| Failure::local("mark the check's packets", &error))?;
    }
    if let Some(source_address) = target.source {
        // No free port is ours as well, but no fault of the address.
        socket.bind(&SocketAddr::new(source_address, 0).into()).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Failure::local("find a free port", &error),
            _ => Failure::Source { source_address, errno: error.raw_os_error().unwrap_or(0) },
        })?;
    }
    Ok(socket)
}

/// A TCP connection, which ends by a reset when it is dropped: nothing stays in `TIME_WAIT`, here or at the
/// server.
pub(crate) async fn tcp(target: &Target, deadline: &Deadline) -> Result<TcpStream, Failure> {
    tcp_with(None, target, deadline).await
}

/// The same with a socket of [`Sockets`](crate::Sockets), unless it refuses at once: then with a new one.
pub(crate) async fn tcp_with(
    used: Option<Socket>,
    target: &Target,
    deadline: &Deadline,
) -> Result<TcpStream, Failure> {
    let address = target.socket_address();
    let begun = used.and_then(|socket| Some((begin(&socket, address).ok()?, socket)));
    let (pending, socket) = begun.map_or_else(|| begin_anew(target), Ok)?;
    connected(socket, pending, address, target.peer(), deadline).await
}

/// Begins to connect with a new socket. Says whether that is still going on.
fn begin_anew(target: &Target) -> Result<(bool, Socket), Failure> {
    let socket = open(target, Type::STREAM, None)?;
    socket
        .set_linger(Some(Duration::ZERO))
        .map_err(|error| Failure::local("set how a connection ends", &error))?;
    let pending = begin(&socket, target.socket_address())
        .map_err(|error| Failure::sending(target.peer(), "connect", &error))?;
    Ok((pending, socket))
}

/// Requests are small and wait for their answer: Nagle's algorithm would only hold them back.
pub(crate) fn send_at_once(stream: &TcpStream) -> Result<(), Failure> {
    stream.set_nodelay(true).map_err(|error| Failure::local("set how a connection sends", &error))
}

/// Begins to connect. Says whether that is still going on.
fn begin(socket: &Socket, address: SocketAddr) -> io::Result<bool> {
    match socket.connect(&address.into()) {
        Ok(()) => Ok(false),
        Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Waits until the connection is made.
async fn connected(
    socket: Socket,
    pending: bool,
    address: SocketAddr,
    peer: Peer,
    deadline: &Deadline,
) -> Result<TcpStream, Failure> {
    let stream =
        TcpStream::from_std(socket.into()).map_err(|error| Failure::local("poll a socket", &error))?;
    if pending {
        let connected = async {
            stream.writable().await.map_err(|error| Failure::local("poll a socket", &error))?;
            match stream.take_error() {
                Ok(None) => Ok(()),
                Ok(Some(error)) | Err(error) => Err(Failure::receiving(peer, &error)),
            }
        };
        deadline.within(Awaited::Connection, connected).await?;
    }
    // TCP knows the simultaneous open: without a listener on an ephemeral port of this host, a socket that
    // happens to be given just this port connects to itself.
    if stream.local_addr().is_ok_and(|local| local == address) {
        return Err(Failure::Refused { peer });
    }
    Ok(stream)
}

/// A UDP or ICMP socket that takes datagrams of one peer alone.
pub(crate) struct Datagrams {
    socket: UdpSocket,
    peer: Peer,
}

impl Datagrams {
    /// A connected UDP socket: it hears of ICMP errors, and nothing of other addresses and ports.
    pub(crate) fn udp(target: &Target) -> Result<Self, Failure> {
        Self::connect(open(target, Type::DGRAM, None)?, target)
    }

    /// A connected ICMP socket, with whether it is a raw one.
    ///
    /// The kernel gives ICMP datagram sockets to the groups of `net.ipv4.ping_group_range`, and raw ones to
    /// who has `CAP_NET_RAW`.
    pub(crate) fn icmp(target: &Target) -> Result<(Self, bool), Failure> {
        let protocol = if target.address.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
        match open(target, Type::DGRAM, Some(protocol)) {
            Ok(socket) => Ok((Self::connect(socket, target)?, false)),
            Err(Failure::Local { action: OPENING, errno }) if FORBIDDEN.contains(&errno) => {
                Ok((Self::connect(open(target, Type::RAW, Some(protocol))?, target)?, true))
            }
            Err(failure) => Err(failure),
        }
    }

    fn connect(socket: Socket, target: &Target) -> Result<Self, Failure> {
        let peer = target.peer();
        socket
            .connect(&target.socket_address().into())
            .map_err(|error| Failure::sending(peer, "find a way to the server", &error))?;
        // Sending and receiving are the same calls for ICMP, so tokio's type for UDP serves both.
        let socket =
            UdpSocket::from_std(socket.into()).map_err(|error| Failure::local("poll a socket", &error))?;
        Ok(Self { socket, peer })
    }

    /// Sends one datagram. A new socket's buffer is empty, so it never has to wait.
    pub(crate) fn send(&self, datagram: &[u8]) -> Result<(), Failure> {
        SockRef::from(&self.socket)
            .send(datagram)
            .map(drop)
            .map_err(|error| Failure::sending(self.peer, "send a packet", &error))
    }

    /// The next datagram's start, as much as fits, or what ICMP says about those sent.
    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Failure> {
        // An error alone makes a socket not readable: it is asked for by name, which `recv` does not.
        self.socket
            .async_io(Interest::READABLE | Interest::ERROR, || (&*SockRef::from(&self.socket)).read(buffer))
            .await
            .map_err(|error| Failure::receiving(self.peer, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_socket_that_connects_to_itself_is_refused() {
        let target = Target {
            address: [127, 0, 0, 1].into(),
            port: None,
            source: Some([127, 0, 0, 1].into()),
            mark: None,
        };
        let socket = open(&target, Type::STREAM, None).unwrap();
        let own = socket.local_addr().unwrap().as_socket().unwrap();
        let peer = Peer { address: own.ip(), port: Some(own.port()) };
        let deadline = Deadline::after(Duration::from_millis(300), peer);
        let pending = begin(&socket, own).unwrap();
        let failure = connected(socket, pending, own, peer, &deadline).await.unwrap_err();
        assert_eq!(failure, Failure::Refused { peer });
    }
}
