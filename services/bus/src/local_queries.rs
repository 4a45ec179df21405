//! Queries that stay within a process.
//!
//! `lookalike up` runs the search service and an embedder with one [`Bus`](crate::Bus). A query of
//! 150 KB of pixels would pass through the NATS server and back to the same process. Instead it goes
//! directly to the subscriber. Without one, if its queue is full, or if it cannot process the query at
//! present, the query goes over NATS.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{mpsc, oneshot};

use crate::vector_query::{EmbedInput, EmbedResult};

/// The queue of a subscriber, which takes queries out immediately.
const MAX_QUEUED_QUERIES: usize = 64;

pub(crate) struct LocalQuery {
    pub input: EmbedInput,
    pub reply: oneshot::Sender<EmbedResult>,
}

/// The subscribers of this process, by subject. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct LocalSubscribers {
    queues: Arc<Mutex<HashMap<String, mpsc::Sender<LocalQuery>>>>,
}

impl LocalSubscribers {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<LocalQuery>>> {
        self.queues
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Receives the queries of this subject until the receiver is dropped, in place of an earlier
    /// subscriber.
    pub(crate) fn subscribe(&self, subject: &str) -> mpsc::Receiver<LocalQuery> {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED_QUERIES);
        let mut queues = self.lock();
        queues.retain(|_, queue| !queue.is_closed());
        queues.insert(subject.to_owned(), sender);
        receiver
    }

    /// Returns whether there is a subscriber.
    pub(crate) fn has_subscriber(&self, subject: &str) -> bool {
        let queues = self.lock();
        queues.get(subject).is_some_and(|queue| !queue.is_closed())
    }

    /// Sends a query to the subscriber and returns where its result arrives.
    ///
    /// # Errors
    /// Returns the input if no subscriber can take it.
    pub(crate) fn send_query(
        &self,
        subject: &str,
        input: EmbedInput,
    ) -> Result<oneshot::Receiver<EmbedResult>, EmbedInput> {
        let (reply, result) = oneshot::channel();
        let Some(queue) = self.lock().get(subject).cloned() else {
            return Err(input);
        };
        match queue.try_send(LocalQuery { input, reply }) {
            Ok(()) => Ok(result),
            Err(error) => Err(error.into_inner().input),
        }
    }
}
