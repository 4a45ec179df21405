//! Looks up contents in the index, many in one request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lookalike_chassis::retry::Retry;
use lookalike_index::{Index, IndexRow, RowFilter};
use lookalike_proto::ContentHash;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::batch_pacing::BatchPacing;
use crate::queue::circuit_breaker::CircuitBreaker;

/// How long a lookup waits for an unreachable server. Then the content is embedded: a server that
/// cannot read rows may still accept new ones.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(60);

type LookupRequest = (ContentHash, oneshot::Sender<Option<IndexRow>>);

#[derive(Clone)]
pub struct IndexLookup {
    requests: mpsc::Sender<LookupRequest>,
}

impl IndexLookup {
    /// Starts the task that asks the index, for at most `max_batch` contents at once. It ends when
    /// the last clone is dropped.
    pub fn start(index: Index, breaker: Arc<CircuitBreaker>, max_batch: usize) -> Self {
        let max_batch = max_batch.max(1);
        let (requests, mut received) = mpsc::channel(max_batch);
        tokio::spawn(async move {
            let mut batch: Vec<LookupRequest> = Vec::new();
            let mut pacing = BatchPacing::default();
            while received.recv_many(&mut batch, max_batch).await > 0 {
                while batch.len() < max_batch
                    && let Some(until) = pacing.collects_until(batch.len(), Instant::now())
                {
                    let limit = max_batch - batch.len();
                    let more = received.recv_many(&mut batch, limit);
                    // Nothing arrives any more: the time is over, or all senders are gone.
                    if !matches!(timeout_at(until, more).await, Ok(count) if count > 0) {
                        break;
                    }
                }
                let hashes: Vec<String> = batch.iter().map(|(hash, _)| hash.to_string()).collect();
                let mut rows = look_up_contents(&index, &breaker, &hashes).await;
                for (hash, answer) in batch.drain(..) {
                    // A batch names each content once: the content cache coalesces equal lookups.
                    let _ = answer.send(rows.remove(&hash.to_string()));
                }
                pacing.record_batch(hashes.len(), Instant::now());
            }
        });
        Self { requests }
    }

    /// Returns a row with this content, if the index has one that is visible by now.
    pub async fn find_row(&self, hash: ContentHash) -> Option<IndexRow> {
        let (answer, answered) = oneshot::channel();
        self.requests.send((hash, answer)).await.ok()?;
        answered.await.ok()?
    }
}

/// Returns rows with these contents. Contents that cannot be looked up within [`LOOKUP_TIMEOUT`]
/// count as unknown and are embedded again.
async fn look_up_contents(
    index: &Index,
    breaker: &CircuitBreaker,
    hashes: &[String],
) -> HashMap<String, IndexRow> {
    let retry =
        Retry::new(Duration::from_millis(100), Duration::from_secs(5)).with_timeout(LOOKUP_TIMEOUT);
    let found = retry.run(
        || index.find_rows_by_content(hashes, &RowFilter::All),
        |error| {
            tracing::debug!(%error, "cannot look up contents now");
            let is_transient = error.is_transient();
            if is_transient {
                breaker.record_read_failure();
            }
            is_transient
        },
    );
    match found.await {
        Ok(rows) => {
            breaker.record_read();
            rows
        }
        // Also when the collection is missing: the commit creates it again, and it is empty then.
        Err(_) => HashMap::new(),
    }
}
