//! Durations such as `"750ms"`, `"2s"` and `"5m"`, for `#[serde(with = …)]`.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

/// The longest duration of a setting, ten years of 365.25 days: far longer ones cannot be added to a
/// time.
const MAX_DURATION: Duration = Duration::from_secs(315_576_000);

/// Serializes to text such as `"750ms"`.
pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*value))
}

/// Parses text such as `"750ms"`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let duration = humantime::parse_duration(&text).map_err(|_| {
        D::Error::custom(format!(
            "{text:?} is not a duration like \"750ms\" or \"2s\""
        ))
    })?;
    if duration > MAX_DURATION {
        return Err(D::Error::custom(format!(
            "{text:?} is too long: the longest is \"10years\""
        )));
    }
    Ok(duration)
}

/// A duration of at least so many milliseconds, for `#[serde(with = "MinDuration::<1000>")]`. With a
/// shorter interval, a loop would never pause; with a shorter timeout, no call could succeed.
pub struct MinDuration<const MILLIS: u64>;

impl<const MILLIS: u64> MinDuration<MILLIS> {
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(value, serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let value = deserialize(deserializer)?;
        let min = Duration::from_millis(MILLIS);
        if value < min {
            return Err(D::Error::custom(format!(
                "\"{}\" is too short: the shortest is \"{}\"",
                humantime::format_duration(value),
                humantime::format_duration(min)
            )));
        }
        Ok(value)
    }
}
