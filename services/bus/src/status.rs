//! Role status: a key-value bucket whose entries expire after 30 seconds without an update.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_nats::jetstream::kv::Operation;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::connect::Bus;
use crate::error::Error;
use crate::events::to_unix_nanos;

/// The files of a library by state; `on_disk` is always the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCounts {
    /// Files below the root.
    pub on_disk: u64,
    /// Files with a row in the index.
    pub indexed: u64,
    /// Files that cannot be indexed; each has a reason.
    pub failed: u64,
    /// Files excluded from the index; each has a reason.
    pub ignored: u64,
    /// Files that were seen and have no outcome yet.
    pub in_flight: u64,
}

impl FileCounts {
    /// Adds the counts of another library.
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

/// A reason why the index of a library may differ from its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degradation {
    /// One of a fixed list: `root_missing`, `mass_delete`, `watch_limit`, `unreadable`, …
    pub reason: String,
    /// One sentence for a person.
    pub detail: String,
    /// Start of the problem, in milliseconds since 1970.
    pub since_ms: i64,
}

/// Throughput over the last ten seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Files indexed, removed or failed per second.
    pub files_per_second: f64,
}

/// Distinguishes the root folder of a library from another folder at the same path, such as the mount
/// point of a disk that is away. The same on every machine that has the folder's file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFolder {
    pub inode: u64,
    /// When the folder was created, in nanoseconds since 1970.
    pub born_ns: i64,
}

impl RootFolder {
    /// Returns `None` if the file system does not record when files were created: some of these invent
    /// inodes.
    pub fn from_metadata(metadata: &Metadata) -> Option<Self> {
        Some(Self {
            inode: metadata.ino(),
            born_ns: lookalike_chassis::clock::to_nanos(metadata.created().ok()?),
        })
    }
}

/// A watcher's status of one library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LibraryStatus {
    pub name: String,
    /// The root folder on the watcher's machine.
    pub root: String,
    /// The folder at the root in which the library's files were last seen, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_folder: Option<RootFolder>,
    #[serde(flatten)]
    pub counts: FileCounts,
    /// Reasons why the index may differ from the folder; normally empty.
    pub degraded: Vec<Degradation>,
    /// Whether a scan is in progress, so that the counts still grow.
    pub scanning: bool,
    /// Whether the first scan since the start has finished.
    pub scanned_once: bool,
    /// Whether another watcher holds the lease and this one is on standby.
    #[serde(default)]
    pub standby: bool,
    pub rates: Rates,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmbedderStatus {
    /// Unique name of the worker.
    pub instance: String,
    pub model: String,
    /// Length of the model's vectors.
    pub dimension: usize,
    /// SHA-256 of the model's weights, in hexadecimal.
    pub checksum: String,
    /// One line about the devices for people.
    pub device: String,
    /// The devices, in the order of the settings.
    #[serde(default)]
    pub devices: Vec<EmbedderDevice>,
    /// Images embedded by the network since the start.
    pub embedded: u64,
    /// Vectors taken from the index or the content cache since the start.
    pub reused: u64,
    /// Whether the intake is paused, because Milvus accepts no writes or too many threads hang.
    #[serde(default)]
    pub intake_paused: bool,
    /// The collection that the embedder writes to.
    #[serde(default)]
    pub collection: String,
    /// Checksums of other models whose queries the embedder also serves during a model rollover.
    #[serde(default)]
    pub other_served_models: Vec<String>,
    /// The reason why the embedder cannot load the model in service.
    #[serde(default)]
    pub rollover_error: Option<String>,
}

/// A device that computes vectors for an embedder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmbedderDevice {
    /// As in the settings: `cpu`, `vulkan:0`, `cuda:1`.
    pub name: String,
    /// Hardware and precision; empty before the device was ready for the first time.
    pub hardware: String,
    pub state: EmbedderDeviceState,
    /// Why the device failed.
    pub problem: Option<String>,
    /// Most images of one run at present.
    pub max_batch: usize,
    /// Images and texts embedded since the model was loaded.
    pub embedded: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbedderDeviceState {
    Opening,
    /// Takes work.
    Ready,
    /// The CPU, which takes work only when no other device does.
    Standby,
    /// Takes no work; it is opened again after a growing delay.
    Failed,
}

impl EmbedderStatus {
    /// Returns whether the embedder serves queries for the model with these weights.
    pub fn serves_model(&self, checksum: &str) -> bool {
        self.checksum == checksum
            || self
                .other_served_models
                .iter()
                .any(|other| other == checksum)
    }
}

impl Bus {
    pub async fn publish_library_status(&self, status: &LibraryStatus) -> Result<(), Error> {
        self.publish_status(
            format!("library.{}", status.name),
            serde_json::to_vec(status)?,
        )
        .await
    }

    pub async fn publish_embedder_status(&self, status: &EmbedderStatus) -> Result<(), Error> {
        self.publish_status(
            format!("embedder.{}", status.instance),
            serde_json::to_vec(status)?,
        )
        .await
    }

    async fn publish_status(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        // Publishing to the bucket's subject saves looking up the bucket first.
        let subject = format!("$KV.{}.{key}", self.status_bucket());
        let publish_error = |e: async_nats::jetstream::context::PublishError| match e.kind() {
            async_nats::jetstream::context::PublishErrorKind::StreamNotFound => {
                Error::StreamMissing
            }
            _ => Error::jetstream_failure("publishing the status")(e.into()),
        };
        let ack = self
            .jetstream
            .publish(subject, value.into())
            .await
            .map_err(publish_error)?;
        ack.await.map_err(publish_error)?;
        Ok(())
    }

    /// Keeps a view of the status of all roles up to date until `shutdown`.
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
                    tracing::debug!(%error, "watching the roles' status failed, retrying");
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
            Error::jetstream_failure("watching the status")(e)
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
                // The client continues by sequence number in a recreated bucket, and would receive
                // nothing until it has as many entries as the old one had.
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

/// The last status of every role.
#[derive(Clone, Default)]
pub struct StatusView {
    inner: Arc<RwLock<ReportedStatus>>,
}

#[derive(Default)]
struct ReportedStatus {
    libraries: BTreeMap<String, (std::time::Instant, LibraryStatus)>,
    embedders: BTreeMap<String, (std::time::Instant, EmbedderStatus)>,
}

/// Time without an update after which the bucket is checked for having been recreated.
const BUCKET_CHECK_INTERVAL: Duration = Duration::from_secs(3);

/// Age after which a status is ignored; the bucket drops it as well.
const MAX_STATUS_AGE: Duration = Duration::from_secs(30);

impl StatusView {
    /// Returns every library that a watcher reported within the last 30 seconds, by name.
    pub fn libraries(&self) -> Vec<LibraryStatus> {
        let reported = self.inner.read().expect("no holder of this lock panics");
        let fresh = reported
            .libraries
            .values()
            .filter(|(when, _)| when.elapsed() < MAX_STATUS_AGE);
        fresh.map(|(_, status)| status.clone()).collect()
    }

    /// Returns every embedder that reported within the last 30 seconds.
    pub fn embedders(&self) -> Vec<EmbedderStatus> {
        self.embedders_reported_within(MAX_STATUS_AGE)
    }

    /// Returns every embedder that reported within `max_age`. A running embedder reports every ten
    /// seconds.
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
