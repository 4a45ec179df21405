//! Retries of one operation with backoff, bounded by attempts and by time.
//!
//! Callers decide which errors are transient; a retry never hides an error that a repetition
//! cannot fix. To stop at a shutdown, wrap the future: `token.run_until_cancelled(retry.run(…))`.

use std::time::Duration;

use tokio::time::Instant;

use crate::Backoff;

/// Limits of a retried operation.
#[derive(Debug, Clone)]
pub struct Retry {
    backoff: Backoff,
    max_attempts: u32,
    deadline: Option<Instant>,
}

impl Retry {
    /// Retries without a limit on attempts or time; waits grow from `first_wait` to `max_wait`.
    pub fn new(first_wait: Duration, max_wait: Duration) -> Self {
        Self {
            backoff: Backoff::new(first_wait, max_wait),
            max_attempts: u32::MAX,
            deadline: None,
        }
    }

    /// Gives up after so many attempts in all; at least one is made.
    #[must_use]
    pub fn with_max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = max_attempts.max(1);
        self
    }

    /// Gives up when the next wait would end after `timeout` from now.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Some(Instant::now() + timeout);
        self
    }

    /// Runs `attempt` until it succeeds, a limit is reached, or `is_transient` refuses an error.
    ///
    /// `is_transient` is called once for each failed attempt and is the place to log it.
    ///
    /// # Errors
    /// The error of the last attempt.
    pub async fn run<T, E, F>(
        mut self,
        mut attempt: impl FnMut() -> F,
        mut is_transient: impl FnMut(&E) -> bool,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) if is_transient(&error) => self.wait_after(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits before the next attempt; for loops that repair something between two attempts.
    ///
    /// # Errors
    /// The given error, if a limit is reached.
    pub async fn wait_after<E>(&mut self, error: E) -> Result<(), E> {
        if self.backoff.attempts() + 1 >= self.max_attempts {
            return Err(error);
        }
        let wait = self.backoff.next_delay();
        let is_late = |deadline| Instant::now() + wait > deadline;
        if self.deadline.is_some_and(is_late) {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio_util::sync::CancellationToken;

    use super::*;

    fn brief_retry() -> Retry {
        Retry::new(Duration::from_millis(1), Duration::from_millis(2))
    }

    #[tokio::test]
    async fn repeats_until_success() {
        let attempts = Cell::new(0);
        let attempt = || async {
            attempts.set(attempts.get() + 1);
            if attempts.get() < 4 {
                Err("busy")
            } else {
                Ok(attempts.get())
            }
        };
        assert_eq!(brief_retry().run(attempt, |_| true).await, Ok(4));
    }

    #[tokio::test]
    async fn stops_at_a_permanent_error_and_at_the_limit_of_attempts() {
        let attempts = Cell::new(0);
        let attempt = || async {
            attempts.set(attempts.get() + 1);
            Err::<(), _>(attempts.get())
        };
        let result = brief_retry().run(attempt, |error| *error < 3).await;
        assert_eq!(result, Err(3));
        attempts.set(0);
        let retry = brief_retry().with_max_attempts(2);
        assert_eq!(retry.run(attempt, |_| true).await, Err(2));
    }

    #[tokio::test]
    async fn stops_within_its_timeout() {
        let begun = Instant::now();
        let retry = brief_retry().with_timeout(Duration::from_millis(30));
        let result = retry.run(|| async { Err::<(), _>("busy") }, |_| true).await;
        assert_eq!(result, Err("busy"));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_shutdown_interrupts_an_attempt() {
        let shutdown = CancellationToken::new();
        let attempt = || {
            shutdown.cancel();
            std::future::pending::<Result<(), &str>>()
        };
        let retried = brief_retry().run(attempt, |_| true);
        assert_eq!(shutdown.run_until_cancelled(retried).await, None);
    }
}
