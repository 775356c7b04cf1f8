//! The two messages of grpc.health.v1, and the frame around them.
//!
//! ```text
//! frame:               compressed (1 byte: 0), length (4 bytes, big endian), message
//! HealthCheckRequest:  string service = 1;
//! HealthCheckResponse: enum ServingStatus status = 1;
//! ```

/// `ServingStatus::SERVING`.
pub(crate) const SERVING: u64 = 1;

/// A frame with a request for the health of a service; empty is the server as a whole.
pub(crate) fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(tag(1, LENGTH_DELIMITED));
        push_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    frame
}

/// The status in a whole answer, which is one frame with a response.
pub(crate) fn response(frame: &[u8]) -> Result<u64, &'static str> {
    let Some((header, message)) = frame.split_first_chunk::<5>() else {
        return Err("the message is cut short");
    };
    let [compressed, length @ ..] = *header;
    if compressed != 0 {
        return Err("the message is compressed, which nobody asked for");
    }
    if u32::from_be_bytes(length) as usize != message.len() {
        return Err("the message is not as long as it says");
    }
    status(message).ok_or("the message is no HealthCheckResponse")
}

/// Field 1 of a message. Protocol buffers: the last one counts, none is 0, unknown fields are passed over.
fn status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        match (key >> 3, (key & 7) as u8) {
            (1, VARINT) => status = take_varint(&mut message)?,
            (0 | 1, _) => return None,
            (_, VARINT) => drop(take_varint(&mut message)?),
            (_, FIXED64) => message = message.get(8..)?,
            (_, FIXED32) => message = message.get(4..)?,
            (_, LENGTH_DELIMITED) => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            // Groups are of the past.
            _ => return None,
        }
    }
    Some(status)
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

const fn tag(field: u8, kind: u8) -> u8 {
    field << 3 | kind
}

fn push_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

/// Up to ten bytes; what does not fit into 64 bits is no varint.
fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

pub(crate) fn health_name(status: u64) -> String {
    match status {
        0 => "UNKNOWN".to_owned(),
        SERVING => "SERVING".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => format!("status {other}"),
    }
}

/// The names of the statuses in `grpc-status`.
pub(crate) fn status_name(status: &[u8]) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let number: usize = std::str::from_utf8(status).ok()?.parse().ok()?;
    NAMES.get(number).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(message: &[u8]) -> Vec<u8> {
        let mut frame = vec![0];
        frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
        frame.extend_from_slice(message);
        frame
    }

    #[test]
    fn a_request_names_its_service() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        assert_eq!(request(&"x".repeat(300))[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn a_response_is_the_last_status_in_it() {
        for (message, status) in [
            (&[][..], 0),
            (&[0x08, 1], 1),
            (&[0x08, 2, 0x08, 1], 1),
            // Unknown fields of all kinds around it.
            (&[0x10, 7, 0x08, 3, 0x1a, 2, 9, 9, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x2d, 1, 2, 3, 4], 3),
            // -1: an enum's negative numbers take ten bytes.
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], u64::MAX),
        ] {
            assert_eq!(response(&frame(message)), Ok(status), "{message:x?}");
        }
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for message in [
            &[0x08][..],
            &[0x08, 0x81],
            &[0x00, 1],
            &[0x0a, 1, 1],
            &[0x12, 5, 1],
            &[0x13],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ] {
            assert!(response(&frame(message)).is_err(), "{message:x?}");
        }
        assert!(response(&[0, 0, 0, 0]).is_err());
        assert!(response(&[1, 0, 0, 0, 2, 0x08, 1]).is_err(), "compressed");
        assert!(response(&[0, 0, 0, 0, 3, 0x08, 1]).is_err(), "too short");
        assert!(response(&[0, 0, 0, 0, 2, 0x08, 1, 0]).is_err(), "too long");
    }

    proptest! {
        #[test]
        fn noise_is_a_response_or_refused(noise in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = response(&noise);
            let _ = response(&frame(&noise));
            let _ = status_name(&noise);
        }

        #[test]
        fn varints_come_back(value: u64, rest in proptest::collection::vec(any::<u8>(), 0..4)) {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, value);
            bytes.extend_from_slice(&rest);
            let mut message = &bytes[..];
            prop_assert_eq!(take_varint(&mut message), Some(value));
            prop_assert_eq!(message, &rest[..]);
        }

        #[test]
        fn the_request_reads_back_as_field_one(service in "\\PC{0,200}") {
            let frame = request(&service);
            let mut message = &frame[5..];
            if !service.is_empty() {
                prop_assert_eq!(take_varint(&mut message), Some(0x0a));
                prop_assert_eq!(take_varint(&mut message), Some(service.len() as u64));
            }
            prop_assert_eq!(message, service.as_bytes());
        }
    }
}
