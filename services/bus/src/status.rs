//! What every role tells of itself: a key-value bucket whose entries vanish after half a minute
//! without a new word.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_nats::jetstream::kv::Operation;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::events::to_unix_nanos;
use crate::{Bus, Error};

/// The files of a library, by what became of them: `on_disk` is always the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCounts {
    /// Regular files below the root.
    pub on_disk: u64,
    /// Rows of the index.
    pub indexed: u64,
    /// Can't be indexed, listed with a reason.
    pub failed: u64,
    /// Not meant to be indexed, with a reason.
    pub ignored: u64,
    /// Seen, and not yet one of the above.
    pub in_flight: u64,
}

impl FileCounts {
    /// Sums two libraries.
    #[must_use]
    pub fn sum_with(self, other: Self) -> Self {
        Self {
            on_disk: self.on_disk + other.on_disk,
            indexed: self.indexed + other.indexed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
            in_flight: self.in_flight + other.in_flight,
        }
    }
}

/// A reason why a library may lag behind its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degradation {
    /// From a fixed list: `root_missing`, `mass_delete`, `watch_limit`, `unreadable`, …
    pub reason: String,
    /// One sentence for a person.
    pub detail: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
}

/// How fast things go, over the last ten seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Files settled (indexed, removed or failed) each second.
    pub files_per_second: f64,
}

/// What a watcher tells of one library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LibraryStatus {
    /// The library's name.
    pub name: String,
    /// Its root folder on the watcher's machine.
    pub root: String,
    /// Its files.
    #[serde(flatten)]
    pub counts: FileCounts,
    /// Why it may lag behind; empty in peace.
    pub degraded: Vec<Degradation>,
    /// A scan is under way, so the counts still grow.
    pub scanning: bool,
    /// The first scan since the start is done.
    pub scanned_once: bool,
    /// Another watcher holds it, and this one waits.
    #[serde(default)]
    pub standby: bool,
    /// How fast things go.
    pub rates: Rates,
}

/// What an embedder tells of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmbedderStatus {
    /// Distinguishes the workers.
    pub instance: String,
    /// Model.
    pub model: String,
    /// Numbers in a vector.
    pub dimension: usize,
    /// SHA-256 of the weights, in hexadecimal.
    pub checksum: String,
    /// `cpu`, `cuda:0`, …, in words.
    pub device: String,
    /// Pictures embedded by the network since the start.
    pub embedded: u64,
    /// Vectors taken from the index or from memory since the start.
    pub reused: u64,
    /// No events are taken in: Milvus takes no writes, or too many threads hang.
    #[serde(default)]
    pub intake_paused: bool,
    /// The collection that it fills.
    #[serde(default)]
    pub collection: String,
    /// Checksums of other models whose queries it answers too, while the roles go over from one
    /// model to another.
    #[serde(default)]
    pub other_served_models: Vec<String>,
    /// Why it does not go over to the model in service.
    #[serde(default)]
    pub rollover_error: Option<String>,
}

impl EmbedderStatus {
    /// Whether it answers queries for the model with these weights.
    pub fn serves_model(&self, checksum: &str) -> bool {
        self.checksum == checksum
            || self
                .other_served_models
                .iter()
                .any(|other| other == checksum)
    }
}

impl Bus {
    /// Tells what a library is like now.
    ///
    /// # Errors
    /// When NATS does not take it; tell it again later.
    pub async fn publish_library_status(&self, status: &LibraryStatus) -> Result<(), Error> {
        self.publish_status(
            format!("library.{}", status.name),
            serde_json::to_vec(status)?,
        )
        .await
    }

    /// Tells what an embedder is like now.
    ///
    /// # Errors
    /// When NATS does not take it; tell it again later.
    pub async fn publish_embedder_status(&self, status: &EmbedderStatus) -> Result<(), Error> {
        self.publish_status(
            format!("embedder.{}", status.instance),
            serde_json::to_vec(status)?,
        )
        .await
    }

    async fn publish_status(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        // One message to the bucket's subject: no look-up of the bucket before each.
        let subject = format!("$KV.{}.{key}", self.status_bucket());
        let publish_error = |e: async_nats::jetstream::context::PublishError| match e.kind() {
            async_nats::jetstream::context::PublishErrorKind::StreamNotFound => {
                Error::StreamMissing
            }
            _ => Error::jetstream_failure("telling the status")(e.into()),
        };
        let ack = self
            .jetstream
            .publish(subject, value.into())
            .await
            .map_err(publish_error)?;
        ack.await.map_err(publish_error)?;
        Ok(())
    }

