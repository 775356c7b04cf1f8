//! Servers that send anything: no check panics, none is late, none succeeds.

use std::time::Duration;

use lvs_checks::Kind;
use lvs_crds::{DnsCheck, DnsRcode, DnsType, GrpcCheck, HttpCheck, TlsOptions, UdpCheck};
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use crate::https::https;
use crate::server::{ask_within, hold, target, tcp, udp};

const TIMEOUT: Duration = Duration::from_millis(20);
/// Nothing that noise contains.
const TOKEN: &str = "a token that no noise has";

fn over_tcp() -> [Kind; 3] {
    let (contains, matches) = (Some(TOKEN.to_owned()), Some(TOKEN.to_owned()));
    [
        Kind::Http(HttpCheck { body_contains: contains, body_regex: matches, ..HttpCheck::default() }),
        https(HttpCheck::default(), TlsOptions { insecure_skip_verify: true, ..TlsOptions::default() }),
        Kind::Grpc(GrpcCheck::default()),
    ]
}

fn over_udp() -> [Kind; 2] {
    let dns = DnsCheck {
        name: "example.com".to_owned(),
        type_: DnsType::Mx,
        expected_rcode: DnsRcode::Noerror,
        expected_answer: Some("mail.example.com".to_owned()),
    };
    [Kind::Dns(dns), Kind::Udp(UdpCheck { send: String::new(), expect: Some(TOKEN.to_owned()) })]
}

/// Starts that get noise further into each protocol.
fn start() -> impl Strategy<Value = &'static [u8]> {
    proptest::sample::select(vec![
        &b""[..],
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        // Settings, and the head of frames of HTTP/2.
        b"\0\0\0\x04\0\0\0\0\0",
        b"\0\0\0\x04\0\0\0\0\0\0\0\x20\x01\x04\0\0\0\x01",
        // Handshake records of TLS.
        b"\x16\x03\x03\0\x40\x02\0\0\x3c\x03\x03",
    ])
}

async fn fails(kinds: &[Kind], address: std::net::SocketAddr) {
    for kind in kinds {
        let failure = ask_within(TIMEOUT, kind, &target(address)).await.unwrap_err();
        assert!(!failure.is_ours(), "{failure}");
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_check_over_tcp_succeeds_for_noise(
        start in start(),
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        stays: bool,
    ) {
        run(async move {
            let sent = [start, &noise].concat();
            let address = tcp(move |mut stream| {
                let sent = sent.clone();
                async move {
                    let _ = stream.write_all(&sent).await;
                    if stays {
                        hold(stream).await;
                    }
                }
            })
            .await;
            fails(&over_tcp(), address).await;
        });
    }

    #[test]
    fn no_check_over_udp_succeeds_for_noise(
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        changes in proptest::collection::vec((2_usize..29, any::<u8>()), 0..4),
    ) {
        run(async move {
            let address = udp(move |question| {
                // The question as its own answer, with noise behind it and in it.
                let mut answer = question.to_vec();
                if let Some(flags) = answer.get_mut(2) {
                    *flags |= 0x80;
                }
                for (at, byte) in &changes {
                    if let Some(place) = answer.get_mut(*at) {
                        *place = *byte;
                    }
                }
                answer.extend_from_slice(&noise);
                vec![noise.clone(), answer]
            })
            .await;
            fails(&over_udp(), address).await;
        });
    }
}
