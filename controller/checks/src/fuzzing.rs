//! What a server can send, as functions of bytes that a fuzzer can call: they panic where a promise is broken.
//!
//! The property tests below feed them noise; `fuzz/` holds the targets for cargo-fuzz.

use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr};
use std::task::{Context, Poll};

use futures::FutureExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use lvs_crds::{DnsCheck, DnsType, GrpcCheck};
use tonic::client::GrpcService;

use crate::dns::DnsProbe;
use crate::failure::{Failure, Peer, REASONS};
use crate::grpc::answer::{Answer, Asked};
use crate::grpc::{GrpcProbe, ask};
use crate::http::body::{Expectation, Verdict};
use crate::http::statuses::Statuses;
use crate::kind::Target;
use crate::ping::echo::{Echo, RANDOM};

const PEER: Peer = Peer { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: Some(80) };

/// What holds for every failure, whatever a server sent.
fn keeps_promises(result: &Result<(), Failure>) {
    let Err(failure) = result else { return };
    let words = failure.to_string();
    assert!(words.chars().count() < 400 && !words.contains(char::is_control), "{words:?}");
    assert!(REASONS.contains(&failure.reason()) && !failure.is_ours(), "{failure:?}");
}

/// A datagram as the answer to a question of a type, given as it is or as what follows the question, which is
/// then answered with so many records.
pub fn dns(kind: u8, behind: Option<(u16, bool)>, bytes: &[u8]) {
    const KINDS: [(DnsType, &str); 9] = [
        (DnsType::A, "192.0.2.1"),
        (DnsType::Aaaa, "2001:db8::1"),
        (DnsType::Cname, "a.example"),
        (DnsType::Mx, "a.example"),
        (DnsType::Ns, "a.example"),
        (DnsType::Ptr, "a.example"),
        (DnsType::Soa, "a.example"),
        (DnsType::Srv, "a.example"),
        (DnsType::Txt, "text"),
    ];
    let (type_, expected) = KINDS[usize::from(kind) % KINDS.len()];
    let check = DnsCheck {
        name: "a.example".to_owned(),
        type_,
        expected_answer: Some(expected.to_owned()),
        ..DnsCheck::default()
    };
    let probe = DnsProbe::new(&check).expect("name and answer are in order");
    let mut datagram = Vec::new();
    if let Some((records, truncated)) = behind {
        datagram = probe.query(7);
        datagram[2..4].copy_from_slice(&[if truncated { 0x82 } else { 0x80 }, 0]);
        datagram[6..8].copy_from_slice(&records.to_be_bytes());
    }
    datagram.extend_from_slice(bytes);
    let verdict = probe.verdict(&datagram, 7, PEER);
    assert!(behind.is_none() || verdict.is_some(), "the question was ours");
    keeps_promises(&verdict.unwrap_or(Ok(())));
}

/// The values of `grpc-status`, `grpc-message`, `grpc-status-details-bin` and `grpc-encoding`.
pub type Fields = [Option<Vec<u8>>; 4];

fn fields(values: Fields) -> HeaderMap {
    let names = ["grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-encoding"];
    let values = values.into_iter().map(|value| HeaderValue::from_bytes(&value?).ok());
    names.into_iter().zip(values).filter_map(|(name, value)| Some((name.parse().ok()?, value?))).collect()
}

/// A connection that is answered by one answer.
struct Canned(Option<Response<UnsyncBoxBody<Bytes, Failure>>>);

impl GrpcService<tonic::body::Body> for Canned {
    type ResponseBody = Answer<UnsyncBoxBody<Bytes, Failure>>;
    type Error = Failure;
    type Future = Ready<Result<Response<Self::ResponseBody>, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<tonic::body::Body>) -> Self::Future {
        let asked = Asked { peer: PEER, service: "a.B".into() };
        ready(Answer::new(asked, self.0.take().expect("a check asks once")))
    }
}

