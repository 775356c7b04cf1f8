//! Sockets of TCP checks that succeeded, to be used again.
//!
//! To make a socket and to destroy it is a good part of what a TCP check costs the kernel. Connecting to "no address"
//! (`AF_UNSPEC`) instead ends the connection just as closing the socket of a check does, by the same reset
//! (`tcp_disconnect` in the kernel's net/ipv4/tcp.c). Its next connection has another port, and a source address and a
//! route that are looked up anew.
//!
//! One thing goes on that is new in a new socket: the sequence numbers. The next connection begins where the window of the
//! last one ended, which its server could know (RFC 9293, section 3.4.1, wants them hard to guess). Whoever would use that
//! to answer for another real server has to send with that one's address from within the Director's segment, and there
//! an answer to ARP is enough.
//!
//! Only sockets without a source and a mark of their own are kept, and only those whose connection was made: what a
//! failure leaves in a socket need not be known.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use socket2::Socket;
use tokio::net::TcpStream;

use crate::kind::Target;

/// So many of a family are kept: enough for 12,800 checks a second that begin every 20 ms. An idle one holds a file
/// descriptor and a few kilobytes of the kernel's memory, until the [`Sockets`] go.
const MOST: usize = 256;

/// Sockets that TCP checks leave for those to come. They are of the network namespace that the checks ran in.
#[derive(Debug, Default)]
pub struct Sockets {
    v4: Mutex<Vec<Socket>>,
    v6: Mutex<Vec<Socket>>,
}

impl Sockets {
    /// Where sockets are kept with which this target can be reached; none where it needs one of its own.
    fn for_target(&self, target: &Target) -> Option<&Mutex<Vec<Socket>>> {
        if target.source.is_some() || target.mark.is_some() {
            return None;
        }
        match target.address {
            IpAddr::V4(_) => Some(&self.v4),
            // To a mapped address the kernel makes an IPv4 connection, and the socket stays of that kind
            // (`tcp_v6_connect` in net/ipv6/tcp_ipv6.c).
            IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => None,
            IpAddr::V6(_) => Some(&self.v6),
        }
    }

