//! The relay: publishes the outbox's events to JetStream.

use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::StreamPosition;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::WatcherTasks;
use crate::inbox::{KeeperRequest, PublishReport};

/// Events taken from the outbox at once.
const RELAY_BATCH: usize = 512;

/// How often the connection is checked while there is none.
const CONNECTION_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// How long the relay waits for a notification before it checks the outbox.
const OUTBOX_CHECK_INTERVAL: Duration = Duration::from_secs(1);

impl WatcherTasks {
    /// Publishes the outbox's events while NATS is connected.
    pub async fn relay_outbox(self, outbox_filled: Arc<Notify>) {
        let mut backoff = Self::new_backoff();
        // Creation time of the stream that stores the events. It differs in a recreated stream.
        let mut stream_created_ns = None;
        while !self.shutdown.is_cancelled() {
            if !self.bus.is_connected() {
                stream_created_ns = None;
                self.sleep_unless_stopping(CONNECTION_CHECK_INTERVAL).await;
                continue;
            }
            let Some(created_ns) = stream_created_ns else {
                match self.run_unless_stopping(self.bus.queue_depth()).await {
                    None => return,
                    Some(Ok((_, created_ns))) => stream_created_ns = Some(created_ns),
                    Some(Err(error)) => self.repair_and_back_off(&error, &mut backoff).await,
                }
                continue;
            };
            let take_events = |reply| KeeperRequest::TakeEvents(RELAY_BATCH, reply);
            let Some(events) = self.ask_keeper(take_events).await else {
                self.sleep_unless_stopping(backoff.next_delay()).await;
                continue;
            };
            if events.is_empty() {
                tokio::select! {
                    () = self.shutdown.cancelled() => {}
                    () = outbox_filled.notified() => {}
                    () = sleep(OUTBOX_CHECK_INTERVAL) => {}
                }
                continue;
            }
            // If this is cancelled, the next run publishes the events again, which is harmless.
            let publish = self.bus.publish_events(&events);
            let Some(results) = self.run_unless_stopping(publish).await else {
                return;
            };
            let mut failure = None;
            let reports = events
                .iter()
                .zip(results)
                .map(|(event, result)| PublishReport {
                    image_id: event.image_id,
                    generation: event.generation,
                    stored_at: match result {
                        Ok(sequence) => Some(StreamPosition {
                            stream_created_ns: created_ns,
                            sequence,
                        }),
                        Err(error) => {
                            failure = Some(error);
                            None
                        }
                    },
                });
            let reports: Vec<_> = reports.collect();
            let record = |reply| KeeperRequest::RecordPublished(reports.clone(), reply);
            if self.ask_keeper_until_ok(record).await.is_none() {
                return;
            }
            match failure {
                None => backoff.reset_attempts(),
                Some(error) => {
                    stream_created_ns = None;
                    self.repair_and_back_off(&error, &mut backoff).await;
                }
            }
        }
    }
}
