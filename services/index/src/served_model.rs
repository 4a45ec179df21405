//! Watches which model is in service: the alias of the namespace, compared with the collection that
//! a role uses.
//!
//! Embedders and search services both follow the served model during a rollover. Each polls a
//! [`ServedModelWatcher`] and decides what to do when another model's collection was put in
//! service. After a failure the role keeps its model and reports the failure to the watcher, which
//! asks it to try again. The delays between attempts grow, up to 30 seconds for an embedder, which
//! loads the network. A search service only needs the index and an embedder, and tries at each poll:
//!
//! ```ignore
//! let mut watcher = ServedModelWatcher::new(index);
//! loop {
//!     match watcher.poll().await {
//!         ServedModel::Own => clear_rollover_error(),
//!         ServedModel::Other(collection) => match load_model(&collection).await {
//!             Ok(next) => return next,
//!             Err(error) => {
//!                 report_rollover_error(error);
//!                 watcher.record_failure(&collection);
//!             }
//!         },
//!         ServedModel::NotYet(collection) => pause_if_others_serve(&collection),
//!     }
//! }
//! ```

use std::time::{Duration, Instant};

use lookalike_chassis::Backoff;

use crate::{
    collections::{Collection, Collections},
    error::Error,
    index::Index,
};

const POLL_INTERVAL: Duration = Duration::from_secs(1);
const MAX_RETRY_WAIT: Duration = Duration::from_secs(30);

/// Which model is in service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServedModel {
    /// The role's own model, or none at all.
    Own,
    /// Another model, which the role should load now.
    Other(Collection),
    /// Another model, which the role failed to load; the next attempt is not due yet.
    RetryLater(Collection),
}

/// Polls the alias of a namespace on behalf of one role.
pub struct ServedModelWatcher {
    index: Index,
    collections: Collections,
    poll_interval: Duration,
    attempts: LoadAttempts,
}

impl ServedModelWatcher {
    /// Creates a watcher for a role that uses `index`. It polls every second; the delays between
    /// failed attempts grow to 30 seconds.
    pub fn new(index: Index) -> Self {
        Self {
            collections: index.collections(),
            index,
            poll_interval: POLL_INTERVAL,
            attempts: LoadAttempts::new(POLL_INTERVAL, MAX_RETRY_WAIT),
        }
    }

    #[must_use]
    pub fn with_poll_interval(mut self, poll_interval: Duration) -> Self {
        self.poll_interval = poll_interval;
        self
    }

    /// Limits the delay between two attempts to load the same collection's model.
    #[must_use]
    pub fn with_max_retry_wait(mut self, max_retry_wait: Duration) -> Self {
        self.attempts = LoadAttempts::new(self.poll_interval.min(max_retry_wait), max_retry_wait);
        self
    }

    /// Waits for one poll interval and returns the model in service.
    ///
    /// Repeats a lookup that fails: an unreachable Milvus does not mean another model, and searches
    /// and commits report it themselves. If the role's own model was given a new collection, this
    /// also creates or opens that collection. Dropping the future loses nothing.
    pub async fn poll(&mut self) -> ServedModel {
        loop {
            tokio::time::sleep(self.poll_interval).await;
            match self.find_other_collection().await {
                Ok(None) => {
                    self.attempts.reset();
                    return ServedModel::Own;
                }
                Ok(Some(collection)) => {
                    return match self.attempts.is_due(&collection.name, Instant::now()) {
                        true => ServedModel::Other(collection),
                        false => ServedModel::RetryLater(collection),
                    };
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot look up the collection in service");
                }
            }
        }
    }

    /// Records that the role could not load this collection's model. Further polls return
    /// [`ServedModel::NotYet`] until the next attempt is due.
    pub fn record_failure(&mut self, collection: &Collection) {
        self.attempts
            .record_failure(&collection.name, Instant::now());
    }

    /// Returns the number of consecutive failures to load the collection in service.
    pub fn failures(&self) -> u32 {
        self.attempts.failures
    }

    async fn find_other_collection(&self) -> Result<Option<Collection>, Error> {
        // The name alone is one small request.
        let name = self.collections.name_in_service().await?;
        if name.is_none() || name.as_deref() == Some(&*self.index.collection()) {
            return Ok(None);
        }
        let Some(collection) = self.collections.in_service().await? else {
            return Ok(None);
        };
        if collection.model == *self.index.model() {
            self.index.ensure_collection().await?;
            return Ok(None);
        }
        Ok(Some(collection))
    }
}

/// Attempts to load the model of one collection. The time is an argument.
struct LoadAttempts {
    /// Collection of the failed attempts, and when the next one is due.
    failed: Option<(String, Instant)>,
    failures: u32,
    backoff: Backoff,
}

impl LoadAttempts {
    fn new(first_wait: Duration, max_wait: Duration) -> Self {
        Self {
            failed: None,
            failures: 0,
            backoff: Backoff::new(first_wait, max_wait),
        }
    }

    fn reset(&mut self) {
        self.failed = None;
        self.failures = 0;
        self.backoff.reset_attempts();
    }

    /// Returns whether to load the collection now. Another collection than the failed one is due at
    /// once.
    fn is_due(&mut self, collection: &str, now: Instant) -> bool {
        match &self.failed {
            Some((failed, due)) if failed == collection => now >= *due,
            _ => {
                self.reset();
                true
            }
        }
    }

    fn record_failure(&mut self, collection: &str, now: Instant) {
        if self
            .failed
            .as_ref()
            .is_some_and(|(failed, _)| failed != collection)
        {
            self.reset();
        }
        self.failures += 1;
        self.failed = Some((collection.to_owned(), now + self.backoff.next_delay()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn failed_attempts_are_repeated_with_growing_delays() {
        let mut attempts = LoadAttempts::new(SECOND, 30 * SECOND);
        let mut now = Instant::now();
        let mut loads = 0;
        for _ in 0..600 {
            if attempts.is_due("a", now) {
                loads += 1;
                attempts.record_failure("a", now);
            }
            now += SECOND;
        }
        assert_eq!(attempts.failures, loads);
        assert!((20..60).contains(&loads), "{loads} attempts in ten minutes");
    }

    #[test]
    fn another_collection_is_due_at_once() {
        let mut attempts = LoadAttempts::new(SECOND, 30 * SECOND);
        let now = Instant::now();
        assert!(attempts.is_due("a", now));
        attempts.record_failure("a", now);
        attempts.record_failure("a", now);
        assert!(!attempts.is_due("a", now));
        assert!(attempts.is_due("b", now));
        assert_eq!(attempts.failures, 0);
        attempts.record_failure("b", now);
        attempts.record_failure("c", now);
        assert_eq!(attempts.failures, 1);
        assert!(!attempts.is_due("c", now));
    }

    #[test]
    fn a_reset_forgets_failures() {
        let mut attempts = LoadAttempts::new(SECOND, 30 * SECOND);
        let now = Instant::now();
        attempts.record_failure("a", now);
        attempts.reset();
        assert!(attempts.is_due("a", now));
        assert_eq!(attempts.failures, 0);
    }
}
