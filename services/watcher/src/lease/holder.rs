//! Holding the library lease: one task per library. While the lease is held, the library's outcomes
//! are read and its requests are served; otherwise the watcher is on standby.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lookalike_bus::{Lease, MAX_REQUEST_IDS};
use lookalike_proto::LibraryName;
use tokio_util::task::TaskTracker;

use crate::inbox::{KeeperRequest, KeeperSignal};
use crate::library::id::LibraryId;
use crate::tasks::WatcherTasks;

/// How long the release of a lease may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a watcher on standby tries to acquire the lease.
const ACQUIRE_INTERVAL: Duration = Duration::from_secs(1);

/// A library whose lease this watcher wants, and how it identifies itself.
#[derive(Clone)]
pub struct LeaseCandidate {
    id: LibraryId,
    library: LibraryName,
    key: String,
    /// Identifies the watcher's catalog: a restarted watcher gets its libraries back at once.
    holder: String,
    /// This process was on standby, so its catalog may lack what another watcher did.
    was_standby: bool,
}

impl LeaseCandidate {
    pub fn new(id: LibraryId, library: LibraryName, holder: String) -> Self {
        Self {
            id,
            key: format!("watcher.{library}"),
            library,
            holder,
            was_standby: false,
        }
    }

    /// The entry that records a lease epoch of this holder.
    fn epoch_entry(&self, epoch: u64) -> String {
        format!("{} {epoch}", self.holder)
    }
}

impl WatcherTasks {
    /// Acquires the lease whenever possible, and works on the library while it is held.
    pub async fn run_lease_candidate(self, mut candidate: LeaseCandidate) {
        let mut backoff = Self::new_backoff();
        while !self.shutdown.is_cancelled() {
            let acquire = self.bus.acquire_lease(&candidate.key, &candidate.holder);
            let Some(acquired) = self.run_unless_stopping(acquire).await else {
                return;
            };
            match acquired {
                Ok(Some(lease)) => {
                    backoff.reset_attempts();
                    self.work_while_leased(&candidate, lease).await;
                    candidate.was_standby = true;
                }
                Ok(None) => {
                    let library = &candidate.library;
                    if !candidate.was_standby {
                        tracing::info!(%library, "another watcher holds this library; entering standby");
                    }
                    candidate.was_standby = true;
                    self.inbox
                        .push_signal(KeeperSignal::EnterStandby(candidate.id));
                    self.sleep_unless_stopping(ACQUIRE_INTERVAL).await;
                }
                Err(error) => self.repair_and_back_off(&error, &mut backoff).await,
            }
        }
    }

    /// Works until the lease is lost or the watcher stops.
    async fn work_while_leased(&self, candidate: &LeaseCandidate, lease: Lease) {
        let leased = Self {
            shutdown: self.shutdown.child_token(),
            lease_valid_until: Arc::new(Mutex::new(Instant::now() + lease.timeout())),
            ..self.clone()
        };
        let work = TaskTracker::new();
        work.spawn(leased.clone().recover_and_serve(candidate.clone()));
        work.close();
        let lease = leased.renew_until_lost(candidate, lease).await;
        leased.shutdown.cancel();
        work.wait().await;
        match lease {
            // Without a connection, the lease expires.
            Some(lease) if self.bus.is_connected() => {
                let _ = tokio::time::timeout(RELEASE_TIMEOUT, lease.release_lease()).await;
            }
            Some(_) => {}
            None => {
                let library = &candidate.library;
                tracing::warn!(%library, "another watcher holds this library now; entering standby");
                self.inbox
                    .push_signal(KeeperSignal::EnterStandby(candidate.id));
            }
        }
    }

