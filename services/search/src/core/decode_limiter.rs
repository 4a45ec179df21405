//! Limits concurrent decoding.
//!
//! Decoding uses a core for milliseconds to seconds. It runs on blocking threads, as many at a time
//! as there are cores, and a bounded number of requests may wait for a permit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Code, Problem};

pub(crate) struct DecodeLimiter {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_waiting: usize,
}

/// Counts a waiting request until it is dropped, also when the client disconnects.
struct WaitingRequest<'a>(&'a AtomicUsize);

impl Drop for WaitingRequest<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl DecodeLimiter {
    pub(crate) fn new(concurrent: usize, max_waiting: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(concurrent)),
            waiting: AtomicUsize::new(0),
            max_waiting,
        }
    }

    /// Runs `work` on a blocking thread as soon as a permit is free.
    ///
    /// The permit belongs to the work, not to the request: work whose request was cancelled still
    /// uses its core until it ends.
    pub(crate) async fn run_decode<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.acquire().await?.run_blocking(work).await
    }

    /// Waits for a permit, for callers that have something to do between permit and work.
    pub(crate) async fn acquire(&self) -> Result<BlockingPermit, Problem> {
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let waiting = self.waiting.fetch_add(1, Ordering::AcqRel);
                let _waiting = WaitingRequest(&self.waiting);
                if waiting >= self.max_waiting {
                    return Err(Problem::new(
                        Code::Overloaded,
                        format!("{waiting} pictures are already waiting to be decoded"),
                    ));
                }
                Arc::clone(&self.permits)
                    .acquire_owned()
                    .await
                    .expect("the semaphore is never closed")
            }
        };
        Ok(BlockingPermit::new(permit))
    }
}

/// The right to use a blocking thread, until it is dropped or its work ends.
pub(crate) struct BlockingPermit {
    _permit: OwnedSemaphorePermit,
}

impl BlockingPermit {
    pub(crate) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: permit }
    }

    /// Runs `work` on a blocking thread, which keeps the permit until it ends.
    pub(crate) async fn run_blocking<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(self);
            result
        });
        done.await.map_err(|error| {
            Problem::new(Code::Internal, format!("a worker thread failed: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_is_bounded() {
        let limiter = Arc::new(DecodeLimiter::new(1, 1));
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (started, begun) = tokio::sync::oneshot::channel();
        let first = {
            let limiter = Arc::clone(&limiter);
            tokio::spawn(async move {
                limiter
                    .run_decode(move || {
                        let _ = started.send(());
                        wait.recv()
                    })
                    .await
            })
        };
        begun.await.unwrap();
        let mut second = Box::pin(limiter.run_decode(|| 2));
        assert!(futures_util::poll!(&mut second).is_pending());
        let third = limiter.run_decode(|| 3).await.unwrap_err();
        assert_eq!(third.code, Code::Overloaded);
        go.send(()).unwrap();
        assert_eq!(second.await, Ok(2));
        assert!(first.await.unwrap().unwrap().is_ok());
        assert_eq!(limiter.waiting.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn a_panic_is_a_problem() {
        let limiter = DecodeLimiter::new(1, 1);
        let panics = limiter.run_decode(|| panic!("on purpose")).await;
        let panics: Result<(), Problem> = panics;
        assert_eq!(panics.unwrap_err().code, Code::Internal);
        assert_eq!(
            limiter.run_decode(|| 1).await,
            Ok(1),
            "the permit came back"
        );
    }
}
