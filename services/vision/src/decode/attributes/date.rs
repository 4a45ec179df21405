//! Times in the forms that cameras and programs write.
//!
//! The date begins with the year: `2021:06:05`, `2021-06-05`, `2021/06/05`, `2021.6.5`, `20210605`.
//! A time may follow after a space or `T`, with or without seconds, a fraction, `AM` or `PM`, and a
//! zone. A form that begins with the day or the month is ambiguous and is not read. A date that does
//! not exist, or that lacks its day, is not read either: no other day takes its place.
//!
//! **Zones.** A time with a zone is converted to UTC. A time without one counts as UTC, because
//! cameras seldom record where they are. A date without a time is midnight UTC of that date, with or
//! without a zone, so that it stays on its day.

use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::Offset;

/// Years before the first photograph are mistakes.
const YEARS: std::ops::RangeInclusive<i16> = 1826..=9999;

/// Seconds east of Greenwich; 16 hours are more than any place has used.
const MAX_OFFSET_SECONDS: i32 = 16 * 3600;

/// A time as a file states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatedTime {
    date_time: DateTime,
    /// Whether the file states more than the date.
    has_clock_time: bool,
    /// Seconds east of Greenwich.
    offset_seconds: Option<i32>,
}

impl StatedTime {
    /// Reads a time; `None` if the text has no such form or the date does not exist.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut scanner = TimeScanner::new(text);
        let (year, month, day, is_compact) = scanner.take_date()?;
        if !YEARS.contains(&year) {
            return None;
        }
        let at = |hour: i8, minute: i8, second: i8| {
            // A leap second is the last second of its minute: the next one may be on another day.
            let second = if second == 60 { 59 } else { second };
            DateTime::new(year, month, day, hour, minute, second, 0).ok()
        };
        Some(if scanner.skip_to_clock_time(is_compact) {
            let (hour, minute, second) = scanner.take_clock_time()?;
            Self {
                date_time: at(hour, minute, second)?,
                has_clock_time: true,
                offset_seconds: parse_offset(scanner.rest),
            }
        } else {
            Self {
                date_time: at(0, 0, 0)?,
                has_clock_time: false,
                offset_seconds: None,
            }
        })
    }

    /// Reads a time in words, as in e-mails: `Sat, 05 Jun 2021 04:03:02 GMT`.
    pub(crate) fn parse_rfc2822(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let zoned = rfc2822::parse(text.trim()).ok()?;
        Some(Self {
            date_time: zoned.datetime(),
            has_clock_time: true,
            offset_seconds: Some(zoned.offset().seconds()),
        })
    }

    /// Sets the zone, in seconds east of Greenwich, unless the text already has one.
    pub(crate) fn with_default_offset(mut self, offset_seconds: Option<i32>) -> Self {
        self.offset_seconds = self.offset_seconds.or(offset_seconds);
        self
    }

    /// Returns seconds since 1970, UTC.
    pub(crate) fn unix_seconds(&self) -> Option<i64> {
        let seconds = match self.has_clock_time {
            true => self.offset_seconds.unwrap_or(0),
            false => 0,
        };
        let offset = Offset::from_seconds(seconds).ok()?;
        Some(offset.to_timestamp(self.date_time).ok()?.as_second())
    }
}

/// Reads a zone in seconds east of Greenwich: `Z`, `+02:00`, `+0200`, `-5`, `UTC+2`. Other text
/// after it is allowed. `None` for zones in words and for impossible ones.
pub(crate) fn parse_offset(text: &[u8]) -> Option<i32> {
    let text = text.trim_ascii();
    let text = ["UTC", "GMT"]
        .iter()
        .find_map(|name| text.strip_prefix(name.as_bytes()))
        .map_or(text, |rest| if rest.is_empty() { b"Z" } else { rest });
    // The minus sign of typography, three bytes of UTF-8, also occurs.
    let (sign, rest) = match text {
        [b'Z' | b'z', ..] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] | [0xe2, 0x88, 0x92, rest @ ..] => (-1, rest),
        _ => return None,
    };
    let mut scanner = TimeScanner { rest };
    let hours = i32::from(scanner.take_digits(1, 2)?);
    scanner.skip_one(b":");
    let minutes = i32::from(scanner.take_digits(2, 2).unwrap_or(0));
    let seconds = hours * 3600 + minutes * 60;
    (minutes < 60 && seconds < MAX_OFFSET_SECONDS).then_some(sign * seconds)
}

/// The rest of a text that is read from left to right.
struct TimeScanner<'t> {
    rest: &'t [u8],
}

