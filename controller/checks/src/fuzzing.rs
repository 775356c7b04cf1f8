//! What a server can send, as functions of bytes that a fuzzer can call: they panic where a promise is broken.
//!
//! The property tests below feed them noise, and right answers with a few bytes changed; `fuzz/` holds the
//! targets for cargo-fuzz.

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
    let result = grpc_result(headers, messages, trailers);
    // The tag of the field `status`, if with more bytes than it needs.
    assert!(result.is_err() || messages.iter().any(|byte| byte & 0x7f == 8), "{messages:x?} is no SERVING");
    keeps_promises(&result);
}

fn grpc_result(headers: Fields, messages: &[u8], trailers: Option<Fields>) -> Result<(), Failure> {
    let target = Target { address: PEER.address, port: PEER.port, source: None, mark: None };
    let check = GrpcCheck { service: "a.B".to_owned(), tls: None };
    let probe = GrpcProbe::new(&check, &target).expect("the target has an address and a port");
    let trailers = ready(trailers.map(|values| Ok(fields(values))));
    let body = Full::new(Bytes::copy_from_slice(messages)).map_err(|never| match never {});
    let mut answer = Response::new(body.with_trailers(trailers).boxed_unsync());
    *answer.headers_mut() = fields(headers);
    let result = ask(&probe, Canned(Some(answer)), PEER).now_or_never();
    result.expect("all of the answer is there")
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

/// What every echo request here asks to be repeated.
const REPEATED: [u8; RANDOM] = *b"twenty bytes by luck";

/// What an ICMP socket hears.
pub fn ping(v4: bool, raw: bool, heard: &[u8]) {
    if Echo::new(v4, raw, REPEATED).is_answered_by(heard) {
        // Identifiers of datagram sockets are the kernel's.
        assert!(heard.ends_with(&REPEATED[2..]), "{heard:x?}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    use super::*;

    /// The field `status`, which is SERVING.
    const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

    fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![any::<u8>(), 0_u8..12, Just(0xc0)], 0..most)
    }

    /// These bytes, half of the time with one or two of them changed.
    fn nearly(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
        let changes = vec((any::<Index>(), any::<u8>()), 1..3);
        proptest::option::of(changes).prop_map(move |changes| {
            let mut bytes = bytes.clone();
            for (at, byte) in changes.into_iter().flatten() {
                *at.get_mut(&mut bytes) = byte;
            }
            bytes
        })
    }

    fn values() -> impl Strategy<Value = Fields> {
        let status = prop_oneof![Just(b"0".to_vec()), "[0-9]{1,2}".prop_map(String::into_bytes), bytes(4)];
        // Printable, else most are no values of headers.
        let value = || proptest::option::of("[ -~]{0,12}".prop_map(String::into_bytes)).boxed();
        [proptest::option::of(status).boxed(), value(), value(), value()]
    }

    fn answers() -> impl Strategy<Value = (Fields, Vec<u8>, Option<Fields>)> {
        let noise = (values(), bytes(60), proptest::option::of(values()));
        let trailers = nearly(b"0".to_vec()).prop_map(|status| Some([Some(status), None, None, None]));
        prop_oneof![noise, (Just(Fields::default()), nearly(SERVING.to_vec()), trailers)]
    }

    /// What a socket of either kind may hear after its request.
    fn echoes() -> impl Strategy<Value = (bool, bool, Vec<u8>)> {
        any::<(bool, bool)>().prop_flat_map(|(v4, raw)| {
            let mut reply = Echo::new(v4, raw, REPEATED).request().to_vec();
            reply[0] = if v4 { 0 } else { 129 };
            if v4 && raw {
                let header = [0x45, 0, 0, 44, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
                reply.splice(0..0, header);
            }
            (Just(v4), Just(raw), prop_oneof![nearly(reply), bytes(60)])
        })
    }

    fn entries() -> impl Strategy<Value = String> {
        prop_oneof![3 => "[1-6][0-9]{2}(-[1-6][0-9]{2})?", 1 => "[0-9-]{0,8}"]
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
        fn no_answer_of_grpc_breaks_a_promise((headers, messages, trailers) in answers()) {
            grpc(headers, &messages, trailers);
        }

        #[test]
        fn no_echo_breaks_a_promise((v4, raw, heard) in echoes()) {
            ping(v4, raw, &heard);
        }

        #[test]
        fn no_entry_of_statuses_breaks_a_promise(entries in vec(entries(), 0..3), status in 0_u16..700) {
            statuses(&entries, status);
        }

        #[test]
        fn no_body_breaks_a_promise(
            text in "[a-c]{0,3}",
            heard in vec(97_u8..100, 0..40),
            first in 0_usize..40,
        ) {
            body(Some(&text), None, &heard, first);
            body(None, Some(&text), &heard, first);
        }
    }

    /// How many of a thousand are taken for right.
    fn right<T>(strategy: impl Strategy<Value = T>, is_right: impl Fn(T) -> bool) -> usize {
        let mut runner = TestRunner::deterministic();
        let mut draw = || strategy.new_tree(&mut runner).unwrap().current();
        (0..1000).filter(|_| is_right(draw())).count()
    }

    #[test]
    fn the_strategies_above_draw_much_that_is_right_and_much_that_is_wrong() {
        let of_each = [
            right(answers(), |(headers, messages, trailers)| {
                grpc_result(headers, &messages, trailers).is_ok()
            }),
            right(echoes(), |(v4, raw, heard)| Echo::new(v4, raw, REPEATED).is_answered_by(&heard)),
            right(entries(), |entry| Statuses::new(&[entry]).is_ok()),
            right((entries(), 0_u16..700), |(entry, status)| {
                Statuses::new(&[entry]).is_ok_and(|statuses| statuses.contain(status))
            }),
        ];
        assert!(of_each.iter().all(|right| (20..980).contains(right)), "{of_each:?}");
    }

    #[test]
    fn serving_is_told_from_everything_else_also_where_its_tag_is_longer_than_needed() {
        let served = |frame: &[u8]| {
            let trailers = Some([Some(b"0".to_vec()), None, None, None]);
            grpc(Fields::default(), frame, trailers.clone());
            grpc_result(Fields::default(), frame, trailers)
        };
        assert_eq!(served(SERVING), Ok(()));
        assert_eq!(served(&[0, 0, 0, 0, 3, 0x88, 0, 1]), Ok(()));
        assert!(served(&[0, 0, 0, 0, 2, 8, 2]).is_err());
    }
}
