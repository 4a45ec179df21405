//! Waits between tries: doubling, with full jitter, up to a limit.

use std::time::Duration;

use rand::Rng as _;

/// Doubling waits with jitter (a random part of the wait, so that many workers that lost the
/// same server don't come back at the same moment).
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    tries: u32,
}

impl Backoff {
    /// Waits around `first`, then twice as long each time, never above `limit`.
    pub fn new(first: Duration, limit: Duration) -> Self {
        Self {
            first,
            limit,
            tries: 0,
        }
    }

    /// How long to wait now; the next one is twice as long.
    pub fn next_wait(&mut self) -> Duration {
        let full = self
            .first
            .saturating_mul(1 << self.tries.min(20))
            .min(self.limit);
        self.tries = self.tries.saturating_add(1);
        full.mul_f64(rand::thread_rng().gen_range(0.5..=1.0))
    }

    /// After a success the next wait is the first one again.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// How many waits were asked for since the last success.
    pub fn tries(&self) -> u32 {
        self.tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_limit_and_starts_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for most in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next_wait();
            assert!(wait <= Duration::from_millis(most) && wait >= Duration::from_millis(most / 2));
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
