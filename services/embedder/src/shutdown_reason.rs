//! Why a worker shuts down: a shutdown from outside, or an error of its own.

use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// The shutdown of a worker and its reason. Clones share their state.
#[derive(Clone)]
pub struct ShutdownReason {
    /// Cancelled when the worker takes no more events.
    pub shutdown: CancellationToken,
    error: Arc<Mutex<Option<Error>>>,
}

impl ShutdownReason {
    /// Creates the shutdown of a worker; cancelling `shutdown` cancels it.
    pub fn for_worker(shutdown: &CancellationToken) -> Self {
        Self {
            shutdown: shutdown.child_token(),
            error: Arc::default(),
        }
    }

    /// Shuts the worker down because of an error. It first finishes what it can. Only the first
    /// error is kept.
    pub fn shut_down_with(&self, error: Error) {
        let mut first_error = self.error.lock().expect("no holder of this lock panics");
        if first_error.is_none() {
            tracing::error!(%error, "this worker shuts down");
            *first_error = Some(error);
        }
        self.shutdown.cancel();
    }

    /// Takes the error that shut the worker down; `None` after a shutdown from outside.
    pub fn take_error(&self) -> Option<Error> {
        self.error
            .lock()
            .expect("no holder of this lock panics")
            .take()
    }
}
