//! Strays: threads that nobody waits for any more, because what they run did not end in time. They
//! can't be stopped from outside, only counted; a worker that has too many of them takes nothing
//! in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::metrics;

/// What a stray was to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeakKind {
    /// Read a file or ask for its size: a mount hangs.
    Disk,
    /// Decode a picture: a decoder does not end.
    Decode,
}

impl LeakKind {
    /// The metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Decode => "decode",
        }
    }
}

/// Decoders that nobody waits for any more. (Those that read are counted by their folder, which
/// lets only so many into it.)
#[derive(Debug)]
pub struct LeakedThreads {
    limit: usize,
    count: AtomicUsize,
    changed: Notify,
}

impl LeakedThreads {
    /// None yet; more than `limit` are too many.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            count: AtomicUsize::new(0),
            changed: Notify::new(),
        })
    }

    /// Counts a thread until it ends after all.
    pub fn track_thread<T: Send + 'static>(self: &Arc<Self>, thread: JoinHandle<T>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        metrics::LEAKED_THREADS
            .with_label_values(&[LeakKind::Decode.label()])
            .inc();
        self.changed.notify_waiters();
        let strays = self.clone();
        tokio::spawn(async move {
            // Whatever it found out, or however it ended: nobody waits for it.
            let _ = thread.await;
            strays.count.fetch_sub(1, Ordering::Relaxed);
            metrics::LEAKED_THREADS
                .with_label_values(&[LeakKind::Decode.label()])
                .dec();
            strays.changed.notify_waiters();
        });
    }

    /// How many there are now, where those are too many.
    pub fn count_over_limit(&self) -> Option<usize> {
        let count = self.count.load(Ordering::Relaxed);
        (count > self.limit).then_some(count)
    }

    /// Waits until there are too many (or not, any more).
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
    async fn strays_are_counted_until_they_end() {
        let strays = LeakedThreads::new(1);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let stuck = tokio::task::spawn_blocking(move || held.recv());
        let other = tokio::task::spawn_blocking(|| ());
        strays.track_thread(stuck);
        assert_eq!(strays.count_over_limit(), None);
        let (second, held_second) = std::sync::mpsc::channel::<()>();
        strays.track_thread(tokio::task::spawn_blocking(move || held_second.recv()));
        strays.wait_until_over_limit(true).await;
        assert_eq!(strays.count_over_limit(), Some(2));
        drop(second);
        strays.wait_until_over_limit(false).await;
        drop(release);
        other.await.unwrap();
    }
}
