//! Reading and changing the kernel's addresses over rtnetlink.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use futures::StreamExt as _;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{
        AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol, AddressScope,
        CacheInfo,
    },
    link::LinkMessage,
    route::{RouteAttribute, RouteHeader, RouteMessage},
};
use rtnetlink::sys::AsyncSocket as _;
use rustix::{
    io::Errno,
    net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force},
};
use tokio::sync::Mutex;

use crate::{
    OUR_PROTOCOL, decode,
    link::{Address, Link, Route, host_prefix},
    monitor::Monitor,
    segment::NextHop,
};

/// How long the kernel may take for one request. It answers within microseconds; the limit only keeps a
/// lost answer from blocking its caller for ever.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How often an inconsistent dump is tried again.
const DUMP_ATTEMPTS: usize = 8;

/// Room for the kernel's answers and reports while we are busy, in bytes: about 10,000 of them. The
/// default holds a few hundred, and what does not fit is lost although it was executed.
const RECEIVE_BUFFER: usize = 8 << 20;

/// `INFINITY_LIFE_TIME` of the kernel's `addrconf.h`.
const FOREVER: u32 = u32::MAX;

/// What went wrong between us and rtnetlink.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The netlink socket could not be made or bound.
    #[error("cannot open an rtnetlink socket")]
    Open(#[source] io::Error),
    /// The task that serves the socket has ended; what was under way may have happened or not. Connect
    /// again and read.
    #[error("the rtnetlink connection is closed")]
    Closed,
    /// No answer came in time.
    #[error("the kernel did not answer the rtnetlink request to {what} within {} s", ANSWER_WITHIN.as_secs())]
    NoAnswer {
        /// What was asked for.
        what: String,
    },
    /// The table kept changing while it was read.
    #[error("the {what} changed during each of {DUMP_ATTEMPTS} attempts to read them")]
    Unstable {
        /// Which table.
        what: &'static str,
    },
    /// A table could not be read.
    #[error("cannot read the {what}")]
    Read {
        /// Which table.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// `EEXIST`: the link already has this very address with a host prefix.
    #[error("{ip} is already bound to link {link}")]
    AlreadyBound {
        /// Link index.
        link: u32,
        /// The address.
        ip: IpAddr,
    },
    /// `EADDRNOTAVAIL` or `ENOENT`: the link does not have this address with a host prefix.
    #[error("{ip} is not bound to link {link}")]
    NotBound {
        /// Link index.
        link: u32,
        /// The address.
        ip: IpAddr,
    },
    /// `ENODEV`: there is no such link.
    #[error("link {link} does not exist")]
    NoSuchLink {
        /// Link index.
        link: u32,
    },
    /// `EACCES`: the link has IPv6 switched off.
    #[error("IPv6 is disabled on link {link} (net.ipv6.conf.*.disable_ipv6)")]
    Ipv6Disabled {
        /// Link index.
        link: u32,
    },
    /// `EPERM`: `CAP_NET_ADMIN` is missing.
    #[error("no permission to {what}: CAP_NET_ADMIN is missing")]
    NotPermitted {
        /// What was tried.
        what: String,
    },
    /// Any other refusal.
    #[error("the kernel refused to {what}")]
    Refused {
        /// What was tried.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// A connection to rtnetlink in the network namespace of the thread that called [`Net::connect`]. Cheap to
/// clone; all clones share one socket.
#[derive(Clone, Debug)]
pub struct Net {
    handle: rtnetlink::Handle,
    /// Held while a table is read: a socket has one dump at a time, and another gets EBUSY until its last piece was
    /// fetched (`af_netlink.c`, `__netlink_dump_start`).
    dumping: Arc<Mutex<()>>,
}

impl Net {
    /// Opens the socket and serves it by a task on the current tokio runtime; the task ends when the last
    /// clone is dropped.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect() -> Result<Self, Error> {
        // Strict checking makes the kernel honour the table filter of route dumps instead of sending
        // every table.
        let (mut connection, handle, _) =
            rtnetlink::new_connection_with_strict_check().map_err(Error::Open)?;
        // NLMSG_DONE can carry an error and the mark of an inconsistent dump; and only with these two can
        // success be told from a connection that died.
        connection.set_forward_done(true);
        connection.set_forward_ack(true);
        enlarge_receive_buffer(connection.socket_mut().socket_mut()).map_err(Error::Open)?;
        tokio::spawn(connection);
        Ok(Self { handle, dumping: Arc::default() })
    }

    /// All links.
    pub async fn links(&self) -> Result<Vec<Link>, Error> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.dump("links", request, |message| match message {
            RouteNetlinkMessage::NewLink(message) => decode::link(&message).into_iter().collect(),
            _ => Vec::new(),
        })
        .await
    }

    /// All addresses, of both families.
    pub async fn addresses(&self) -> Result<Vec<Address>, Error> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.dump("addresses", request, |message| match message {
            RouteNetlinkMessage::NewAddress(message) => decode::address(&message).into_iter().collect(),
            _ => Vec::new(),
        })
        .await
    }

    /// The unicast routes of the main table, of both families.
    pub async fn routes(&self) -> Result<Vec<Route>, Error> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            request.header.table = RouteHeader::RT_TABLE_MAIN;
            let request = RouteNetlinkMessage::GetRoute(request);
            let part = self
                .dump("routes", request, |message| match message {
                    RouteNetlinkMessage::NewRoute(message) => decode::routes(&message),
                    _ => Vec::new(),
                })
                .await?;
            routes.extend(part);
        }
        Ok(routes)
    }

    /// Asks the kernel's routing, policy rules included, where a packet of this host to `ip` goes next.
    pub async fn next_hop(&self, ip: IpAddr) -> Result<NextHop, Error> {
        let mut request = RouteMessage::default();
        request.header.address_family = match ip {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        request.header.destination_prefix_length = host_prefix(ip);
        request.attributes.push(RouteAttribute::Destination(ip.into()));
        let what = || format!("look up the route to {ip}");
        let mut answers = self.send(RouteNetlinkMessage::GetRoute(request), NLM_F_REQUEST)?;
        let answer = tokio::time::timeout(ANSWER_WITHIN, answers.next())
            .await
            .map_err(|_| Error::NoAnswer { what: what() })?
            .ok_or(Error::Closed)?;
        match answer.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(message)) => {
                Ok(decode::next_hop(&message))
            }
            NetlinkPayload::Error(error) => match Errno::from_raw_os_error(error.raw_code().abs()) {
                // fib_rules and fib_table_lookup: nothing, or a route of kind unreachable, blackhole or prohibit.
                Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::INVAL | Errno::ACCESS => Ok(NextHop::NoRoute),
                errno => Err(Error::Refused { what: what(), source: errno.into() }),
            },
            _ => Err(Error::NoAnswer { what: what() }),
        }
    }

    /// Binds `ip` to a link for ever, as /32 or /128 with our mark and without a prefix route. An IPv6
    /// address is deprecated, so that the Director's own connections never start from it, and skips
    /// duplicate address detection: [`crate::probe`] does that, and answers at once.
    ///
    /// Nothing is replaced: when the link has this host address already, whoever bound it, the answer is
    /// [`Error::AlreadyBound`]. The kernel does not look at other links: the caller does, in
    /// [`Net::addresses`].
    pub async fn bind_vip(&self, link: u32, ip: IpAddr) -> Result<(), Error> {
        let request = RouteNetlinkMessage::NewAddress(vip_message(link, ip));
        let what = || format!("bind {ip} to link {link}");
        self.command(request, NLM_F_CREATE | NLM_F_EXCL, what()).await.map_err(|failure| match failure {
            Failure::Errno(Errno::EXIST) => Error::AlreadyBound { link, ip },
            other => other.into_error(link, what()),
        })
    }

    /// Removes `ip` with its host prefix from a link. An address of the same value with another prefix
    /// length (a foreign `VIP/24`, say) stays. The mark is not compared: the kernel can't, so ask
    /// [`Address::is_ours`] first.
    pub async fn unbind_vip(&self, link: u32, ip: IpAddr) -> Result<(), Error> {
        let request = RouteNetlinkMessage::DelAddress(vip_message(link, ip));
        let what = || format!("remove {ip} from link {link}");
        self.command(request, 0, what()).await.map_err(|failure| match failure {
            Failure::Errno(Errno::ADDRNOTAVAIL | Errno::NOENT) => Error::NotBound { link, ip },
            other => other.into_error(link, what()),
        })
    }

    /// Watches addresses, links and routes. Changes from the moment this returns are reported, so read
    /// afterwards.
    pub async fn monitor(&self) -> Result<Monitor, Error> {
        Monitor::start(self.clone()).await
    }

    async fn dump<T>(
        &self,
        what: &'static str,
        request: RouteNetlinkMessage,
        decode: impl Fn(RouteNetlinkMessage) -> Vec<T>,
    ) -> Result<Vec<T>, Error> {
        let _dumping = self.dumping.lock().await;
        for _ in 0..DUMP_ATTEMPTS {
            let read = self.dump_once(what, request.clone(), &decode);
            let read = tokio::time::timeout(ANSWER_WITHIN, read)
                .await
                .map_err(|_| Error::NoAnswer { what: format!("read the {what}") })?;
            if let Some(items) = read? {
                return Ok(items);
            }
        }
        Err(Error::Unstable { what })
    }

    /// `None`: the kernel says that the table changed meanwhile, so entries may be missing or doubled.
    async fn dump_once<T>(
        &self,
        what: &'static str,
        request: RouteNetlinkMessage,
        decode: impl Fn(RouteNetlinkMessage) -> Vec<T>,
    ) -> Result<Option<Vec<T>>, Error> {
        let mut answers = self.send(request, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut items = Vec::new();
        let mut consistent = true;
        let mut complete = false;
        while let Some(answer) = answers.next().await {
            consistent &= answer.header.flags & NLM_F_DUMP_INTR == 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => items.extend(decode(message)),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(Error::Read { what, source: error.to_io() });
                }
                NetlinkPayload::Done(done) if done.code != 0 => {
                    let source = io::Error::from_raw_os_error(done.code.abs());
                    return Err(Error::Read { what, source });
                }
                NetlinkPayload::Done(_) => complete = true,
                _ => {}
            }
        }
        if complete { Ok(consistent.then_some(items)) } else { Err(Error::Closed) }
    }

    async fn command(&self, request: RouteNetlinkMessage, flags: u16, what: String) -> Result<(), Failure> {
        let mut answers = self.send(request, NLM_F_REQUEST | NLM_F_ACK | flags).map_err(Failure::Own)?;
        let done = async {
            while let Some(answer) = answers.next().await {
                if let NetlinkPayload::Error(error) = answer.payload {
                    return match error.raw_code() {
                        0 => Ok(()),
                        code => Err(Failure::Errno(Errno::from_raw_os_error(code.abs()))),
                    };
                }
            }
            Err(Failure::Own(Error::Closed))
        };
        tokio::time::timeout(ANSWER_WITHIN, done).await.unwrap_or(Err(Failure::Own(Error::NoAnswer { what })))
    }

    fn send(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<impl futures::Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + use<>, Error> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        self.handle.clone().request(message).map_err(|_| Error::Closed)
    }
}

