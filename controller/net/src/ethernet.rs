//! Ethernet II frames (RFC 894, RFC 2464).
//!
//! ```text
//!  0                   6                   12          14
//! +-------------------+-------------------+-----------+----------
//! | destination       | source            | EtherType | payload
//! +-------------------+-------------------+-----------+----------
//! ```
//! The kernel takes VLAN tags off before a packet socket sees a frame, so there are none here.

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Every station on the segment.
pub const BROADCAST: Mac = [0xff; 6];

/// The `EtherType` of ARP.
pub const ARP: u16 = 0x0806;

/// The `EtherType` of IPv6.
pub const IPV6: u16 = 0x86dd;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 14;

/// A received frame, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// To whom.
    pub destination: Mac,
    /// From whom.
    pub source: Mac,
    /// What the payload is.
    pub ethertype: u16,
    /// The rest, with any padding up to the minimum frame length.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// `None` when there are fewer bytes than a header has.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (destination, rest) = bytes.split_first_chunk::<6>()?;
        let (source, rest) = rest.split_first_chunk::<6>()?;
        let (ethertype, payload) = rest.split_first_chunk::<2>()?;
        Some(Self {
            destination: *destination,
            source: *source,
            ethertype: u16::from_be_bytes(*ethertype),
            payload,
        })
    }
}

/// The header of a frame to be sent.
pub(crate) fn header(destination: Mac, source: Mac, ethertype: u16) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[..6].copy_from_slice(&destination);
    bytes[6..12].copy_from_slice(&source);
    bytes[12..].copy_from_slice(&ethertype.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirteen_bytes_are_no_frame_and_fourteen_are_an_empty_one() {
        let bytes = header(BROADCAST, [2, 0, 0, 0, 0, 1], ARP);
        assert_eq!(Frame::parse(&bytes[..13]), None);
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!((frame.destination, frame.source, frame.ethertype), (BROADCAST, [2, 0, 0, 0, 0, 1], ARP));
        assert!(frame.payload.is_empty());
    }
}
