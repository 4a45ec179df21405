//! Commit: what is ready is written to Milvus, many rows at once; then the outcomes are stored;
//! then the events are acknowledged. In this order, so that a death at any point loses nothing:
//! what was not acknowledged comes again, and doing it again changes nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lookalike_bus::Bus;
use lookalike_chassis::metrics::STAGE_SECONDS;
use lookalike_chassis::{Backoff, clock};
use lookalike_index::{Error as IndexError, ErrorClass, Index, IndexRow, ReadConsistency};
use lookalike_proto::{ContentHash, FileEvent, ImageId, Outcome, OutcomeAttributes, OutcomeState};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::commit::verify_on_disk::{self, PendingVerifications};
use crate::embed::content_cache::ContentCache;
use crate::metrics;
use crate::queue::circuit_breaker::CircuitBreaker;
use crate::queue::in_flight::InFlightEvent;
use crate::read::file::FileMismatch;
use crate::read::library_reader::LibraryReader;

/// What is to be done for an event.
pub enum RowChange {
    /// Write the row, if the file in this folder still is what the event tells.
    Put(Arc<LibraryReader>, Box<IndexRow>),
    /// Remove the row.
    Remove,
    /// Remove the row, and say why there is none.
    Fail {
        /// From the documented list.
        code: &'static str,
        /// One sentence.
        detail: String,
    },
    /// Nothing: the disk shows something else.
    Supersede(String),
    /// Nothing now: it is to be sent again later.
    Defer(String),
}

/// An event, and what is to be committed for it.
pub struct PreparedEvent {
    pub in_flight: Arc<InFlightEvent>,
    pub change: RowChange,
    pub content_hash: Option<ContentHash>,
    pub reused: bool,
    /// When the disk was last looked at before writing.
    pub verified_at: Option<Instant>,
}

impl PreparedEvent {
    pub fn new(in_flight: Arc<InFlightEvent>, change: RowChange) -> Self {
        Self {
            in_flight,
            change,
            content_hash: None,
            reused: false,
            verified_at: None,
        }
    }

    /// The event.
    pub fn event(&self) -> &FileEvent {
        &self.in_flight.delivery.event
    }

    fn image_id(&self) -> ImageId {
        self.event().image_id
    }

    fn row_key(&self) -> (String, i64) {
        let event = self.event();
        let generation = i64::try_from(event.generation.get()).unwrap_or(i64::MAX);
        (event.image_id.to_string(), generation)
    }
}

/// Why a commit was not finished.
enum CommitStopped {
    /// The worker leaves: what it holds comes again elsewhere.
    ShuttingDown,
    /// Milvus will never take anything of this worker's.
    Fatal(IndexError),
}