    /// Renews the lease. Returns `None` when it was lost, and the lease when the watcher stops.
    async fn renew_until_lost(
        &self,
        candidate: &LeaseCandidate,
        mut lease: Lease,
    ) -> Option<Lease> {
        let interval = lease.timeout() / 4;
        let extend_validity = |since: Instant, lease: &Lease| {
            *self.lease_valid_until.lock().expect("no holder panics") = since + lease.timeout();
        };
        loop {
            let sleep = tokio::time::sleep(interval);
            if self.run_unless_stopping(sleep).await.is_none() {
                return Some(lease);
            }
            let begun = Instant::now();
            let Some(renewed) = self.run_unless_stopping(lease.renew_lease()).await else {
                return Some(lease);
            };
            match renewed {
                Ok(true) => extend_validity(begun, &lease),
                // It expired while NATS was unreachable. If no other watcher has it, it is
                // acquired again.
                Ok(false) => {
                    let acquire = self.bus.acquire_lease(&candidate.key, &candidate.holder);
                    match self.run_unless_stopping(acquire).await {
                        None => return Some(lease),
                        Some(Ok(acquired)) => {
                            lease = acquired?;
                            extend_validity(begun, &lease);
                        }
                        Some(Err(error)) => {
                            tracing::debug!(%error, "cannot acquire a lease again now");
                        }
                    }
                }
                // While NATS is unreachable, no other watcher can acquire the lease either, and
                // nothing can be published. The folder is still watched.
                Err(error) => {
                    tracing::debug!(%error, "cannot renew a lease now");
                    if self.bus.is_connected()
                        && let Some(Err(error)) =
                            self.run_unless_stopping(self.bus.ensure_streams()).await
                    {
                        tracing::debug!(%error, "cannot create the streams now");
                    }
                }
            }
        }
    }

    /// What this watcher does while it holds the lease: recover the catalog if need be, activate
    /// the library, then read outcomes and serve requests.
    async fn recover_and_serve(self, candidate: LeaseCandidate) {
        let id = candidate.id;
        let Some(epoch) = self
            .ask_keeper_until_ok(|reply| KeeperRequest::BeginRecovery(id, reply))
            .await
        else {
            return;
        };
        let last_epoch = self.retry_bus(|| self.bus.last_epoch(&candidate.key));
        let Some(last_epoch) = last_epoch.await else {
            return;
        };
        // Without a recorded epoch (NATS lost its data), trust a catalog that was active before.
        let is_complete = epoch > 0
            && !candidate.was_standby
            && last_epoch.is_none_or(|last| last == candidate.epoch_entry(epoch));
        if !is_complete && !self.import_index_rows(&candidate).await {
            return;
        }
        let activated = self
            .ask_keeper_until_ok(|reply| KeeperRequest::Activate(id, reply))
            .await;
        let Some((outcomes_read, epoch)) = activated else {
            return;
        };
        let entry = candidate.epoch_entry(epoch);
        let library = candidate.library;
        tokio::join!(
            self.retry_bus(|| self.bus.record_epoch(&candidate.key, &entry)),
            self.clone()
                .read_outcomes(id, library.clone(), outcomes_read),
            self.clone().serve_requests(id, library),
        );
    }

    /// Imports the library's rows from the index, however long that takes; false if the watcher
    /// stops before.
    async fn import_index_rows(&self, candidate: &LeaseCandidate) -> bool {
        let LeaseCandidate { id, library, .. } = candidate;
        let id = *id;
        let mut backoff = Self::new_backoff();
        let mut after: Option<String> = None;
        let mut imported = 0;
        while !self.shutdown.is_cancelled() {
            let request = self
                .bus
                .request_rows(library, after.as_deref(), MAX_REQUEST_IDS);
            let page = match self.run_unless_stopping(request).await {
                None => return false,
                Some(Ok(page)) => page,
                Some(Err(error)) => {
                    let detail = format!(
                        "Waiting for an embedder to list the images in the index, so that they \
                         keep their ids ({error})."
                    );
                    self.inbox
                        .push_signal(KeeperSignal::SetDegraded(id, "recovering", detail));
                    self.sleep_unless_stopping(backoff.next_delay()).await;
                    continue;
                }
            };
            backoff.reset_attempts();
            let rows = page.rows;
            let has_more = page.more && !rows.is_empty();
            imported += rows.len();
            after = rows.last().map(|row| row.id.clone()).or(after);
            let import = |reply| KeeperRequest::ImportRows(id, rows.clone(), reply);
            if !rows.is_empty() && self.ask_keeper_until_ok(import).await.is_none() {
                return false;
            }
            if !has_more {
                if imported > 0 {
                    tracing::info!(%library, rows = imported, "imported the rows of the index");
                }
                return true;
            }
        }
        false
    }
}
