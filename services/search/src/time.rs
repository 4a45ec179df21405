//! Formats and parses the times of the API: RFC 3339, in UTC.
//!
//! Internally, a time is signed milliseconds since 1970, because scanned photographs may be dated
//! before that.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

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
const FIRST_MS: i64 = -62_135_596_800_000;

/// Limits times beyond the years 1 to 9999 to this range.
fn to_timestamp(unix_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(unix_ms.max(FIRST_MS)).unwrap_or(Timestamp::MAX)
}

/// Parses `2026-11-23`, `2026-11-23T07:48:50Z` or `2026-11-23T07:48:50.25+01:00`. A date alone is its
/// midnight in UTC.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    // jiff also reads a date from the start of a longer text.
    if text.len() == "2026-11-23".len() {
        let date: Date = text.parse().ok()?;
        let midnight = date.to_zoned(TimeZone::UTC).ok()?;
        return Some(midnight.timestamp().as_millisecond());
    }
    text.parse().ok().map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_formatted_and_parsed() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_420_130_000, "2026-11-23T07:48:50Z"),
            (-1_000, "1969-12-31T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (-2_203_891_200_000, "1900-03-01T00:00:00Z"),
        ] {
            assert_eq!(format_time(ms), expected);
            assert_eq!(parse_time(expected), Some(ms));
        }
        assert_eq!(
            format_time_ms(1_795_420_130_007),
            "2026-11-23T07:48:50.007Z"
        );
        assert_eq!(parse_time("1970-01-02"), Some(86_400_000));
        assert_eq!(parse_time("1970-01-01T01:00:00.25+01:00"), Some(250));
        assert_eq!(
            parse_time("1970-01-01T00:00:00.123456-00:30"),
            Some(1_800_123)
        );
    }

    #[test]
    fn every_time_is_written_in_rfc_3339() {
        for ms in [i64::MIN, FIRST_MS - 1, FIRST_MS] {
            assert_eq!(format_time(ms), "0001-01-01T00:00:00Z");
        }
        assert!(format_time_ms(i64::MAX).starts_with("9999-12-30T"));
    }

    #[test]
    fn invalid_times_are_refused() {
        for bad in [
            "",
            "yesterday",
            "2026",
            "2026-13-01",
            "2026-02-30",
            "2026-01-01T",
            "2026-01-01T10:00:00",
            "2026-01-01T25:00:00Z",
            "2026-01-01T10:00:00+1",
            "2026-01-01T10:00:00.Z",
            "+026-01-01",
            "2026-01-01T10:00:00+01:0é",
            "２０２６-01-01",
        ] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
