//! Echo requests and replies.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |     type      |     code 0    |           checksum            |
//! +---------------+---------------+-------------------------------+
//! |          identifier           |        sequence number        |
//! +-------------------------------+-------------------------------+
//! |  what the reply repeats …
//! ```

/// Identifier, sequence number and the bytes to repeat.
pub(crate) const RANDOM: usize = 20;
const LENGTH: usize = 4 + RANDOM;

/// One echo request and how its reply is known.
#[derive(Debug)]
pub(crate) struct Echo {
    v4: bool,
    raw: bool,
    random: [u8; RANDOM],
}

impl Echo {
    /// `raw` sockets choose their own identifier, and have the IPv4 header before what they receive.
    pub(crate) fn new(v4: bool, raw: bool, random: [u8; RANDOM]) -> Self {
        Self { v4, raw, random }
    }

    /// The message to send. For IPv6 the kernel fills in the checksum, and the identifier for datagram
    /// sockets.
    pub(crate) fn request(&self) -> [u8; LENGTH] {
        let mut message = [0; LENGTH];
        message[0] = if self.v4 { 8 } else { 128 };
        message[4..].copy_from_slice(&self.random);
        if self.v4 {
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    /// Whether this is the reply, as a socket gives it. The kernel has checked its checksum.
    pub(crate) fn is_answered_by(&self, received: &[u8]) -> bool {
        let message = if self.v4 && self.raw { without_ipv4_header(received) } else { Some(received) };
        let Some(message) = message.filter(|message| message.len() == LENGTH) else { return false };
        let reply = if self.v4 { 0 } else { 129 };
        let known = if self.raw { &message[4..] } else { &message[6..] };
        // Only a raw socket's identifier is the one that was chosen here.
        message[0] == reply && message[1] == 0 && self.random.ends_with(known)
    }
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(message: &[u8; LENGTH]) -> u16 {
    let sum: u32 =
        message.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded + (folded >> 16)) as u16)
}

fn without_ipv4_header(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    let length = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || length < 20 { None } else { packet.get(length..) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BYTES: [u8; RANDOM] = [7; RANDOM];

    /// As the server would answer, with an IPv4 header if a raw socket hears it.
    fn reply(echo: &Echo) -> Vec<u8> {
        let mut message = echo.request().to_vec();
        message[0] = if echo.v4 { 0 } else { 129 };
        if echo.v4 && echo.raw {
            let header = [0x45, 0, 0, 44, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
            message.splice(0..0, header);
        }
        message
    }

    fn all() -> impl Iterator<Item = Echo> {
        [(true, true), (true, false), (false, true), (false, false)]
            .into_iter()
            .map(|(v4, raw)| Echo::new(v4, raw, BYTES))
    }

    #[test]
    fn a_request_is_as_in_the_rfc() {
        let mut expected = vec![8, 0, 0xb1, 0xb9];
        expected.extend_from_slice(&BYTES);
        assert_eq!(Echo::new(true, false, BYTES).request()[..], expected);
        assert_eq!(Echo::new(false, false, BYTES).request()[..4], [128, 0, 0, 0]);
    }

    #[test]
    fn the_reply_to_another_request_is_not_ours() {
        for echo in all() {
            assert!(echo.is_answered_by(&reply(&echo)), "{echo:?}");
            // A request is no reply: a raw socket on the server's own host hears both.
            assert!(!echo.is_answered_by(&echo.request()), "{echo:?}");
            let other = Echo { random: [8; RANDOM], ..echo };
            assert!(!echo.is_answered_by(&reply(&other)), "{echo:?}");
        }
    }

    #[test]
    fn a_datagram_sockets_identifier_is_the_kernels() {
        for echo in all() {
            let mut reply = reply(&echo);
            let identifier = reply.len() - RANDOM;
            reply[identifier] ^= 1;
            assert_eq!(echo.is_answered_by(&reply), !echo.raw, "{echo:?}");
        }
    }

    proptest! {
        #[test]
        fn noise_is_never_the_reply(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            for echo in all() {
                prop_assert!(!echo.is_answered_by(&noise));
            }
        }

        #[test]
        fn a_reply_with_another_length_is_not_ours(cut in 0_usize..44, more in 1_usize..50) {
            for echo in all() {
                let mut reply = reply(&echo);
                prop_assert!(!echo.is_answered_by(&reply[..cut.min(reply.len() - 1)]));
                reply.extend(vec![0; more]);
                prop_assert!(!echo.is_answered_by(&reply));
            }
        }

        #[test]
        fn the_checksum_makes_the_sum_of_all_words_full(random in any::<[u8; RANDOM]>()) {
            let message = Echo::new(true, false, random).request();
            prop_assert_eq!(checksum(&message), 0);
        }
    }
}
