//! Slow start: the steps by which the weight of a destination that becomes up grows to its full value.

use std::time::{Duration, Instant};

/// Steps of a ramp. The first is taken at once, the last when the time is over.
const STEPS: u32 = 20;

/// The highest weight that is put into the kernel.
const HIGHEST: u32 = 65_535;

/// How the weights of one service grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ramp {
    /// How long; zero if there is no slow start.
    duration: Duration,
    /// All weights of the service are multiplied by it, so that there are weights between.
    scale: u32,
}

impl Ramp {
    /// For a service with these declared weights.
    pub(super) fn new(duration: Duration, weights: impl Iterator<Item = u16>) -> Self {
        let (least, most) = weights
            .filter(|weight| *weight > 0)
            .fold((u16::MAX, 1), |(least, most), weight| (least.min(weight), most.max(weight)));
        let wanted = STEPS.div_ceil(least.into());
        let scale = if duration.is_zero() { 1 } else { wanted.min(HIGHEST / u32::from(most)).max(1) };
        Self { duration, scale }
    }

    /// Whether there is slow start.
    pub(super) fn is_on(&self) -> bool {
        !self.duration.is_zero()
    }

    /// The full weight in the kernel.
    pub(super) fn full(&self, declared: u16) -> u32 {
        u32::from(declared) * self.scale
    }

    /// The weight of a destination that has been up since then.
    pub(super) fn weight(&self, declared: u16, since: Instant, now: Instant) -> u32 {
        self.at_step(declared, self.step(since, now))
    }

    /// When that weight next changes, if it still does.
    pub(super) fn next(&self, declared: u16, since: Instant, now: Instant) -> Option<Instant> {
        let step = self.step(since, now);
        let weight = self.at_step(declared, step);
        let next = (step + 1..=STEPS).find(|next| self.at_step(declared, *next) != weight)?;
        Some(since + self.time_of(next))
    }

    /// Since when a destination has been up that has this weight now: the first step that is at least this
    /// weight. `None` if it is at its full weight.
    pub(super) fn since(&self, declared: u16, weight: u32, now: Instant) -> Option<Instant> {
        if weight >= self.full(declared) {
            return None;
        }
        let step = (1..=STEPS).find(|step| self.at_step(declared, *step) >= weight)?;
        now.checked_sub(self.time_of(step))
    }

    /// The step that is reached, 1..20.
    fn step(&self, since: Instant, now: Instant) -> u32 {
        let gone = now.saturating_duration_since(since);
        if gone >= self.duration {
            return STEPS;
        }
        let steps = gone.as_nanos() * u128::from(STEPS - 1) / self.duration.as_nanos();
        1 + steps as u32
    }

    /// How long after the start a step is reached. Rounded up, so that it is reached then.
    fn time_of(&self, step: u32) -> Duration {
        let nanos = (self.duration.as_nanos() * u128::from(step - 1)).div_ceil(u128::from(STEPS - 1));
        Duration::from_nanos(nanos as u64)
    }

    fn at_step(&self, declared: u16, step: u32) -> u32 {
        (self.full(declared) * step).div_ceil(STEPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn ramp(weights: &[u16]) -> Ramp {
        Ramp::new(MINUTE, weights.iter().copied())
    }

    /// Each weight with the milliseconds after the start at which it is put in force.
    fn weights(ramp: Ramp, declared: u16) -> Vec<(u128, u32)> {
        let start = Instant::now();
        let mut weights = vec![(0, ramp.weight(declared, start, start))];
        let mut now = start;
        while let Some(next) = ramp.next(declared, start, now) {
            now = next;
            weights.push(((now - start).as_millis(), ramp.weight(declared, start, now)));
        }
        weights
    }

    #[test]
    fn a_weight_of_one_grows_in_twenty_steps_over_the_whole_time() {
        let weights = weights(ramp(&[1, 3, 0]), 1);
        assert_eq!(weights.len(), 20);
        assert_eq!((weights[0], weights[1], weights[19]), ((0, 1), (3_157, 2), (60_000, 20)));
    }

    #[test]
    fn weights_keep_their_ratio_and_their_limit() {
        let full = |weights: &[u16]| weights.iter().map(|it| ramp(weights).full(*it)).collect::<Vec<_>>();
        assert_eq!(full(&[1, 2, 0]), [20, 40, 0]);
        assert_eq!(full(&[3, 100]), [21, 700]);
        assert_eq!(full(&[100, 200]), [100, 200]);
        assert_eq!(full(&[1, 10_000]), [6, 60_000], "no weight is above 65535");
        assert_eq!(full(&[1, 65_535]), [1, 65_535]);
        assert!(full(&[]).is_empty());
        assert_eq!(
            Ramp::new(Duration::ZERO, [1, 2].into_iter()).full(2),
            2,
            "nothing is scaled without a ramp"
        );
    }

    #[test]
    fn where_there_is_no_room_for_twenty_weights_there_are_fewer_steps() {
        let ramp = ramp(&[1, 10_000]);
        assert_eq!(weights(ramp, 1).len(), 6);
        assert_eq!(weights(ramp, 10_000).len(), 20);
    }

    #[test]
    fn a_weight_that_is_found_goes_on_from_there() {
        let ramp = ramp(&[1, 7]);
        let (start, now) = (Instant::now(), Instant::now() + MINUTE);
        for declared in [1, 7] {
            for second in 0..60 {
                let weight = ramp.weight(declared, start, start + Duration::from_secs(second));
                let Some(since) = ramp.since(declared, weight, now) else {
                    assert_eq!(weight, ramp.full(declared));
                    continue;
                };
                assert_eq!(ramp.weight(declared, since, now), weight);
                assert!(ramp.next(declared, since, now).is_some_and(|next| next > now + MINUTE / 20));
            }
        }
    }
}
