//! Commits prepared events in batches: writes the rows to Milvus, then stores the outcomes, then
//! acknowledges the events.
//!
//! Because of this order a crash at any point loses nothing: JetStream redelivers what was not
//! acknowledged, and a repeated commit changes nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lookalike_bus::Bus;
use lookalike_chassis::metrics::STAGE_SECONDS;
use lookalike_chassis::{Retry, clock};
use lookalike_index::{
    Error as IndexError, ErrorClass, Index, IndexRow, ReadConsistency, RowFilter,
};
use lookalike_proto::{ContentHash, Outcome, OutcomeAttributes, OutcomeState};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch_pacing::BatchPacing;
use crate::commit::job::{IndexingFailure, PreparedEvent, RowChange};
use crate::commit::verify_on_disk::{self, PendingVerifications};
use crate::embed::content_cache::ContentCache;
use crate::metrics;
use crate::queue::circuit_breaker::CircuitBreaker;

/// Why a commit was not finished.
enum CommitStopped {
    /// The worker shuts down; its events are redelivered.
    ShuttingDown,
    /// Milvus permanently refuses the writes of this worker.
    Fatal(IndexError),
}

/// One request to Milvus.
#[derive(Clone, Copy)]
enum IndexWrite<'a> {
    Upsert(&'a [IndexRow]),
    Delete(&'a [(String, i64)]),
}

pub struct Committer {
    pub index: Index,
    pub bus: Bus,
    pub model: String,
    pub max_rows: usize,
    pub breaker: Arc<CircuitBreaker>,
    pub content_cache: Arc<ContentCache>,
    /// Cancels requests and retries.
    pub abort: CancellationToken,
}

impl Committer {
    /// Commits events until the channel closes.
    ///
    /// # Errors
    /// Why Milvus permanently refuses the writes of this worker.
    pub async fn run(self, mut prepared: mpsc::Receiver<PreparedEvent>) -> Result<(), IndexError> {
        let mut batch = Vec::new();
        let mut pending = PendingVerifications::default();
        let mut is_open = true;
        let max_rows = self.max_rows.max(1);
        let mut pacing = BatchPacing::default();
        loop {
            if batch.is_empty() && !is_open && pending.is_empty() {
                return Ok(());
            }
            if batch.is_empty() {
                tokio::select! {
                    () = self.abort.cancelled() => return Ok(()),
                    count = prepared.recv_many(&mut batch, max_rows), if is_open => is_open = count > 0,
                    Some(verified) = pending.next_batch(), if !pending.is_empty() => batch = verified,
                }
                continue;
            }
            let is_full = batch.len() >= max_rows;
            let until = pacing.collects_until(batch.len(), Instant::now());
            if let Some(until) = until.filter(|_| is_open && !is_full) {
                let limit = max_rows - batch.len();
                tokio::select! {
                    () = self.abort.cancelled() => return Ok(()),
                    count = prepared.recv_many(&mut batch, limit) => is_open = count > 0,
                    () = tokio::time::sleep_until(until) => {}
                }
                continue;
            }
            // A batch contains one event of each image; others of the same image follow in order.
            let (first, later) = split_duplicates(std::mem::take(&mut batch));
            batch = later;
            let events = first.len();
            let verified = verify_on_disk::verify_batch(first, &mut pending).await;
            match self.commit_batch(verified).await {
                Ok(()) => {}
                Err(CommitStopped::ShuttingDown) => return Ok(()),
                Err(CommitStopped::Fatal(error)) => return Err(error),
            }
            pacing.record_batch(events, Instant::now());
        }
    }

    async fn commit_batch(&self, mut batch: Vec<PreparedEvent>) -> Result<(), CommitStopped> {
        self.write_rows(&mut batch).await?;
        let needed_write = batch.iter().any(|prepared| prepared.change.needs_write());
        let committed_ns = clock::now_nanos();
        let outcomes: Vec<Outcome> = batch
            .iter()
            .map(|prepared| self.build_outcome(prepared, committed_ns))
            .collect();
        self.publish_outcomes(outcomes).await?;
        for prepared in &batch {
            prepared.in_flight.mark_outcome_stored();
            if let RowChange::Defer(reason) = &prepared.change {
                tracing::debug!(image = %prepared.image_id(), reason, "deferred an event");
                metrics::DEFERRED.inc();
            }
        }
        // An event that cannot be acknowledged is redelivered, and committing it again is harmless.
        let acknowledged = batch
            .into_iter()
            .map(|prepared| async move { prepared.in_flight.delivery.acknowledge_event().await });
        for result in join_all(acknowledged).await {
            if let Err(error) = result {
                tracing::debug!(%error, "cannot acknowledge an event; it may be redelivered");
            }
        }
        if !needed_write {
            self.breaker.record_no_write();
        }
        Ok(())
    }

    /// Writes and removes rows, and waits as long as Milvus is unreachable.
    async fn write_rows(&self, batch: &mut [PreparedEvent]) -> Result<(), CommitStopped> {
        let timer = STAGE_SECONDS.with_label_values(&["upsert"]).start_timer();
        let rows: Vec<IndexRow> = batch
            .iter()
            .filter_map(|prepared| match &prepared.change {
                RowChange::Put(_, row) => Some((**row).clone()),
                _ => None,
            })
            .collect();
        match self.retry_write(IndexWrite::Upsert(&rows)).await? {
            Ok(()) => {}
            Err(_) if rows.len() > 1 => self.write_one_by_one(batch).await?,
            Err(error) => mark_refused(batch, &error),
        }
        // Includes files whose row was just refused: an older row must not stay.
        let removals: Vec<(String, i64)> = batch
            .iter()
            .filter(|prepared| prepared.change.removes_row())
            .map(PreparedEvent::row_key)
            .collect();
        if !removals.is_empty() {
            self.cache_removed_contents(batch).await;
            let removed = self.retry_write(IndexWrite::Delete(&removals)).await?;
            if let Err(error) = removed {
                // The request contains only ids and generations, so a refusal is our bug. Deferring
                // the events loses nothing.
                tracing::error!(%error, "Milvus refuses to delete rows");
                for prepared in batch.iter_mut() {
                    if prepared.change.removes_row() {
                        prepared.change = RowChange::Defer(error.to_string());
                    }
                }
            }
        }
        timer.observe_duration();
        Ok(())
    }

    /// Writes the rows one by one, to find out which of them Milvus refuses.
    async fn write_one_by_one(&self, batch: &mut [PreparedEvent]) -> Result<(), CommitStopped> {
        for prepared in batch.iter_mut() {
            let RowChange::Put(_, row) = &prepared.change else {
                continue;
            };
            let row = [(**row).clone()];
            let written = self.retry_write(IndexWrite::Upsert(&row)).await?;
            if let Err(error) = written {
                mark_refused(std::slice::from_mut(prepared), &error);
            }
        }
        Ok(())
    }

    /// Keeps the vectors of removed files in memory: the files may come back.
    async fn cache_removed_contents(&self, batch: &[PreparedEvent]) {
        let ids: Vec<String> = batch
            .iter()
            .filter(|prepared| matches!(prepared.change, RowChange::Remove))
            .map(|prepared| prepared.image_id().to_string())
            .collect();
        if ids.is_empty() {
            return;
        }
        let caching = async {
            let images = self
                .index
                .fetch_images(&ids, ReadConsistency::Bounded)
                .await?;
            let hashes: Vec<String> = images
                .into_iter()
                .map(|image| image.content_hash)
                .filter(|hash| {
                    hash.parse()
                        .is_ok_and(|hash: ContentHash| !self.content_cache.has_vector(&hash))
                })
                .collect();
            if hashes.is_empty() {
                return Ok(());
            }
            for (hash, row) in self
                .index
                .find_rows_by_content(&hashes, &RowFilter::All)
                .await?
            {
                if let Ok(hash) = hash.parse() {
                    self.content_cache.store_row(hash, row).await;
                }
            }
            Ok::<_, IndexError>(())
        };
        if let Some(Err(error)) = self.abort.run_until_cancelled(caching).await {
            tracing::debug!(%error, "cannot cache the contents of removed files");
        }
    }

    /// Repeats a write until it succeeds or Milvus refuses it. Meanwhile the circuit breaker stops
    /// the intake, and the worker extends the ack deadlines, so an outage causes no redelivery.
    async fn retry_write(
        &self,
        write: IndexWrite<'_>,
    ) -> Result<Result<(), IndexError>, CommitStopped> {
        let mut retry = Retry::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let (operation, result) = match write {
                IndexWrite::Upsert([]) => return Ok(Ok(())),
                IndexWrite::Upsert(rows) => {
                    let written = self.index.upsert_rows(rows);
                    (
                        "writing rows",
                        self.abort.run_until_cancelled(written).await,
                    )
                }
                IndexWrite::Delete(images) => {
                    let removed = self.index.delete_up_to_generation(images);
                    (
                        "removing rows",
                        self.abort.run_until_cancelled(removed).await,
                    )
                }
            };
            let error = match result {
                None => return Err(CommitStopped::ShuttingDown),
                Some(Ok(())) => {
                    self.breaker.record_write();
                    return Ok(Ok(()));
                }
                Some(Err(error)) => error,
            };
            match error.class() {
                ErrorClass::Reject => return Ok(Err(error)),
                ErrorClass::Fatal => return Err(CommitStopped::Fatal(error)),
                ErrorClass::Retry => self.breaker.record_write_failure(),
            }
            tracing::warn!(%error, "{operation} failed, retrying");
            if let IndexError::Missing { .. } = error
                && let Err(error) = self.index.ensure_collection().await
            {
                if error.class() == ErrorClass::Fatal {
                    return Err(CommitStopped::Fatal(error));
                }
                tracing::warn!(%error, "cannot create the collection now");
            }
            self.wait_unless_aborted(&mut retry, error).await?;
        }
    }

    /// Waits before the next attempt. Retries of a commit have no limit: they end with the worker.
    async fn wait_unless_aborted<E>(
        &self,
        retry: &mut Retry,
        error: E,
    ) -> Result<(), CommitStopped> {
        let waited = self.abort.run_until_cancelled(retry.wait_after(error));
        match waited.await {
            Some(_) => Ok(()),
            None => Err(CommitStopped::ShuttingDown),
        }
    }

    fn build_outcome(&self, prepared: &PreparedEvent, committed_ns: i64) -> Outcome {
        let (state, attributes) = match &prepared.change {
            RowChange::Put(_, row) => {
                let image = &row.image;
                let attributes = OutcomeAttributes {
                    width: u32::try_from(image.width).unwrap_or(0),
                    height: u32::try_from(image.height).unwrap_or(0),
                    format: image.format.clone(),
                };
                (OutcomeState::Indexed, Some(attributes))
            }
            RowChange::Remove => (OutcomeState::Removed, None),
            RowChange::Fail(failure) => {
                let code = failure.code.to_owned();
                let detail = failure.detail.clone();
                (OutcomeState::Failed { code, detail }, None)
            }
            RowChange::Supersede(detail) => {
                let detail = detail.clone();
                (OutcomeState::Superseded { detail }, None)
            }
            RowChange::Defer(detail) => {
                let detail = detail.clone();
                (OutcomeState::Deferred { detail }, None)
            }
        };
        let mut outcome = prepared.in_flight.build_outcome(state);
        outcome.timings.committed_ns = committed_ns;
        outcome.content_hash = prepared.content_hash;
        outcome.model.clone_from(&self.model);
        outcome.attributes = attributes;
        outcome.reused = prepared.reused;
        outcome
    }

    async fn publish_outcomes(&self, mut outcomes: Vec<Outcome>) -> Result<(), CommitStopped> {
        let _timer = STAGE_SECONDS.with_label_values(&["outcome"]).start_timer();
        let mut retry = Retry::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let results = self.bus.publish_outcomes(&outcomes).await;
            let mut failure = None;
            let mut unpublished = Vec::new();
            for (outcome, result) in outcomes.into_iter().zip(results) {
                if let Err(error) = result {
                    failure = Some(error);
                    unpublished.push(outcome);
                }
            }
            let Some(error) = failure else { return Ok(()) };
            outcomes = unpublished;
            tracing::warn!(%error, "cannot store outcomes now, retrying");
            if let Err(error) = self.bus.ensure_streams().await {
                tracing::debug!(%error, "cannot create the streams now");
            }
            self.wait_unless_aborted(&mut retry, error).await?;
        }
    }
}

/// Turns rows that Milvus refused into failures of their files.
fn mark_refused(batch: &mut [PreparedEvent], error: &IndexError) {
    for prepared in batch {
        if matches!(prepared.change, RowChange::Put(..)) {
            prepared.change = RowChange::Fail(IndexingFailure {
                code: "index_refused",
                detail: error.to_string(),
            });
        }
    }
}

/// Separates the first event of each image from the later ones.
fn split_duplicates(batch: Vec<PreparedEvent>) -> (Vec<PreparedEvent>, Vec<PreparedEvent>) {
    let mut seen = HashSet::new();
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for prepared in batch {
        if seen.insert(prepared.image_id()) {
            first.push(prepared)
        } else {
            later.push(prepared)
        }
    }
    (first, later)
}