impl<'t> TimeScanner<'t> {
    fn new(text: &'t [u8]) -> Self {
        let is_blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0 | b'"' | b'\'');
        let start = text.iter().position(|byte| !is_blank(byte));
        let rest = start.map_or(&text[..0], |start| &text[start..]);
        // What follows a NUL is no part of the text.
        let end = rest.iter().position(|byte| *byte == 0);
        Self {
            rest: &rest[..end.unwrap_or(rest.len())],
        }
    }

    /// Takes at least `min` and at most `max` digits.
    fn take_digits(&mut self, min: usize, max: usize) -> Option<i16> {
        let digits = self.rest.iter().take(max);
        let count = digits.take_while(|byte| byte.is_ascii_digit()).count();
        if count < min {
            return None;
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        let add = |number: i16, digit: &u8| number * 10 + i16::from(digit - b'0');
        Some(digits.iter().fold(0, add))
    }

    /// Takes one or two digits; programs pad with zeros, spaces or not at all.
    fn take_number(&mut self) -> Option<i8> {
        self.skip_spaces();
        self.take_digits(1, 2)?.try_into().ok()
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    /// Skips one byte if it is one of `bytes`.
    fn skip_one(&mut self, bytes: &[u8]) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if bytes.contains(first) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn starts_with_digit(&self) -> bool {
        self.rest.first().is_some_and(u8::is_ascii_digit)
    }

    /// Takes year, month and day, and returns whether they stand without separators.
    fn take_date(&mut self) -> Option<(i16, i8, i8, bool)> {
        const SEPARATORS: &[u8] = b":-/.";
        let year = self.take_digits(4, 4)?;
        if self.skip_one(SEPARATORS) {
            let month = self.take_number()?;
            self.skip_spaces();
            if !self.skip_one(SEPARATORS) {
                return None;
            }
            let day = self.take_number()?;
            (!self.starts_with_digit()).then_some((year, month, day, false))
        } else {
            let month = self.take_digits(2, 2)?;
            let day = self.take_digits(2, 2)?;
            Some((year, month.try_into().ok()?, day.try_into().ok()?, true))
        }
    }

    /// Skips what separates the date from the time, and returns whether a time follows. Unset
    /// fields are blank: `2021:06:05   :  :  `.
    fn skip_to_clock_time(&mut self, is_compact: bool) -> bool {
        let is_separated = self
            .rest
            .first()
            .is_some_and(|byte| matches!(byte, b' ' | b'T' | b't' | b':' | b'_' | b',' | b'\t'));
        if !is_separated && !is_compact {
            return false;
        }
        while self.skip_one(b" Tt:_,\t") {}
        !matches!(self.rest.first(), None | Some(b'+' | b'-' | b'Z' | b'z'))
    }

    /// Takes hour, minute and second; minute and second may be missing.
    fn take_clock_time(&mut self) -> Option<(i8, i8, i8)> {
        let hour = self.take_number()?;
        let (mut minute, mut second) = (0, 0);
        if self.skip_one(b":.") {
            self.skip_spaces();
            if self.starts_with_digit() {
                minute = self.take_number()?;
                if self.skip_one(b":.") {
                    self.skip_spaces();
                    second = match self.starts_with_digit() {
                        true => self.take_number()?,
                        false => 0,
                    };
                }
            }
        } else if self.starts_with_digit() {
            minute = self.take_digits(2, 2)?.try_into().ok()?;
            second = match self.starts_with_digit() {
                true => self.take_digits(2, 2)?.try_into().ok()?,
                false => 0,
            };
        } else if !self.ends_after_hour() {
            return None;
        }
        if self.skip_one(b".,:") {
            while self.starts_with_digit() {
                self.rest = &self.rest[1..];
            }
        }
        self.skip_spaces();
        let hour = self.apply_half_of_day(hour)?;
        Some((hour, minute, second))
    }

    /// Returns whether nothing, a zone, or the half of the day follows.
    fn ends_after_hour(&self) -> bool {
        let rest = self.rest.trim_ascii();
        rest.first().is_none_or(|byte| b"+-ZzAaPp".contains(byte))
    }

    /// Takes `AM` or `PM` and returns the hour of the whole day.
    fn apply_half_of_day(&mut self, hour: i8) -> Option<i8> {
        let is_afternoon = match self.rest {
            [b'A' | b'a', b'M' | b'm', ..] => false,
            [b'P' | b'p', b'M' | b'm', ..] => true,
            _ => return Some(hour),
        };
        self.rest = &self.rest[2..];
        match (hour, is_afternoon) {
            (12, false) => Some(0),
            (1..=11, true) => Some(hour + 12),
            (1..=12, _) => Some(hour),
            // Programs that write `16:03 PM` mean the same.
            (13..=23, true) => Some(hour),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
