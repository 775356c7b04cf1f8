use proptest::prelude::*;

use super::*;

const MAC: Mac = [0x02, 0x42, 0xac, 0x10, 0x15, 0x0a];
const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x21, 0x10);

#[test]
fn an_advertisement_goes_to_all_nodes_with_override_set_and_router_clear() {
    let expected = [
        0x33, 0x33, 0, 0, 0, 1, 0x02, 0x42, 0xac, 0x10, 0x15, 0x0a, 0x86, 0xdd, // Ethernet
        0x60, 0, 0, 0, 0, 32, 58, 255, // IPv6
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 0x10, // from the VIP
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // to all nodes
        136, 0, 0x37, 0x6f, 0x20, 0, 0, 0, // advertisement, override
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 0x10, // target
        2, 1, 0x02, 0x42, 0xac, 0x10, 0x15, 0x0a, // its MAC
    ];
    assert_eq!(unsolicited_advertisement(MAC, VIP), expected);
}

#[test]
fn a_solicitation_comes_from_nobody_and_goes_to_the_solicited_node_group() {
    let expected = [
        0x33, 0x33, 0xff, 0x21, 0, 0x10, 0x02, 0x42, 0xac, 0x10, 0x15, 0x0a, 0x86, 0xdd, // Ethernet
        0x60, 0, 0, 0, 0, 24, 58, 255, // IPv6
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // from ::
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x21, 0, 0x10, // to ff02::1:ff21:10
        135, 0, 0x4c, 0x8d, 0, 0, 0, 0, // solicitation
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 0x10, // target
    ];
    assert_eq!(solicitation(MAC, VIP), expected);
}

#[test]
fn our_own_advertisement_is_read_back_padded_or_not() {
    let frame = unsolicited_advertisement(MAC, VIP);
    let read = Advertisement {
        source_mac: MAC,
        target: VIP,
        target_mac: Some(MAC),
        router: false,
        solicited: false,
        overrides: true,
    };
    assert_eq!(Advertisement::parse(&frame), Some(read));
    let padded: Vec<u8> = frame.iter().copied().chain([0xaa; 9]).collect();
    assert_eq!(Advertisement::parse(&padded), Some(read));
}

#[test]
fn one_changed_bit_anywhere_in_the_message_fails_its_checksum() {
    for at in HEADER_LEN + IPV6_HEADER_LEN..ADVERTISEMENT_LEN {
        let mut frame = unsolicited_advertisement(MAC, VIP);
        frame[at] ^= 1;
        assert_eq!(Advertisement::parse(&frame), None, "byte {at}");
    }
}

#[test]
fn a_frame_cut_anywhere_is_not_read() {
    let frame = unsolicited_advertisement(MAC, VIP);
    for length in 0..frame.len() {
        assert_eq!(Advertisement::parse(&frame[..length]), None, "{length} bytes");
    }
}

/// The frame of an advertisement with this message, checksum put in place.
fn advertisement<const MESSAGE: usize, const FRAME: usize>(
    change: impl FnOnce(&mut [u8; MESSAGE]),
) -> [u8; FRAME] {
    let mut message = [0; MESSAGE];
    message[0] = ADVERTISEMENT;
    message[8..24].copy_from_slice(&VIP.octets());
    change(&mut message);
    frame(MAC, VIP, ALL_NODES, &mut message)
}

#[test]
fn an_advertisement_that_passed_a_router_is_not_read() {
    let mut frame = unsolicited_advertisement(MAC, VIP);
    frame[HEADER_LEN + 7] = 254;
    assert_eq!(Advertisement::parse(&frame), None);
}

#[test]
fn without_the_option_the_holder_is_the_source_of_the_frame() {
    let frame: [u8; 78] = advertisement::<24, 78>(|_| ());
    let read = Advertisement::parse(&frame).unwrap();
    assert_eq!((read.target_mac, read.holder(), read.target), (None, MAC, VIP));
}

