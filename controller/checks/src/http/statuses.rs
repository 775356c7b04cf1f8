//! `expectedStatuses`.

use std::ops::RangeInclusive;

use lvs_crds::HttpCheck;

use crate::prepared::PrepareError;

/// The statuses that count as working.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    /// From entries such as `204` and `200-399`; none stands for 200-399.
    pub(crate) fn new(entries: &[String]) -> Result<Self, PrepareError> {
        if entries.is_empty() {
            return Ok(Self(vec![200..=399]));
        }
        let range =
            |entry: &String| HttpCheck::statuses(entry).ok_or_else(|| PrepareError::Status(entry.clone()));
        entries.iter().map(range).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn contain(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statuses_are_single_or_ranges() {
        let statuses = Statuses::new(&["204".to_owned(), "300-302".to_owned()]).unwrap();
        let contained: Vec<_> = (0..1000).filter(|status| statuses.contain(*status)).collect();
        assert_eq!(contained, [204, 300, 301, 302]);
        let default = Statuses::new(&[]).unwrap();
        assert!(
            default.contain(200) && default.contain(399) && !default.contain(400) && !default.contain(199)
        );
    }

    #[test]
    fn what_is_no_status_is_refused() {
        for entry in
            ["", "-", "200-", "-399", "399-200", "99", "600", "+20", "0200", "2xx", "200-300-400", "٢٠٠"]
        {
            let refused = Statuses::new(&[entry.to_owned()]).unwrap_err();
            assert_eq!(refused, PrepareError::Status(entry.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_range_within_the_statuses_or_refused(entry in "[0-9 +-]{0,9}|\\PC*") {
            if let Some(range) = HttpCheck::statuses(&entry) {
                prop_assert!(*range.start() >= 100 && range.start() <= range.end() && *range.end() <= 599);
            }
        }

        #[test]
        fn a_range_contains_just_what_lies_within(
            first in 100_u16..600,
            more in 0_u16..500,
            status in 0_u16..700,
        ) {
            let last = (first + more).min(599);
            let statuses = Statuses::new(&[format!("{first}-{last}")]).unwrap();
            prop_assert_eq!(statuses.contain(status), first <= status && status <= last);
        }
    }
}
