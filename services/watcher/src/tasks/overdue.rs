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

/// A stored message: the creation time of its stream and its sequence.
type MessageId = (i64, u64);

/// Decides whether the consumer has skipped the queue's first message.
///
/// One check is not enough, because a message that was just acknowledged looks the same.
#[derive(Default)]
struct SkipDetector {
    /// The first message, if the consumer was ahead of it at the last check.
    suspect: Option<MessageId>,
}

impl SkipDetector {
    /// Whether the consumer must be checked. A suspect is checked again even if nothing is overdue:
    /// events that were sent together get more time together, so none is overdue soon afterwards.
    fn is_check_due(&self, stored_messages: u64, has_overdue: bool) -> bool {
        stored_messages > 0 && (has_overdue || self.suspect.is_some())
    }

    /// Records a check of the queue's first message; true if the consumer has skipped it.
    fn record_check(&mut self, first: MessageId, is_ahead: bool) -> bool {
        let suspect = is_ahead.then_some(first);
        let is_skipped = suspect.is_some() && suspect == self.suspect;
        self.suspect = suspect;
        is_skipped
    }
}

impl WatcherTasks {
    /// Checks overdue events again and again until the watcher stops.
    pub async fn check_overdue_events(self) {
        let mut skip_detector = SkipDetector::default();
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
            if skip_detector.is_check_due(queue.depth.messages, !overdue.is_empty()) {
                self.check_consumer(&queue, &mut skip_detector).await;
            }
            let Some(resolved) = self.find_dispositions(&queue, overdue).await else {
                return;
            };
            self.ask_keeper(|reply| KeeperRequest::ResolveOverdue(resolved, reply))
                .await;
        }
    }

    /// Deletes the consumer if it has skipped the queue's first message. The next consumer starts
    /// from the beginning.
    async fn check_consumer(&self, queue: &QueueState, skip_detector: &mut SkipDetector) {
        let first = (queue.stream_created_ns, queue.depth.first_sequence);
        let is_ahead = self.bus.consumer_is_ahead(queue.depth.first_sequence);
        let is_ahead = matches!(self.run_unless_stopping(is_ahead).await, Some(Ok(true)));
        if !skip_detector.record_check(first, is_ahead) {
            return;
        }
        tracing::warn!("the JetStream consumer skipped stored events; recreating the consumer");
        if let Some(Err(error)) = self.run_unless_stopping(self.bus.delete_consumer()).await {
            tracing::warn!(%error, "cannot recreate the consumer now");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_were_sent_together_reveal_a_skip() {
        let mut detector = SkipDetector::default();
        assert!(!detector.is_check_due(10, false));
        assert!(!detector.is_check_due(0, true));
        assert!(detector.is_check_due(10, true));
        assert!(!detector.record_check((1, 1), true), "just acknowledged?");
        // All of them got more time, so none is overdue now.
        assert!(detector.is_check_due(10, false));
        assert!(detector.record_check((1, 1), true));
        // The consumer was recreated.
        assert!(detector.is_check_due(10, false));
        assert!(!detector.record_check((1, 1), false));
        assert!(!detector.is_check_due(10, false));
    }

    #[test]
    fn an_acknowledged_message_is_not_skipped() {
        let mut detector = SkipDetector::default();
        assert!(!detector.record_check((1, 1), true));
        assert!(!detector.record_check((1, 2), true), "the first one left");
        assert!(!detector.record_check((2, 2), true), "another stream");
        assert!(!detector.record_check((2, 2), false));
        assert!(!detector.record_check((2, 2), true));
    }
}
