//! The content cache: equal bytes are embedded once.
//!
//! The cache keeps one row per content, of any image that has it. Concurrent requests for the same
//! content are coalesced: one searches, the others wait for its result. A content that cannot be
//! decoded is remembered for [`FAILURE_TTL`], so its copies are not decoded one after another.
//! Other errors are not cached.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lookalike_index::IndexRow;
use lookalike_proto::ContentHash;
use moka::future::Cache;
use moka::policy::EvictionPolicy;

use crate::commit::job::IndexingFailure;

/// How long copies of a content that cannot be decoded fail without another attempt.
const FAILURE_TTL: Duration = Duration::from_secs(60);

/// The most recently used contents.
pub struct ContentCache {
    rows: Cache<ContentHash, Arc<IndexRow>>,
    failures: Cache<ContentHash, CachedFailure>,
}

#[derive(Clone)]
struct CachedFailure {
    failure: IndexingFailure,
    /// When the failed attempt began, in nanoseconds since 1970.
    started_ns: i64,
}

/// The search of one caller failed; that caller has the error.
struct SearchFailed;

impl ContentCache {
    /// Creates a cache of so many contents.
    pub fn new(max_contents: usize) -> Self {
        let max_contents = max_contents.max(1) as u64;
        Self {
            rows: Cache::builder()
                .max_capacity(max_contents)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            failures: Cache::builder()
                .max_capacity(max_contents)
                .time_to_live(FAILURE_TTL)
                .build(),
        }
    }

    /// Returns the row of a content, from the cache or from `find`. Of concurrent callers one runs
    /// its `find`; if that fails, the next caller runs its own.
    ///
    /// If decoding failed recently, files that were observed before that attempt fail at once. A
    /// file observed later is tried again, for example because a user asked for it.
    ///
    /// # Errors
    /// The error of the caller's own `find`, or the remembered failure.
    pub async fn get_or_find_row<E, F, W>(
        &self,
        hash: ContentHash,
        observed_at_ns: i64,
        find: F,
    ) -> Result<Arc<IndexRow>, E>
    where
        E: From<IndexingFailure>,
        F: FnOnce() -> W,
        W: Future<Output = Result<Arc<IndexRow>, E>>,
    {
        let mut find = Some(find);
        loop {
            let mut own_error = None;
            let search = async {
                let found = match (
                    self.recent_failure(&hash, observed_at_ns).await,
                    find.take(),
                ) {
                    (Some(failure), _) => Err(failure.into()),
                    (None, Some(find)) => find().await,
                    (None, None) => unreachable!("a caller returns after its own search"),
                };
                found.map_err(|error| {
                    own_error = Some(error);
                    SearchFailed
                })
            };
            match self.rows.try_get_with(hash, search).await {
                Ok(row) => return Ok(row),
                Err(_) => {
                    if let Some(error) = own_error {
                        return Err(error);
                    }
                    // The search of another caller failed.
                }
            }
        }
    }

    /// Records that an attempt to decode this content, begun at `started_ns`, failed. Only for
    /// failures that the content itself causes.
    pub async fn record_failure(
        &self,
        hash: ContentHash,
        failure: &IndexingFailure,
        started_ns: i64,
    ) {
        let failure = CachedFailure {
            failure: failure.clone(),
            started_ns,
        };
        self.failures.insert(hash, failure).await;
    }

    async fn recent_failure(
        &self,
        hash: &ContentHash,
        observed_at_ns: i64,
    ) -> Option<IndexingFailure> {
        let cached = self.failures.get(hash).await?;
        (observed_at_ns <= cached.started_ns).then_some(cached.failure)
    }

    pub fn has_vector(&self, hash: &ContentHash) -> bool {
        self.rows.contains_key(hash)
    }

