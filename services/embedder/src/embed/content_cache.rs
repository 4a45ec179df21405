//! Known content: the same bytes are never embedded again. Vectors come from memory, else from
//! the index, else from the network; of copies that arrive together one is embedded and the
//! others wait for it. Where it can't be decoded, they are not tried one after another either.

use std::collections::HashMap;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lookalike_chassis::Backoff;
use lookalike_index::{Error as IndexError, ErrorClass, Index, IndexRow};
use lookalike_proto::ContentHash;
use lru::LruCache;
use tokio::sync::{OnceCell, mpsc, oneshot};

use crate::queue::circuit_breaker::CircuitBreaker;

/// How long a server that is away is waited for. Then all is embedded: one whose rows can't be read
/// may still take new ones.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long copies of a content that can't be decoded are answered without another try.
const FAILURE_TTL: Duration = Duration::from_secs(60);

/// Why a file is not in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexingFailure {
    /// From the documented list.
    pub code: &'static str,
    /// One sentence.
    pub detail: String,
}

/// What is known of one content: its row (of any image that has it), or that it can't be decoded.
#[derive(Default)]
pub struct CachedContent {
    row: OnceCell<Arc<IndexRow>>,
    failure: Mutex<Option<CachedFailure>>,
}

struct CachedFailure {
    failed: IndexingFailure,
    /// When that try began, by the calendar.
    begun_ns: i64,
    until: Instant,
}

/// Shared by those that have this content in hand.
pub type SharedContent = Arc<CachedContent>;

impl CachedContent {
    /// The row of this content: known, or else found by one of those that ask, for all of them. If
    /// the content turned out to be impossible to decode a moment ago, no file is tried again that
    /// was observed before that; one that was observed later is, as when somebody asks for it.
    ///
    /// # Errors
    /// Why it could not be found.
    pub async fn get_or_find_row<E, F, W>(
        &self,
        observed_at_ns: i64,
        find: F,
    ) -> Result<Arc<IndexRow>, E>
    where
        E: From<IndexingFailure>,
        F: FnOnce() -> W,
        W: Future<Output = Result<Arc<IndexRow>, E>>,
    {
        let row = self.row.get_or_try_init(|| async move {
            match self.recent_failure(observed_at_ns) {
                Some(failed) => Err(failed.into()),
                None => find().await,
            }
        });
        row.await.cloned()
    }

    /// It can't be decoded, as a try showed that began then. Not for what may be the fault of
    /// something else.
    pub fn record_failure(&self, failed: &IndexingFailure, begun_ns: i64) {
        *self.lock_failure() = Some(CachedFailure {
            failed: failed.clone(),
            begun_ns,
            until: Instant::now() + FAILURE_TTL,
        });
    }

    fn recent_failure(&self, observed_at_ns: i64) -> Option<IndexingFailure> {
        let failure = self.lock_failure();
        let failure = failure.as_ref()?;
        let holds = observed_at_ns <= failure.begun_ns && Instant::now() < failure.until;
        holds.then(|| failure.failed.clone())
    }

    fn lock_failure(&self) -> MutexGuard<'_, Option<CachedFailure>> {
        self.failure.lock().expect("no holder of this lock panics")
    }
}

/// The contents met most recently.
pub struct ContentCache {
    contents: Mutex<LruCache<ContentHash, SharedContent>>,
}

impl ContentCache {
    /// Room for so many.
    pub fn new(count: usize) -> Self {
        let count = NonZeroUsize::new(count.max(1)).expect("at least 1");
        Self {
            contents: Mutex::new(LruCache::new(count)),
        }
    }

    /// What is known of a content: nothing where it has not been met.
    pub fn get_or_insert(&self, hash: ContentHash) -> SharedContent {
        let mut contents = self.contents.lock().expect("no holder of this lock panics");
        contents.get_or_insert(hash, SharedContent::default).clone()
    }

    /// Whether this content's vector is in memory.
    pub fn has_vector(&self, hash: &ContentHash) -> bool {
        let contents = self.contents.lock().expect("no holder of this lock panics");
        contents
            .peek(hash)
            .is_some_and(|content| content.row.initialized())
    }

    /// Keeps a content's row that the index is about to lose: the file may come back.
    pub fn store_row(&self, hash: ContentHash, row: IndexRow) {
        // Where it is known already, or being found out, that will do.
        let _ = self.get_or_insert(hash).row.set(Arc::new(row));
    }
}

/// Looks contents up in the index, many in one question.
#[derive(Clone)]
pub struct IndexLookup {
    questions: mpsc::Sender<(ContentHash, oneshot::Sender<Option<IndexRow>>)>,
}

