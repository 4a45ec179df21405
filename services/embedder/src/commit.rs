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
use lookalike_index::{Consistency, Error as IndexError, Fate, Index, Row};
use lookalike_proto::{Attributes, ContentHash, FileEvent, ImageId, Outcome, State};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::breaker::Breaker;
use crate::check::{self, Aside};
use crate::file::Mismatch;
use crate::folder::Folder;
use crate::hand::Held;
use crate::known::Remembered;
use crate::metrics;

/// What is to be done for an event.
pub enum Action {
    /// Write the row, if the file in this folder still is what the event tells.
    Put(Arc<Folder>, Box<Row>),
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
    PutOff(String),
}

/// An event, and what is to be committed for it.
pub struct Ready {
    pub held: Arc<Held>,
    pub action: Action,
    pub content_hash: Option<ContentHash>,
    pub reused: bool,
    /// When the disk was last looked at before writing.
    pub checked: Option<Instant>,
}

impl Ready {
    pub fn new(held: Arc<Held>, action: Action) -> Self {
        Self {
            held,
            action,
            content_hash: None,
            reused: false,
            checked: None,
        }
    }

    /// The event.
    pub fn event(&self) -> &FileEvent {
        &self.held.delivery.event
    }

    fn id(&self) -> ImageId {
        self.event().image_id
    }

    fn key(&self) -> (String, i64) {
        let event = self.event();
        let generation = i64::try_from(event.generation.get()).unwrap_or(i64::MAX);
        (event.image_id.to_string(), generation)
    }
}

/// Why a commit was not finished.
enum Stopped {
    /// The worker leaves: what it holds comes again elsewhere.
    Leaving,
    /// Milvus will never take anything of this worker's.
    Fatal(IndexError),
}

