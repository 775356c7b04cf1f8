//! From datagrams to messages, and from a message to its attributes.

use std::{io::Cursor, ops::Range};

use neli::{
    FromBytes, FromBytesWithInput, Header,
    consts::nl::{NlmF, Nlmsg},
    err::{DeError, NlmsghdrAck},
    genl::{Genlmsghdr, Nlattr},
};

use super::attrs::{Attr, nlmsgerr};
use crate::CommandError;

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("{0}")]
    Framing(String),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{name} has {length} bytes")]
    Length { name: &'static str, length: usize },
    #[error("{name} is {value}")]
    Value { name: &'static str, value: u64 },
}

fn framing(error: &DeError) -> Malformed {
    Malformed::Framing(error.to_string())
}

/// One message of the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// The sequence number of the request that it answers.
    pub(crate) sequence: u32,
    pub(crate) answer: Answer<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    /// Attributes, after the generic netlink header.
    Data(&'a [u8]),
    /// The command was carried out, or the dump has ended.
    Done,
    /// The command or the dump was refused.
    Refused(CommandError),
}

/// The header of a message, which neli has as what an acknowledgement echoes. Its `Nlmsghdr` reads the payload too
/// and expects a refusal to carry the whole request; a capped one (`NETLINK_CAP_ACK`) has only this header.
type MessageHeader = NlmsghdrAck<u16>;

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// The messages of one datagram. It ends with the first that cannot be read.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let next = header(datagram).and_then(|header| {
            let length = *header.nl_len() as usize;
            let payload =
                datagram.get(HEADER..length).ok_or(Malformed::Length { name: "nlmsghdr", length })?;
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
            Ok((header, payload))
        });
        if next.is_err() {
            datagram = &[];
        }
        Some(next.and_then(|(header, payload)| message(&header, payload)))
    })
}

fn header(bytes: &[u8]) -> Result<MessageHeader, Malformed> {
    MessageHeader::from_bytes(&mut Cursor::new(bytes)).map_err(|error| framing(&error))
}

fn message<'a>(header: &MessageHeader, payload: &'a [u8]) -> Result<Message<'a>, Malformed> {
    let flags = *header.nl_flags();
    let answer = match Nlmsg::from(*header.nl_type()) {
        Nlmsg::Error => {
            let (number, rest) = leading_i32(payload, "nlmsgerr")?;
            // The refused request comes back before the extended ACK; whole, unless it was capped.
            let capped = number == 0 || flags.contains(NlmF::CAPPED);
            let echo = if capped { HEADER } else { echo_length(rest) };
            outcome(number, flags, rest.get(echo..).unwrap_or_default())
        }
        Nlmsg::Done if payload.is_empty() => Answer::Done,
        Nlmsg::Done => {
            let (number, rest) = leading_i32(payload, "NLMSG_DONE")?;
            outcome(number, flags, rest)
        }
        _ => Answer::Data(
            payload
                .get(Genlmsghdr::<u8, u16>::header_size()..)
                .ok_or(Malformed::Length { name: "genlmsghdr", length: payload.len() })?,
        ),
    };
    Ok(Message { sequence: *header.nl_seq(), answer })
}

/// How long the request is that a refusal begins with.
fn echo_length(bytes: &[u8]) -> usize {
    header(bytes).map_or(0, |request| (*request.nl_len() as usize).min(bytes.len()).next_multiple_of(4))
}

fn leading_i32<'a>(payload: &'a [u8], name: &'static str) -> Result<(i32, &'a [u8]), Malformed> {
    let (number, rest) =
        payload.split_first_chunk().ok_or(Malformed::Length { name, length: payload.len() })?;
    Ok((i32::from_ne_bytes(*number), rest))
}

fn outcome(number: i32, flags: NlmF, extended_ack: &[u8]) -> Answer<'static> {
    // Positive numbers are none: a dump's NLMSG_DONE carries what its last step returned.
    if number >= 0 {
        return Answer::Done;
    }
    let message = flags
        .contains(NlmF::ACK_TLVS)
        .then(|| Attributes::parse(extended_ack).ok()?.get(nlmsgerr::MSG).map(text))
        .flatten();
    Answer::Refused(CommandError::Refused { errno: number.saturating_neg(), message })
}

pub(super) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// Where the value of an attribute lies: neli's `Buffer` would copy it, and once more for each level around it.
#[derive(Debug)]
struct Place(Range<usize>);

impl FromBytesWithInput for Place {
    type Input = usize;

    fn from_bytes_with_input(buffer: &mut Cursor<impl AsRef<[u8]>>, length: usize) -> Result<Self, DeError> {
        let start = buffer.position() as usize;
        let end = start + length;
        if end > buffer.get_ref().as_ref().len() {
            return Err(DeError::InvalidInput(length));
        }
        buffer.set_position(end as u64);
        Ok(Self(start..end))
    }
}

/// The attributes of one level, by number. Newer kernels may send more than are known here.
pub(super) struct Attributes<'a>([Option<&'a [u8]>; 16]);

impl<'a> Attributes<'a> {
    /// Neli expects padding after the last attribute too; the kernel always writes it (`__nla_reserve`).
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut values = [None; 16];
        let mut cursor = Cursor::new(bytes);
        while (cursor.position() as usize) < bytes.len() {
            let attribute = Nlattr::<u16, Place>::from_bytes(&mut cursor).map_err(|error| framing(&error))?;
            let number = usize::from(*attribute.nla_type().nla_type());
            if let Some(slot) = values.get_mut(number) {
                *slot = Some(&bytes[attribute.nla_payload().0.clone()]);
            }
        }
        Ok(Self(values))
    }

    pub(super) fn get(&self, attr: Attr) -> Option<&'a [u8]> {
        self.0[usize::from(attr.number)]
    }

    pub(super) fn need(&self, attr: Attr) -> Result<&'a [u8], Malformed> {
        self.get(attr).ok_or(Malformed::Missing(attr.name))
    }

    pub(super) fn nested(&self, attr: Attr) -> Result<Self, Malformed> {
        Self::parse(self.need(attr)?)
    }

    pub(super) fn find<const N: usize>(&self, attr: Attr) -> Result<Option<[u8; N]>, Malformed> {
        self.get(attr).map(|value| exactly(attr, value)).transpose()
    }

    pub(super) fn bytes<const N: usize>(&self, attr: Attr) -> Result<[u8; N], Malformed> {
        exactly(attr, self.need(attr)?)
    }

    pub(super) fn u16(&self, attr: Attr) -> Result<u16, Malformed> {
        self.bytes(attr).map(u16::from_ne_bytes)
    }

    pub(super) fn be16(&self, attr: Attr) -> Result<u16, Malformed> {
        self.bytes(attr).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&self, attr: Attr) -> Result<u32, Malformed> {
        self.bytes(attr).map(u32::from_ne_bytes)
    }

    /// A counter: 4 bytes in `*_ATTR_STATS`, but for the bytes, 8 in `*_ATTR_STATS64`.
    pub(super) fn counter(&self, attr: Attr) -> Result<u64, Malformed> {
        let value = self.need(attr)?;
        match value.len() {
            4 => self.u32(attr).map(u64::from),
            _ => exactly(attr, value).map(u64::from_ne_bytes),
        }
    }
}

fn exactly<const N: usize>(attr: Attr, value: &[u8]) -> Result<[u8; N], Malformed> {
    value.try_into().map_err(|_| Malformed::Length { name: attr.name, length: value.len() })
}

pub(super) fn invalid(attr: Attr, value: impl Into<u64>) -> Malformed {
    Malformed::Value { name: attr.name, value: value.into() }
}
