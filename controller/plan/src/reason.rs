//! Every reason a condition, an event or a metric can carry.

use std::fmt;

/// Makes the enum, the list of all its values and their spelling from one list.
macro_rules! reasons {
    ($($(#[$about:meta])* $reason:ident)+) => {
        /// Why something is as it is: the condition's reason, the event's reason and the metric's label.
        /// `docs/fields.md` explains each to users.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[$about])* $reason,)+
        }

        impl Reason {
            /// All reasons.
            pub const ALL: &'static [Self] = &[$(Self::$reason),+];

            /// The word as the API spells it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$reason => stringify!($reason),)+
                }
            }
        }
    };
}

reasons! {
    /// `Accepted`: every rule is kept.
    Accepted
    /// `Accepted`: the spec breaks a rule of its own.
    Invalid
    /// `Accepted`: an older virtual service has one of the services.
    Conflict
    /// `Accepted`: the real server's port is none of the virtual service's.
    PortMapping
    /// `Accepted`: IPv4 and IPv6 do not go together.
    FamilyMismatch
    /// `Accepted`: an older real server has the address in this service.
    DuplicateAddress
    /// `Programmed`, and the event of a write: the kernel's rules are as declared.
    Programmed
    /// `Programmed`: not tried yet, or the answer was lost.
    Pending
    /// `Programmed`: the kernel has a service of this key that is not ours and differs.
    ForeignService
    /// `Programmed`: the kernel has no such scheduler or persistence engine.
    SchedulerMissing
    /// `Programmed`: a real server is not on a link of this Director.
    NoRoute
    /// `Programmed`: no link can hold the VIP.
    NoVIPInterface
    /// `Programmed`: the kernel said no.
    KernelRefused
    /// `Programmed`: ownership cannot be written down.
    LedgerUnusable
    /// `Announced`: this Director holds the VIP and answers for it.
    Announced
    /// `Announced`: a firewall mark has no VIP.
    NotApplicable
    /// `Announced`: another host answers for the VIP.
    VIPConflict
    /// `Announced`: another Director lives, and nothing decides between the two.
    PeerWithoutVRRP
    /// `Announced`: nobody holds the VIP.
    NoActiveDirector
    /// `RealServersReady`, `KernelReady` and `Ready`: it holds.
    Ready
    /// `RealServersReady`: no real server takes new connections.
    NoneInService
    /// `RealServersReady`: fewer work than `panicThresholdPercent` says, so checks are not believed.
    Panic
    /// `RealServersReady`: no real server takes new connections, the sorry server does.
    SorryServer
    /// `Healthy`, and an event: every check of the real server holds.
    CheckPassed
    /// `Healthy`: a check of the real server fails.
    CheckFailed
    /// `Healthy`: a check has no result yet.
    CheckPending
    /// `Healthy`: nothing is checked.
    NotChecked
    /// `Overloaded`: it has as many connections as `upperThreshold`, and gets no new ones.
    AboveThreshold
    /// `Overloaded`: its connections are below its thresholds.
    BelowThreshold
    /// `Drained`: active connections are left.
    Draining
    /// `Drained`, and an event: no active connection is left.
    Drained
    /// `Drained`, and an event: the time is over, and active connections were left.
    DrainTimeout
    /// `KernelReady`: settings differ, and somebody else's service is in the table.
    ForeignIPVS
    /// `KernelReady`: settings differ and may not be written.
    SettingsNotWritable
    /// `KernelReady`: the kernel's IPVS cannot be read.
    KernelUnreadable
    /// Event: somebody else changed what is ours, and it was put right.
    DriftRepaired
    /// Event: `Accepted` became False.
    Refused
    /// Event: this Director bound a VIP.
    TookOver
    /// Event: this Director let a VIP go.
    Released
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
