//! Known content: the same bytes are never embedded again. Vectors come from memory, else from
//! the index, else from the network; of copies that arrive together one is embedded and the
//! others wait for it.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use lookalike_index::{Index, Row};
use lookalike_proto::ContentHash;
use lru::LruCache;
use tokio::sync::{OnceCell, mpsc, oneshot};

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
}

/// Looks contents up in the index, many in one question.
#[derive(Clone)]
pub struct Lookup {
    questions: mpsc::Sender<(ContentHash, oneshot::Sender<Option<Row>>)>,
}

impl Lookup {
    /// Starts the task that asks. It ends when the last clone is dropped.
    pub fn start(index: Index, most: usize) -> Self {
        let (questions, mut asked) = mpsc::channel(most.max(1));
        tokio::spawn(async move {
            let mut batch: Vec<(ContentHash, oneshot::Sender<Option<Row>>)> = Vec::new();
            while asked.recv_many(&mut batch, most.max(1)).await > 0 {
                let hashes: Vec<String> = batch.iter().map(|(hash, _)| hash.to_string()).collect();
                // A miss only costs an embedding, and the commit waits for a server that is away:
                // nothing is lost by going on without an answer.
                let mut known = match index.known_content(&hashes).await {
                    Ok(known) => known,
                    Err(error) => {
                        tracing::debug!(%error, "known content can't be looked up now");
                        HashMap::new()
                    }
                };
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
