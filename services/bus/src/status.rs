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

use crate::events::nanos;
use crate::{Bus, Error};

/// The files of a library, by what became of them: `on_disk` is always the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
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

impl Counts {
    /// Sums two libraries.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
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
pub struct Degraded {
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
    pub counts: Counts,
    /// Why it may lag behind; empty in peace.
    pub degraded: Vec<Degraded>,
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
    pub also_answers: Vec<String>,
    /// Why it does not go over to the model in service.
    #[serde(default)]
    pub left_behind: Option<String>,
}

impl EmbedderStatus {
    /// Whether it answers queries for the model with these weights.
    pub fn answers_for(&self, checksum: &str) -> bool {
        self.checksum == checksum || self.also_answers.iter().any(|other| other == checksum)
    }
}

impl Bus {
    /// Tells what a library is like now.
    ///
    /// # Errors
    /// When NATS does not take it; tell it again later.
    pub async fn tell_library(&self, status: &LibraryStatus) -> Result<(), Error> {
        self.tell(
            format!("library.{}", status.name),
            serde_json::to_vec(status)?,
        )
        .await
    }

    /// Tells what an embedder is like now.
    ///
    /// # Errors
    /// When NATS does not take it; tell it again later.
    pub async fn tell_embedder(&self, status: &EmbedderStatus) -> Result<(), Error> {
        self.tell(
            format!("embedder.{}", status.instance),
            serde_json::to_vec(status)?,
        )
        .await
    }

    async fn tell(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        // One message to the bucket's subject: no look-up of the bucket before each.
        let subject = format!("$KV.{}.{key}", self.status_bucket());
        let failed = |e: async_nats::jetstream::context::PublishError| match e.kind() {
            async_nats::jetstream::context::PublishErrorKind::StreamNotFound => Error::NoStream,
            _ => Error::jetstream("telling the status")(e.into()),
        };
        let ack = self
            .jetstream
            .publish(subject, value.into())
            .await
            .map_err(failed)?;
        ack.await.map_err(failed)?;
        Ok(())
    }

    /// Follows what all roles tell, until `leave`; the view is as fresh as the last word.
    pub fn follow_status(&self, leave: CancellationToken) -> StatusView {
        let view = StatusView::default();
        let (bus, shared) = (self.clone(), view.clone());
        tokio::spawn(async move {
            let mut backoff =
                lookalike_chassis::Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
            while !leave.is_cancelled() {
                let followed = tokio::select! {
                    () = leave.cancelled() => return,
                    followed = bus.follow_once(&shared) => followed,
                };
                if let Err(error) = followed {
                    tracing::debug!(%error, "the status of the roles can't be followed now");
                }
                tokio::select! {
                    () = leave.cancelled() => return,
                    () = tokio::time::sleep(backoff.next_wait()) => {}
                }
            }
        });
        view
    }

    async fn follow_once(&self, view: &StatusView) -> Result<(), Error> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream("following the status")(e)
        };
        let store = self
            .jetstream
            .get_key_value(self.status_bucket())
            .await
            .map_err(|e| failed(e.into()))?;
        let created_ns = self.status_created_ns().await?;
        let mut entries = store
            .watch_with_history(">")
            .await
            .map_err(|e| failed(e.into()))?;
        loop {
            let entry = match timeout(QUIET, entries.next()).await {
                Ok(Some(entry)) => entry,
                Ok(None) => return Ok(()),
                // The client goes on by number in a bucket that was made anew, and would hear
                // nothing until that has as many entries as the old one had.
                Err(_) if self.status_created_ns().await? == created_ns => continue,
                Err(_) => return Ok(()),
            };
            let entry = entry.map_err(|e| failed(e.into()))?;
            let value = (entry.operation == Operation::Put).then_some(&entry.value[..]);
            view.note(&entry.key, value);
        }
    }

    async fn status_created_ns(&self) -> Result<i64, Error> {
        let stream = self.stream(format!("KV_{}", self.status_bucket())).await?;
        Ok(nanos(stream.cached_info().created))
    }
}

/// The last word of every role.
#[derive(Clone, Default)]
pub struct StatusView {
    inner: Arc<RwLock<Told>>,
}

#[derive(Default)]
struct Told {
    libraries: BTreeMap<String, (std::time::Instant, LibraryStatus)>,
    embedders: BTreeMap<String, (std::time::Instant, EmbedderStatus)>,
}

/// How long nothing may be heard before it is asked whether the bucket still is the same.
const QUIET: Duration = Duration::from_secs(3);

/// What was not said again for this long is not shown any more (the bucket forgets it as well).
const STALE: Duration = Duration::from_secs(30);

impl StatusView {
    /// Every library that a watcher spoke of within the last half minute, by name.
    pub fn libraries(&self) -> Vec<LibraryStatus> {
        let told = self.inner.read().expect("no holder of this lock panics");
        let fresh = told
            .libraries
            .values()
            .filter(|(when, _)| when.elapsed() < STALE);
        fresh.map(|(_, status)| status.clone()).collect()
    }

    /// Every embedder that spoke within the last half minute.
    pub fn embedders(&self) -> Vec<EmbedderStatus> {
        self.embedders_heard_within(STALE)
    }

    /// Every embedder that was heard within this time. One that lives speaks every ten seconds.
    pub fn embedders_heard_within(&self, time: Duration) -> Vec<EmbedderStatus> {
        let told = self.inner.read().expect("no holder of this lock panics");
        let fresh = told
            .embedders
            .values()
            .filter(|(when, _)| when.elapsed() < time);
        fresh.map(|(_, status)| status.clone()).collect()
    }

    fn note(&self, key: &str, value: Option<&[u8]>) {
        let mut told = self.inner.write().expect("no holder of this lock panics");
        let now = std::time::Instant::now();
        let Some((kind, name)) = key.split_once('.') else {
            return;
        };
        match (kind, value) {
            ("library", Some(value)) => {
                if let Ok(status) = serde_json::from_slice(value) {
                    told.libraries.insert(name.to_owned(), (now, status));
                }
            }
            ("embedder", Some(value)) => {
                if let Ok(status) = serde_json::from_slice(value) {
                    told.embedders.insert(name.to_owned(), (now, status));
                }
            }
            ("library", None) => {
                told.libraries.remove(name);
            }
            ("embedder", None) => {
                told.embedders.remove(name);
            }
            _ => {}
        }
    }
}