impl IndexLookup {
    /// Starts the task that asks. It ends when the last clone is dropped.
    pub fn start(index: Index, breaker: Arc<CircuitBreaker>, most: usize) -> Self {
        let (questions, mut asked) = mpsc::channel(most.max(1));
        tokio::spawn(async move {
            let mut batch: Vec<(ContentHash, oneshot::Sender<Option<IndexRow>>)> = Vec::new();
            while asked.recv_many(&mut batch, most.max(1)).await > 0 {
                let hashes: Vec<String> = batch.iter().map(|(hash, _)| hash.to_string()).collect();
                let mut known = look_up_contents(&index, &breaker, &hashes).await;
                for (hash, answer) in batch.drain(..) {
                    let hash = hash.to_string();
                    let row = known.remove(&hash);
                    // Two of one batch may have asked for the same: the cell lets only one ask.
                    let _ = answer.send(row);
                }
            }
        });
        Self { questions }
    }

    /// A row with this content, if the index has one that can be seen by now.
    pub async fn find_row(&self, hash: ContentHash) -> Option<IndexRow> {
        let (answer, answered) = oneshot::channel();
        self.questions.send((hash, answer)).await.ok()?;
        answered.await.ok()?
    }
}

/// What the index knows of these contents. It is waited for for a while: what it can't say is
/// embedded again, and nothing can be written meanwhile either.
async fn look_up_contents(
    index: &Index,
    breaker: &CircuitBreaker,
    hashes: &[String],
) -> HashMap<String, IndexRow> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let begun = Instant::now();
    loop {
        let error = match index.find_rows_by_content(hashes).await {
            Ok(known) => {
                breaker.record_read();
                return known;
            }
            Err(error) => error,
        };
        tracing::debug!(%error, "known content can't be looked up now");
        match error {
            // The commit makes the collection again, and nothing is known then.
            IndexError::Missing { .. } => return HashMap::new(),
            error if error.class() != ErrorClass::Retry => return HashMap::new(),
            _ => breaker.record_read_failure(),
        }
        if begun.elapsed() >= LOOKUP_TIMEOUT {
            return HashMap::new();
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_index_loses_is_kept_and_nothing_is_kept_twice() {
        let remembered = ContentCache::new(2);
        let hash = ContentHash::hash_content(b"a");
        let row = |first| IndexRow {
            vector: vec![first],
            ..IndexRow::default()
        };
        assert!(!remembered.has_vector(&hash));
        let empty = remembered.get_or_insert(hash);
        assert!(!remembered.has_vector(&hash), "met, and not known yet");
        remembered.store_row(hash, row(1.0));
        assert!(remembered.has_vector(&hash));
        remembered.store_row(hash, row(2.0));
        assert_eq!(empty.row.get().unwrap().vector, [1.0]);
        for other in [b"b", b"c"] {
            remembered.store_row(ContentHash::hash_content(other), row(0.0));
        }
        assert!(!remembered.has_vector(&hash), "the oldest goes");
    }

    #[tokio::test]
    async fn copies_of_a_bad_file_are_not_tried_one_after_another() {
        let content = CachedContent::default();
        let tries = std::cell::Cell::new(0);
        let failed = IndexingFailure {
            code: "corrupt",
            detail: "it is damaged".to_owned(),
        };
        let fail = async || {
            tries.set(tries.get() + 1);
            tokio::task::yield_now().await;
            content.record_failure(&failed, 1_000);
            Err::<Arc<IndexRow>, IndexingFailure>(failed.clone())
        };
        // All wait for the first one.
        let copies = (0..5).map(|copy| content.get_or_find_row(996 + copy, &fail));
        for found in futures_util::future::join_all(copies).await {
            assert_eq!(found.unwrap_err(), failed);
        }
        assert_eq!(tries.get(), 1);
        // Observed since: somebody has it tried again.
        assert_eq!(
            content.get_or_find_row(1_001, &fail).await.unwrap_err(),
            failed
        );
        assert_eq!(tries.get(), 2);
        // Not for ever.
        content.lock_failure().as_mut().unwrap().until = Instant::now();
        assert_eq!(
            content.get_or_find_row(999, &fail).await.unwrap_err(),
            failed
        );
        assert_eq!(tries.get(), 3);
        assert_eq!(
            content.get_or_find_row(999, &fail).await.unwrap_err(),
            failed
        );
        assert_eq!(tries.get(), 3);
        // Where it can be done after all, the row counts.
        let row = async || Ok::<_, IndexingFailure>(Arc::default());
        assert!(content.get_or_find_row(1_001, row).await.is_ok());
        assert!(content.get_or_find_row(999, &fail).await.is_ok());
        assert_eq!(tries.get(), 3);
    }

    #[tokio::test]
    async fn what_is_not_the_contents_fault_is_not_remembered() {
        let content = CachedContent::default();
        let away = async || {
            Err::<Arc<IndexRow>, _>(IndexingFailure {
                code: "network_failed",
                detail: String::new(),
            })
        };
        assert!(content.get_or_find_row(1, away).await.is_err());
        assert!(
            content
                .get_or_find_row(1, async || Ok::<_, IndexingFailure>(Arc::default()))
                .await
                .is_ok()
        );
    }
}
