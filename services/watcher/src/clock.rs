//! The keeper's clock.

use std::time::{Duration, Instant, SystemTime};

use lookalike_chassis::clock::to_nanos;

/// One instant on the wall clock and on the monotonic clock.
///
/// Tests pass their own; the steps of a tick never read a clock.
#[derive(Clone, Copy)]
pub struct Now {
    pub wall: SystemTime,
    pub mono: Instant,
}

impl Now {
    pub fn from_clock() -> Self {
        Self {
            wall: SystemTime::now(),
            mono: Instant::now(),
        }
    }

    /// Returns the time of the wall clock in nanoseconds since 1970.
    pub fn wall_nanos(self) -> i64 {
        to_nanos(self.wall)
    }
}

/// Nanoseconds of a duration, as the catalog stores them.
pub fn duration_nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
