//! What the figures of health checks are held against.

use crate::bench::goal::Goal;

/// The agent's time for a check, in times of the bare loop's.
pub(super) const TO_BARE: Goal = Goal::AtMost(1.1);
/// The same, in times of keepalived's.
pub(super) const TO_KEEPALIVED: Goal = Goal::AtMost(1.0);
/// The agent's time for real servers that serve ten services each, in times of keepalived's.
pub(super) const SHARED: Goal = Goal::AtMost(0.2);
/// How far the number of checks in any second is from the mean, in percent of it.
pub(super) const UNEVENNESS: Goal = Goal::AtMost(5.0);
/// Writes in the kernel for each transition.
pub(super) const WRITES: Goal = Goal::AtMost(1.0);
/// Destinations added or removed while real servers flap.
pub(super) const REPLACED: Goal = Goal::AtMost(0.0);
