//! Timestamps of messages and of the catalog: nanoseconds since 1970 as a signed integer.

use std::time::{SystemTime, UNIX_EPOCH};

/// Converts a time to nanoseconds since 1970; earlier times are negative.
pub fn to_nanos(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
    }
}

/// Returns the current time in nanoseconds since 1970.
pub fn now_nanos() -> i64 {
    to_nanos(SystemTime::now())
}
