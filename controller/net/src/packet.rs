//! A packet socket (packet(7)): whole Ethernet frames, out of a named link and in from it. Needs
//! `CAP_NET_RAW`.

use std::{io, os::fd::AsFd, os::fd::BorrowedFd};

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};

use crate::ethernet::Mac;

/// `struct sockaddr_ll` of `linux/if_packet.h`, 20 bytes.
#[repr(C)]
struct LinkLayerAddress {
    family: u16,
    protocol_be: u16,
    link: i32,
    hardware_type: u16,
    packet_type: u8,
    mac_len: u8,
    mac: [u8; 8],
}

const AF_PACKET: u16 = 17;

#[derive(Debug)]
pub(crate) struct PacketSocket {
    socket: Socket,
}

impl PacketSocket {
    /// A socket that can send and receives nothing: protocol 0 matches no frame.
    pub(crate) fn sender() -> io::Result<Self> {
        Ok(Self { socket: Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))? })
    }

    /// A socket that receives what arrives on `link` with this `EtherType` and passes `filter`. Frames that
    /// this host sends itself don't come back on it: the kernel shows those to `ETH_P_ALL` sockets only.
    pub(crate) fn receiver(link: u32, ethertype: u16, filter: &[SockFilter]) -> io::Result<Self> {
        let receiver = Self::sender()?;
        // The filter comes before the binding, so that nothing unwanted gets in between.
        if !filter.is_empty() {
            receiver.socket.attach_filter(filter)?;
        }
        receiver.socket.bind(&address(link, ethertype, None)?)?;
        receiver.socket.set_nonblocking(true)?;
        Ok(receiver)
    }

    /// Room for received frames in bytes; as much as the system allows when that is less.
    pub(crate) fn set_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&self.socket, bytes).is_err() {
            rustix::net::sockopt::set_socket_recv_buffer_size(&self.socket, bytes)?;
        }
        Ok(())
    }

    /// The same socket, for tokio to wait on. Its type says UDP because that is a type that tokio polls and that
    /// calls recv(2), without unsafe code of ours.
    pub(crate) fn into_async(self) -> io::Result<tokio::net::UdpSocket> {
        tokio::net::UdpSocket::from_std(self.socket.into())
    }

    pub(crate) fn set_send_timeout(&self, timeout: std::time::Duration) -> io::Result<()> {
        self.socket.set_write_timeout(Some(timeout))
    }

    pub(crate) fn send(&self, link: u32, ethertype: u16, frame: &[u8]) -> io::Result<()> {
        let destination = frame.first_chunk().copied();
        let sent = self.socket.send_to(frame, &address(link, ethertype, destination)?)?;
        if sent == frame.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// The next frame, cut to the buffer's size; `None` when none waits.
    pub(crate) fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match rustix::net::recv(&self.socket, &mut *buffer, rustix::net::RecvFlags::empty()) {
            Ok((length, _)) => Ok(Some(&buffer[..length])),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The one place where unsafe code is needed: neither socket2 nor rustix (1.1) can make the address of a
/// packet socket in safe code, and without one the kernel does not know the link.
#[allow(unsafe_code)]
fn address(link: u32, ethertype: u16, destination: Option<Mac>) -> io::Result<SockAddr> {
    let mut mac = [0; 8];
    mac[..6].copy_from_slice(&destination.unwrap_or_default());
    let value = LinkLayerAddress {
        family: AF_PACKET,
        protocol_be: ethertype.to_be(),
        link: i32::try_from(link).map_err(|_| io::ErrorKind::InvalidInput)?,
        hardware_type: 0,
        packet_type: 0,
        mac_len: if destination.is_some() { 6 } else { 0 },
        mac,
    };
    // SAFETY: the storage is zeroed, aligned for every kind of socket address and far larger (128 bytes)
    // than the 20 bytes written to it; the length says how many of them are the address; every bit
    // pattern of `LinkLayerAddress`, which has no padding, is a valid `sockaddr_ll`.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<LinkLayerAddress>().write(value);
            *length = size_of::<LinkLayerAddress>() as u32;
            Ok(())
        })?
    };
    Ok(address)
}
