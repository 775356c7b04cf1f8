//! Messages of DNS: a question to send, and what its answer holds.
//!
//! ```text
//! header:   id, flags (QR, opcode, AA, TC, RD, RA, rcode), counts of questions, answers, authorities, others
//! question: name, type, class                         (numbers are of 16 bits, big endian)
//! record:   name, type, class, TTL (32 bits), length, data
//! ```

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::name::Name;

pub(super) const A: u16 = 1;
pub(super) const NS: u16 = 2;
pub(super) const CNAME: u16 = 5;
pub(super) const SOA: u16 = 6;
pub(super) const PTR: u16 = 12;
pub(super) const MX: u16 = 15;
pub(super) const TXT: u16 = 16;
pub(super) const AAAA: u16 = 28;
pub(super) const SRV: u16 = 33;

const INTERNET: u16 = 1;
const HEADER: usize = 12;
const IS_ANSWER: u16 = 0x8000;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;

pub(super) const NOERROR: u8 = 0;
pub(super) const NXDOMAIN: u8 = 3;

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) name: Name,
    pub(super) kind: u16,
}

impl Question {
    /// The whole message that asks it.
    pub(super) fn encode(&self, id: u16) -> Vec<u8> {
        let mut message = Vec::new();
        for number in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
            message.extend_from_slice(&number.to_be_bytes());
        }
        self.name.encode(&mut message);
        for number in [self.kind, INTERNET] {
            message.extend_from_slice(&number.to_be_bytes());
        }
        message
    }

    /// Reads the question that a message repeats, and gives the offset behind it if it is this one.
    fn repeated_in(&self, message: &[u8]) -> Option<usize> {
        let (name, at) = Name::read(message, HEADER)?;
        let same =
            name == self.name && number(message, at)? == self.kind && number(message, at + 2)? == INTERNET;
        same.then_some(at + 4)
    }
}

/// An answer to our question.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) rcode: u8,
    /// More would not fit (TC).
    pub(super) truncated: bool,
    bytes: &'a [u8],
    records_at: usize,
    count: u16,
}

/// A datagram as the answer to a question; none if it is something else.
pub(super) fn answer<'a>(bytes: &'a [u8], id: u16, question: &Question) -> Option<Message<'a>> {
    let flags = number(bytes, 2)?;
    // Opcode 0: a standard query's answer.
    if number(bytes, 0)? != id || flags & IS_ANSWER == 0 || flags & 0x7800 != 0 || bytes.len() < HEADER {
        return None;
    }
    let rcode = (flags & 0x000f) as u8;
    let (records_at, count) = match number(bytes, 4)? {
        1 => (question.repeated_in(bytes)?, number(bytes, 6)?),
        // A server that refuses to read the question may leave it out.
        0 if rcode != NOERROR && rcode != NXDOMAIN => (HEADER, 0),
        _ => return None,
    };
    Some(Message { rcode, truncated: flags & TRUNCATED != 0, bytes, records_at, count })
}

impl Message<'_> {
    /// The answers of a type; none if they cannot be read. A truncated message has those that it has in full.
    pub(super) fn records(&self, kind: u16) -> Option<Vec<Record>> {
        let mut records = Vec::new();
        let mut at = self.records_at;
        for _ in 0..self.count {
            match record(self.bytes, at, kind) {
                Some((record, behind)) => {
                    records.extend(record);
                    at = behind;
                }
                None if self.truncated => break,
                None => return None,
            }
        }
        Some(records)
    }
}

/// The record at an offset, if it is of this type, and the offset behind it.
fn record(bytes: &[u8], at: usize, kind: u16) -> Option<(Option<Record>, usize)> {
    let (_, fields) = Name::read(bytes, at)?;
    let data = fields + 10;
    let end = data + usize::from(number(bytes, fields + 8)?);
    // Names in the data may point to before it, but end with it.
    let upto = bytes.get(..end)?;
    if number(bytes, fields)? != kind || number(bytes, fields + 2)? != INTERNET {
        return Some((None, end));
    }
    let name = |at: usize| {
        let (name, behind) = Name::read(upto, at)?;
        (behind == end || kind == SOA).then_some(Record::Name(name))
    };
    let record = match kind {
        A => Record::V4(Ipv4Addr::from(*upto.get(data..)?.as_array::<4>()?)),
        AAAA => Record::V6(Ipv6Addr::from(*upto.get(data..)?.as_array::<16>()?)),
        MX => name(data + 2)?,
        SRV => name(data + 6)?,
        TXT => Record::Text(text(upto.get(data..)?)?),
        _ => name(data)?,
    };
    Some((Some(record), end))
}

/// The strings of a TXT record as one (RFC 7208, section 3.3).
fn text(mut data: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    while let Some((&length, rest)) = data.split_first() {
        let (string, rest) = rest.split_at_checked(usize::from(length))?;
        text.extend_from_slice(string);
        data = rest;
    }
    Some(text)
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

/// What a record says, as far as it can be expected: of MX, SRV and SOA that is the (first) name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    Name(Name),
    Text(Vec<u8>),
}

impl Record {
    /// From the text of `expectedAnswer`, for a type.
    pub(super) fn parse(kind: u16, text: &str) -> Option<Self> {
        match kind {
            A => text.parse().ok().map(Self::V4),
            AAAA => text.parse().ok().map(Self::V6),
            TXT => Some(Self::Text(text.as_bytes().to_vec())),
            _ => Name::parse(text).map(Self::Name),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(formatter),
            Self::V6(address) => address.fmt(formatter),
            Self::Name(name) => name.fmt(formatter),
            Self::Text(text) => write!(formatter, "\"{}\"", String::from_utf8_lossy(text)),
        }
    }
}

/// A response code by its name, else its number.
pub(super) fn rcode_name(rcode: u8) -> String {
    let name = match rcode {
        NOERROR => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        NXDOMAIN => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        other => return format!("code {other}"),
    };
    name.to_owned()
}