    /// Follows what all roles tell, until `shutdown`; the view is as fresh as the last word.
    pub fn watch_status(&self, shutdown: CancellationToken) -> StatusView {
        let view = StatusView::default();
        let (bus, shared) = (self.clone(), view.clone());
        tokio::spawn(async move {
            let mut backoff =
                lookalike_chassis::Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
            while !shutdown.is_cancelled() {
                let result = tokio::select! {
                    () = shutdown.cancelled() => return,
                    followed = bus.watch_status_once(&shared) => followed,
                };
                if let Err(error) = result {
                    tracing::debug!(%error, "the status of the roles can't be followed now");
                }
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(backoff.next_delay()) => {}
                }
            }
        });
        view
    }

    async fn watch_status_once(&self, view: &StatusView) -> Result<(), Error> {
        let watch_error = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream_failure("following the status")(e)
        };
        let store = self
            .jetstream
            .get_key_value(self.status_bucket())
            .await
            .map_err(|e| watch_error(e.into()))?;
        let created_ns = self.status_created_ns().await?;
        let mut entries = store
            .watch_with_history(">")
            .await
            .map_err(|e| watch_error(e.into()))?;
        loop {
            let entry = match timeout(BUCKET_CHECK_INTERVAL, entries.next()).await {
                Ok(Some(entry)) => entry,
                Ok(None) => return Ok(()),
                // The client goes on by number in a bucket that was made anew, and would hear
                // nothing until that has as many entries as the old one had.
                Err(_) if self.status_created_ns().await? == created_ns => continue,
                Err(_) => return Ok(()),
            };
            let entry = entry.map_err(|e| watch_error(e.into()))?;
            let value = (entry.operation == Operation::Put).then_some(&entry.value[..]);
            view.apply_entry(&entry.key, value);
        }
    }

    async fn status_created_ns(&self) -> Result<i64, Error> {
        let stream = self
            .get_stream(format!("KV_{}", self.status_bucket()))
            .await?;
        Ok(to_unix_nanos(stream.cached_info().created))
    }
}

/// The last word of every role.
#[derive(Clone, Default)]
pub struct StatusView {
    inner: Arc<RwLock<ReportedStatus>>,
}

#[derive(Default)]
struct ReportedStatus {
    libraries: BTreeMap<String, (std::time::Instant, LibraryStatus)>,
    embedders: BTreeMap<String, (std::time::Instant, EmbedderStatus)>,
}

/// How long nothing may be heard before it is asked whether the bucket still is the same.
const BUCKET_CHECK_INTERVAL: Duration = Duration::from_secs(3);

/// What was not said again for this long is not shown any more (the bucket forgets it as well).
const MAX_STATUS_AGE: Duration = Duration::from_secs(30);

impl StatusView {
    /// Every library that a watcher spoke of within the last half minute, by name.
    pub fn libraries(&self) -> Vec<LibraryStatus> {
        let reported = self.inner.read().expect("no holder of this lock panics");
        let fresh = reported
            .libraries
            .values()
            .filter(|(when, _)| when.elapsed() < MAX_STATUS_AGE);
        fresh.map(|(_, status)| status.clone()).collect()
    }

    /// Every embedder that spoke within the last half minute.
    pub fn embedders(&self) -> Vec<EmbedderStatus> {
        self.embedders_reported_within(MAX_STATUS_AGE)
    }

    /// Every embedder that was heard within this time. One that lives speaks every ten seconds.
    pub fn embedders_reported_within(&self, max_age: Duration) -> Vec<EmbedderStatus> {
        let reported = self.inner.read().expect("no holder of this lock panics");
        let fresh = reported
            .embedders
            .values()
            .filter(|(when, _)| when.elapsed() < max_age);
        fresh.map(|(_, status)| status.clone()).collect()
    }

    fn apply_entry(&self, key: &str, value: Option<&[u8]>) {
        let mut reported = self.inner.write().expect("no holder of this lock panics");
        let now = std::time::Instant::now();
        let Some((kind, name)) = key.split_once('.') else {
            return;
        };
        match (kind, value) {
            ("library", Some(value)) => {
                if let Ok(status) = serde_json::from_slice(value) {
                    reported.libraries.insert(name.to_owned(), (now, status));
                }
            }
            ("embedder", Some(value)) => {
                if let Ok(status) = serde_json::from_slice(value) {
                    reported.embedders.insert(name.to_owned(), (now, status));
                }
            }
            ("library", None) => {
                reported.libraries.remove(name);
            }
            ("embedder", None) => {
                reported.embedders.remove(name);
            }
            _ => {}
        }
    }
}
