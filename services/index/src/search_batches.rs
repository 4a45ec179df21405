//! Searches that wait until they are sent to Milvus in one request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Semaphore, oneshot};

use crate::{
    consistency::ReadConsistency,
    error::Error,
    row::{HitFields, IndexHit},
};

/// Up to this many hits, a search itself returns the attributes. More hits with long paths could
/// exceed the 4 MiB that a client accepts, so their attributes are fetched in a second request. An
/// answer that is still too large is also repeated in two steps.
pub(crate) const MAX_HITS_PER_ANSWER: usize = 500;
/// Most vectors in one request.
const MAX_BATCH_VECTORS: usize = 16;
/// Requests of one shape in progress at once, unless more than a batch waits for each of them.
const MAX_SENDERS: usize = 2;

/// Everything of a search but its vector. Searches of equal shape can be sent in one request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SearchShape {
    pub limit: usize,
    /// An expression of Milvus; empty for all rows.
    pub filter: String,
    pub consistency: ReadConsistency,
    pub fields: HitFields,
}

impl SearchShape {
    fn max_vectors(&self) -> usize {
        (MAX_HITS_PER_ANSWER / self.limit.max(1)).clamp(1, MAX_BATCH_VECTORS)
    }
}

/// A search whose caller waits for its hits. If the reply is dropped, the caller searches alone.
pub(crate) struct WaitingSearch {
    pub vector: Vec<f32>,
    pub reply: oneshot::Sender<Result<Vec<IndexHit>, Error>>,
}

/// The waiting searches of every shape.
pub(crate) struct SearchBatches {
    queues: Mutex<HashMap<SearchShape, SearchQueue>>,
    /// Limits the requests of all shapes together.
    pub permits: Semaphore,
}

#[derive(Default)]
struct SearchQueue {
    /// At most one batch for each sender.
    waiting: Vec<WaitingSearch>,
    senders: usize,
}

impl SearchBatches {
    /// Creates queues whose requests are limited to `max_concurrent` at once.
    pub(crate) fn new(max_concurrent: usize) -> Self {
        Self {
            queues: Mutex::default(),
            permits: Semaphore::new(max_concurrent.clamp(1, Semaphore::MAX_PERMITS)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SearchShape, SearchQueue>> {
        self.queues
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

/// Sends the waiting searches of one shape, batch by batch, until there are none.
pub(crate) struct BatchSender {
    batches: Arc<SearchBatches>,
    shape: SearchShape,
    has_ended: bool,
}

impl BatchSender {
    /// Adds a search. Returns a sender if another one is needed; then the caller must run it.
    pub(crate) fn push_search(
        batches: &Arc<SearchBatches>,
        shape: &SearchShape,
        search: WaitingSearch,
    ) -> Option<Self> {
        let mut queues = batches.lock();
        let queue = match queues.get_mut(shape) {
            Some(queue) => queue,
            None => queues.entry(shape.clone()).or_default(),
        };
        queue.waiting.push(search);
        let is_needed = queue.senders < MAX_SENDERS
            || queue.waiting.len() > queue.senders * shape.max_vectors();
        queue.senders += usize::from(is_needed);
        is_needed.then(|| Self {
            batches: Arc::clone(batches),
            shape: shape.clone(),
            has_ended: false,
        })
    }

    pub(crate) fn shape(&self) -> &SearchShape {
        &self.shape
    }

    /// Returns the next batch without searches whose caller is gone, or `None` if nothing waits.
    /// Then this sender has ended.
    pub(crate) fn take_batch(&mut self) -> Option<Vec<WaitingSearch>> {
        let mut queues = self.batches.lock();
        let queue = queues.get_mut(&self.shape)?;
        queue.waiting.retain(|search| !search.reply.is_closed());
        if queue.waiting.is_empty() {
            self.has_ended = true;
            end_sender(&mut queues, &self.shape);
            return None;
        }
        let count = queue.waiting.len().min(self.shape.max_vectors());
        Some(queue.waiting.drain(..count).collect())
    }
}

impl Drop for BatchSender {
    /// If the task was cancelled or panicked, the searches that only it could send are dropped.
    fn drop(&mut self) {
        if !self.has_ended {
            end_sender(&mut self.batches.lock(), &self.shape);
        }
    }
}

fn end_sender(queues: &mut HashMap<SearchShape, SearchQueue>, shape: &SearchShape) {
    if let Some(queue) = queues.get_mut(shape) {
        queue.senders -= 1;
        if queue.senders == 0 {
            queues.remove(shape);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<Result<Vec<IndexHit>, Error>>;

    fn test_batches() -> Arc<SearchBatches> {
        Arc::new(SearchBatches::new(4))
    }

    fn test_shape(limit: usize) -> SearchShape {
        SearchShape {
            limit,
            filter: String::new(),
            consistency: ReadConsistency::Bounded,
            fields: HitFields::All,
        }
    }

    fn push(
        batches: &Arc<SearchBatches>,
        shape: &SearchShape,
        number: usize,
    ) -> (Option<BatchSender>, Answer) {
        let (reply, answer) = oneshot::channel();
        let vector = vec![number as f32];
        let search = WaitingSearch { vector, reply };
        (BatchSender::push_search(batches, shape, search), answer)
    }

    fn take_numbers(sender: &mut BatchSender) -> Option<Vec<usize>> {
        let batch = sender.take_batch()?;
        Some(
            batch
                .iter()
                .map(|search| search.vector[0] as usize)
                .collect(),
        )
    }

    #[test]
    fn waiting_searches_of_one_shape_are_sent_together() {
        let (batches, shape) = (test_batches(), test_shape(12));
        let (first, _answer) = push(&batches, &shape, 0);
        let mut first = first.unwrap();
        assert_eq!(take_numbers(&mut first), Some(vec![0]));
        let (second, _answer) = push(&batches, &shape, 1);
        let mut second = second.unwrap();
        assert_eq!(take_numbers(&mut second), Some(vec![1]));
        let pushed: Vec<_> = (2..22)
            .map(|number| push(&batches, &shape, number))
            .collect();
        assert!(pushed.iter().all(|(sender, _)| sender.is_none()));
        // Another shape does not wait for this one.
        let (other, _answer) = push(&batches, &test_shape(13), 99);
        assert_eq!(take_numbers(&mut other.unwrap()), Some(vec![99]));
        assert_eq!(take_numbers(&mut second), Some((2..18).collect()));
        // The caller of this one is gone.
        let mut pushed = pushed;
        pushed.remove(18);
        assert_eq!(take_numbers(&mut first), Some(vec![18, 19, 21]));
        assert_eq!(take_numbers(&mut first), None);
        assert_eq!(take_numbers(&mut second), None);
        assert!(batches.lock().keys().all(|key| *key != shape));
    }

    #[test]
    fn more_than_a_batch_for_each_sender_starts_another_one() {
        let (batches, shape) = (test_batches(), test_shape(250));
        let pushed: Vec<_> = (0..7)
            .map(|number| push(&batches, &shape, number))
            .collect();
        let started: Vec<bool> = pushed.iter().map(|(sender, _)| sender.is_some()).collect();
        assert_eq!(started, [true, true, false, false, true, false, true]);
    }

    #[test]
    fn a_sender_that_is_dropped_leaves_no_search_waiting() {
        let (batches, shape) = (test_batches(), test_shape(12));
        let (first, mut answer) = push(&batches, &shape, 0);
        let (second, _answer) = push(&batches, &shape, 1);
        drop(first);
        assert!(
            answer
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Empty)
        );
        drop(second);
        assert!(
            answer
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
        );
        assert!(batches.lock().is_empty());
    }
}
