//! Whether the kernel has stopped to send a destination new connections because of its thresholds. It does not say so
//! itself (`IP_VS_DEST_F_OVERLOAD` is in no answer), but by which numbers it decides.

/// The thresholds of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// At this number of connections it is overloaded; above 0.
    pub upper: u32,
    /// Below this number it is no longer; 0 = three quarters of the upper one.
    pub lower: u32,
}

impl Thresholds {
    /// Whether a destination is overloaded that was, or was not, when it was looked at last (`ip_vs_conn.c`,
    /// `ip_vs_bind_dest` and `ip_vs_unbind_dest`). `connections` are those of every state.
    pub fn is_overloaded(self, before: bool, connections: u32) -> bool {
        let Self { upper, lower } = self;
        let is_below = match lower {
            0 => u64::from(connections) * 4 < u64::from(upper) * 3,
            lower => connections < lower,
        };
        connections >= upper || (before && !is_below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_the_upper_threshold_and_ends_below_the_lower_one() {
        let given = Thresholds { upper: 100, lower: 40 };
        let default = Thresholds { upper: 100, lower: 0 };
        for (thresholds, before, connections, expected) in [
            (given, false, 99, false),
            (given, false, 100, true),
            (given, true, 99, true),
            (given, true, 40, true),
            (given, true, 39, false),
            (default, true, 75, true),
            (default, true, 74, false),
            (default, false, 74, false),
            (Thresholds { upper: u32::MAX, lower: 0 }, true, u32::MAX, true),
        ] {
            let overloaded = thresholds.is_overloaded(before, connections);
            assert_eq!(overloaded, expected, "{thresholds:?}, {connections} connections");
        }
    }
}
