//! Overdue events: those without an outcome for long are searched for, and lost ones sent again.

use std::time::Duration;

use lookalike_bus::QueueDepth;
use lookalike_chassis::clock;
use lookalike_proto::{Generation, ImageId};

use super::WatcherTasks;
use crate::clock::duration_nanos;
use crate::inbox::{EventDisposition, KeeperRequest, OverdueEvent};
use crate::metrics;

/// Overdue events that are checked at once.
const MAX_OVERDUE_EVENTS: usize = 1000;

/// The queue of events at one time.
struct QueueState {
    depth: QueueDepth,
    stream_created_ns: i64,
}

/// An undelivered message that the consumer has skipped: the creation time of its stream and its
/// sequence.
type SkippedMessage = (i64, u64);

impl WatcherTasks {
    /// Checks overdue events again and again until the watcher stops.
    pub async fn check_overdue_events(self) {
        let mut skipped = None;
        while !self.shutdown.is_cancelled() {
            let interval = (self.settings.overdue_timeout / 4).max(Duration::from_millis(100));
            self.sleep_unless_stopping(interval).await;
            let depth = self.run_unless_stopping(self.bus.queue_depth()).await;
            let Some(Ok((depth, stream_created_ns))) = depth else {
                continue;
            };
            let queue = QueueState {
                depth,
                stream_created_ns,
            };
            set_queue_metrics(&queue.depth);
            let before_ns = clock::now_nanos() - duration_nanos(self.settings.overdue_timeout);
            let list = |reply| KeeperRequest::ListOverdue(before_ns, MAX_OVERDUE_EVENTS, reply);
            let Some(overdue) = self.ask_keeper(list).await else {
                continue;
            };
            let previously_skipped = skipped.take();
            if queue.depth.messages > 0 && !overdue.is_empty() {
                skipped = self.check_consumer(&queue, previously_skipped).await;
            }
            let Some(resolved) = self.find_dispositions(&queue, overdue).await else {
                return;
            };
            self.ask_keeper(|reply| KeeperRequest::ResolveOverdue(resolved, reply))
                .await;
        }
    }

    /// Returns the queue's first message if the consumer skipped it. If the previous check found
    /// the same, deletes the consumer, which then starts from the beginning.
    async fn check_consumer(
        &self,
        queue: &QueueState,
        previously_skipped: Option<SkippedMessage>,
    ) -> Option<SkippedMessage> {
        let first = (queue.stream_created_ns, queue.depth.first_sequence);
        let is_ahead = self.bus.consumer_is_ahead(queue.depth.first_sequence);
        if !matches!(self.run_unless_stopping(is_ahead).await, Some(Ok(true))) {
            return None;
        }
        if previously_skipped == Some(first) {
            tracing::warn!("the JetStream consumer skipped stored events; recreating the consumer");
            if let Some(Err(error)) = self.run_unless_stopping(self.bus.delete_consumer()).await {
                tracing::warn!(%error, "cannot recreate the consumer now");
            }
        }
        Some(first)
    }

    /// Finds out which overdue events still exist; stops at the first error. `None` if the watcher
    /// stops meanwhile.
    async fn find_dispositions(
        &self,
        queue: &QueueState,
        overdue: Vec<OverdueEvent>,
    ) -> Option<Vec<(ImageId, Generation, EventDisposition)>> {
        let mut resolved = Vec::with_capacity(overdue.len());
        for event in overdue {
            let is_gone = event.position.stream_created_ns != queue.stream_created_ns
                || event.position.sequence < queue.depth.first_sequence;
            let is_stored = if is_gone {
                Ok(false)
            } else {
                let is_stored = self.bus.event_is_stored(event.position.sequence);
                self.run_unless_stopping(is_stored).await?
            };
            let disposition = match is_stored {
                Ok(true) => EventDisposition::Pending,
                Ok(false) => EventDisposition::Lost,
                Err(_) => break,
            };
            resolved.push((event.image_id, event.generation, disposition));
        }
        Some(resolved)
    }
}

fn set_queue_metrics(depth: &QueueDepth) {
    metrics::QUEUE_PENDING.set(i64::try_from(depth.messages).unwrap_or(i64::MAX));
    let age_ns = match depth.messages {
        0 => 0,
        _ => clock::now_nanos().saturating_sub(depth.first_stored_ns),
    };
    let age = Duration::from_nanos(age_ns.max(0) as u64);
    metrics::QUEUE_OLDEST_SECONDS.set(age.as_secs_f64());
}
