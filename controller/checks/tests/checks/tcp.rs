use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lvs_checks::{Kind, PrepareError, Prepared, Target};
use socket2::{Domain, Socket, Type};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::server::{PATIENT, ask, ask_within, failure, late_failure, nobody, target, tcp};

#[tokio::test]
async fn a_port_that_accepts_works() {
    let address = tcp(|_| async {}).await;
    assert_eq!(ask(&Kind::Tcp, address).await, Ok(()));
}

#[tokio::test]
async fn a_port_of_an_ipv6_server_works() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        return eprintln!("skipped: there is no IPv6 here");
    };
    assert_eq!(ask(&Kind::Tcp, listener.local_addr().unwrap()).await, Ok(()));
}

#[tokio::test]
async fn where_nobody_listens_it_is_refused() {
    let (reason, words) = failure(&Kind::Tcp, nobody().await).await;
    assert_eq!((reason, &words[..]), ("refused", "connection refused by 127.0.0.1:PORT"));
}

#[tokio::test]
async fn a_connection_ends_by_a_reset_without_a_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(ask(&Kind::Tcp, listener.local_addr().unwrap()).await, Ok(()));
    let (mut stream, _) = listener.accept().await.unwrap();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

/// A queue of one, which nobody empties: the kernel drops what more comes.
#[tokio::test]
async fn a_server_that_lets_nobody_in_has_no_connection_in_time() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
            let _ = socket.connect(&address);
            socket
        })
        .collect();
    let (reason, words) = late_failure(&Kind::Tcp, address.as_socket().unwrap()).await;
    assert_eq!((reason, &words[..]), ("timeout", "no connection to 127.0.0.1:PORT within 300 ms"));
    drop(waiting);
}

#[tokio::test]
async fn a_check_comes_from_its_source_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = IpAddr::from([127, 0, 0, 5]);
    let target = Target { source: Some(source), ..target(listener.local_addr().unwrap()) };
    assert_eq!(ask_within(PATIENT, &Kind::Tcp, &target).await, Ok(()));
    assert_eq!(listener.accept().await.unwrap().1.ip(), source);
}

#[tokio::test]
async fn a_source_address_that_is_not_here_is_no_fault_of_the_servers() {
    let source = Some(IpAddr::from([192, 0, 2, 77]));
    for kind in [Kind::Tcp, Kind::Udp(lvs_crds::UdpCheck::default())] {
        let target = Target { source, ..target(nobody().await) };
        let failure = ask_within(PATIENT, &kind, &target).await.unwrap_err();
        assert!(failure.is_ours());
        assert_eq!(failure.reason(), "source");
        assert!(failure.to_string().starts_with("cannot send from 192.0.2.77: "), "{failure}");
    }
}

#[tokio::test]
async fn a_mark_is_set_or_it_is_ours_that_it_may_not_be() {
    let address = tcp(|_| async {}).await;
    match ask_within(PATIENT, &Kind::Tcp, &Target { mark: Some(7), ..target(address) }).await {
        Ok(()) => {}
        Err(failure) => {
            eprintln!("not allowed here: {failure}");
            assert!(failure.is_ours());
        }
    }
}

#[test]
fn a_target_that_does_not_fit_is_refused_before() {
    let target = Target { address: Ipv4Addr::LOCALHOST.into(), port: None, source: None, mark: None };
    assert_eq!(Prepared::new(&Kind::Tcp, &target).unwrap_err(), PrepareError::NoPort);
    assert!(Prepared::new(&Kind::Ping, &target).is_ok());
    let other_family = Target { source: Some("::1".parse().unwrap()), ..target };
    assert_eq!(Prepared::new(&Kind::Ping, &other_family).unwrap_err(), PrepareError::SourceFamily);
}
