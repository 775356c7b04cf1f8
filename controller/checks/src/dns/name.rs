//! Names of DNS: as text, and as labels in a message, where the end of one may be a pointer back to another.

use std::fmt;

/// A name in small letters, as labels with their length before them, without the root's empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(Vec<u8>);

/// With the lengths and the root (RFC 1035, section 2.3.4).
const LONGEST: usize = 255;
const LONGEST_LABEL: usize = 63;

impl Name {
    /// From text such as `example.com` or `example.com.`; `.` is the root.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut name = Vec::new();
        let text = text.strip_suffix('.').unwrap_or(text);
        let root = text.is_empty();
        for label in text.split('.').filter(|_| !root) {
            let printable = label.bytes().all(|byte| byte.is_ascii_graphic());
            if label.is_empty() || label.len() > LONGEST_LABEL || !printable {
                return None;
            }
            name.push(label.len() as u8);
            name.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        (name.len() < LONGEST).then_some(Self(name))
    }

    /// From a message, at an offset, with the offset behind it.
    ///
    /// A pointer must lead to before where the labels that it ends began, so that this comes to an end.
    pub(super) fn read(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let mut name = Vec::new();
        let mut behind = None;
        let (mut at, mut began) = (at, at);
        loop {
            let length = usize::from(*message.get(at)?);
            match length >> 6 {
                0b00 if length == 0 => return Some((Self(name), behind.unwrap_or(at + 1))),
                0b00 => {
                    let label = message.get(at + 1..=at + length)?;
                    name.push(length as u8);
                    name.extend(label.iter().map(u8::to_ascii_lowercase));
                    if name.len() >= LONGEST {
                        return None;
                    }
                    at += 1 + length;
                }
                0b11 => {
                    let target = (length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                    if target >= began {
                        return None;
                    }
                    behind.get_or_insert(at + 2);
                    (at, began) = (target, target);
                }
                _ => return None,
            }
        }
    }

    /// As it stands in a message.
    pub(super) fn encode(&self, message: &mut Vec<u8>) {
        message.extend_from_slice(&self.0);
        message.push(0);
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str(".");
        }
        let mut rest = &self.0[..];
        let mut dot = "";
        while let Some((&length, behind)) = rest.split_first() {
            let (label, behind) = behind.split_at(usize::from(length));
            write!(formatter, "{dot}{}", label.escape_ascii())?;
            (rest, dot) = (behind, ".");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_the_same_in_any_case_and_with_a_dot_at_the_end() {
        let name = Name::parse("Example.COM").unwrap();
        assert_eq!(name, Name::parse("example.com.").unwrap());
        assert_eq!(name, Name(b"\x07example\x03com".to_vec()));
        assert_eq!(name.to_string(), "example.com");
        assert_eq!(Name::parse(".").unwrap().to_string(), ".");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("{}.", "a".repeat(63)).repeat(4);
        for text in ["a..b", ".a", "..", "a b", "ü.example", &"a".repeat(64), &long] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
        assert!(Name::parse(&"a".repeat(63)).is_some());
    }

    #[test]
    fn a_pointer_ends_a_name_and_leads_back() {
        let message = b"\x03com\0\x07example\xc0\x00\x03www\xc0\x05!";
        let (name, behind) = Name::read(message, 15).unwrap();
        assert_eq!(name.to_string(), "www.example.com");
        assert_eq!(message[behind], b'!');
    }

    #[test]
    fn pointers_in_a_circle_are_no_name() {
        for (message, at) in [
            (&b"\xc0\x00"[..], 0),
            (b"\x01a\xc0\x00", 0),
            (b"\x01a\xc0\x00", 2),
            (b"\xc0\x02\xc0\x00", 2),
            (b"\x01a\xc0\x04\x00", 0),
        ] {
            assert_eq!(Name::read(message, at), None, "{message:x?} at {at}");
        }
    }

    proptest! {
        #[test]
        fn noise_is_a_short_name_or_none(
            mut noise in proptest::collection::vec(any::<u8>(), 0..600),
            at in 0_usize..620,
        ) {
            // Short labels and pointers, more than chance would have them.
            for byte in &mut noise {
                *byte = if *byte < 200 { *byte % 8 } else { *byte | 0xc0 };
            }
            if let Some((name, behind)) = Name::read(&noise, at) {
                prop_assert!(name.0.len() < LONGEST && behind <= noise.len());
                let _ = name.to_string();
            }
        }

        #[test]
        fn a_name_comes_back_from_a_message(text in "[a-z0-9_-]{1,63}(\\.[a-z0-9_-]{1,20}){0,5}") {
            let name = Name::parse(&text).unwrap();
            let mut message = vec![9, 9];
            name.encode(&mut message);
            prop_assert_eq!(Name::read(&message, 2), Some((name, message.len())));
        }
    }
}
