//! Formats the times of the API: RFC 3339, in UTC.
//!
//! Internally, a time is signed milliseconds since 1970, because scanned photographs may be dated
//! before that.

use jiff::Timestamp;

/// Returns a time like `2026-11-23T07:48:50Z`, without fractions of a second.
pub(crate) fn format_time(unix_ms: i64) -> String {
    format!("{:.0}", to_timestamp(unix_ms))
}

/// Returns a time like `2026-11-23T07:48:50.123Z`.
pub(crate) fn format_time_ms(unix_ms: i64) -> String {
    format!("{:.3}", to_timestamp(unix_ms))
}

/// Limits times beyond the years −9999 to 9999 to this range.
fn to_timestamp(unix_ms: i64) -> Timestamp {
    let limit = match unix_ms < 0 {
        true => Timestamp::MIN,
        false => Timestamp::MAX,
    };
    Timestamp::from_millisecond(unix_ms).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_formatted() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_420_130_000, "2026-11-23T07:48:50Z"),
            (-1_000, "1969-12-31T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (-2_203_891_200_000, "1900-03-01T00:00:00Z"),
        ] {
            assert_eq!(format_time(ms), expected);
        }
        assert_eq!(
            format_time_ms(1_795_420_130_007),
            "2026-11-23T07:48:50.007Z"
        );
    }
}
