//! The tasks between NATS and the keeper. Each waits for one and for the other, and decides nothing.

mod outcomes;
mod overdue;
mod relay;
mod requests;
mod status;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lookalike_bus::{Bus, Error as BusError};
use lookalike_chassis::Backoff;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::inbox::{Inbox, KeeperRequest};
use crate::settings::Settings;

/// How long a stopping task waits for a reply of the keeper.
const LAST_REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// What every task uses.
#[derive(Clone)]
pub struct WatcherTasks {
    pub bus: Bus,
    pub inbox: Arc<Inbox>,
    pub shutdown: CancellationToken,
    pub settings: Settings,
    /// Until when the library's lease is known to be held.
    pub lease_valid_until: Arc<Mutex<Instant>>,
}

impl WatcherTasks {
    /// Sends a request to the keeper and waits for its reply. `None`: the keeper rolled back or did
    /// not reply in time.
    async fn ask_keeper<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> KeeperRequest,
    ) -> Option<T> {
        let (sender, reply) = oneshot::channel();
        self.inbox.push_request(request(sender));
        // A keeper that hangs on a dead mount never replies, and must not delay the shutdown.
        let timeout = async {
            self.shutdown.cancelled().await;
            sleep(LAST_REPLY_TIMEOUT).await;
        };
        tokio::select! {
            biased;
            reply = reply => reply.ok(),
            () = timeout => None,
        }
    }

    /// Sends a request to the keeper until it replies; `None` if the watcher stops before.
    pub async fn ask_keeper_until_ok<T>(
        &self,
        request: impl Fn(oneshot::Sender<T>) -> KeeperRequest,
    ) -> Option<T> {
        let mut backoff = Self::new_backoff();
        while !self.shutdown.is_cancelled() {
            match self.ask_keeper(&request).await {
                Some(reply) => return Some(reply),
                None => self.sleep_unless_stopping(backoff.next_delay()).await,
            }
        }
        None
    }

    /// Runs a call that may be cancelled at any time; `None` if the watcher stops meanwhile.
    pub async fn run_unless_stopping<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        self.shutdown.run_until_cancelled(call).await
    }

    /// Repeats a call to NATS until it succeeds; `None` if the watcher stops before.
    pub async fn retry_bus<T, F>(&self, call: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, BusError>>,
    {
        let mut backoff = Self::new_backoff();
        loop {
            match self.run_unless_stopping(call()).await? {
                Ok(value) => return Some(value),
                Err(error) => self.repair_and_back_off(&error, &mut backoff).await,
            }
        }
    }

    pub async fn sleep_unless_stopping(&self, duration: Duration) {
        let _ = self.run_unless_stopping(sleep(duration)).await;
    }

    pub fn new_backoff() -> Backoff {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(5))
    }

    /// After an error of NATS: creates missing streams, and waits.
    pub async fn repair_and_back_off(&self, error: &BusError, backoff: &mut Backoff) {
        match error {
            BusError::StreamMissing => {
                tracing::warn!("the streams are missing; creating them");
                if let Some(Err(error)) = self.run_unless_stopping(self.bus.ensure_streams()).await
                {
                    tracing::warn!(%error, "cannot create the streams now");
                }
            }
            BusError::StreamFull => {
                tracing::warn!("the stream of events is full; waiting for the embedder");
            }
            error => tracing::warn!(%error, "a request to NATS failed; trying again"),
        }
        self.sleep_unless_stopping(backoff.next_delay()).await;
    }
}
