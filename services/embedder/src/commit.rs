//! Commit: what is ready is written to Milvus, many rows at once; then the outcomes are stored;
//! then the events are acknowledged. In this order, so that a death at any point loses nothing:
//! what was not acknowledged comes again, and doing it again changes nothing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lookalike_bus::Bus;
use lookalike_chassis::metrics::STAGE_SECONDS;
use lookalike_chassis::{Backoff, clock};
use lookalike_index::{Error as IndexError, Fate, Index, Row};
use lookalike_proto::{Attributes, ContentHash, ImageId, Outcome, State};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::file::{self, Mismatch};
use crate::hand::Held;

/// What is to be done for an event.
pub enum Action {
    /// Write the row, if the file below this root still is what the event tells.
    Put(PathBuf, Box<Row>),
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
    /// Nothing now: let it come again later.
    GiveBack(String),
}

/// An event, and what is to be committed for it.
pub struct Ready {
    pub held: Arc<Held>,
    pub action: Action,
    pub content_hash: Option<ContentHash>,
    pub reused: bool,
}

impl Ready {
    pub fn new(held: Arc<Held>, action: Action) -> Self {
        Self {
            held,
            action,
            content_hash: None,
            reused: false,
        }
    }

    fn id(&self) -> ImageId {
        self.held.delivery.event.image_id
    }

    fn key(&self) -> (String, i64) {
        let event = &self.held.delivery.event;
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
        let most = self.most_rows.max(1);
        while !batch.is_empty() || ready.recv_many(&mut batch, most).await > 0 {
            // Of one image only the first waits here; what came twice is done one after another.
            let (now, later) = first_of_each(std::mem::take(&mut batch));
            batch = later;
            match self.commit(now).await {
                Ok(()) => {}
                Err(Stopped::Leaving) => {
                    tracing::info!("leaving; what was not committed comes again");
                    return Ok(());
                }
                Err(Stopped::Fatal(error)) => return Err(error),
            }
        }
        Ok(())
    }

    async fn commit(&self, batch: Vec<Ready>) -> Result<(), Stopped> {
        let mut batch = self.check_disk(batch).await;
        self.write(&mut batch).await?;
        let (back, batch): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|one| matches!(one.action, Action::GiveBack(_)));
        for one in back {
            if let Action::GiveBack(reason) = &one.action {
                tracing::warn!(image = %one.id(), reason, "an event is given back for later");
            }
            one.held.delivery.give_back(Duration::from_secs(5)).await;
        }
        let committed_ns = clock::now_nanos();
        let outcomes: Vec<Outcome> = batch
            .iter()
            .map(|one| self.outcome(one, committed_ns))
            .collect();
        self.tell(outcomes).await?;
        // Whatever can't be acknowledged comes again, and is found to be done.
        let acknowledged = batch
            .into_iter()
            .map(|one| async move { one.held.delivery.acknowledge().await });
        for result in join_all(acknowledged).await {
            if let Err(error) = result {
                tracing::debug!(%error, "an event was not acknowledged and may come again");
            }
        }
        Ok(())
    }

    /// Right before anything is written: is the disk still what the events tell?
    async fn check_disk(&self, batch: Vec<Ready>) -> Vec<Ready> {
        let checked = tokio::task::spawn_blocking(move || {
            let mut batch = batch;
            for one in &mut batch {
                if let Action::Put(root, _) = &one.action
                    && let Err(mismatch) = file::check(root, &one.held.delivery.event)
                {
                    one.action = mismatch.into();
                }
            }
            batch
        });
        match checked.await {
            Ok(batch) => batch,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
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
            let removed = self.insist(Work::Delete(&removals)).await?;
            if let Err(error) = removed {
                // Ids and numbers only: a refusal is a mistake of ours, and nothing is lost by
                // letting the events come again.
                tracing::error!(%error, "Milvus refuses to remove rows");
                for one in batch.iter_mut() {
                    if matches!(one.action, Action::Remove | Action::Fail { .. }) {
                        one.action = Action::GiveBack(error.to_string());
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

    /// Tries until it is done or refused. Nothing is taken from the queue meanwhile, because
    /// there is no room in hand: an outage costs no redelivery.
    async fn insist(&self, work: Work<'_>) -> Result<Result<(), IndexError>, Stopped> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let (what, done) = match work {
                Work::Upsert(rows) => ("writing rows", self.index.upsert(rows).await),
                Work::Delete(images) => ("removing rows", self.index.delete(images).await),
            };
            let error = match done {
                Ok(()) => return Ok(Ok(())),
                Err(error) => error,
            };
            match error.fate() {
                Fate::Reject => return Ok(Err(error)),
                Fate::Fatal => return Err(Stopped::Fatal(error)),
                Fate::Retry => {}
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
        let event = &one.held.delivery.event;
        let mut timings = *one
            .held
            .timings
            .lock()
            .expect("no holder of this lock panics");
        timings.committed_ns = committed_ns;
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
            Action::Fail { code, detail } => (
                State::Failed {
                    code: (*code).to_owned(),
                    detail: detail.clone(),
                },
                None,
            ),
            Action::Supersede(detail) | Action::GiveBack(detail) => (
                State::Superseded {
                    detail: detail.clone(),
                },
                None,
            ),
        };
        Outcome {
            image_id: event.image_id,
            library: event.library.clone(),
            generation: event.generation,
            state,
            content_hash: one.content_hash,
            model: self.model.clone(),
            attributes,
            timings,
            deliveries: one.held.delivery.deliveries,
            reused: one.reused,
        }
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
            Mismatch::NotNow(reason) => Self::GiveBack(reason),
        }
    }
}
