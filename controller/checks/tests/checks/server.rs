//! Small servers that do one thing, right or wrong, and the asking.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use lvs_checks::{Failure, Kind, Prepared, REASONS, Sockets, Target, check};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// For what happens at once, on a machine however busy.
pub(crate) const PATIENT: Duration = Duration::from_secs(10);
/// For what never happens.
pub(crate) const SHORT: Duration = Duration::from_millis(300);
/// What a busy machine may be late by.
pub(crate) const LATE: Duration = Duration::from_secs(5);
const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

pub(crate) fn target(address: SocketAddr) -> Target {
    Target { address: address.ip(), port: Some(address.port()), source: None, mark: None }
}

/// Asks once, with the promises that hold for every check.
pub(crate) async fn ask_within(timeout: Duration, kind: &Kind, target: &Target) -> Result<(), Failure> {
    let prepared = Prepared::new(kind, target).expect("the check can be made");
    let began = Instant::now();
    let result = check(&prepared, target, timeout, &Sockets::default()).await;
    assert!(began.elapsed() < timeout + LATE, "{kind:?} took {:?}", began.elapsed());
    if let Err(failure) = &result {
        assert!(REASONS.contains(&failure.reason()), "{failure:?}");
        let words = failure.to_string();
        assert!(words.chars().count() < 400 && !words.contains(char::is_control), "{words:?}");
    }
    result
}

pub(crate) async fn ask(kind: &Kind, address: SocketAddr) -> Result<(), Failure> {
    ask_within(PATIENT, kind, &target(address)).await
}

/// The label and the sentence of what must fail, with the port left out, which is another each time.
pub(crate) async fn failure(kind: &Kind, address: SocketAddr) -> (&'static str, String) {
    failure_within(PATIENT, kind, address).await
}

/// The same, for a server that has to be waited for until the timeout.
pub(crate) async fn late_failure(kind: &Kind, address: SocketAddr) -> (&'static str, String) {
    failure_within(SHORT, kind, address).await
}

async fn failure_within(timeout: Duration, kind: &Kind, address: SocketAddr) -> (&'static str, String) {
    let failure = ask_within(timeout, kind, &target(address)).await.expect_err("it must fail");
    assert!(!failure.is_ours(), "{failure}");
    (failure.reason(), failure.to_string().replace(&address.port().to_string(), "PORT"))
}

/// Serves each connection as told, for as long as the test runs.
pub(crate) async fn tcp<F, S>(serve: S) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(TcpStream) -> F + Send + 'static,
{
    let listener = TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Answers each datagram with these, one after the other.
pub(crate) async fn udp<S>(answers: S) -> SocketAddr
where
    S: Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
{
    let socket = UdpSocket::bind(ANY).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            for answer in answers(&buffer[..length]) {
                // The check may be over.
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    address
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind(ANY).await.unwrap().local_addr().unwrap()
}

/// Reads an HTTP request's head.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Reads what comes and says nothing, until the other side ends.
pub(crate) async fn hold(mut stream: TcpStream) {
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await.is_ok_and(|length| length > 0) {}
}

/// Ends a connection by a reset.
pub(crate) fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}

/// After an HTTP request's head these bytes, and then the end.
pub(crate) async fn says(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = answer.into();
    tcp(move |mut stream| {
        let answer = answer.clone();
        async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(&answer).await;
        }
    })
    .await
}

/// After an HTTP request's head these bytes, and then more of the same kind for ever.
pub(crate) async fn never_ends(start: &'static [u8], more: &'static [u8], pause: Duration) -> SocketAddr {
    tcp(move |mut stream| async move {
        read_head(&mut stream).await;
        let mut result = stream.write_all(start).await;
        while result.is_ok() {
            tokio::time::sleep(pause).await;
            result = stream.write_all(more).await;
        }
    })
    .await
}
