//! Tests of messages: vectors written down by hand, noise, and whole answers with a byte changed.

use proptest::prelude::*;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use hickory_proto::rr::RecordType::{A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT};

use super::message::*;

const ID: u16 = 0x1234;

fn question(kind: RecordType) -> Question {
    Question::new("example.com", kind).unwrap()
}

/// A type that nobody asks for.
const OTHER: RecordType = RecordType::Unknown(65_280);

/// An answer to the question with these records, whose name is a pointer to the question's.
fn message(kind: RecordType, flags: u16, records: &[(RecordType, &[u8])]) -> Vec<u8> {
    let mut message = question(kind).encode(ID);
    message[2..4].copy_from_slice(&flags.to_be_bytes());
    message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for (kind, data) in records {
        message.extend_from_slice(&[0xc0, 12]);
        message.extend_from_slice(&u16::from(*kind).to_be_bytes());
        message.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        message.extend_from_slice(&(data.len() as u16).to_be_bytes());
        message.extend_from_slice(data);
    }
    message
}

fn records(kind: RecordType, flags: u16, given: &[(RecordType, &[u8])]) -> Option<Vec<Record>> {
    let message = message(kind, flags, given);
    question(kind).answer(&message, ID).expect("it is the answer").records(kind)
}

#[test]
fn a_question_is_as_in_the_rfc() {
    let expected = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01";
    assert_eq!(question(A).encode(ID), expected);
}

#[test]
fn names_are_the_same_in_any_case_and_with_a_dot_at_the_end() {
    let asked = |name| Question::new(name, A).unwrap().to_string();
    assert_eq!(asked("Example.COM"), "A example.com");
    assert_eq!(asked("example.com."), "A example.com");
    assert_eq!(asked("."), "A .");
    // As they are sent: neither asterisks nor hyphens nor IDNA are anything special.
    for name in ["*.example.com", "-a.b-", "_dns._udp.example.com", "xn--bcher-kva.example"] {
        assert_eq!(asked(name), format!("A {name}"));
    }
    assert_eq!(Record::parse(NS, "NS.example.com."), Record::parse(NS, "ns.Example.com"));
}

#[test]
fn what_is_no_name_is_refused() {
    let long = format!("{}.", "a".repeat(63)).repeat(4);
    for text in ["a..b", ".a", "..", "a b", "ü.example", &"a".repeat(64), &long] {
        assert!(Question::new(text, A).is_none(), "{text}");
        assert!(Record::parse(NS, text).is_none(), "{text}");
    }
    assert!(Question::new(&"a".repeat(63), A).is_some());
    let longest = format!("{}{}", format!("{}.", "a".repeat(63)).repeat(3), "a".repeat(61));
    assert_eq!(Question::new(&longest, A).unwrap().encode(ID).len(), 12 + 255 + 4);
}

#[test]
fn pointers_in_a_circle_cannot_be_read() {
    // The data of the first record begins at offset 41: to itself, forwards, and back and forth.
    for data in [&b"\xc0\x29"[..], b"\x01a\xc0\x29", b"\xc0\x2b\xc0\x29", b"\x01a\xc0\x2d\x00"] {
        assert_eq!(records(NS, 0x8180, &[(NS, data)]), None, "{data:x?}");
    }
}

#[test]
fn bytes_of_a_name_that_are_no_text_are_shown_as_such() {
    let read = records(NS, 0x8180, &[(NS, b"\x03a.\xff\x00")]).unwrap();
    assert_eq!(read[0].to_string(), "a.\\xff");
}

#[test]
fn records_of_each_type_read_as_their_text() {
    let v6 = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let soa = [&b"\x02ns\xc0\x0c\x04root\xc0\x0c"[..], &[0; 20]].concat();
    for (kind, data, text) in [
        (A, &[192, 0, 2, 1][..], "192.0.2.1"),
        (AAAA, &v6, "2001:0DB8:0::1"),
        (CNAME, b"\x03WWW\xc0\x0c", "www.example.com."),
        (NS, b"\x02ns\xc0\x0c", "NS.example.com"),
        (PTR, b"\x01a\x00", "a"),
        (MX, b"\x00\x0a\x04mail\xc0\x0c", "mail.example.com"),
        (SRV, b"\x00\x00\x00\x00\x00\x50\x03www\xc0\x0c", "www.example.com"),
        (SOA, &soa, "ns.example.com"),
        (TXT, b"\x06v=spf1\x05 -all", "v=spf1 -all"),
    ] {
        let read = records(kind, 0x8180, &[(OTHER, b"other"), (kind, data)]);
        assert_eq!(read, Some(vec![Record::parse(kind, text).unwrap()]), "{text}");
    }
}

