//! Leaked threads: threads that were abandoned because their work did not end in time. A thread
//! cannot be stopped from outside, only counted; a worker with too many of them takes no events.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::metrics::{self, LeakKind};

/// Counts abandoned decoders. Abandoned reads are counted by their `LibraryReader`, which limits them.
#[derive(Debug)]
pub struct LeakedThreads {
    limit: usize,
    count: AtomicUsize,
    changed: Notify,
}

impl LeakedThreads {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            count: AtomicUsize::new(0),
            changed: Notify::new(),
        })
    }

    /// Counts an abandoned thread until it ends.
    pub fn track_thread<T: Send + 'static>(self: &Arc<Self>, thread: JoinHandle<T>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        metrics::LEAKED_THREADS
            .with_label_values(&[LeakKind::Decode.label()])
            .inc();
        self.changed.notify_waiters();
        let leaked_threads = self.clone();
        tokio::spawn(async move {
            // Its result is of no use any more.
            let _ = thread.await;
            leaked_threads.count.fetch_sub(1, Ordering::Relaxed);
            metrics::LEAKED_THREADS
                .with_label_values(&[LeakKind::Decode.label()])
                .dec();
            leaked_threads.changed.notify_waiters();
        });
    }

    /// Returns the number of leaked threads if it is above the limit.
    pub fn count_over_limit(&self) -> Option<usize> {
        let count = self.count.load(Ordering::Relaxed);
        (count > self.limit).then_some(count)
    }

    /// Waits until the number of leaked threads is above the limit, or no longer above it.
    pub async fn wait_until_over_limit(&self, over_limit: bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.count_over_limit().is_some() == over_limit {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn leaked_threads_are_counted_until_they_end() {
        let leaked_threads = LeakedThreads::new(1);
        let (release, released) = std::sync::mpsc::channel::<()>();
        let stuck = tokio::task::spawn_blocking(move || released.recv());
        let finished = tokio::task::spawn_blocking(|| ());
        leaked_threads.track_thread(stuck);
        assert_eq!(leaked_threads.count_over_limit(), None);
        let (release_second, second_released) = std::sync::mpsc::channel::<()>();
        leaked_threads.track_thread(tokio::task::spawn_blocking(move || second_released.recv()));
        leaked_threads.wait_until_over_limit(true).await;
        assert_eq!(leaked_threads.count_over_limit(), Some(2));
        drop(release_second);
        leaked_threads.wait_until_over_limit(false).await;
        drop(release);
        finished.await.unwrap();
    }
}
