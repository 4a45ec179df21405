//! Ranges of numbers and times.
//!
//! A time may name a whole period: `2026` is a year, `2026-05` a month, `2026-05-02` a day, and
//! `2026-05-02T14:11:09Z` a second. `lt` ends before the period and `lte` after it; `gte` begins with
//! the period and `gt` after it. A number is a period of one value.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use lookalike_index::ValueRange;

/// The values from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub first: i64,
    pub last: i64,
}

impl Period {
    pub(super) fn of_value(value: i64) -> Self {
        Self {
            first: value,
            last: value,
        }
    }

    /// Parses a year, a month, a day (all in UTC) or a time of RFC 3339, in milliseconds since 1970.
    pub(super) fn parse_time(text: &str) -> Option<Self> {
        let number = |range: std::ops::Range<usize>| {
            let digits = text.get(range)?;
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse::<i16>().ok()).flatten()
        };
        let start_of = |year: i16, month: i16| {
            let date = Date::new(year, i8::try_from(month).ok()?, 1).ok()?;
            start_of_day(date)
        };
        match text.len() {
            4 => {
                let year = number(0..4)?;
                Some(Self::up_to(start_of(year, 1)?, start_of(year + 1, 1)))
            }
            7 if text.as_bytes()[4] == b'-' => {
                let (year, month) = (number(0..4)?, number(5..7)?);
                let end = match month {
                    12 => start_of(year + 1, 1),
                    _ => start_of(year, month + 1),
                };
                Some(Self::up_to(start_of(year, month)?, end))
            }
            10 => {
                let date: Date = text.parse().ok()?;
                let end = date.tomorrow().ok().and_then(start_of_day);
                Some(Self::up_to(start_of_day(date)?, end))
            }
            _ => {
                let time: Timestamp = text.parse().ok()?;
                let ms = time.as_millisecond();
                // The API writes times without fractions, and what it writes can be a filter.
                let length_ms = if text.contains('.') { 1 } else { 1000 };
                Some(Self::up_to(ms, Some(ms + length_ms)))
            }
        }
    }

    /// `end` is excluded; `None` means the end of time.
    fn up_to(first: i64, end: Option<i64>) -> Self {
        let last = end.map_or(i64::MAX, |end| end - 1);
        Self { first, last }
    }

    pub(super) fn to_range(self) -> ValueRange {
        ValueRange {
            at_least: Some(self.first),
            at_most: Some(self.last),
        }
    }
}

fn start_of_day(date: Date) -> Option<i64> {
    let midnight = date.to_zoned(TimeZone::UTC).ok()?;
    Some(midnight.timestamp().as_millisecond())
}

/// Narrows a range by an operator. Does nothing for an unknown one.
pub(super) fn apply_operator(range: &mut ValueRange, operator: &str, period: Period) {
    let at_least = match operator {
        "gte" => Some(period.first),
        "gt" => Some(period.last.saturating_add(1)),
        _ => None,
    };
    let at_most = match operator {
        "lt" => Some(period.first.saturating_sub(1)),
        "lte" => Some(period.last),
        _ => None,
    };
    range.at_least = range.at_least.max(at_least);
    range.at_most = match (range.at_most, at_most) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
}

/// Whether a range contains a value from `min` to `max`.
pub(super) fn has_values(range: ValueRange, min: i64, max: i64) -> bool {
    let first = range.at_least.map_or(min, |least| least.max(min));
    let last = range.at_most.map_or(max, |most| most.min(max));
    first <= last
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn times_name_periods() {
        for (text, first, length) in [
            ("1970", 0, 365 * DAY_MS),
            ("1972", 730 * DAY_MS, 366 * DAY_MS),
            ("1970-02", 31 * DAY_MS, 28 * DAY_MS),
            ("1970-12", 334 * DAY_MS, 31 * DAY_MS),
            ("1970-01-02", DAY_MS, DAY_MS),
            ("1969-12-31", -DAY_MS, DAY_MS),
            ("1970-01-01T00:00:01Z", 1000, 1000),
            ("1970-01-01T00:00:01.25Z", 1250, 1),
            ("1970-01-01T01:00:00+01:00", 0, 1000),
            ("1970-01-01T00:00:00.123456-00:30", 1_800_123, 1),
        ] {
            let expected = Period {
                first,
                last: first + length - 1,
            };
            assert_eq!(Period::parse_time(text), Some(expected), "{text}");
        }
        // The last year that can be written has no end.
        let last_year = Period::parse_time("9999").unwrap();
        assert_eq!(last_year.last, i64::MAX);
        for bad in [
            "",
            "70",
            "19700",
            "1970-1",
            "1970/01",
            "1970-13",
            "1970-00",
            "+970",
            "1970-02-30",
            "1970-01-01T",
            "1970-01-01T00:00:00",
            "1970-01-01T25:00:00Z",
            "1970-01-01T10:00:00+1",
            "1970-01-01T10:00:00.Z",
            "1970-01-01T10:00:00+01:0é",
            "+97-01-01",
            "yesterday",
            "１９７０",
        ] {
            assert_eq!(Period::parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn operators_narrow_a_range() {
        let day = Period {
            first: 10,
            last: 19,
        };
        let range = |operators: &[&str]| {
            let mut range = ValueRange::default();
            for operator in operators {
                apply_operator(&mut range, operator, day);
            }
            (range.at_least, range.at_most)
        };
        assert_eq!(range(&["gte"]), (Some(10), None));
        assert_eq!(range(&["gt"]), (Some(20), None));
        assert_eq!(range(&["lt"]), (None, Some(9)));
        assert_eq!(range(&["lte"]), (None, Some(19)));
        assert_eq!(range(&["gte", "lte"]), (Some(10), Some(19)));
        assert_eq!(range(&["gte", "gt", "lte", "lt"]), (Some(20), Some(9)));
    }

    #[test]
    fn ranges_without_values_are_noticed() {
        let range = |at_least, at_most| ValueRange { at_least, at_most };
        assert!(has_values(range(None, None), 0, 9));
        assert!(has_values(range(Some(9), None), 0, 9));
        assert!(!has_values(range(Some(10), None), 0, 9));
        assert!(!has_values(range(None, Some(-1)), 0, 9));
        assert!(!has_values(range(Some(5), Some(4)), 0, 9));
    }
}
