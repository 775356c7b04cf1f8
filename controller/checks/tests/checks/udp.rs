use lvs_checks::Kind;
use lvs_crds::UdpCheck;
use tokio::net::UdpSocket;

use crate::server::{SHORT, ask, ask_within, failure, late_failure, nobody, target, udp};

fn expecting(expect: Option<&str>) -> Kind {
    Kind::Udp(UdpCheck { send: "ping".to_owned(), expect: expect.map(str::to_owned) })
}

#[tokio::test]
async fn the_expected_answer_works() {
    let address = udp(|sent| vec![[b"pong to ", sent].concat()]).await;
    assert_eq!(ask(&expecting(Some("pong to ping")), address).await, Ok(()));
}

#[tokio::test]
async fn the_expected_answer_may_be_the_second() {
    let address = udp(|_| vec![b"hello".to_vec(), Vec::new(), b"pong".to_vec()]).await;
    assert_eq!(ask(&expecting(Some("pong")), address).await, Ok(()));
}

#[tokio::test]
async fn another_answer_does_not_do() {
    let address = udp(|_| vec![b"busy\n".to_vec()]).await;
    let (reason, words) = late_failure(&expecting(Some("pong")), address).await;
    assert_eq!(reason, "answer");
    assert_eq!(words, "127.0.0.1:PORT answered \"busy\u{fffd}\", expected \"pong\"");
}

#[tokio::test]
async fn no_answer_is_a_timeout_where_one_is_expected_and_fine_else() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let (reason, words) = late_failure(&expecting(Some("pong")), address).await;
    assert_eq!((reason, &words[..]), ("timeout", "no answer from 127.0.0.1:PORT within 300 ms"));
    assert_eq!(ask_within(SHORT, &expecting(None), &target(address)).await, Ok(()));
    let mut buffer = [0; 8];
    assert_eq!(silent.recv(&mut buffer).await.unwrap(), 4);
}

#[tokio::test]
async fn a_closed_port_is_refused_with_and_without_an_expected_answer() {
    for expect in [Some("pong"), None] {
        let (reason, words) = failure(&expecting(expect), nobody().await).await;
        assert_eq!((reason, &words[..]), ("refused", "connection refused by 127.0.0.1:PORT"));
    }
}

#[tokio::test]
async fn answers_of_another_address_do_not_count() {
    let address = answered_by_a_stranger(b"pong").await;
    assert_eq!(late_failure(&expecting(Some("pong")), address).await.0, "timeout");
}

/// Where it is asked at one port, another answers.
async fn answered_by_a_stranger(answer: &'static [u8]) -> std::net::SocketAddr {
    let asked = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = asked.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        let (_, from) = asked.recv_from(&mut buffer).await.unwrap();
        stranger.send_to(answer, from).await.unwrap();
        std::future::pending::<()>().await;
    });
    address
}
