//! Retries of one operation with backoff, bounded by attempts, by time and by a shutdown.
//!
//! Callers decide which errors are transient; a retry never hides an error that a repetition
//! cannot fix.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Backoff;

/// Why a retried operation did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryError<E> {
    /// The shutdown token was cancelled before an attempt succeeded.
    Cancelled,
    /// The last attempt failed with a permanent error, or a limit was reached.
    Failed(E),
}

impl<E> RetryError<E> {
    /// Returns the error of the last attempt, or `None` after a cancellation.
    pub fn into_failure(self) -> Option<E> {
        match self {
            Self::Cancelled => None,
            Self::Failed(error) => Some(error),
        }
    }
}

/// Limits of a retried operation.
#[derive(Debug, Clone)]
pub struct Retry {
    backoff: Backoff,
    max_attempts: u32,
    deadline: Option<Instant>,
    shutdown: CancellationToken,
}

impl Retry {
    /// Retries without a limit on attempts or time; waits grow from `first_wait` to `max_wait`.
    pub fn new(first_wait: Duration, max_wait: Duration) -> Self {
        Self {
            backoff: Backoff::new(first_wait, max_wait),
            max_attempts: u32::MAX,
            deadline: None,
            shutdown: CancellationToken::new(),
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

    /// Stops, also in the middle of an attempt, when `shutdown` is cancelled.
    #[must_use]
    pub fn with_shutdown(mut self, shutdown: &CancellationToken) -> Self {
        self.shutdown = shutdown.clone();
        self
    }

    /// Runs `attempt` until it succeeds, a limit is reached, or `is_transient` refuses an error.
    ///
    /// `is_transient` is called once for each failed attempt and is the place to log it.
    ///
    /// # Errors
    /// [`RetryError::Cancelled`] when the shutdown comes first, else the last attempt's error.
    pub async fn run<T, E, F>(
        mut self,
        mut attempt: impl FnMut() -> F,
        mut is_transient: impl FnMut(&E) -> bool,
    ) -> Result<T, RetryError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        loop {
            let error = match self.shutdown.run_until_cancelled(attempt()).await {
                None => return Err(RetryError::Cancelled),
                Some(Ok(value)) => return Ok(value),
                Some(Err(error)) => error,
            };
            if !is_transient(&error) || self.backoff.attempts() + 1 >= self.max_attempts {
                return Err(RetryError::Failed(error));
            }
            let wait = self.backoff.next_delay();
            if self
                .deadline
                .is_some_and(|deadline| Instant::now() + wait > deadline)
            {
                return Err(RetryError::Failed(error));
            }
            let sleep = tokio::time::sleep(wait);
            if self.shutdown.run_until_cancelled(sleep).await.is_none() {
                return Err(RetryError::Cancelled);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

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
        assert_eq!(result, Err(RetryError::Failed(3)));
        attempts.set(0);
        let result = brief_retry()
            .with_max_attempts(2)
            .run(attempt, |_| true)
            .await;
        assert_eq!(result, Err(RetryError::Failed(2)));
    }

    #[tokio::test]
    async fn stops_within_its_timeout() {
        let begun = Instant::now();
        let retry = brief_retry().with_timeout(Duration::from_millis(30));
        let result = retry.run(|| async { Err::<(), _>("busy") }, |_| true).await;
        assert_eq!(result, Err(RetryError::Failed("busy")));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_shutdown_interrupts_an_attempt() {
        let shutdown = CancellationToken::new();
        let retry = brief_retry().with_shutdown(&shutdown);
        let attempt = || {
            shutdown.cancel();
            std::future::pending::<Result<(), &str>>()
        };
        assert_eq!(
            retry.run(attempt, |_| true).await,
            Err(RetryError::Cancelled)
        );
    }
}
