//! Queries that stay within a process.
//!
//! `lookalike up` runs the search service and an embedder with one [`Bus`](crate::Bus). A query of
//! 150 KB of pixels would pass through the NATS server and back to the same process. Instead it goes
//! directly to the subscriber. `embedder_choice` decides when another embedder gets it over NATS.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use tokio::sync::{mpsc, oneshot};

use crate::embedder_instance::EmbedderInstance;
use crate::vector_query::{EmbedInput, EmbedResult};

/// The queue of a subscriber, which takes queries out immediately.
const MAX_QUEUED_QUERIES: usize = 64;

pub(crate) struct LocalQuery {
    pub input: EmbedInput,
    pub reply: oneshot::Sender<EmbedResult>,
    /// Exists while the search waits for the vector.
    pub search: Weak<()>,
}

struct LocalSubscriber {
    instance: EmbedderInstance,
    queue: mpsc::Sender<LocalQuery>,
}

/// The subscribers of this process, by subject. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct LocalSubscribers {
    subscribers: Arc<Mutex<HashMap<String, LocalSubscriber>>>,
}

impl LocalSubscribers {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, LocalSubscriber>> {
        self.subscribers
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Receives the queries of this subject until the receiver is dropped, in place of an earlier
    /// subscriber.
    pub(crate) fn subscribe(
        &self,
        subject: &str,
        instance: &EmbedderInstance,
    ) -> mpsc::Receiver<LocalQuery> {
        let (queue, receiver) = mpsc::channel(MAX_QUEUED_QUERIES);
        let instance = instance.clone();
        let mut subscribers = self.lock();
        subscribers.retain(|_, subscriber| !subscriber.queue.is_closed());
        subscribers.insert(subject.to_owned(), LocalSubscriber { instance, queue });
        receiver
    }

    /// Returns the subscriber, if there is one.
    pub(crate) fn find_subscriber(&self, subject: &str) -> Option<EmbedderInstance> {
        let subscribers = self.lock();
        let subscriber = subscribers.get(subject)?;
        (!subscriber.queue.is_closed()).then(|| subscriber.instance.clone())
    }

    /// Sends a query to the subscriber and returns where its result arrives. The subscriber skips the
    /// query if `search` no longer exists when it is its turn.
    ///
    /// # Errors
    /// The subscriber has ended, or its queue is full.
    pub(crate) fn send_query(
        &self,
        subject: &str,
        input: EmbedInput,
        search: Weak<()>,
    ) -> Result<oneshot::Receiver<EmbedResult>, LocalQueueError> {
        let (reply, result) = oneshot::channel();
        let subscribers = self.lock();
        let subscriber = subscribers.get(subject).ok_or(LocalQueueError::Ended)?;
        let query = LocalQuery {
            input,
            reply,
            search,
        };
        match subscriber.queue.try_send(query) {
            Ok(()) => Ok(result),
            Err(mpsc::error::TrySendError::Full(_)) => Err(LocalQueueError::Full),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(LocalQueueError::Ended),
        }
    }
}

/// Why the embedder of this process does not receive a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocalQueueError {
    Ended,
    Full,
}
