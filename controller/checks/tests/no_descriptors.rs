//! Alone in its process, because it takes all file descriptors from it.

use std::net::TcpListener;
use std::time::Duration;

use lvs_checks::{Kind, Prepared, Sockets, Target, check};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[tokio::test]
async fn without_a_file_descriptor_nothing_is_said_about_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let timeout = Duration::from_millis(300);
    let before = getrlimit(Resource::Nofile);
    for kind in [Kind::Tcp, Kind::Udp(lvs_crds::UdpCheck::default()), Kind::Ping] {
        let target = Target { address: address.ip(), port: Some(address.port()), source: None, mark: None };
        let prepared = Prepared::new(&kind, &target).unwrap();
        setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..before }).unwrap();
        let failure = check(&prepared, &target, timeout, &Sockets::default()).await.unwrap_err();
        setrlimit(Resource::Nofile, before).unwrap();
        assert!(failure.is_ours(), "{failure}");
        assert_eq!(failure.reason(), "local");
        assert_eq!(failure.to_string(), "this host cannot open a socket: Too many open files (os error 24)");
        if kind == Kind::Tcp {
            assert_eq!(check(&prepared, &target, timeout, &Sockets::default()).await, Ok(()));
        }
    }
}