    /// Keeps the row of a content that is about to leave the index: the file may come back. A row
    /// that is cached already stays.
    pub async fn store_row(&self, hash: ContentHash, row: IndexRow) {
        self.rows.entry(hash).or_insert(Arc::new(row)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corrupt() -> IndexingFailure {
        IndexingFailure {
            code: "corrupt",
            detail: "it is damaged".to_owned(),
        }
    }

    #[tokio::test]
    async fn what_the_index_loses_is_kept_and_nothing_is_kept_twice() {
        let cache = ContentCache::new(2);
        let hash = ContentHash::hash_content(b"a");
        let row = |first| IndexRow {
            vector: vec![first],
            ..IndexRow::default()
        };
        assert!(!cache.has_vector(&hash));
        let not_found = async || Err::<Arc<IndexRow>, _>(corrupt());
        assert!(cache.get_or_find_row(hash, 1, not_found).await.is_err());
        assert!(!cache.has_vector(&hash), "requested, and not known yet");
        cache.store_row(hash, row(1.0)).await;
        assert!(cache.has_vector(&hash));
        cache.store_row(hash, row(2.0)).await;
        let stored = cache.get_or_find_row(hash, 1, not_found).await.unwrap();
        assert_eq!(stored.vector, [1.0]);
        for other in [b"b", b"c"] {
            cache
                .store_row(ContentHash::hash_content(other), row(0.0))
                .await;
        }
        cache.rows.run_pending_tasks().await;
        assert!(!cache.has_vector(&hash), "the oldest is evicted");
    }

    #[tokio::test]
    async fn copies_of_a_bad_file_are_not_tried_one_after_another() {
        let cache = ContentCache::new(2);
        let hash = ContentHash::hash_content(b"a");
        let tries = std::cell::Cell::new(0);
        let failure = corrupt();
        let fail = async || {
            tries.set(tries.get() + 1);
            tokio::task::yield_now().await;
            cache.record_failure(hash, &failure, 1_000).await;
            Err::<Arc<IndexRow>, IndexingFailure>(failure.clone())
        };
        let find = |observed_at_ns| cache.get_or_find_row(hash, observed_at_ns, &fail);
        // All wait for the first one.
        let copies = (0..5).map(|copy| find(996 + copy));
        for found in futures_util::future::join_all(copies).await {
            assert_eq!(found.unwrap_err(), failure);
        }
        assert_eq!(tries.get(), 1);
        // Observed after the failed attempt: tried again.
        assert_eq!(find(1_001).await.unwrap_err(), failure);
        assert_eq!(tries.get(), 2);
        // The failure expires.
        cache.failures.invalidate(&hash).await;
        assert_eq!(find(999).await.unwrap_err(), failure);
        assert_eq!(tries.get(), 3);
        assert_eq!(find(999).await.unwrap_err(), failure);
        assert_eq!(tries.get(), 3);
        // A row takes precedence over a failure.
        let row = async || Ok::<_, IndexingFailure>(Arc::default());
        assert!(cache.get_or_find_row(hash, 1_001, row).await.is_ok());
        assert!(find(999).await.is_ok());
        assert_eq!(tries.get(), 3);
    }

    #[tokio::test]
    async fn what_is_not_the_contents_fault_is_not_remembered() {
        let cache = ContentCache::new(2);
        let hash = ContentHash::hash_content(b"a");
        let unavailable = async || {
            Err::<Arc<IndexRow>, _>(IndexingFailure {
                code: "network_failed",
                detail: String::new(),
            })
        };
        assert!(cache.get_or_find_row(hash, 1, unavailable).await.is_err());
        let row = async || Ok::<_, IndexingFailure>(Arc::default());
        assert!(cache.get_or_find_row(hash, 1, row).await.is_ok());
    }

    #[tokio::test]
    async fn after_a_failed_search_the_next_caller_searches_itself() {
        let cache = ContentCache::new(2);
        let hash = ContentHash::hash_content(b"a");
        let searches = std::cell::Cell::new(0);
        let find = async || {
            searches.set(searches.get() + 1);
            tokio::task::yield_now().await;
            match searches.get() {
                1 => Err(corrupt()),
                _ => Ok(Arc::default()),
            }
        };
        let callers = (0..3).map(|_| cache.get_or_find_row(hash, 1, &find));
        let found = futures_util::future::join_all(callers).await;
        assert_eq!(found.iter().filter(|result| result.is_ok()).count(), 2);
        assert_eq!(searches.get(), 2);
    }
}