/// An answer to the question for a service's health, with the status 200 of HTTP.
pub fn grpc(headers: Fields, messages: &[u8], trailers: Option<Fields>) {
    let target = Target { address: PEER.address, port: PEER.port, source: None, mark: None };
    let check = GrpcCheck { service: "a.B".to_owned(), tls: None };
    let probe = GrpcProbe::new(&check, &target).expect("the target has an address and a port");
    let trailers = ready(trailers.map(|values| Ok(fields(values))));
    let body = Full::new(Bytes::copy_from_slice(messages)).map_err(|never| match never {});
    let mut answer = Response::new(body.with_trailers(trailers).boxed_unsync());
    *answer.headers_mut() = fields(headers);
    let result = ask(&probe, Canned(Some(answer)), PEER).now_or_never();
    let result = result.expect("all of the answer is there");
    // The field `status` with the value 1, if with more bytes than it needs.
    assert!(result.is_err() || messages.contains(&8), "{messages:x?} is no SERVING");
    keeps_promises(&result);
}

/// Entries of `expectedStatuses`, and a status.
pub fn statuses(entries: &[String], status: u16) {
    let Ok(statuses) = Statuses::new(entries) else { return };
    assert!(!statuses.contain(status) || (100..600).contains(&status), "{statuses:?} contain {status}");
}

/// A body that comes in two pieces, of which the first is so long.
pub fn body(contains: Option<&str>, regex: Option<&str>, body: &[u8], first: usize) {
    let Ok(Some(expectation)) = Expectation::new(contains, regex) else { return };
    let whole = expectation.verdict(body, 0, true);
    assert!(whole != Verdict::Undecided, "the body has ended");
    let first = first.min(body.len());
    let in_pieces = match expectation.verdict(&body[..first], 0, false) {
        Verdict::Undecided => expectation.verdict(body, first, true),
        decided => decided,
    };
    assert_eq!(whole, in_pieces);
}

/// What an ICMP socket hears.
pub fn ping(v4: bool, raw: bool, heard: &[u8]) {
    let random = *b"twenty bytes by luck";
    if Echo::new(v4, raw, random).is_answered_by(heard) {
        // Identifiers of datagram sockets are the kernel's.
        assert!(heard.ends_with(&random[2..]), "{heard:x?}");
    }
    const { assert!(RANDOM == 20) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![any::<u8>(), 0_u8..12, Just(0xc0)], 0..most)
    }

    fn values() -> impl Strategy<Value = Fields> {
        let status = prop_oneof![Just(b"0".to_vec()), "[0-9]{1,2}".prop_map(String::into_bytes), bytes(4)];
        // Printable, else most are no values of headers.
        let value = || proptest::option::of("[ -~]{0,12}".prop_map(String::into_bytes)).boxed();
        [proptest::option::of(status).boxed(), value(), value(), value()]
    }

    proptest! {
        #[test]
        fn no_datagram_breaks_a_promise(
            kind: u8,
            behind in proptest::option::of((0_u16..20, any::<bool>())),
            bytes in bytes(120),
        ) {
            dns(kind, behind, &bytes);
        }

        #[test]
        fn no_answer_of_grpc_breaks_a_promise(
            headers in values(),
            messages in bytes(60),
            trailers in proptest::option::of(values()),
        ) {
            grpc(headers, &messages, trailers);
        }

        #[test]
        fn no_body_and_no_echo_breaks_a_promise(
            text in "[a-c]{0,3}",
            heard in proptest::collection::vec(97_u8..100, 0..40),
            first in 0_usize..40,
            v4: bool,
            raw: bool,
        ) {
            body(Some(&text), None, &heard, first);
            body(None, Some(&text), &heard, first);
            statuses(&[text], first as u16);
            ping(v4, raw, &heard);
        }
    }

    #[test]
    fn a_serving_answer_is_taken_as_such() {
        // Else the target for gRPC would see failures alone.
        let served = |frame: &[u8]| {
            let target = Target { address: PEER.address, port: PEER.port, source: None, mark: None };
            let probe = GrpcProbe::new(&GrpcCheck::default(), &target).unwrap();
            let body = Full::new(Bytes::copy_from_slice(frame)).map_err(|never| match never {});
            let trailers = fields([Some(b"0".to_vec()), None, None, None]);
            let answer = Response::new(body.with_trailers(ready(Some(Ok(trailers)))).boxed_unsync());
            ask(&probe, Canned(Some(answer)), PEER).now_or_never().unwrap()
        };
        assert_eq!(served(&[0, 0, 0, 0, 2, 8, 1]), Ok(()));
        assert!(served(&[0, 0, 0, 0, 2, 8, 2]).is_err());
    }
}
