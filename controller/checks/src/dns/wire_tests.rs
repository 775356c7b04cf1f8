//! Tests of messages: vectors written down by hand, noise, and whole answers with a byte changed.

use proptest::prelude::*;

use super::name::Name;
use super::wire::*;

const ID: u16 = 0x1234;

fn question(kind: u16) -> Question {
    Question { name: Name::parse("example.com").unwrap(), kind }
}

/// An answer to the question with these records, whose name is a pointer to the question's.
fn message(kind: u16, flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = question(kind).encode(ID);
    message[2..4].copy_from_slice(&flags.to_be_bytes());
    message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for (kind, data) in records {
        message.extend_from_slice(&[0xc0, 12]);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        message.extend_from_slice(&(data.len() as u16).to_be_bytes());
        message.extend_from_slice(data);
    }
    message
}

fn records(kind: u16, flags: u16, given: &[(u16, &[u8])]) -> Option<Vec<Record>> {
    let message = message(kind, flags, given);
    answer(&message, ID, &question(kind)).expect("it is the answer").records(kind)
}

#[test]
fn a_question_is_as_in_the_rfc() {
    let expected = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01";
    assert_eq!(question(A).encode(ID), expected);
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
        let read = records(kind, 0x8180, &[(99, b"other"), (kind, data)]);
        assert_eq!(read, Some(vec![Record::parse(kind, text).unwrap()]), "{text}");
    }
}

#[test]
fn what_answers_another_question_is_not_ours() {
    let ours = message(A, 0x8180, &[]);
    assert!(answer(&ours, ID, &question(A)).is_some());
    assert!(answer(&ours, ID + 1, &question(A)).is_none(), "another identifier");
    assert!(answer(&ours, ID, &question(AAAA)).is_none(), "another type");
    let other = Question { name: Name::parse("example.net").unwrap(), kind: A };
    assert!(answer(&ours, ID, &other).is_none(), "another name");
    assert!(answer(&question(A).encode(ID), ID, &question(A)).is_none(), "the question itself");
}

#[test]
fn the_question_may_come_back_in_another_case_and_be_left_out_by_who_cannot_read_it() {
    let mut shouted = message(A, 0x8180, &[]);
    shouted[13..20].make_ascii_uppercase();
    assert!(answer(&shouted, ID, &question(A)).is_some());

    let header = |rcode: u8| [0x12, 0x34, 0x80, rcode, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(answer(&header(1), ID, &question(A)).unwrap().rcode, 1);
    assert!(answer(&header(NOERROR), ID, &question(A)).is_none());
    assert!(answer(&header(NXDOMAIN), ID, &question(A)).is_none());
}

#[test]
fn a_truncated_answer_has_what_it_has_in_full() {
    let mut cut = message(A, 0x8380, &[(A, &[192, 0, 2, 1]), (A, &[192, 0, 2, 2])]);
    cut.truncate(cut.len() - 2);
    let read = answer(&cut, ID, &question(A)).unwrap();
    assert!(read.truncated);
    assert_eq!(read.records(A).unwrap().len(), 1);
    cut[2] = 0x81;
    assert_eq!(answer(&cut, ID, &question(A)).unwrap().records(A), None, "cut, and it does not say so");
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
    ] {
        assert_eq!(records(kind, 0x8180, &[(kind, data)]), None, "{kind} {data:x?}");
    }
}

fn kinds() -> impl Strategy<Value = u16> {
    proptest::sample::select(&[A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV][..])
}

proptest! {
    #[test]
    fn noise_is_not_the_answer(noise in proptest::collection::vec(any::<u8>(), 0..600), kind in kinds()) {
        // Two bytes would have to be the identifier and the question's bytes be repeated.
        prop_assert!(answer(&noise, ID, &question(kind)).is_none_or(|read| read.rcode != NOERROR));
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
        let records = answer(&bytes, ID, &question(kind)).unwrap().records(kind);
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
        let records = answer(&bytes, ID, &question(kind)).and_then(|read| read.records(kind));
        for record in records.into_iter().flatten() {
            let _ = record.to_string();
        }
    }
}
