//! Limits the searches in progress, the counts of values, and the searches for duplicates.
//!
//! A search that waits for a slow embedder or a slow Milvus costs little, but clients that repeat it
//! add more. Beyond the limit, searches are refused at once.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::problem::{Code, Problem};

pub(crate) struct SearchPermits {
    permits: Semaphore,
    max_searches: usize,
    /// What is limited, for the refusal.
    kind: &'static str,
}

impl SearchPermits {
    pub(crate) fn new(max_searches: usize, kind: &'static str) -> Self {
        let max_searches = max_searches.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            permits: Semaphore::new(max_searches),
            max_searches,
            kind,
        }
    }

    /// Returns a permit for one search, which ends when the permit is dropped.
    pub(crate) fn acquire(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.permits.try_acquire().map_err(|_| {
            Problem::new(
                Code::Overloaded,
                format!(
                    "{} {} are already in progress",
                    self.max_searches, self.kind
                ),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_beyond_the_limit_are_refused_until_one_ends() {
        let permits = SearchPermits::new(2, "searches");
        let first = permits.acquire().unwrap();
        let _second = permits.acquire().unwrap();
        let refused = permits.acquire().map(|_| ()).unwrap_err();
        assert_eq!(refused.code, Code::Overloaded);
        assert_eq!(refused.retry_after, Some(2));
        assert_eq!(refused.detail, "2 searches are already in progress");
        drop(first);
        assert!(permits.acquire().is_ok());
        assert!(SearchPermits::new(0, "searches").acquire().is_ok());
    }
}
