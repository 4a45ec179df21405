//! The end of a worker, wished for from outside or found necessary within.

use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// Cheap to clone.
#[derive(Clone)]
pub struct Ending {
    /// Nothing more is taken in.
    pub leave: CancellationToken,
    why: Arc<Mutex<Option<Error>>>,
}

impl Ending {
    /// Ends with `leave`.
    pub fn with(leave: &CancellationToken) -> Self {
        Self {
            leave: leave.child_token(),
            why: Arc::default(),
        }
    }

    /// Ends the worker, which first finishes what it can. The first reason counts.
    pub fn because(&self, error: Error) {
        let mut why = self.why.lock().expect("no holder of this lock panics");
        if why.is_none() {
            tracing::error!(%error, "this worker ends");
            *why = Some(error);
        }
        self.leave.cancel();
    }

    /// Why it ended, where that was not from outside.
    pub fn why(&self) -> Option<Error> {
        self.why
            .lock()
            .expect("no holder of this lock panics")
            .take()
    }
}
