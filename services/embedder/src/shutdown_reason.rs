//! The end of a worker, wished for from outside or found necessary within.

use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// Cheap to clone.
#[derive(Clone)]
pub struct ShutdownReason {
    /// Nothing more is taken in.
    pub shutdown: CancellationToken,
    error: Arc<Mutex<Option<Error>>>,
}

impl ShutdownReason {
    /// Ends with `shutdown`.
    pub fn for_worker(shutdown: &CancellationToken) -> Self {
        Self {
            shutdown: shutdown.child_token(),
            error: Arc::default(),
        }
    }

    /// Ends the worker, which first finishes what it can. The first reason counts.
    pub fn shut_down_with(&self, error: Error) {
        let mut why = self.error.lock().expect("no holder of this lock panics");
        if why.is_none() {
            tracing::error!(%error, "this worker ends");
            *why = Some(error);
        }
        self.shutdown.cancel();
    }

    /// Why it ended, where that was not from outside.
    pub fn take_error(&self) -> Option<Error> {
        self.error
            .lock()
            .expect("no holder of this lock panics")
            .take()
    }
}
