//! Frames of the network as ARP, neighbour discovery, and sightings of an address.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lvs_net::{arp, ndp, sighting::Sighting};

fuzz_target!(|frame: &[u8]| {
    let sighting = Sighting::read(frame);
    let read = [
        arp::Packet::parse(frame).is_some(),
        ndp::Advertisement::parse(frame).is_some(),
        ndp::Solicitation::parse(frame).is_some(),
    ];
    assert!(read.iter().filter(|read| **read).count() <= 1, "a frame is one thing");
    assert!(sighting.is_none() || read.contains(&true), "a sighting is of one of them");
});
