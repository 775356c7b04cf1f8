//! Median and spread of a few noisy measurements.

/// What is told of several measurements of one thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many there were.
    pub count: usize,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Summary {
    /// `None` of nothing.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (lower, upper) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { count: sorted.len(), median: f64::midpoint(lower, upper), min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        for (values, median) in
            [(&[3.0][..], 3.0), (&[3.0, 1.0], 2.0), (&[9.0, 1.0, 2.0], 2.0), (&[4.0, 100.0, 1.0, 2.0], 3.0)]
        {
            assert_eq!(Summary::of(values).map(|summary| summary.median), Some(median), "{values:?}");
        }
    }

    #[test]
    fn the_spread_is_from_the_least_to_the_greatest() {
        let summary = Summary::of(&[2.0, 7.0, 1.5]).unwrap();
        assert_eq!((summary.count, summary.min, summary.max), (3, 1.5, 7.0));
        assert_eq!(Summary::of(&[]), None);
    }
}
