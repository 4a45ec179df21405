//! Tenure: one task a library, which holds the library's lease. While it does, the library's
//! outcomes are read and questions to it are answered; when it does not, this watcher stands by.

use std::time::Duration;

use lookalike_bus::{Lease, MOST_IDS};
use lookalike_proto::Library;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::inbox::Note;
use crate::tasks::Around;

/// How long giving a lease up may take.
const LAST_WORD: Duration = Duration::from_secs(1);

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
            ..self.clone()
        };
        let work = TaskTracker::new();
        work.spawn(held.clone().work(index, library.clone(), stood_by));
        work.close();
        let kept = self.keep(key, holder, lease, &held.leave).await;
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
    async fn keep(
        &self,
        key: &str,
        holder: &str,
        mut lease: Lease,
        held: &CancellationToken,
    ) -> Option<Lease> {
        let every = lease.term() / 4;
        loop {
            tokio::select! {
                () = held.cancelled() => return Some(lease),
                () = tokio::time::sleep(every) => {}
            }
            let Some(renewed) = held.run_until_cancelled(lease.renew()).await else {
                return Some(lease);
            };
            match renewed {
                Ok(true) => {}
                // It ran out while NATS was away; unless somebody else has it, it is taken anew.
                Ok(false) => lease = self.bus.take_lease(key, holder).await.ok()??,
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
    async fn work(self, index: usize, library: Library, stood_by: bool) {
        let Some(adopted) = self.insist(|answer| Note::BeginToHold(index, answer)).await else {
            return;
        };
        if (!adopted || stood_by) && !self.adopt_rows(index, &library).await {
            return;
        }
        let Some(after) = self.insist(|answer| Note::Activate(index, answer)).await else {
            return;
        };
        tokio::join!(
            self.clone().read_outcomes(index, library.clone(), after),
            self.clone().answer_questions(index, library),
        );
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
