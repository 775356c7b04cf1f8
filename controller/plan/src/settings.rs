//! The kernel's settings of IPVS that health checks and drain depend on: which of them differ from what is wanted,
//! whether they may be written, and what is said of it.
//!
//! They hold for the whole network namespace. Somebody else's services there may need other values (kube-proxy in ipvs
//! mode needs `conntrack=1`, and sets it once), so nothing is written beside one.

use std::collections::BTreeMap;
use std::fmt;

use crate::conditions::ConditionValue;
use crate::reason::Reason;
use crate::service::ServiceKey;
use crate::validate::Violation;

/// One setting of a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Setting {
    /// A connection ends when its destination is gone, instead of losing its packets without a word.
    ExpireNodestConn,
    /// A persistent client goes elsewhere when its destination has weight 0.
    ExpireQuiescentTemplate,
    /// IPVS asks the kernel's connection tracking.
    Conntrack,
    /// What becomes of a connection whose client takes its port again: 1, it is scheduled anew.
    ConnReuseMode,
    /// How long an idle established TCP connection is kept, in seconds.
    TcpTimeout,
    /// The same after a FIN.
    TcpFinTimeout,
    /// The same of UDP.
    UdpTimeout,
}

/// Values by setting.
pub type Values = BTreeMap<Setting, i64>;

impl Setting {
    /// Those that are files, with the value that each must have. A kernel may lack one.
    pub const SYSCTLS: [(Self, i64); 4] = [
        (Self::ExpireNodestConn, 1),
        (Self::ExpireQuiescentTemplate, 1),
        (Self::Conntrack, 0),
        (Self::ConnReuseMode, 1),
    ];

    /// The name as `sysctl` takes it; `None` of a timeout.
    pub fn sysctl(self) -> Option<&'static str> {
        Some(match self {
            Self::ExpireNodestConn => "net.ipv4.vs.expire_nodest_conn",
            Self::ExpireQuiescentTemplate => "net.ipv4.vs.expire_quiescent_template",
            Self::Conntrack => "net.ipv4.vs.conntrack",
            Self::ConnReuseMode => "net.ipv4.vs.conn_reuse_mode",
            Self::TcpTimeout | Self::TcpFinTimeout | Self::UdpTimeout => return None,
        })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sysctl().unwrap_or(match self {
            Self::TcpTimeout => "the timeout tcp",
            Self::TcpFinTimeout => "the timeout tcpFin",
            _ => "the timeout udp",
        }))
    }
}

/// The settings that a Director's kernel must have, if its spec asks for these timeouts.
pub fn wanted(timeouts: &Values) -> Values {
    let mut wanted = timeouts.clone();
    wanted.extend(Setting::SYSCTLS);
    wanted
}

/// A setting that is not as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The setting.
    pub setting: Setting,
    /// What it is.
    pub from: i64,
    /// What it must be.
    pub to: i64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, from, to } = self;
        write!(f, "{setting} is {from} instead of {to}")
    }
}

/// What differs. A setting that the kernel does not have cannot.
pub fn differences(wanted: &Values, found: &Values) -> Vec<Difference> {
    let differing = wanted.iter().filter_map(|(setting, to)| {
        let from = *found.get(setting)?;
        (from != *to).then_some(Difference { setting: *setting, from, to: *to })
    });
    differing.collect()
}

/// Why these values say nothing; `None` if they do. Every kernel with IPVS has some of its files where they can be seen
/// at all.
pub fn unseen(found: &Values) -> Option<Standing> {
    let seen = Setting::SYSCTLS.iter().any(|(setting, _)| found.contains_key(setting));
    (!seen).then(|| {
        let words = "there is no net.ipv4.vs below /proc/sys, so the settings of IPVS are not known: mount /proc, or \
                     use a kernel with CONFIG_SYSCTL";
        Standing::Unreadable(words.to_owned())
    })
}

/// Why a setting could not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// This process may not, here.
    #[error("{0}")]
    NotAllowed(String),
    /// The kernel does not take the value.
    #[error("{0}")]
    Refused(String),
}

/// How the settings stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As they must be.
    InForce,
    /// These differ, and nothing is written beside this service of somebody else.
    Foreign(ServiceKey, Vec<Difference>),
    /// These differ and could not be written.
    Failed(Vec<(Difference, WriteError)>),
    /// They could not be read.
    Unreadable(String),
}

/// What to do about settings that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is to be written.
    Leave(Standing),
    /// These are to be written.
    Write(Vec<Difference>),
}

