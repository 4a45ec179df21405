//! Tenure: one task a library, which holds the library's lease. While it does, the library's
//! outcomes are read and questions to it are answered; when it does not, this watcher stands by.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lookalike_bus::{Lease, MAX_REQUEST_IDS};
use lookalike_proto::LibraryName;
use tokio_util::task::TaskTracker;

use crate::inbox::KeeperRequest;
use crate::tasks::WatcherTasks;

/// How long giving a lease up may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// What is noted of a holder's turn, as its catalog counts them.
fn lease_epoch(holder: &str, turns: u64) -> String {
    format!("{holder} {turns}")
}

impl WatcherTasks {
    /// Holds a library whenever it can be held, until the watcher ends. `lease_holder` is what this
    /// watcher's catalog is known by: a watcher that is started again gets its libraries back at
    /// once.
    pub async fn hold_lease_forever(self, index: usize, library: LibraryName, holder: String) {
        let key = format!("watcher.{library}");
        let mut backoff = Self::new_backoff();
        // The catalog may lack what another watcher did.
        let mut stood_by = false;
        while !self.shutdown.is_cancelled() {
            let Some(taken) = self
                .run_unless_stopping(self.bus.acquire_lease(&key, &holder))
                .await
            else {
                return;
            };
            match taken {
                Ok(Some(lease)) => {
                    backoff.reset_attempts();
                    self.work_while_leased(index, &library, &key, &holder, lease, stood_by)
                        .await;
                    stood_by = true;
                }
                Ok(None) => {
                    if !stood_by {
                        tracing::info!(%library, "another watcher holds this library, standing by");
                    }
                    stood_by = true;
                    self.inbox.push_request(KeeperRequest::EnterStandby(index));
                    self.sleep_unless_stopping(Duration::from_secs(1)).await;
                }
                Err(error) => self.repair_and_back_off(&error, &mut backoff).await,
            }
        }
    }

    /// Works until the lease is lost or the watcher ends.
    async fn work_while_leased(
        &self,
        index: usize,
        library: &LibraryName,
        key: &str,
        holder: &str,
        lease: Lease,
        stood_by: bool,
    ) {
        let held = Self {
            shutdown: self.shutdown.child_token(),
            lease_valid_until: Arc::new(Mutex::new(Instant::now() + lease.term())),
            ..self.clone()
        };
        let work = TaskTracker::new();
        let (key_, holder_) = (key.to_owned(), holder.to_owned());
        work.spawn(
            held.clone()
                .recover_and_serve(index, library.clone(), key_, holder_, stood_by),
        );
        work.close();
        let kept = held.renew_lease(key, holder, lease).await;
        held.shutdown.cancel();
        work.wait().await;
        match kept {
            // Without a word it ends by itself.
            Some(lease) if self.bus.is_connected() => {
                let _ = tokio::time::timeout(RELEASE_TIMEOUT, lease.release_lease()).await;
            }
            Some(_) => {}
            None => {
                tracing::warn!(%library, "another watcher holds this library now, standing by");
                self.inbox.push_request(KeeperRequest::EnterStandby(index));
            }
        }
    }

    /// Renews the lease; `None` when it was lost, the lease when the watcher ends.
    async fn renew_lease(&self, key: &str, holder: &str, mut lease: Lease) -> Option<Lease> {
        let every = lease.term() / 4;
        let held = &self.shutdown;
        let is_held = |since: Instant, lease: &Lease| {
            *self.lease_valid_until.lock().expect("no holder panics") = since + lease.term();
        };
        loop {
            tokio::select! {
                () = held.cancelled() => return Some(lease),
                () = tokio::time::sleep(every) => {}
            }
            let begun = Instant::now();
            let Some(renewed) = held.run_until_cancelled(lease.renew_lease()).await else {
                return Some(lease);
            };
            match renewed {
                Ok(true) => is_held(begun, &lease),
                // It ran out while NATS was away; unless somebody else has it, it is taken anew.
                Ok(false) => {
                    let taken = self.bus.acquire_lease(key, holder);
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
                        && let Some(Err(error)) =
                            held.run_until_cancelled(self.bus.ensure_streams()).await
                    {
                        tracing::debug!(%error, "the streams can't be made now");
                    }
                }
            }
        }
    }

    /// What is done while a library is held.
    async fn recover_and_serve(
        self,
        index: usize,
        library: LibraryName,
        key: String,
        holder: String,
        stood_by: bool,
    ) {
        let Some(turns) = self
            .ask_keeper_until_ok(|answer| KeeperRequest::BeginRecovery(index, answer))
            .await
        else {
            return;
        };
        let Some(last_turn) = self.read_last_epoch(&key).await else {
            return;
        };
        // Where NATS lost what it knew, a catalog that was used before is believed.
        let is_whole = turns > 0
            && !stood_by
            && last_turn.is_none_or(|last| last == lease_epoch(&holder, turns));
        if !is_whole && !self.import_index_rows(index, &library).await {
            return;
        }
        let begun = self
            .ask_keeper_until_ok(|answer| KeeperRequest::Activate(index, answer))
            .await;
        let Some((after, turns)) = begun else {
            return;
        };
        tokio::join!(
            self.clone().record_epoch(&key, lease_epoch(&holder, turns)),
            self.clone().read_outcomes(index, library.clone(), after),
            self.clone().serve_requests(index, library),
        );
    }

    /// Who held the library last; `None` when it is over before NATS answers.
    async fn read_last_epoch(&self, key: &str) -> Option<Option<String>> {
        let mut backoff = Self::new_backoff();
        while !self.shutdown.is_cancelled() {
            match self.run_unless_stopping(self.bus.last_epoch(key)).await? {
                Ok(turn) => return Some(turn),
                Err(error) => self.repair_and_back_off(&error, &mut backoff).await,
            }
        }
        None
    }

    async fn record_epoch(self, key: &str, turn: String) {
        let mut backoff = Self::new_backoff();
        while let Some(Err(error)) = self
            .run_unless_stopping(self.bus.record_epoch(key, &turn))
            .await
        {
            self.repair_and_back_off(&error, &mut backoff).await;
        }
    }

    /// Asks the index for the library's rows, however long that takes; false when it is over.
    async fn import_index_rows(&self, index: usize, library: &LibraryName) -> bool {
        let mut backoff = Self::new_backoff();
        let mut after: Option<String> = None;
        let mut adopted = 0;
        while !self.shutdown.is_cancelled() {
            let asked = self
                .bus
                .request_rows(library, after.as_deref(), MAX_REQUEST_IDS);
            let Some(page) = self.shutdown.run_until_cancelled(asked).await else {
                return false;
            };
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    let detail = format!(
                        "Waits to learn from an embedder which images the index holds already, so \
                         that they keep their ids ({error})."
                    );
                    self.inbox.push_request(KeeperRequest::SetDegraded(
                        index,
                        "recovering",
                        Some(detail),
                    ));
                    self.sleep_unless_stopping(backoff.next_delay()).await;
                    continue;
                }
            };
            backoff.reset_attempts();
            adopted += page.rows.len();
            after = page.rows.last().map(|row| row.id.clone()).or(after);
            let more = page.more && !page.rows.is_empty();
            let rows = page.rows;
            if !rows.is_empty()
                && self
                    .ask_keeper_until_ok(|answer| {
                        KeeperRequest::ImportRows(index, rows.clone(), answer)
                    })
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
