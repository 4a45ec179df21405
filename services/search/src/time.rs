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

/// The first millisecond of the year 1. RFC 3339 has no earlier years than 0, and many clients have
/// no earlier year than 1.
pub(crate) const FIRST_MS: i64 = -62_135_596_800_000;

/// Limits times beyond the years 1 to 9999 to this range.
fn to_timestamp(unix_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(unix_ms.max(FIRST_MS)).unwrap_or(Timestamp::MAX)
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

    #[test]
    fn every_time_is_written_in_rfc_3339() {
        for ms in [i64::MIN, FIRST_MS - 1, FIRST_MS] {
            assert_eq!(format_time(ms), "0001-01-01T00:00:00Z");
        }
        assert!(format_time_ms(i64::MAX).starts_with("9999-12-30T"));
    }
}