#[test]
fn our_own_question_is_read_back_and_names_nobody_but_the_frame() {
    let read = Solicitation { mac: MAC, source: Ipv6Addr::UNSPECIFIED, target: VIP };
    assert_eq!(Solicitation::parse(&solicitation(MAC, VIP)), Some(read));
    assert_eq!(Solicitation::parse(&unsolicited_advertisement(MAC, VIP)), None);
    assert_eq!(Advertisement::parse(&solicitation(MAC, VIP)), None);
}

#[test]
fn a_solicitation_from_an_address_names_who_has_it() {
    let other = [2, 0, 0, 0, 0, 9];
    let mut message = [0; MESSAGE_LEN + MAC_OPTION_LEN];
    message[0] = SOLICITATION;
    let target: Ipv6Addr = "2001:db8::1".parse().unwrap();
    message[8..24].copy_from_slice(&target.octets());
    message[24] = OPTION_SOURCE_MAC;
    message[25] = 1;
    message[26..].copy_from_slice(&other);
    let from_vip: [u8; 86] = frame(MAC, VIP, solicited_node(target), &mut message);
    let read = Solicitation { mac: other, source: VIP, target };
    assert_eq!(Solicitation::parse(&from_vip), Some(read));
    // From nobody the option is forbidden (RFC 4861 section 7.1.1).
    message[2..4].fill(0);
    let from_nobody: [u8; 86] = frame(MAC, Ipv6Addr::UNSPECIFIED, solicited_node(target), &mut message);
    assert_eq!(Solicitation::parse(&from_nobody), None);
}

#[test]
fn an_option_of_length_zero_or_longer_than_the_message_spoils_it() {
    for length in [0, 2, 255] {
        let frame: [u8; 86] = advertisement::<32, 86>(|message| {
            message[24] = OPTION_TARGET_MAC;
            message[25] = length;
        });
        assert_eq!(Advertisement::parse(&frame), None, "length {length}");
    }
}

#[test]
fn a_multicast_target_and_a_solicited_answer_to_all_nodes_are_refused() {
    let multicast: [u8; 78] = advertisement::<24, 78>(|message| message[8] = 0xff);
    assert_eq!(Advertisement::parse(&multicast), None);
    let solicited: [u8; 78] = advertisement::<24, 78>(|message| message[4] = FLAG_SOLICITED);
    assert_eq!(Advertisement::parse(&solicited), None);
}

proptest! {
    #[test]
    fn an_encoded_advertisement_says_what_was_put_in(mac in any::<Mac>(), vip in any::<Ipv6Addr>()) {
        let read = Advertisement::parse(&unsolicited_advertisement(mac, vip));
        if vip.is_multicast() {
            prop_assert_eq!(read, None);
        } else {
            let read = read.expect("our own frame is valid");
            prop_assert_eq!((read.holder(), read.target, read.overrides), (mac, vip, true));
        }
    }

    #[test]
    fn no_bytes_after_a_valid_head_make_the_parser_panic(
        tail in proptest::collection::vec(any::<u8>(), 0..120),
        length in any::<u16>(),
    ) {
        let mut frame = unsolicited_advertisement(MAC, VIP)[..HEADER_LEN + IPV6_HEADER_LEN].to_vec();
        frame[HEADER_LEN + 4..HEADER_LEN + 6].copy_from_slice(&length.to_be_bytes());
        frame.extend(&tail);
        // Parsed or not, it is only ever about bytes that are there.
        if let Some(read) = Advertisement::parse(&frame) {
            prop_assert!(usize::from(length) <= tail.len());
            prop_assert!(!read.target.is_multicast());
        }
    }

    #[test]
    fn random_options_with_a_right_checksum_never_panic_and_never_invent_a_mac(
        options in any::<[u8; 32]>(),
    ) {
        let frame: [u8; 110] = advertisement::<56, 110>(|message| message[24..].copy_from_slice(&options));
        if let Some(mac) = Advertisement::parse(&frame).and_then(|read| read.target_mac) {
            prop_assert!(options.windows(8).any(|window| window[..2] == [2, 1] && window[2..] == mac));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(Advertisement::parse(&bytes).is_some() && bytes.len() < SOLICITATION_LEN, false);
    }
}
