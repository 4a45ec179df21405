//! Limits concurrent access to the disk of one library.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::decode_limiter::BlockingPermit;
use crate::problem::{Code, Problem};

/// The disk of one library. A thread cannot be called back from a mount that hangs, so each library
/// gets a few threads only and cannot block the others.
#[derive(Clone)]
pub(crate) struct LibraryIoPermits(Arc<Semaphore>);

/// Concurrent blocking calls to one disk.
const MAX_BLOCKING_CALLS: usize = 8;

/// How long a call waits for a permit.
const DISK_PERMIT_TIMEOUT: Duration = Duration::from_secs(2);

impl LibraryIoPermits {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_BLOCKING_CALLS)))
    }

    pub(crate) async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let acquiring = Arc::clone(&self.0).acquire_owned();
        let permit = tokio::time::timeout(DISK_PERMIT_TIMEOUT, acquiring)
            .await
            .map_err(|_| {
                Problem::new(
                    Code::LibraryUnavailable,
                    "the disk of the library is unresponsive: other requests are already waiting for it",
                )
            })?
            .expect("the semaphore is never closed");
        BlockingPermit::new(permit).run_blocking(work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_hangs_keeps_few_threads() {
        let (disk, other) = (LibraryIoPermits::new(), LibraryIoPermits::new());
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let (begun, mut running) = tokio::sync::mpsc::channel(MAX_BLOCKING_CALLS);
        let hanging: Vec<_> = (0..MAX_BLOCKING_CALLS)
            .map(|_| {
                let (disk, begun, wait) = (disk.clone(), begun.clone(), Arc::clone(&wait));
                let hang = move || {
                    begun.blocking_send(()).unwrap();
                    let _ = wait.lock().unwrap().recv();
                };
                tokio::spawn(async move { disk.run_blocking(hang).await })
            })
            .collect();
        for _ in 0..MAX_BLOCKING_CALLS {
            running.recv().await.unwrap();
        }
        // The requests are cancelled; their threads stay.
        for request in &hanging {
            request.abort();
        }
        let refused = disk.run_blocking(|| ()).await.unwrap_err();
        assert_eq!(refused.code, Code::LibraryUnavailable);
        assert_eq!(other.run_blocking(|| 7).await.unwrap(), 7);
        drop(go);
        // The mount responds again, so the next call succeeds.
        while disk.run_blocking(|| ()).await.is_err() {}
    }
}