/// Decides about what differs, beside a service of somebody else if there is one.
pub fn decide(differences: Vec<Difference>, foreign: Option<ServiceKey>) -> Decision {
    match foreign {
        _ if differences.is_empty() => Decision::Leave(Standing::InForce),
        Some(foreign) => Decision::Leave(Standing::Foreign(foreign, differences)),
        None => Decision::Write(differences),
    }
}

/// How the settings stand after these were written, with these results.
pub fn after(written: Vec<(Difference, Result<(), WriteError>)>) -> Standing {
    let failed = written.into_iter().filter_map(|(write, result)| Some((write, result.err()?)));
    let failed: Vec<_> = failed.collect();
    if failed.is_empty() { Standing::InForce } else { Standing::Failed(failed) }
}

/// `KernelReady`, and `Ready`, which is the AND of all others. A spec that breaks rules is said first: what it asks
/// for is not in force, whatever is.
pub fn conditions(standing: &Standing, violations: &[Violation]) -> Vec<ConditionValue> {
    let (reason, message) = match violations {
        [] => verdict(standing),
        broken => {
            let words: Vec<String> = broken.iter().map(ToString::to_string).collect();
            (Reason::Invalid, format!("{}; what was accepted last stays in force", words.join("; ")))
        }
    };
    let holds = reason == Reason::Ready;
    ["KernelReady", "Ready"].map(|type_| ConditionValue::new(type_, holds, reason, message.clone())).to_vec()
}

fn verdict(standing: &Standing) -> (Reason, String) {
    match standing {
        Standing::InForce => (Reason::Ready, String::new()),
        Standing::Foreign(foreign, differences) => (
            Reason::ForeignIPVS,
            format!(
                "{}, and is not written because the IPVS service {foreign} in this network namespace is somebody \
                 else's and may need the value that is there, as kube-proxy in ipvs mode does: run kube-proxy in \
                 another mode here, or remove the service (ipvsadm -D); or, if its owner does not mind, type {}",
                listed(differences),
                by_hand(differences)
            ),
        ),
        Standing::Failed(failed) => {
            // What may not be written is cured first, and all of it by one command.
            let denied = failed.iter().find_map(|(_, error)| match error {
                WriteError::NotAllowed(words) => Some(words),
                WriteError::Refused(_) => None,
            });
            let differences: Vec<Difference> = failed.iter().map(|(difference, _)| *difference).collect();
            if let Some(words) = denied {
                let message = format!(
                    "{}, and cannot be written ({words}): type on this host {}; or let the agent write it: mount \
                     the host's /proc/sys/net at /host/proc/sys/net of its container, or set \
                     ProtectKernelTunables=no in its systemd unit",
                    listed(&differences),
                    by_hand(&differences)
                );
                return (Reason::SettingsNotWritable, message);
            }
            let refused = failed
                .iter()
                .map(|(difference, error)| format!("{difference}, and the kernel refused: {error}"));
            (Reason::KernelRefused, refused.collect::<Vec<_>>().join("; "))
        }
        Standing::Unreadable(words) => (Reason::KernelUnreadable, words.clone()),
    }
}

/// The first in words, the others counted.
fn listed(differences: &[Difference]) -> String {
    match differences {
        [] => String::new(),
        [one] => one.to_string(),
        [first, others @ ..] => {
            let settings = if others.len() == 1 { "setting" } else { "settings" };
            format!("{first} (and {} more {settings})", others.len())
        }
    }
}

/// The commands that set what differs.
fn by_hand(differences: &[Difference]) -> String {
    let sysctls = differences.iter().filter_map(|Difference { setting, to, .. }| {
        let name = setting.sysctl()?;
        Some(format!(" {name}={to}"))
    });
    let sysctls: String = sysctls.collect();
    // `ipvsadm` leaves alone what is 0.
    let timeout = |wanted| {
        let found = differences.iter().find(|Difference { setting, .. }| *setting == wanted);
        found.map_or(0, |found| found.to)
    };
    let timeouts = [Setting::TcpTimeout, Setting::TcpFinTimeout, Setting::UdpTimeout].map(timeout);
    let mut commands = Vec::new();
    if !sysctls.is_empty() {
        commands.push(format!("`sysctl -w{sysctls}`"));
    }
    if timeouts != [0; 3] {
        let [tcp, tcp_fin, udp] = timeouts;
        commands.push(format!("`ipvsadm --set {tcp} {tcp_fin} {udp}`"));
    }
    commands.join(" and ")
}

#[cfg(test)]
mod tests;