/// One request to Milvus.
#[derive(Clone, Copy)]
enum Work<'a> {
    Upsert(&'a [Row]),
    Delete(&'a [(String, i64)]),
}

/// Writes what is ready.
pub struct Committer {
    pub index: Index,
    pub bus: Bus,
    pub model: String,
    pub most_rows: usize,
    pub breaker: Arc<Breaker>,
    pub remembered: Arc<Remembered>,
    /// Nothing is begun or tried again any more.
    pub give_up: CancellationToken,
}

impl Committer {
    /// Commits what comes in until the channel closes. Ends early when Milvus refuses this
    /// worker for good.
    ///
    /// # Errors
    /// Why Milvus refuses.
    pub async fn run(self, mut ready: mpsc::Receiver<Ready>) -> Result<(), IndexError> {
        let mut batch = Vec::new();
        let mut aside = Aside::default();
        let mut is_open = true;
        let most = self.most_rows.max(1);
        loop {
            if batch.is_empty() && !is_open && aside.is_empty() {
                return Ok(());
            }
            if batch.is_empty() {
                tokio::select! {
                    () = self.give_up.cancelled() => return Ok(()),
                    count = ready.recv_many(&mut batch, most), if is_open => is_open = count > 0,
                    Some(looked_at) = aside.next(), if !aside.is_empty() => batch = looked_at,
                }
                continue;
            }
            // Of one image only the first waits here; what came twice is done one after another.
            let (now, later) = first_of_each(std::mem::take(&mut batch));
            batch = later;
            let now = check::disk(now, &mut aside).await;
            match self.commit(now).await {
                Ok(()) => {}
                Err(Stopped::Leaving) => return Ok(()),
                Err(Stopped::Fatal(error)) => return Err(error),
            }
        }
    }

    async fn commit(&self, mut batch: Vec<Ready>) -> Result<(), Stopped> {
        self.write(&mut batch).await?;
        let needed_write = batch.iter().any(|one| {
            matches!(
                one.action,
                Action::Put(..) | Action::Remove | Action::Fail { .. }
            )
        });
        let committed_ns = clock::now_nanos();
        let outcomes: Vec<Outcome> = batch
            .iter()
            .map(|one| self.outcome(one, committed_ns))
            .collect();
        self.tell(outcomes).await?;
        for one in &batch {
            one.held.note_answered();
            if let Action::PutOff(reason) = &one.action {
                tracing::debug!(image = %one.id(), reason, "an event is put off");
                metrics::PUT_OFF.inc();
            }
        }
        // Whatever can't be acknowledged comes again, and is found to be done.
        let acknowledged = batch
            .into_iter()
            .map(|one| async move { one.held.delivery.acknowledge().await });
        for result in join_all(acknowledged).await {
            if let Err(error) = result {
                tracing::debug!(%error, "an event was not acknowledged and may come again");
            }
        }
        if !needed_write {
            self.breaker.wrote_nothing();
        }
        Ok(())
    }

    /// Writes and removes rows, however long Milvus is away.
    async fn write(&self, batch: &mut [Ready]) -> Result<(), Stopped> {
        let timer = STAGE_SECONDS.with_label_values(&["upsert"]).start_timer();
        let rows: Vec<Row> = batch
            .iter()
            .filter_map(|one| match &one.action {
                Action::Put(_, row) => Some((**row).clone()),
                _ => None,
            })
            .collect();
        match self.insist(Work::Upsert(&rows)).await? {
            Ok(()) => {}
            Err(_) if rows.len() > 1 => self.write_alone(batch).await?,
            Err(error) => refuse(batch, &error),
        }
        // Also of files whose row was just refused: an older row must not stay.
        let removals: Vec<(String, i64)> = batch
            .iter()
            .filter(|one| matches!(one.action, Action::Remove | Action::Fail { .. }))
            .map(Ready::key)
            .collect();
        if !removals.is_empty() {
            self.keep_contents(batch).await;
            let removed = self.insist(Work::Delete(&removals)).await?;
            if let Err(error) = removed {
                // Ids and numbers only: a refusal is a mistake of ours, and nothing is lost by
                // letting the events come again.
                tracing::error!(%error, "Milvus refuses to remove rows");
                for one in batch.iter_mut() {
                    if matches!(one.action, Action::Remove | Action::Fail { .. }) {
                        one.action = Action::PutOff(error.to_string());
                    }
                }
            }
        }
        timer.observe_duration();
        Ok(())
    }

    /// One row of many is refused: find out which.
    async fn write_alone(&self, batch: &mut [Ready]) -> Result<(), Stopped> {
        for one in batch.iter_mut() {
            let Action::Put(_, row) = &one.action else {
                continue;
            };
            let row = [(**row).clone()];
            let written = self.insist(Work::Upsert(&row)).await?;
            if let Err(error) = written {
                refuse(std::slice::from_mut(one), &error);
            }
        }
        Ok(())
    }

    /// Removed files may come back, with the same content: their vectors are kept in memory.
    async fn keep_contents(&self, batch: &[Ready]) {
        let ids: Vec<String> = batch
            .iter()
            .filter(|one| matches!(one.action, Action::Remove))
            .map(|one| one.id().to_string())
            .collect();
        if ids.is_empty() {
            return;
        }
        let kept = async {
            let images = self.index.get(&ids, Consistency::Bounded).await?;
            let hashes: Vec<String> = images
                .into_iter()
                .map(|image| image.content_hash)
                .filter(|hash| {
                    hash.parse()
                        .is_ok_and(|hash: ContentHash| !self.remembered.has(&hash))
                })
                .collect();
            if hashes.is_empty() {
                return Ok(());
            }
            for (hash, row) in self.index.known_content(&hashes).await? {
                if let Ok(hash) = hash.parse() {
                    self.remembered.keep(hash, row);
                }
            }
            Ok::<_, IndexError>(())
        };
        if let Some(Err(error)) = self.give_up.run_until_cancelled(kept).await {
            tracing::debug!(%error, "contents that go were not kept");
        }
    }

    /// Tries until it is done or refused. Nothing is taken from the queue meanwhile, and
    /// JetStream is told that what is in hand is being worked on: an outage costs no redelivery.
    async fn insist(&self, work: Work<'_>) -> Result<Result<(), IndexError>, Stopped> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let (what, done) = match work {
                Work::Upsert([]) => return Ok(Ok(())),
                Work::Upsert(rows) => {
                    let written = self.index.upsert(rows);
                    (
                        "writing rows",
                        self.give_up.run_until_cancelled(written).await,
                    )
                }
                Work::Delete(images) => {
                    let removed = self.index.delete(images);
                    (
                        "removing rows",
                        self.give_up.run_until_cancelled(removed).await,
                    )
                }
            };
            let error = match done {
                None => return Err(Stopped::Leaving),
                Some(Ok(())) => {
                    self.breaker.wrote();
                    return Ok(Ok(()));
                }
                Some(Err(error)) => error,
            };
            match error.fate() {
                Fate::Reject => return Ok(Err(error)),
                Fate::Fatal => return Err(Stopped::Fatal(error)),
                Fate::Retry => self.breaker.failed_write(),
            }
            let wait = backoff.next_wait();
            tracing::warn!(%error, ?wait, "{what} failed, trying again");
            if let IndexError::Missing { .. } = error
                && let Err(error) = self.index.ensure().await
            {
                if error.fate() == Fate::Fatal {
                    return Err(Stopped::Fatal(error));
                }
                tracing::warn!(%error, "the collection can't be made again now");
            }
            tokio::select! {
                () = self.give_up.cancelled() => return Err(Stopped::Leaving),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn outcome(&self, one: &Ready, committed_ns: i64) -> Outcome {
        let (state, attributes) = match &one.action {
            Action::Put(_, row) => {
                let image = &row.image;
                let attributes = Attributes {
                    width: u32::try_from(image.width).unwrap_or(0),
                    height: u32::try_from(image.height).unwrap_or(0),
                    format: image.format.clone(),
                };
                (State::Indexed, Some(attributes))
            }
            Action::Remove => (State::Removed, None),
            Action::Fail { code, detail } => {
                let (code, detail) = ((*code).to_owned(), detail.clone());
                (State::Failed { code, detail }, None)
            }
            Action::Supersede(detail) => {
                let detail = detail.clone();
                (State::Superseded { detail }, None)
            }
            Action::PutOff(detail) => {
                let detail = detail.clone();
                (State::PutOff { detail }, None)
            }
        };
        let mut outcome = one.held.outcome(state);
        outcome.timings.committed_ns = committed_ns;
        outcome.content_hash = one.content_hash;
        outcome.model.clone_from(&self.model);
        outcome.attributes = attributes;
        outcome.reused = one.reused;
        outcome
    }

    async fn tell(&self, mut outcomes: Vec<Outcome>) -> Result<(), Stopped> {
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
            let wait = backoff.next_wait();
            tracing::warn!(%error, ?wait, "outcomes can't be stored now, trying again");
            if let Err(error) = self.bus.ensure().await {
                tracing::debug!(%error, "the streams can't be made now");
            }
            tokio::select! {
                () = self.give_up.cancelled() => return Err(Stopped::Leaving),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

/// The rows among these can't be stored as they are: their files are listed as failed.
fn refuse(batch: &mut [Ready], error: &IndexError) {
    for one in batch {
        if matches!(one.action, Action::Put(..)) {
            one.action = Action::Fail {
                code: "index_refused",
                detail: error.to_string(),
            };
        }
    }
}

fn first_of_each(batch: Vec<Ready>) -> (Vec<Ready>, Vec<Ready>) {
    let mut seen = HashMap::new();
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for one in batch {
        if seen.insert(one.id(), ()).is_none() {
            first.push(one)
        } else {
            later.push(one)
        }
    }
    (first, later)
}

impl From<Mismatch> for Action {
    fn from(mismatch: Mismatch) -> Self {
        match mismatch {
            Mismatch::Superseded(detail) => Self::Supersede(detail),
            Mismatch::Unreadable(detail) => Self::Fail {
                code: "unreadable",
                detail,
            },
            Mismatch::NotNow(reason) => Self::PutOff(reason),
        }
    }
}
