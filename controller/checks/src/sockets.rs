//! Sockets of TCP checks that succeeded, to be used again.
//!
//! To make a socket and to destroy it is a good part of what a TCP check costs the kernel. Connecting to "no address"
//! (`AF_UNSPEC`) instead ends the connection just as closing the socket of a check does, by the same reset
//! (`tcp_disconnect` in the kernel's net/ipv4/tcp.c), and leaves a socket as good as new: its next connection has another
//! port, and a source address and a route that are looked up anew.
//!
//! Only sockets without a source and a mark of their own are kept, and only those whose connection was made: what a
//! failure leaves in a socket need not be known.

use std::sync::{Mutex, PoisonError};

use socket2::Socket;
use tokio::net::TcpStream;

use crate::kind::Target;

/// So many of a family are kept: as many as a Director begins at a time. An idle one holds a file descriptor and a few
/// kilobytes of the kernel's memory.
const MOST: usize = 64;

/// Sockets that TCP checks leave for those to come. They are of the network namespace that the checks ran in.
#[derive(Debug, Default)]
pub struct Sockets {
    v4: Mutex<Vec<Socket>>,
    v6: Mutex<Vec<Socket>>,
}

impl Sockets {
    /// Where sockets are kept with which this target can be reached; none where it needs one of its own.
    fn for_target(&self, target: &Target) -> Option<&Mutex<Vec<Socket>>> {
        let plain = target.source.is_none() && target.mark.is_none();
        plain.then_some(if target.address.is_ipv4() { &self.v4 } else { &self.v6 })
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
    use std::os::fd::AsFd as _;
    use std::time::Duration;

    use rustix::fs::fstat;
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
        let mut used = Vec::new();
        // Two servers in turn, and one where nobody listens.
        let listeners = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.2:0").await.unwrap(),
        ];
        let nobody = Target { port: Some(1), ..target(&listeners[0]) };
        for turn in 0..20 {
            let listener = &listeners[turn % 2];
            assert_eq!(ask(&target(listener), &sockets).await, Ok(()));
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
            used.extend(inodes(&sockets.v4));
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
    }

    #[tokio::test]
    async fn not_more_are_kept_than_there_is_room_and_none_with_a_source() {
        let sockets = Sockets::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = target(&listener);
        let connect = || TcpStream::connect(target.socket_address());
        let all = futures::future::join_all((0..MOST + 3).map(|_| connect())).await;
        for stream in all {
            sockets.leave(&target, stream.unwrap());
        }
        assert_eq!(inodes(&sockets.v4).len(), MOST);
        for other in [Target { source: Some(target.address), ..target }, Target { mark: Some(1), ..target }] {
            assert!(sockets.take(&other).is_none());
            sockets.leave(&other, connect().await.unwrap());
        }
        assert_eq!(inodes(&sockets.v4).len(), MOST);
    }

    #[tokio::test]
    async fn what_cannot_even_be_tried_fails_as_with_a_new_socket() {
        // TCP is not for groups: `connect` says so at once, and nothing is sent.
        let nowhere = Target { address: [224, 0, 0, 1].into(), port: Some(80), source: None, mark: None };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sockets = Sockets::default();
        let new = ask(&nowhere, &sockets).await.unwrap_err();
        assert_eq!(ask(&target(&listener), &sockets).await, Ok(()));
        assert_eq!(inodes(&sockets.v4).len(), 1);
        assert_eq!(ask(&nowhere, &sockets).await.unwrap_err(), new);
    }
}