    /// A socket to connect to this target with, if one is left.
    pub(crate) fn take(&self, target: &Target) -> Option<Socket> {
        self.for_target(target)?.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Ends a connection to this target, and keeps its socket if there is room.
    pub(crate) fn leave(&self, target: &Target, connection: TcpStream) {
        let Some(kept) = self.for_target(target) else { return };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        // In every other case it is closed here, which ends the connection too.
        if kept.len() < MOST
            && let Ok(connection) = connection.into_std()
            && rustix::net::connect_unspec(&connection).is_ok()
        {
            kept.push(connection.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::fd::AsFd as _;
    use std::time::Duration;

    use rustix::fs::fstat;
    use socket2::SockRef;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{Failure, Kind, Prepared, check};

    async fn ask(target: &Target, sockets: &Sockets) -> Result<(), Failure> {
        let prepared = Prepared::new(&Kind::Tcp, target).unwrap();
        check(&prepared, target, Duration::from_secs(10), sockets).await
    }

    fn target(listener: &TcpListener) -> Target {
        let address = listener.local_addr().unwrap();
        Target { address: address.ip(), port: Some(address.port()), source: None, mark: None }
    }

    /// Which sockets are kept.
    fn inodes(kept: &Mutex<Vec<Socket>>) -> Vec<u64> {
        kept.lock().unwrap().iter().map(|socket| fstat(socket.as_fd()).unwrap().st_ino).collect()
    }

    #[tokio::test]
    async fn one_socket_makes_one_connection_after_the_other_and_resets_each() {
        let sockets = Sockets::default();
        let (mut used, mut ports) = (Vec::new(), Vec::new());
        // Two servers in turn, and one where nobody listens.
        let listeners = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.2:0").await.unwrap(),
        ];
        let nobody = Target { port: Some(1), ..target(&listeners[0]) };
        for turn in 0..20 {
            let listener = &listeners[turn % 2];
            assert_eq!(ask(&target(listener), &sockets).await, Ok(()));
            let (mut stream, from) = listener.accept().await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            used.extend(inodes(&sockets.v4));
            ports.push(from.port());
            if turn == 9 {
                let failure = ask(&nobody, &sockets).await.unwrap_err();
                assert_eq!(failure.reason(), "refused");
                assert!(inodes(&sockets.v4).is_empty(), "one that failed is not kept");
            }
        }
        assert_eq!(used.len(), 20);
        used.dedup();
        assert_eq!(used.len(), 2, "a second one after the failure");
        assert!(inodes(&sockets.v6).is_empty());
        ports.dedup();
        assert!(ports.len() > 10, "each connection asks for a port anew: {ports:?}");
    }

    #[tokio::test]
    async fn an_ipv6_socket_is_used_again_and_one_to_a_mapped_address_is_not() {
        let Ok(listener) = TcpListener::bind("[::1]:0").await else {
            return eprintln!("skipped: there is no IPv6 here");
        };
        let sockets = Sockets::default();
        let mut used = Vec::new();
        for _ in 0..3 {
            assert_eq!(ask(&target(&listener), &sockets).await, Ok(()));
            used.extend(inodes(&sockets.v6));
            let v4 = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mapped = "::ffff:127.0.0.1".parse().unwrap();
            assert_eq!(ask(&Target { address: mapped, ..target(&v4) }, &sockets).await, Ok(()));
        }
        assert_eq!((used.len(), sockets.v6.lock().unwrap().len()), (3, 1));
        used.dedup();
        assert_eq!(used.len(), 1);
    }

    #[tokio::test]
    async fn a_socket_whose_server_ended_the_connection_first_is_as_good() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = target(&listener);
        for by_reset in [false, true] {
            let sockets = Sockets::default();
            let stream = TcpStream::connect(target.socket_address()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            if by_reset {
                SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
            }
            drop(server);
            let end = stream.peek(&mut [0]).await.map_err(|error| error.kind());
            assert_eq!(end, if by_reset { Err(ErrorKind::ConnectionReset) } else { Ok(0) });
            sockets.leave(&target, stream);
            let kept = inodes(&sockets.v4);
            assert_eq!(kept.len(), 1);
            assert_eq!(ask(&target, &sockets).await, Ok(()));
            let (mut again, _) = listener.accept().await.unwrap();
            assert_eq!(again.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert_eq!(inodes(&sockets.v4), kept);
        }
    }

    #[tokio::test]
    async fn not_more_are_kept_than_there_is_room_and_none_with_a_source() {
        let sockets = Sockets::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = target(&listener);
        let connect = async || {
            let connection = TcpStream::connect(target.socket_address()).await.unwrap();
            (connection, listener.accept().await.unwrap())
        };
        let mut all = Vec::new();
        for _ in 0..MOST + 3 {
            all.push(connect().await);
        }
        for (connection, _) in all {
            sockets.leave(&target, connection);
        }
        assert_eq!(inodes(&sockets.v4).len(), MOST);
        for other in [Target { source: Some(target.address), ..target }, Target { mark: Some(1), ..target }] {
            assert!(sockets.take(&other).is_none());
            sockets.leave(&other, connect().await.0);
        }
        assert_eq!(inodes(&sockets.v4).len(), MOST);
    }

    #[tokio::test]
    async fn a_socket_that_does_not_want_to_connect_says_nothing_of_the_server() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = target(&listener);
        let sockets = Sockets::default();
        // One that is still connected: the kernel refuses to connect it once more.
        let connected = std::net::TcpStream::connect(target.socket_address()).unwrap();
        connected.set_nonblocking(true).unwrap();
        sockets.v4.lock().unwrap().push(connected.into());
        let refuses = inodes(&sockets.v4);
        assert_eq!(ask(&target, &sockets).await, Ok(()));
        assert_ne!(inodes(&sockets.v4), refuses, "a new one is kept in its place");
    }
}
