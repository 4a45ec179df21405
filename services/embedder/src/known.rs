//! Known content: the same bytes are never embedded again. Vectors come from memory, else from
//! the index, else from the network; of copies that arrive together one is embedded and the
//! others wait for it.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lookalike_chassis::Backoff;
use lookalike_index::{Error as IndexError, Fate, Index, Row};
use lookalike_proto::ContentHash;
use lru::LruCache;
use tokio::sync::{OnceCell, mpsc, oneshot};

use crate::breaker::Breaker;

/// How long a server that is away is waited for. Then all is embedded: one whose rows can't be read
/// may still take new ones.
const PATIENCE: Duration = Duration::from_secs(60);

/// One content's row (of any image that has it), once it is known.
pub type Content = Arc<OnceCell<Arc<Row>>>;

/// The contents met most recently.
pub struct Remembered {
    contents: Mutex<LruCache<ContentHash, Content>>,
}

impl Remembered {
    /// Room for so many.
    pub fn new(count: usize) -> Self {
        let count = NonZeroUsize::new(count.max(1)).expect("at least 1");
        Self {
            contents: Mutex::new(LruCache::new(count)),
        }
    }

    /// The cell of a content, empty where it has not been met.
    pub fn cell(&self, hash: ContentHash) -> Content {
        let mut contents = self.contents.lock().expect("no holder of this lock panics");
        contents.get_or_insert(hash, Content::default).clone()
    }

    /// Whether this content's vector is in memory.
    pub fn has(&self, hash: &ContentHash) -> bool {
        let contents = self.contents.lock().expect("no holder of this lock panics");
        contents.peek(hash).is_some_and(|cell| cell.initialized())
    }

    /// Keeps a content's row that the index is about to lose: the file may come back.
    pub fn keep(&self, hash: ContentHash, row: Row) {
        // Where it is known already, or being found out, that will do.
        let _ = self.cell(hash).set(Arc::new(row));
    }
}

/// Looks contents up in the index, many in one question.
#[derive(Clone)]
pub struct Lookup {
    questions: mpsc::Sender<(ContentHash, oneshot::Sender<Option<Row>>)>,
}

impl Lookup {
    /// Starts the task that asks. It ends when the last clone is dropped.
    pub fn start(index: Index, breaker: Arc<Breaker>, most: usize) -> Self {
        let (questions, mut asked) = mpsc::channel(most.max(1));
        tokio::spawn(async move {
            let mut batch: Vec<(ContentHash, oneshot::Sender<Option<Row>>)> = Vec::new();
            while asked.recv_many(&mut batch, most.max(1)).await > 0 {
                let hashes: Vec<String> = batch.iter().map(|(hash, _)| hash.to_string()).collect();
                let mut known = look_up(&index, &breaker, &hashes).await;
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
    pub async fn find(&self, hash: ContentHash) -> Option<Row> {
        let (answer, answered) = oneshot::channel();
        self.questions.send((hash, answer)).await.ok()?;
        answered.await.ok()?
    }
}

/// What the index knows of these contents. It is waited for for a while: what it can't say is
/// embedded again, and nothing can be written meanwhile either.
async fn look_up(index: &Index, breaker: &Breaker, hashes: &[String]) -> HashMap<String, Row> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let begun = Instant::now();
    loop {
        let error = match index.known_content(hashes).await {
            Ok(known) => {
                breaker.answered();
                return known;
            }
            Err(error) => error,
        };
        tracing::debug!(%error, "known content can't be looked up now");
        match error {
            // The commit makes the collection again, and nothing is known then.
            IndexError::Missing { .. } => return HashMap::new(),
            error if error.fate() != Fate::Retry => return HashMap::new(),
            _ => breaker.failed_read(),
        }
        if begun.elapsed() >= PATIENCE {
            return HashMap::new();
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_index_loses_is_kept_and_nothing_is_kept_twice() {
        let remembered = Remembered::new(2);
        let hash = ContentHash::of(b"a");
        let row = |first| Row {
            vector: vec![first],
            ..Row::default()
        };
        assert!(!remembered.has(&hash));
        let empty = remembered.cell(hash);
        assert!(!remembered.has(&hash), "met, and not known yet");
        remembered.keep(hash, row(1.0));
        assert!(remembered.has(&hash));
        remembered.keep(hash, row(2.0));
        assert_eq!(empty.get().unwrap().vector, [1.0]);
        for other in [b"b", b"c"] {
            remembered.keep(ContentHash::of(other), row(0.0));
        }
        assert!(!remembered.has(&hash), "the oldest goes");
    }
}
