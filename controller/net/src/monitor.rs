//! Watching addresses, links and routes.

use std::{
    collections::HashMap,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt as _, channel::mpsc::UnboundedReceiver};
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
    sys::{AsyncSocket as _, SocketAddr},
};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    decode,
    link::{Address, Link},
    netlink::{Error, Net, enlarge_receive_buffer},
};

/// Events kept for a slow reader before the rest becomes one [`Event::Overrun`].
const BACKLOG: usize = 4096;

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An address appeared, or one that was there got another mark.
    AddressAdded(Address),
    /// An address is gone.
    AddressRemoved(Address),
    /// A link appeared or changed its name, its Ethernet address, or whether it is up or has a carrier. When
    /// a link goes down the kernel drops its IPv4 routes without reporting each, so read the routes again.
    LinkChanged(Link),
    /// The link with this index is gone.
    LinkRemoved(u32),
    /// A route of the main table came, went or changed.
    RouteChanged,
    /// Reports were lost: read everything again.
    Overrun,
}

/// A stream of [`Event`]s, made by [`Net::monitor`]. It ends only when the kernel closes the socket.
/// Dropping it ends the watch.
#[derive(Debug)]
pub struct Monitor {
    events: mpsc::Receiver<Event>,
    connection: JoinHandle<()>,
    pump: JoinHandle<()>,
}

impl Monitor {
    pub(crate) async fn start(net: Net) -> Result<Self, Error> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ];
        let (mut connection, _, reports) =
            rtnetlink::new_multicast_connection(&groups).map_err(Error::Open)?;
        enlarge_receive_buffer(connection.socket_mut().socket_mut()).map_err(Error::Open)?;
        let connection = tokio::spawn(connection);
        // The socket listens already, so nothing falls between this reading and the first report.
        let known = Known::read(&net).await?;
        let (sender, events) = mpsc::channel(BACKLOG);
        let pump = tokio::spawn(pump(net, reports, known, sender));
        Ok(Self { events, connection, pump })
    }
}

impl Stream for Monitor {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(context)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.pump.abort();
        self.connection.abort();
    }
}

async fn pump(
    net: Net,
    mut reports: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    mut known: Known,
    sender: mpsc::Sender<Event>,
) {
    // Set while an Overrun waits for room in the reader's queue; it stands for all that is dropped.
    let mut overrun = false;
    loop {
        let report = tokio::select! {
            biased;
            room = sender.reserve(), if overrun => {
                let Ok(room) = room else { return };
                room.send(Event::Overrun);
                overrun = false;
                continue;
            }
            report = reports.next() => report,
        };
        let Some((report, _)) = report else { return };
        match report.payload {
            NetlinkPayload::Overrun(_) => {
                if let Ok(read) = Known::read(&net).await {
                    known = read;
                }
                overrun = true;
            }
            NetlinkPayload::InnerMessage(message) => {
                let Some(event) = known.learn(&message) else { continue };
                match sender.try_send(event) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => overrun = true,
                    Err(mpsc::error::TrySendError::Closed(_)) => return,
                }
            }
            _ => {}
        }
    }
}

/// What was reported last: without it a refreshed lifetime (`RTM_NEWADDR`) or a changed counter of a link
/// (`RTM_NEWLINK`) can't be told from news.
#[derive(Debug, Default)]
struct Known {
    addresses: HashMap<(u32, IpAddr, u8), Option<u8>>,
    links: HashMap<u32, Link>,
}

impl Known {
    async fn read(net: &Net) -> Result<Self, Error> {
        let mut known = Self::default();
        for address in net.addresses().await? {
            known.addresses.insert(key(&address), address.protocol);
        }
        for link in net.links().await? {
            known.links.insert(link.index, link);
        }
        Ok(known)
    }

    fn learn(&mut self, message: &RouteNetlinkMessage) -> Option<Event> {
        match message {
            RouteNetlinkMessage::NewAddress(message) => {
                let address = decode::address(message)?;
                let before = self.addresses.insert(key(&address), address.protocol);
                (before != Some(address.protocol)).then_some(Event::AddressAdded(address))
            }
            RouteNetlinkMessage::DelAddress(message) => {
                let address = decode::address(message)?;
                self.addresses.remove(&key(&address));
                Some(Event::AddressRemoved(address))
            }
            RouteNetlinkMessage::NewLink(message) => {
                let link = decode::link(message)?;
                let before = self.links.insert(link.index, link.clone());
                (before.as_ref() != Some(&link)).then_some(Event::LinkChanged(link))
            }
            RouteNetlinkMessage::DelLink(message) => {
                let link = decode::link(message)?;
                self.links.remove(&link.index);
                self.addresses.retain(|(on, _, _), _| *on != link.index);
                Some(Event::LinkRemoved(link.index))
            }
            RouteNetlinkMessage::NewRoute(message) | RouteNetlinkMessage::DelRoute(message) => {
                decode::in_main_table(message).then_some(Event::RouteChanged)
            }
            _ => None,
        }
    }
}

fn key(address: &Address) -> (u32, IpAddr, u8) {
    (address.link, address.ip, address.prefix)
}
