//! The numbers of `include/uapi/linux/ip_vs.h`, under the header's own names, and the few attributes of netlink
//! itself that an error may have to name.

/// An attribute: its number, and its name for error messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attr {
    pub(crate) number: u16,
    pub(crate) name: &'static str,
}

/// One enum of attributes, numbered from 1 as the headers do.
macro_rules! attributes {
    ($module:ident, $prefix:literal: $($name:ident = $number:literal),+ $(,)?) => {
        pub(crate) mod $module {
            use super::Attr;
            $(pub(crate) const $name: Attr = Attr { number: $number, name: concat!($prefix, stringify!($name)) };)+
        }
    };
}

attributes!(top, "IPVS_CMD_ATTR_":
    SERVICE = 1, DEST = 2, DAEMON = 3, TIMEOUT_TCP = 4, TIMEOUT_TCP_FIN = 5, TIMEOUT_UDP = 6);

attributes!(svc, "IPVS_SVC_ATTR_":
    AF = 1, PROTOCOL = 2, ADDR = 3, PORT = 4, FWMARK = 5, SCHED_NAME = 6, FLAGS = 7, TIMEOUT = 8, NETMASK = 9,
    STATS = 10, PE_NAME = 11, STATS64 = 12);

attributes!(dest, "IPVS_DEST_ATTR_":
    ADDR = 1, PORT = 2, FWD_METHOD = 3, WEIGHT = 4, U_THRESH = 5, L_THRESH = 6, ACTIVE_CONNS = 7,
    INACT_CONNS = 8, PERSIST_CONNS = 9, STATS = 10, ADDR_FAMILY = 11, STATS64 = 12, TUN_TYPE = 13,
    TUN_PORT = 14, TUN_FLAGS = 15);

attributes!(daemon, "IPVS_DAEMON_ATTR_":
    STATE = 1, MCAST_IFN = 2, SYNC_ID = 3, SYNC_MAXLEN = 4, MCAST_GROUP = 5, MCAST_GROUP6 = 6, MCAST_PORT = 7,
    MCAST_TTL = 8);

attributes!(stats, "IPVS_STATS_ATTR_":
    CONNS = 1, INPKTS = 2, OUTPKTS = 3, INBYTES = 4, OUTBYTES = 5, CPS = 6, INPPS = 7, OUTPPS = 8, INBPS = 9,
    OUTBPS = 10);

attributes!(info, "IPVS_INFO_ATTR_": VERSION = 1, CONN_TAB_SIZE = 2);

attributes!(ctrl, "CTRL_ATTR_": FAMILY_ID = 1, FAMILY_NAME = 2);

attributes!(nlmsgerr, "NLMSGERR_ATTR_": MSG = 1);

/// `IPVS_CMD_*`.
pub(crate) mod cmd {
    pub(crate) const NEW_SERVICE: u8 = 1;
    pub(crate) const SET_SERVICE: u8 = 2;
    pub(crate) const DEL_SERVICE: u8 = 3;
    pub(crate) const GET_SERVICE: u8 = 4;
    pub(crate) const NEW_DEST: u8 = 5;
    pub(crate) const SET_DEST: u8 = 6;
    pub(crate) const DEL_DEST: u8 = 7;
    pub(crate) const GET_DEST: u8 = 8;
    pub(crate) const NEW_DAEMON: u8 = 9;
    pub(crate) const DEL_DAEMON: u8 = 10;
    pub(crate) const GET_DAEMON: u8 = 11;
    pub(crate) const SET_CONFIG: u8 = 12;
    pub(crate) const GET_CONFIG: u8 = 13;
    pub(crate) const GET_INFO: u8 = 15;
    pub(crate) const ZERO: u8 = 16;
    // 17 is IPVS_CMD_FLUSH. It takes what belongs to others, so this library cannot send it.
}

/// `IPVS_GENL_NAME`.
pub(crate) const FAMILY_NAME: &str = "IPVS";
/// `IPVS_GENL_VERSION`.
pub(crate) const FAMILY_VERSION: u8 = 1;

/// `AF_INET`.
pub(crate) const AF_INET: u16 = 2;
/// `AF_INET6`.
pub(crate) const AF_INET6: u16 = 10;

/// `IPPROTO_*` of the protocols that IPVS balances.
pub(crate) mod protocol {
    pub(crate) const TCP: u16 = 6;
    pub(crate) const UDP: u16 = 17;
    pub(crate) const SCTP: u16 = 132;
}

/// `IP_VS_SVC_F_*`. Bit 1, `HASHED`, is the kernel's own.
pub(crate) mod service_flag {
    pub(crate) const PERSISTENT: u32 = 0x1;
    pub(crate) const ONE_PACKET: u32 = 0x4;
    /// `SCHED1`; `SCHED2` and `SCHED3` are the next two bits.
    pub(crate) const SCHED_SHIFT: u32 = 3;
    /// Every flag that this library knows and therefore sets or clears.
    pub(crate) const KNOWN: u32 = PERSISTENT | ONE_PACKET | 0b111 << SCHED_SHIFT;
}

/// `IP_VS_CONN_F_*`, as far as it is a destination's.
pub(crate) mod forwarding {
    pub(crate) const MASK: u32 = 0x7;
    pub(crate) const MASQ: u32 = 0;
    pub(crate) const LOCALNODE: u32 = 1;
    pub(crate) const TUNNEL: u32 = 2;
    pub(crate) const DROUTE: u32 = 3;
    pub(crate) const BYPASS: u32 = 4;
}

/// `IP_VS_CONN_F_TUNNEL_TYPE_*`.
pub(crate) mod tunnel {
    pub(crate) const IPIP: u8 = 0;
    pub(crate) const GUE: u8 = 1;
    pub(crate) const GRE: u8 = 2;
}

/// `IP_VS_TUNNEL_ENCAP_FLAG_*`.
pub(crate) mod checksum {
    pub(crate) const NONE: u16 = 0;
    pub(crate) const CSUM: u16 = 1;
    pub(crate) const REMCSUM: u16 = 2;
}

/// `IP_VS_STATE_*`.
pub(crate) mod state {
    pub(crate) const MASTER: u32 = 1;
    pub(crate) const BACKUP: u32 = 2;
}

/// The longest name of a scheduler, engine or link, without its NUL: `IP_VS_SCHEDNAME_MAXLEN`,
/// `IP_VS_PENAME_MAXLEN` and `IP_VS_IFNAME_MAXLEN` are one more.
pub(crate) const NAME_MAX: usize = 15;
