//! Times on the wire and in the catalog are nanoseconds since 1970 in a signed integer.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970; negative before.
pub fn to_nanos(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
    }
}

/// Now, in nanoseconds since 1970.
pub fn now_nanos() -> i64 {
    to_nanos(SystemTime::now())
}