#[test]
fn what_answers_another_question_is_not_ours() {
    let ours = message(A, 0x8180, &[]);
    assert!(question(A).answer(&ours, ID).is_some());
    assert!(question(A).answer(&ours, ID + 1).is_none(), "another identifier");
    assert!(question(AAAA).answer(&ours, ID).is_none(), "another type");
    let other = Question::new("example.net", A).unwrap();
    assert!(other.answer(&ours, ID).is_none(), "another name");
    assert!(question(A).answer(&question(A).encode(ID), ID).is_none(), "the question itself");
}

#[test]
fn the_question_may_come_back_in_another_case_and_be_left_out_by_who_cannot_read_it() {
    let mut shouted = message(A, 0x8180, &[]);
    shouted[13..20].make_ascii_uppercase();
    assert!(question(A).answer(&shouted, ID).is_some());

    let header = |rcode: u8| [0x12, 0x34, 0x80, rcode, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(question(A).answer(&header(1), ID).unwrap().rcode, ResponseCode::FormErr);
    assert!(question(A).answer(&header(0), ID).is_none());
    assert!(question(A).answer(&header(3), ID).is_none());
}

#[test]
fn a_truncated_answer_has_what_it_has_in_full() {
    let mut cut = message(A, 0x8380, &[(A, &[192, 0, 2, 1]), (A, &[192, 0, 2, 2])]);
    cut.truncate(cut.len() - 2);
    assert!(hickory_proto::op::Message::from_vec(&cut).is_err(), "else records need not be read one by one");
    let read = question(A).answer(&cut, ID).unwrap();
    assert!(read.truncated);
    assert_eq!(read.records(A).unwrap().len(), 1);
    cut[2] = 0x81;
    assert_eq!(question(A).answer(&cut, ID).unwrap().records(A), None, "cut, and it does not say so");
}

#[test]
fn records_of_other_types_are_passed_over_whatever_they_hold() {
    for other in [RecordType::CAA, RecordType::OPT, RecordType::HTTPS, RecordType::AXFR, AAAA, OTHER] {
        let read = records(A, 0x8180, &[(other, b"\xff"), (other, b""), (A, &[192, 0, 2, 1])]);
        assert_eq!(read, Some(vec![Record::parse(A, "192.0.2.1").unwrap()]), "{other}");
    }
}

#[test]
fn records_that_are_not_of_their_type_cannot_be_read() {
    for (kind, data) in [
        (A, &[192, 0, 2][..]),
        (A, &[192, 0, 2, 1, 1]),
        (AAAA, &[1; 15]),
        (TXT, b"\x05abc"),
        (NS, b"\x02ns"),
        (NS, b"\x01a\x00more"),
        (MX, b"\x00"),
        (A, b""),
        (NS, b""),
    ] {
        assert_eq!(records(kind, 0x8180, &[(kind, data)]), None, "{kind} {data:x?}");
    }
}

fn kinds() -> impl Strategy<Value = RecordType> {
    proptest::sample::select(&[A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV][..])
}

proptest! {
    #[test]
    fn noise_is_not_the_answer(noise in proptest::collection::vec(any::<u8>(), 0..600), kind in kinds()) {
        // Two bytes would have to be the identifier and the question's bytes be repeated.
        prop_assert!(question(kind).answer(&noise, ID).is_none_or(|read| read.rcode != ResponseCode::NoError));
    }

    #[test]
    fn noise_behind_our_question_is_read_or_refused(
        noise in proptest::collection::vec(any::<u8>(), 0..400),
        kind in kinds(),
        count: u16,
        truncated: bool,
    ) {
        let mut bytes = message(kind, if truncated { 0x8380 } else { 0x8180 }, &[]);
        bytes[6..8].copy_from_slice(&count.to_be_bytes());
        // Short labels, pointers, and lengths that fit, more than chance would have them.
        bytes.extend(noise.iter().map(|byte| match byte {
            0..100 => 0,
            100..180 => byte % 20,
            180..200 => 0xc0,
            _ => *byte,
        }));
        let records = question(kind).answer(&bytes, ID).unwrap().records(kind);
        // A record takes at least eleven bytes.
        prop_assert!(records.is_none_or(|records| records.len() <= noise.len() / 11));
    }

    #[test]
    fn an_answer_with_bytes_changed_is_read_or_refused(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        kind in kinds(),
    ) {
        let data = b"\x00\x0a\x04mail\xc0\x0c";
        let mut bytes = message(kind, 0x8180, &[(kind, data), (kind, data)]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let records = question(kind).answer(&bytes, ID).and_then(|read| read.records(kind));
        for record in records.into_iter().flatten() {
            let _ = record.to_string();
        }
    }
}
