//! Waits between attempts: each is twice as long as the one before, with jitter, up to a limit.

use std::time::Duration;

use rand::Rng as _;

/// Doubling waits with jitter: each wait is shortened by a random part, so that many workers that
/// lost the same server do not return to it all at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    attempts: u32,
}

impl Backoff {
    /// Starts at `first` and doubles with each wait, never above `limit`.
    pub fn new(first: Duration, limit: Duration) -> Self {
        Self {
            first,
            limit,
            attempts: 0,
        }
    }

    /// Returns the next wait and doubles the one after it.
    pub fn next_delay(&mut self) -> Duration {
        let full = self
            .first
            .saturating_mul(1 << self.attempts.min(20))
            .min(self.limit);
        self.attempts = self.attempts.saturating_add(1);
        full.mul_f64(rand::thread_rng().gen_range(0.5..=1.0))
    }

    /// Starts again at the first wait; to be called after a success.
    pub fn reset_attempts(&mut self) {
        self.attempts = 0;
    }

    /// Waits returned since the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_limit_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for max_millis in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next_delay();
            assert!(
                wait <= Duration::from_millis(max_millis)
                    && wait >= Duration::from_millis(max_millis / 2)
            );
        }
        backoff.reset_attempts();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }
}
