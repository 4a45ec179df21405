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

/// Returns whether the kernel considers the wall clock synchronized with a time server. `None` if the
/// system does not report it.
#[cfg(target_os = "linux")]
pub fn is_wall_clock_synchronized() -> Option<bool> {
    let mut state = std::mem::MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: a zeroed `timex` has no modes, so the call only fills the struct.
    let result = unsafe { libc::adjtimex(state.as_mut_ptr()) };
    // SAFETY: every bit pattern is a valid `timex`, and it was zeroed.
    let state = unsafe { state.assume_init() };
    (result >= 0).then_some(result != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0)
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
pub fn is_wall_clock_synchronized() -> Option<bool> {
    None
}
