use std::net::SocketAddr;

use lvs_checks::{Kind, PrepareError, Prepared};
use lvs_crds::{DnsCheck, DnsRcode, DnsType};
use tokio::net::UdpSocket;

use crate::server::{ask, failure, late_failure, nobody, target, udp};

fn check() -> DnsCheck {
    DnsCheck {
        name: "example.com".to_owned(),
        type_: DnsType::A,
        expected_rcode: DnsRcode::Noerror,
        expected_answer: None,
    }
}

fn expecting(answer: &str) -> Kind {
    Kind::Dns(DnsCheck { expected_answer: Some(answer.to_owned()), ..check() })
}

/// The answer to a question: a code, and addresses of the name that was asked for.
fn answer(question: &[u8], rcode: u8, addresses: &[[u8; 4]]) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    answer[3] = rcode;
    answer[7] = addresses.len() as u8;
    for address in addresses {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend_from_slice(address);
    }
    answer
}

#[tokio::test]
async fn an_answer_with_the_expected_code_works() {
    let address = udp(|question| vec![answer(question, 0, &[])]).await;
    assert_eq!(ask(&Kind::Dns(check()), address).await, Ok(()));
    let address = udp(|question| vec![answer(question, 3, &[])]).await;
    let missing = DnsCheck { expected_rcode: DnsRcode::Nxdomain, ..check() };
    assert_eq!(ask(&Kind::Dns(missing), address).await, Ok(()));
}

#[tokio::test]
async fn another_code_does_not_do() {
    let address = udp(|question| vec![answer(question, 5, &[])]).await;
    let (reason, words) = failure(&Kind::Dns(check()), address).await;
    assert_eq!(reason, "rcode");
    assert_eq!(words, "DNS response REFUSED from 127.0.0.1:PORT for A example.com, expected NOERROR");
}

#[tokio::test]
async fn one_of_the_answers_must_be_the_expected_one() {
    let address = udp(|question| vec![answer(question, 0, &[[192, 0, 2, 1], [192, 0, 2, 2]])]).await;
    assert_eq!(ask(&expecting("192.0.2.2"), address).await, Ok(()));
    let (reason, words) = failure(&expecting("192.0.2.3"), address).await;
    assert_eq!(reason, "answer");
    assert_eq!(words, "127.0.0.1:PORT answered A example.com with 192.0.2.1, 192.0.2.2, expected 192.0.2.3");

    let empty = udp(|question| vec![answer(question, 0, &[])]).await;
    let (_, words) = failure(&expecting("192.0.2.3"), empty).await;
    assert_eq!(words, "127.0.0.1:PORT answered A example.com with nothing, expected 192.0.2.3");
}

#[tokio::test]
async fn a_truncated_answer_counts_by_its_code_and_by_what_it_has() {
    let address = udp(|question| {
        let mut answer = answer(question, 0, &[[192, 0, 2, 1], [192, 0, 2, 2]]);
        answer[2] |= 0x02;
        answer.truncate(answer.len() - 3);
        vec![answer]
    })
    .await;
    assert_eq!(ask(&Kind::Dns(check()), address).await, Ok(()));
    assert_eq!(ask(&expecting("192.0.2.1"), address).await, Ok(()));
    let (reason, words) = failure(&expecting("192.0.2.2"), address).await;
    assert_eq!(reason, "answer");
    assert!(words.contains("with 192.0.2.1 (truncated)"), "{words}");
}

#[tokio::test]
async fn answers_to_other_questions_are_passed_over() {
    let address = udp(|question| {
        let (mut other_id, mut other_name) = (answer(question, 2, &[]), answer(question, 2, &[]));
        other_id[0] ^= 1;
        other_name[13] ^= 1;
        vec![b"garbage".to_vec(), Vec::new(), other_id, other_name, answer(question, 0, &[])]
    })
    .await;
    assert_eq!(ask(&Kind::Dns(check()), address).await, Ok(()));
}

#[tokio::test]
async fn garbage_alone_is_no_answer() {
    let address = udp(|question| vec![vec![0xff; 512], question.to_vec(), question[..5].to_vec()]).await;
    let (reason, words) = late_failure(&Kind::Dns(check()), address).await;
    assert_eq!((reason, &words[..]), ("timeout", "no answer from 127.0.0.1:PORT within 300 ms"));
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_told() {
    let address = udp(|question| {
        let mut answer = answer(question, 0, &[[192, 0, 2, 1]]);
        answer.truncate(answer.len() - 1);
        vec![answer]
    })
    .await;
    assert_eq!(failure(&expecting("192.0.2.1"), address).await.0, "protocol");
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    assert_eq!(failure(&Kind::Dns(check()), nobody().await).await.0, "refused");
}

#[tokio::test]
async fn answers_of_another_address_are_ignored() {
    let address = answered_by_a_stranger().await;
    assert_eq!(late_failure(&Kind::Dns(check()), address).await.0, "timeout");
}

/// The right answer, from another port than the one that was asked.
async fn answered_by_a_stranger() -> SocketAddr {
    let asked = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = asked.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        let (length, from) = asked.recv_from(&mut buffer).await.unwrap();
        stranger.send_to(&answer(&buffer[..length], 0, &[]), from).await.unwrap();
        std::future::pending::<()>().await;
    });
    address
}

#[test]
fn what_cannot_be_asked_or_answered_is_refused_before() {
    let target = target(SocketAddr::from(([127, 0, 0, 1], 53)));
    let refused = |check: DnsCheck| Prepared::new(&Kind::Dns(check), &target).unwrap_err();
    assert_eq!(
        refused(DnsCheck { name: "a..b".to_owned(), ..check() }),
        PrepareError::DnsName("a..b".to_owned())
    );
    assert_eq!(
        refused(DnsCheck { expected_answer: Some("::1".to_owned()), ..check() }),
        PrepareError::DnsAnswer("::1".to_owned(), "A")
    );
}
