//! Times as clients write and read them: RFC 3339, in UTC on the way out.
//!
//! Inside, a time is milliseconds since 1970 in a signed integer: scanned photographs may claim
//! to be from before.

/// `2026-11-23T07:48:50Z`; fractions of a second are left out.
pub(crate) fn format_time(unix_ms: i64) -> String {
    let seconds = unix_ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// `2026-11-23T07:48:50.123Z`.
pub(crate) fn format_time_ms(unix_ms: i64) -> String {
    let whole = format_time(unix_ms);
    format!(
        "{}.{:03}Z",
        whole.trim_end_matches('Z'),
        unix_ms.rem_euclid(1000)
    )
}

/// Reads `2026-11-23`, `2026-11-23T07:48:50Z`, `2026-11-23T07:48:50.25+01:00`; a day alone is its
/// first moment in UTC.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        let all = digits.bytes().all(|b| b.is_ascii_digit());
        all.then(|| digits.parse().ok()).flatten()
    };
    let mark = |at: usize, what: &[u8]| bytes.get(at).is_some_and(|b| what.contains(b));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if !mark(4, b"-") || !mark(7, b"-") || !(1..=12).contains(&month) {
        return None;
    }
    let days = days(year, month, day);
    // A day that its month does not have comes back as another one.
    if civil(days) != (year, month, day) {
        return None;
    }
    if bytes.len() == 10 {
        return Some(days * 86_400_000);
    }
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let separated = mark(10, b"Tt ") && mark(13, b":") && mark(16, b":");
    if !separated || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut ms = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        let padded = format!("{:0<3}", &fraction[..digits.min(3)]);
        ms = padded.parse().ok()?;
        rest = &fraction[digits..];
    }
    let offset_minutes = match rest {
        "Z" | "z" => 0,
        _ => offset(rest)?,
    };
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset_minutes * 60;
    Some(seconds * 1000 + ms)
}

/// `+01:00` in minutes.
fn offset(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let sign = match bytes.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digit = |at: usize| {
        let byte = *bytes.get(at)?;
        byte.is_ascii_digit().then(|| i64::from(byte - b'0'))
    };
    if bytes.len() != 6 || bytes[3] != b':' {
        return None;
    }
    let (hours, minutes) = (digit(1)? * 10 + digit(2)?, digit(4)? * 10 + digit(5)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

/// Days since 1970-01-01 of a date of the Gregorian calendar. The year is counted from March, so
/// that the day that comes and goes is its last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_their_text() {
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
    fn what_is_no_time_is_refused() {
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
