//! Tenure: one task a library, which holds the library's lease. While it does, the library's
//! outcomes are read and questions to it are answered; when it does not, this watcher stands by.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lookalike_bus::{Lease, MOST_IDS};
use lookalike_proto::Library;
use tokio_util::task::TaskTracker;

use crate::inbox::Note;
use crate::tasks::Around;

/// How long giving a lease up may take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What is noted of a holder's turn, as its catalog counts them.
fn turn_of(holder: &str, turns: u64) -> String {
    format!("{holder} {turns}")
}

impl Around {
    /// Holds a library whenever it can be held, until the watcher ends. `holder` is what this
    /// watcher's catalog is known by: a watcher that is started again gets its libraries back at
    /// once.
    pub async fn hold(self, index: usize, library: Library, holder: String) {
        let key = format!("watcher.{library}");
        let mut backoff = Self::backoff();
        // The catalog may lack what another watcher did.
        let mut stood_by = false;
        while !self.leave.is_cancelled() {
            let Some(taken) = self
                .unless_leaving(self.bus.take_lease(&key, &holder))
                .await
            else {
                return;
            };
            match taken {
                Ok(Some(lease)) => {
                    backoff.reset();
                    self.hold_once(index, &library, &key, &holder, lease, stood_by)
                        .await;
                    stood_by = true;
                }
                Ok(None) => {
                    if !stood_by {
                        tracing::info!(%library, "another watcher holds this library, standing by");
                    }
                    stood_by = true;
                    self.inbox.note(Note::StandBy(index));
                    self.wait(Duration::from_secs(1)).await;
                }
                Err(error) => self.mend(&error, &mut backoff).await,
            }
        }
    }

    /// Works until the lease is lost or the watcher ends.
    async fn hold_once(
        &self,
        index: usize,
        library: &Library,
        key: &str,
        holder: &str,
        lease: Lease,
        stood_by: bool,
    ) {
        let held = Self {
            leave: self.leave.child_token(),
            held_until: Arc::new(Mutex::new(Instant::now() + lease.term())),
            ..self.clone()
        };
        let work = TaskTracker::new();
        let (key_, holder_) = (key.to_owned(), holder.to_owned());
        work.spawn(
            held.clone()
                .work(index, library.clone(), key_, holder_, stood_by),
        );
        work.close();
        let kept = held.keep(key, holder, lease).await;
        held.leave.cancel();
        work.wait().await;
        match kept {
            // Without a word it ends by itself.
            Some(lease) if self.bus.is_connected() => {
                let _ = tokio::time::timeout(LAST_WORD, lease.give_up()).await;
            }
            Some(_) => {}
            None => {
                tracing::warn!(%library, "another watcher holds this library now, standing by");
                self.inbox.note(Note::StandBy(index));
            }
        }
    }

    /// Renews the lease; `None` when it was lost, the lease when the watcher ends.
    async fn keep(&self, key: &str, holder: &str, mut lease: Lease) -> Option<Lease> {
        let every = lease.term() / 4;
        let held = &self.leave;
        let is_held = |since: Instant, lease: &Lease| {
            *self.held_until.lock().expect("no holder panics") = since + lease.term();
        };
        loop {
            tokio::select! {
                () = held.cancelled() => return Some(lease),
                () = tokio::time::sleep(every) => {}
            }
            let begun = Instant::now();
            let Some(renewed) = held.run_until_cancelled(lease.renew()).await else {
                return Some(lease);
            };
            match renewed {
                Ok(true) => is_held(begun, &lease),
                // It ran out while NATS was away; unless somebody else has it, it is taken anew.
                Ok(false) => {
                    let taken = self.bus.take_lease(key, holder);
                    match held.run_until_cancelled(taken).await {
                        None => return Some(lease),
                        Some(Ok(taken)) => {
                            lease = taken?;
                            is_held(begun, &lease);
                        }
                        Some(Err(error)) => {
                            tracing::debug!(%error, "a lease can't be taken anew now");
                        }
                    }
                }
                // While NATS is away nobody else can take it either, and nothing can be
                // published. The folder is followed all the same.
                Err(error) => {
                    tracing::debug!(%error, "a lease can't be renewed now");
                    if self.bus.is_connected()
                        && let Some(Err(error)) = held.run_until_cancelled(self.bus.ensure()).await
                    {
                        tracing::debug!(%error, "the streams can't be made now");
                    }
                }
            }
        }
    }

    /// What is done while a library is held.
    async fn work(
        self,
        index: usize,
        library: Library,
        key: String,
        holder: String,
        stood_by: bool,
    ) {
        let Some(turns) = self.insist(|answer| Note::BeginToHold(index, answer)).await else {
            return;
        };
        let Some(last_turn) = self.last_turn(&key).await else {
            return;
        };
        // Where NATS lost what it knew, a catalog that was used before is believed.
        let is_whole =
            turns > 0 && !stood_by && last_turn.is_none_or(|last| last == turn_of(&holder, turns));
        if !is_whole && !self.adopt_rows(index, &library).await {
            return;
        }
        let begun = self.insist(|answer| Note::Activate(index, answer)).await;
        let Some((after, turns)) = begun else {
            return;
        };
        tokio::join!(
            self.clone().note_turn(&key, turn_of(&holder, turns)),
            self.clone().read_outcomes(index, library.clone(), after),
            self.clone().answer_questions(index, library),
        );
    }

    /// Who held the library last; `None` when it is over before NATS answers.
    async fn last_turn(&self, key: &str) -> Option<Option<String>> {
        let mut backoff = Self::backoff();
        while !self.leave.is_cancelled() {
            match self.unless_leaving(self.bus.last_turn(key)).await? {
                Ok(turn) => return Some(turn),
                Err(error) => self.mend(&error, &mut backoff).await,
            }
        }
        None
    }

    async fn note_turn(self, key: &str, turn: String) {
        let mut backoff = Self::backoff();
        while let Some(Err(error)) = self.unless_leaving(self.bus.note_turn(key, &turn)).await {
            self.mend(&error, &mut backoff).await;
        }
    }

    /// Asks the index for the library's rows, however long that takes; false when it is over.
    async fn adopt_rows(&self, index: usize, library: &Library) -> bool {
        let mut backoff = Self::backoff();
        let mut after: Option<String> = None;
        let mut adopted = 0;
        while !self.leave.is_cancelled() {
            let asked = self.bus.rows_of(library, after.as_deref(), MOST_IDS);
            let Some(page) = self.leave.run_until_cancelled(asked).await else {
                return false;
            };
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    let detail = format!(
                        "Waits to learn from an embedder which images the index holds already, so \
                         that they keep their ids ({error})."
                    );
                    self.inbox
                        .note(Note::Degraded(index, "adopting", Some(detail)));
                    self.wait(backoff.next_wait()).await;
                    continue;
                }
            };
            backoff.reset();
            adopted += page.rows.len();
            after = page.rows.last().map(|row| row.id.clone()).or(after);
            let more = page.more && !page.rows.is_empty();
            let rows = page.rows;
            if !rows.is_empty()
                && self
                    .insist(|answer| Note::Adopt(index, rows.clone(), answer))
                    .await
                    .is_none()
            {
                return false;
            }
            if !more {
                if adopted > 0 {
                    tracing::info!(%library, rows = adopted, "took over what the index holds");
                }
                return true;
            }
        }
        false
    }
}
