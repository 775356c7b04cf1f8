//! The question and what its answer says, in hickory-proto's messages.
//!
//! Of an answer the header, the question and the answers are read, one record after the other, and nothing
//! behind them: what a truncated message has in full counts, and additional records cannot spoil it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder, DecodeError};

/// What is asked.
#[derive(Debug)]
pub(super) struct Question(Query);

impl Question {
    /// None if the text is no name: `example.com` or `example.com.`; `.` is the root.
    pub(super) fn new(text: &str, kind: RecordType) -> Option<Self> {
        Some(Self(Query::query(name(text)?, kind)))
    }

    /// The type asked for.
    pub(super) fn kind(&self) -> RecordType {
        self.0.query_type()
    }

    /// The whole message that asks it.
    pub(super) fn encode(&self, id: u16) -> Vec<u8> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(self.0.clone());
        message.to_vec().expect("a name was held to its length when it was read from text")
    }

    /// A datagram as the answer to this question; none if it is something else.
    pub(super) fn answer<'a>(&self, datagram: &'a [u8], id: u16) -> Option<Answer<'a>> {
        let mut decoder = BinDecoder::new(datagram);
        let Header { metadata, counts } = Header::read(&mut decoder).ok()?;
        let is_answer = metadata.message_type == MessageType::Response && metadata.op_code == OpCode::Query;
        if metadata.id != id || !is_answer {
            return None;
        }
        let rcode = metadata.response_code;
        let count = match counts.queries {
            1 if Query::read(&mut decoder).ok()? == self.0 => counts.answers,
            // A server that refuses to read the question may leave it out.
            0 if ![ResponseCode::NoError, ResponseCode::NXDomain].contains(&rcode) => 0,
            _ => return None,
        };
        Some(Answer { rcode, truncated: metadata.truncation, records: decoder, count })
    }
}

impl fmt::Display for Question {
    /// `A example.com`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind(), Written(self.0.name()))
    }
}

/// An answer to our question, of which the records are still to be read.
pub(super) struct Answer<'a> {
    pub(super) rcode: ResponseCode,
    /// More would not fit (TC).
    pub(super) truncated: bool,
    records: BinDecoder<'a>,
    count: u16,
}

impl Answer<'_> {
    /// The answers of a type; none if they cannot be read. A truncated message has those that it has in full.
    pub(super) fn records(mut self, kind: RecordType) -> Option<Vec<Record>> {
        let mut records = Vec::new();
        for _ in 0..self.count {
            match record(&mut self.records, kind) {
                Ok(record) => records.extend(record),
                Err(_) if self.truncated => break,
                Err(_) => return None,
            }
        }
        Some(records)
    }
}

/// The next record, if it is of this type. The data of others is passed over, whatever it is: hickory's own
/// reading of whole records would refuse the message, or log what it finds.
fn record(decoder: &mut BinDecoder<'_>, kind: RecordType) -> Result<Option<Record>, DecodeError> {
    Name::read(decoder)?;
    let (found, class) = (RecordType::read(decoder)?, DNSClass::read(decoder)?);
    let _seconds_to_live = decoder.read_u32()?;
    let length = decoder.read_u16()?;
    if found != kind || class != DNSClass::IN {
        decoder.read_slice(usize::from(length.unverified(/* read_slice does that */)))?;
        return Ok(None);
    }
    Ok(Record::of(RData::read(decoder, kind, length)?))
}

/// What a record says, as far as it can be expected: of MX, SRV and SOA that is the (first) name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    /// Compared without regard to case.
    Name(Name),
    Text(Vec<u8>),
}

impl Record {
    /// From the text of `expectedAnswer`, for a type.
    pub(super) fn parse(kind: RecordType, text: &str) -> Option<Self> {
        match kind {
            RecordType::A => text.parse().ok().map(Self::V4),
            RecordType::AAAA => text.parse().ok().map(Self::V6),
            RecordType::TXT => Some(Self::Text(text.as_bytes().to_vec())),
            _ => name(text).map(Self::Name),
        }
    }

    /// None of what nobody asks for.
    fn of(data: RData) -> Option<Self> {
        Some(match data {
            RData::A(address) => Self::V4(address.0),
            RData::AAAA(address) => Self::V6(address.0),
            RData::CNAME(alias) => Self::Name(alias.0),
            RData::NS(server) => Self::Name(server.0),
            RData::PTR(pointer) => Self::Name(pointer.0),
            RData::MX(mail) => Self::Name(mail.exchange),
            RData::SRV(service) => Self::Name(service.target),
            RData::SOA(zone) => Self::Name(zone.mname),
            // The strings of a TXT record are one (RFC 7208, section 3.3).
            RData::TXT(text) => Self::Text(text.txt_data.concat()),
            _ => return None,
        })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(formatter),
            Self::V6(address) => address.fmt(formatter),
            Self::Name(name) => Written(name).fmt(formatter),
            Self::Text(text) => write!(formatter, "\"{}\"", String::from_utf8_lossy(text)),
        }
    }
}

/// hickory's own reading of text knows escapes, asterisks and IDNA, and refuses a hyphen in front: here a
/// label is what stands between two dots.
fn name(text: &str) -> Option<Name> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Some(Name::root());
    }
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    Name::from_labels(text.split('.').map(str::as_bytes)).ok().filter(|_| printable)
}

/// A name in small letters, without the last dot; hickory's own way would show `xn--` labels decoded.
struct Written<'a>(&'a Name);

impl fmt::Display for Written<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_root() {
            return formatter.write_str(".");
        }
        let labels: Vec<_> =
            self.0.iter().map(|label| label.to_ascii_lowercase().escape_ascii().to_string()).collect();
        formatter.write_str(&labels.join("."))
    }
}

/// A response code as RFC 1035 and everybody's tools name it, else its number.
pub(super) fn rcode_name(rcode: ResponseCode) -> String {
    let name = match rcode {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        other => return format!("code {}", u16::from(other)),
    };
    name.to_owned()
}
