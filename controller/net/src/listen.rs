//! Hearing that another station claims a VIP that this host holds (RFC 5227 section 2.4): after the probe nobody
//! else would notice.

use std::{io, net::IpAddr};

use tokio::net::UdpSocket;

use crate::{
    ethernet::{self, Mac},
    filter,
    link::Link,
    packet::PacketSocket,
    sighting::{Claim, Sighting},
};

/// Room for frames that wait, in bytes. More than that at once is a storm, of which a part tells enough.
const RECEIVE_BUFFER: usize = 128 << 10;

/// Why nobody listens on a link.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on interface {link} for other holders of its VIPs (CAP_NET_RAW is needed)")]
pub struct Error {
    /// Link name.
    link: String,
    /// Why.
    #[source]
    source: io::Error,
}

/// Listens on one link. What concerns none of the VIPs is mostly sorted out by the kernel and wakes nobody.
#[derive(Debug)]
pub struct Listener {
    arp: Option<UdpSocket>,
    ndp: Option<UdpSocket>,
    vips: Vec<IpAddr>,
}

impl Listener {
    /// Listens for claims of `vips`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(link: &Link, vips: &[IpAddr]) -> Result<Self, Error> {
        let open = |ethertype, program: Vec<_>| {
            let socket = PacketSocket::receiver(link.index, ethertype, &program)?;
            socket.set_receive_buffer(RECEIVE_BUFFER)?;
            socket.into_async()
        };
        let failed = |source| Error { link: link.name.clone(), source };
        let arp = vips.iter().any(IpAddr::is_ipv4).then(|| open(ethernet::ARP, filter::arp_from(vips)));
        let ndp = vips
            .iter()
            .any(IpAddr::is_ipv6)
            .then(|| open(ethernet::IPV6, filter::neighbour_discovery_about(vips)));
        let mut vips = vips.to_vec();
        vips.sort_unstable();
        Ok(Self { arp: arp.transpose().map_err(failed)?, ndp: ndp.transpose().map_err(failed)?, vips })
    }

    /// The next claim by a station other than `own`, which are the Ethernet addresses of all links of this host: the
    /// VIP, and who says that it has it. An error is one of the link (`ENETDOWN` once when it goes down); listening
    /// goes on. Nothing is lost when the future is dropped before it is ready.
    pub async fn next(&self, own: &[Mac]) -> io::Result<(IpAddr, Mac)> {
        tokio::select! {
            claim = self.read(self.arp.as_ref(), own) => claim,
            claim = self.read(self.ndp.as_ref(), own) => claim,
        }
    }

    async fn read(&self, socket: Option<&UdpSocket>, own: &[Mac]) -> io::Result<(IpAddr, Mac)> {
        let Some(socket) = socket else { return std::future::pending().await };
        let mut buffer = [0; 256];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if let Some(claim) = self.claim(&buffer[..length])
                && !own.contains(&claim.1)
            {
                return Ok(claim);
            }
        }
    }

    fn claim(&self, frame: &[u8]) -> Option<(IpAddr, Mac)> {
        let Sighting { address, mac, claim } = Sighting::read(frame)?;
        let concerns = claim == Claim::Holds && self.vips.binary_search(&address).is_ok();
        concerns.then_some((address, mac))
    }
}