/// One request to Milvus.
#[derive(Clone, Copy)]
enum IndexWrite<'a> {
    Upsert(&'a [IndexRow]),
    Delete(&'a [(String, i64)]),
}

/// Writes what is ready.
pub struct Committer {
    pub index: Index,
    pub bus: Bus,
    pub model: String,
    pub max_rows: usize,
    pub breaker: Arc<CircuitBreaker>,
    pub content_cache: Arc<ContentCache>,
    /// Nothing is begun or tried again any more.
    pub abort: CancellationToken,
}

impl Committer {
    /// Commits what comes in until the channel closes. Ends early when Milvus refuses this
    /// worker for good.
    ///
    /// # Errors
    /// Why Milvus refuses.
    pub async fn run(self, mut ready: mpsc::Receiver<PreparedEvent>) -> Result<(), IndexError> {
        let mut batch = Vec::new();
        let mut aside = PendingVerifications::default();
        let mut is_open = true;
        let most = self.max_rows.max(1);
        loop {
            if batch.is_empty() && !is_open && aside.is_empty() {
                return Ok(());
            }
            if batch.is_empty() {
                tokio::select! {
                    () = self.abort.cancelled() => return Ok(()),
                    count = ready.recv_many(&mut batch, most), if is_open => is_open = count > 0,
                    Some(looked_at) = aside.next_batch(), if !aside.is_empty() => batch = looked_at,
                }
                continue;
            }
            // Of one image only the first waits here; what came twice is done one after another.
            let (now, later) = split_duplicates(std::mem::take(&mut batch));
            batch = later;
            let now = verify_on_disk::verify_batch(now, &mut aside).await;
            match self.commit_batch(now).await {
                Ok(()) => {}
                Err(CommitStopped::ShuttingDown) => return Ok(()),
                Err(CommitStopped::Fatal(error)) => return Err(error),
            }
        }
    }

    async fn commit_batch(&self, mut batch: Vec<PreparedEvent>) -> Result<(), CommitStopped> {
        self.write_rows(&mut batch).await?;
        let needed_write = batch.iter().any(|one| {
            matches!(
                one.change,
                RowChange::Put(..) | RowChange::Remove | RowChange::Fail { .. }
            )
        });
        let committed_ns = clock::now_nanos();
        let outcomes: Vec<Outcome> = batch
            .iter()
            .map(|one| self.build_outcome(one, committed_ns))
            .collect();
        self.publish_outcomes(outcomes).await?;
        for one in &batch {
            one.in_flight.mark_outcome_stored();
            if let RowChange::Defer(reason) = &one.change {
                tracing::debug!(image = %one.image_id(), reason, "an event is put off");
                metrics::DEFERRED.inc();
            }
        }
        // Whatever can't be acknowledged comes again, and is found to be done.
        let acknowledged = batch
            .into_iter()
            .map(|one| async move { one.in_flight.delivery.acknowledge_event().await });
        for result in join_all(acknowledged).await {
            if let Err(error) = result {
                tracing::debug!(%error, "an event was not acknowledged and may come again");
            }
        }
        if !needed_write {
            self.breaker.record_no_write();
        }
        Ok(())
    }

    /// Writes and removes rows, however long Milvus is away.
    async fn write_rows(&self, batch: &mut [PreparedEvent]) -> Result<(), CommitStopped> {
        let timer = STAGE_SECONDS.with_label_values(&["upsert"]).start_timer();
        let rows: Vec<IndexRow> = batch
            .iter()
            .filter_map(|one| match &one.change {
                RowChange::Put(_, row) => Some((**row).clone()),
                _ => None,
            })
            .collect();
        match self.retry_write(IndexWrite::Upsert(&rows)).await? {
            Ok(()) => {}
            Err(_) if rows.len() > 1 => self.write_one_by_one(batch).await?,
            Err(error) => mark_refused(batch, &error),
        }
        // Also of files whose row was just refused: an older row must not stay.
        let removals: Vec<(String, i64)> = batch
            .iter()
            .filter(|one| matches!(one.change, RowChange::Remove | RowChange::Fail { .. }))
            .map(PreparedEvent::row_key)
            .collect();
        if !removals.is_empty() {
            self.cache_removed_contents(batch).await;
            let removed = self.retry_write(IndexWrite::Delete(&removals)).await?;
            if let Err(error) = removed {
                // Ids and numbers only: a refusal is a mistake of ours, and nothing is lost by
                // letting the events come again.
                tracing::error!(%error, "Milvus refuses to remove rows");
                for one in batch.iter_mut() {
                    if matches!(one.change, RowChange::Remove | RowChange::Fail { .. }) {
                        one.change = RowChange::Defer(error.to_string());
                    }
                }
            }
        }
        timer.observe_duration();
        Ok(())
    }

    /// One row of many is refused: find out which.
    async fn write_one_by_one(&self, batch: &mut [PreparedEvent]) -> Result<(), CommitStopped> {
        for one in batch.iter_mut() {
            let RowChange::Put(_, row) = &one.change else {
                continue;
            };
            let row = [(**row).clone()];
            let written = self.retry_write(IndexWrite::Upsert(&row)).await?;
            if let Err(error) = written {
                mark_refused(std::slice::from_mut(one), &error);
            }
        }
        Ok(())
    }

    /// Removed files may come back, with the same content: their vectors are kept in memory.
    async fn cache_removed_contents(&self, batch: &[PreparedEvent]) {
        let ids: Vec<String> = batch
            .iter()
            .filter(|one| matches!(one.change, RowChange::Remove))
            .map(|one| one.image_id().to_string())
            .collect();
        if ids.is_empty() {
            return;
        }
        let kept = async {
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
            for (hash, row) in self.index.find_rows_by_content(&hashes).await? {
                if let Ok(hash) = hash.parse() {
                    self.content_cache.store_row(hash, row);
                }
            }
            Ok::<_, IndexError>(())
        };
        if let Some(Err(error)) = self.abort.run_until_cancelled(kept).await {
            tracing::debug!(%error, "contents that go were not kept");
        }
    }

    /// Tries until it is done or refused. Nothing is taken from the queue meanwhile, and
    /// JetStream is told that what is in hand is being worked on: an outage costs no redelivery.
    async fn retry_write(
        &self,
        work: IndexWrite<'_>,
    ) -> Result<Result<(), IndexError>, CommitStopped> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let (what, done) = match work {
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
            let error = match done {
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
            let wait = backoff.next_delay();
            tracing::warn!(%error, ?wait, "{what} failed, trying again");
            if let IndexError::Missing { .. } = error
                && let Err(error) = self.index.ensure_collection().await
            {
                if error.class() == ErrorClass::Fatal {
                    return Err(CommitStopped::Fatal(error));
                }
                tracing::warn!(%error, "the collection can't be made again now");
            }
            tokio::select! {
                () = self.abort.cancelled() => return Err(CommitStopped::ShuttingDown),
                () = tokio::time::sleep(wait) => {}
            }
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
            RowChange::Fail { code, detail } => {
                let (code, detail) = ((*code).to_owned(), detail.clone());
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
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let results = self.bus.publish_outcomes(&outcomes).await;
            let mut failure = None;
            let mut untold = Vec::new();
            for (outcome, result) in outcomes.into_iter().zip(results) {
                if let Err(error) = result {
                    failure = Some(error);
                    untold.push(outcome);
                }
            }
            let Some(error) = failure else { return Ok(()) };
            outcomes = untold;
            let wait = backoff.next_delay();
            tracing::warn!(%error, ?wait, "outcomes can't be stored now, trying again");
            if let Err(error) = self.bus.ensure_streams().await {
                tracing::debug!(%error, "the streams can't be made now");
            }
            tokio::select! {
                () = self.abort.cancelled() => return Err(CommitStopped::ShuttingDown),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

/// The rows among these can't be stored as they are: their files are listed as failed.
fn mark_refused(batch: &mut [PreparedEvent], error: &IndexError) {
    for one in batch {
        if matches!(one.change, RowChange::Put(..)) {
            one.change = RowChange::Fail {
                code: "index_refused",
                detail: error.to_string(),
            };
        }
    }
}

fn split_duplicates(batch: Vec<PreparedEvent>) -> (Vec<PreparedEvent>, Vec<PreparedEvent>) {
    let mut seen = HashMap::new();
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for one in batch {
        if seen.insert(one.image_id(), ()).is_none() {
            first.push(one)
        } else {
            later.push(one)
        }
    }
    (first, later)
}

impl From<FileMismatch> for RowChange {
    fn from(mismatch: FileMismatch) -> Self {
        match mismatch {
            FileMismatch::Superseded(detail) => Self::Supersede(detail),
            FileMismatch::Unreadable(detail) => Self::Fail {
                code: "unreadable",
                detail,
            },
            FileMismatch::Unavailable(reason) => Self::Defer(reason),
        }
    }
}
