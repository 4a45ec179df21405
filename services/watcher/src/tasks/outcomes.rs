//! The outcome reader: takes outcomes to the keeper, in their order.

use std::time::Duration;

use futures_util::FutureExt as _;
use lookalike_bus::StreamPosition;
use lookalike_proto::LibraryName;
use tokio::time::sleep;

use super::WatcherTasks;
use crate::inbox::KeeperRequest;
use crate::library::id::LibraryId;

/// Outcomes passed to the keeper at once.
const OUTCOME_BATCH: usize = 512;

/// After this long without an outcome, the reader checks whether its stream is still the same.
const STREAM_CHECK_INTERVAL: Duration = Duration::from_secs(5);

impl WatcherTasks {
    /// Passes a library's outcomes after `after` to the keeper. Each batch is stored before the
    /// next one is read.
    pub async fn read_outcomes(
        self,
        id: LibraryId,
        library: LibraryName,
        mut after: Option<StreamPosition>,
    ) {
        let mut backoff = Self::new_backoff();
        while !self.shutdown.is_cancelled() {
            let open = self.bus.read_outcomes(&library, after.clone());
            let mut reader = match self.run_unless_stopping(open).await {
                None => return,
                Some(Ok(reader)) => reader,
                Some(Err(error)) => {
                    self.repair_and_back_off(&error, &mut backoff).await;
                    continue;
                }
            };
            let created_ns = reader.stream_created_ns();
            loop {
                let first = tokio::select! {
                    () = self.shutdown.cancelled() => return,
                    first = reader.next_outcome() => first,
                    () = sleep(STREAM_CHECK_INTERVAL) => {
                        if self.is_same_stream(created_ns, after.as_ref()).await {
                            continue;
                        }
                        // The stream was created again or is missing, or its last messages are
                        // lost and their numbers are reused: read it from its beginning.
                        break;
                    }
                };
                let mut batch = match first {
                    Ok(first) => vec![first],
                    Err(error) => {
                        tracing::warn!(%error, "reopening the stream of outcomes");
                        break;
                    }
                };
                while batch.len() < OUTCOME_BATCH
                    && let Some(Ok(next)) = reader.next_outcome().now_or_never()
                {
                    batch.push(next);
                }
                let last = batch.last().map(|(position, _)| position.clone());
                let apply = |reply| KeeperRequest::ApplyOutcomes(id, batch.clone(), reply);
                if self.ask_keeper_until_ok(apply).await.is_none() {
                    return;
                }
                after = last;
                backoff.reset_attempts();
            }
            self.sleep_unless_stopping(backoff.next_delay()).await;
        }
    }

    /// Whether the stream of outcomes is still the one created at `created_ns`, and still contains
    /// the position `after`.
    async fn is_same_stream(&self, created_ns: i64, after: Option<&StreamPosition>) -> bool {
        let end = self.bus.outcomes_end_position();
        let Some(Ok(end)) = self.run_unless_stopping(end).await else {
            return false;
        };
        end.stream_created_ns == created_ns
            && after.is_none_or(|after| {
                after.stream_created_ns != end.stream_created_ns || after.is_within(&end)
            })
    }
}