/// `SO_RCVBUFFORCE` needs `CAP_NET_ADMIN`; without it the system's limit holds.
pub(crate) fn enlarge_receive_buffer(socket: &rtnetlink::sys::Socket) -> io::Result<()> {
    if set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER).is_err() {
        set_socket_recv_buffer_size(socket, RECEIVE_BUFFER)?;
    }
    Ok(())
}

/// Why a command failed, before its meaning for this command is known.
enum Failure {
    Errno(Errno),
    Own(Error),
}

impl Failure {
    fn into_error(self, link: u32, what: String) -> Error {
        match self {
            Self::Errno(Errno::NODEV) => Error::NoSuchLink { link },
            // addrconf_add_dev in net/ipv6/addrconf.c; IPv4 never answers EACCES.
            Self::Errno(Errno::ACCESS) => Error::Ipv6Disabled { link },
            Self::Errno(Errno::PERM) => Error::NotPermitted { what },
            Self::Errno(errno) => Error::Refused { what, source: errno.into() },
            Self::Own(error) => error,
        }
    }
}

/// The address message that binds or removes a VIP. Removal needs `IFA_ADDRESS` too: with it the kernel
/// compares the prefix length (`inet_rtm_deladdr` in `net/ipv4/devinet.c`), without it any prefix length
/// matches.
fn vip_message(link: u32, ip: IpAddr) -> AddressMessage {
    let mut flags = AddressFlags::Noprefixroute;
    let mut message = AddressMessage::default();
    message.header.index = link;
    message.header.prefix_len = host_prefix(ip);
    message.header.scope = AddressScope::Universe;
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    match ip {
        IpAddr::V4(_) => message.header.family = AddressFamily::Inet,
        IpAddr::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message.header.flags = AddressHeaderFlags::Nodad;
            flags |= AddressFlags::Nodad;
            let mut lifetimes = CacheInfo::default();
            lifetimes.ifa_preferred = 0;
            lifetimes.ifa_valid = FOREVER;
            message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
        }
    }
    message.attributes.push(AddressAttribute::Flags(flags));
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(OUR_PROTOCOL)));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_connection_whose_runtime_has_ended_is_closed_and_not_empty() {
        let gone = runtime();
        let net = gone.block_on(async { Net::connect().unwrap() });
        assert!(gone.block_on(net.links()).unwrap().iter().any(|link| link.loopback));
        drop(gone);
        let read = runtime().block_on(net.links());
        assert!(matches!(read, Err(Error::Closed)), "{read:?}");
        let bound = runtime().block_on(net.bind_vip(1, "172.16.21.10".parse().unwrap()));
        assert!(matches!(bound, Err(Error::Closed)), "{bound:?}");
    }

    #[test]
    fn tables_are_read_one_after_the_other_however_many_ask_at_once() {
        runtime().block_on(async {
            let net = Net::connect().unwrap();
            let read = || async { net.links().await.map(|_| ()).and(net.addresses().await.map(|_| ())) };
            let read = futures::future::join_all((0..16).map(|_| read())).await;
            assert!(read.iter().all(Result::is_ok), "{read:?}");
        });
    }

    #[test]
    fn the_message_for_a_vip_has_its_host_prefix_and_both_address_attributes() {
        for (ip, prefix) in [("172.16.21.10", 32), ("2001:db8::10", 128)] {
            let ip: IpAddr = ip.parse().unwrap();
            let message = vip_message(7, ip);
            assert_eq!((message.header.index, message.header.prefix_len), (7, prefix));
            // Without IFA_ADDRESS a removal would match any prefix length.
            assert!(message.attributes.contains(&AddressAttribute::Address(ip)));
            assert!(message.attributes.contains(&AddressAttribute::Local(ip)));
        }
    }
}
