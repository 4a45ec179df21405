//! Saved searches: a bucket with one entry per search, and a bucket with the state of their webhooks.
//!
//! The entries cannot be computed again from anything else. The search services create the buckets and
//! write them. The bus does not interpret the values.

use std::time::Duration;

use async_nats::jetstream::kv::{Operation, Store, UpdateErrorKind};
use async_nats::jetstream::{kv, stream};
use bytes::Bytes;
use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use tokio::time::timeout;

use crate::connect::Bus;
use crate::error::Error;
use crate::events::{StreamPosition, to_unix_nanos};

/// Entries that are read at the same time.
const MAX_CONCURRENT_READS: usize = 16;

/// Limits of what the saved searches store.
#[derive(Debug, Clone)]
pub struct SavedSearchLimits {
    /// Of all saved searches together.
    pub max_bytes: u64,
    /// Of all matches together; the oldest ones are dropped.
    pub max_matches_bytes: u64,
    pub max_match_age: Duration,
}

/// An entry of the bucket of saved searches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSavedSearch {
    pub id: String,
    pub value: Bytes,
    /// Grows with each change of the entry.
    pub revision: u64,
    /// Time of the change by the server's clock, in nanoseconds since 1970.
    pub stored_ns: i64,
}

fn failed(
    operation: &'static str,
) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> Error + Copy {
    move |source| Error::JetStream { operation, source }
}

impl Bus {
    /// Creates the missing buckets and the stream of matches, and updates their limits.
    pub async fn ensure_saved_searches(&self, limits: &SavedSearchLimits) -> Result<(), Error> {
        let to_bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let buckets = [
            (
                self.saved_searches_bucket(),
                "Saved searches",
                to_bytes(limits.max_bytes),
            ),
            (self.webhooks_bucket(), "State of webhooks", 1 << 20),
        ];
        for (bucket, description, max_bytes) in buckets {
            let config = kv::Config {
                bucket,
                description: description.into(),
                history: 1,
                max_bytes,
                storage: stream::StorageType::File,
                num_replicas: self.settings.replicas,
                ..Default::default()
            };
            let created = self.jetstream.create_or_update_key_value(config).await;
            created.map_err(|e| failed("creating the buckets of saved searches")(e.into()))?;
        }
        self.ensure_matches(to_bytes(limits.max_matches_bytes), limits.max_match_age)
            .await
    }

    /// Returns the position of the last change of any saved search.
    ///
    /// # Errors
    /// [`Error::StreamMissing`] if the bucket was deleted: [`Bus::ensure_saved_searches`] creates it
    /// again.
    pub async fn saved_searches_position(&self) -> Result<StreamPosition, Error> {
        let bucket = format!("KV_{}", self.saved_searches_bucket());
        let stream = self.get_stream(bucket).await?;
        let info = stream.cached_info();
        Ok(StreamPosition {
            stream_created_ns: to_unix_nanos(info.created),
            sequence: info.state.last_sequence,
        })
    }

    /// Returns every saved search, sorted by id.
    pub async fn read_saved_searches(&self) -> Result<Vec<StoredSavedSearch>, Error> {
        let failed = failed("reading the saved searches");
        let store = self.open_bucket(self.saved_searches_bucket()).await?;
        let reading = async {
            let keys = store.keys().await.map_err(|e| failed(e.into()))?;
            let keys: Vec<String> = keys.try_collect().await.map_err(|e| failed(e.into()))?;
            let entries = keys.into_iter().map(|id| {
                let store = store.clone();
                async move { read_entry(&store, &id).await }
            });
            let entries = futures_util::stream::iter(entries).buffered(MAX_CONCURRENT_READS);
            let entries: Vec<Option<_>> = entries.try_collect().await?;
            Ok::<_, Error>(entries.into_iter().flatten().collect())
        };
        // The client waits forever for a reply that was lost.
        let mut entries: Vec<StoredSavedSearch> =
            match timeout(self.settings.call_timeout * 2, reading).await {
                Ok(entries) => entries?,
                Err(_) => return Err(Error::NoResponders("JetStream lists no saved searches")),
            };
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(entries)
    }

    /// Returns one saved search.
    pub async fn read_saved_search(&self, id: &str) -> Result<Option<StoredSavedSearch>, Error> {
        let store = self.open_bucket(self.saved_searches_bucket()).await?;
        read_entry(&store, id).await
    }

    /// Stores a new saved search.
    ///
    /// # Errors
    /// [`Error::StreamFull`] if the bucket has reached its size.
    pub async fn create_saved_search(&self, id: &str, value: Bytes) -> Result<(), Error> {
        let store = self.open_bucket(self.saved_searches_bucket()).await?;
        match store.create(id, value).await {
            Ok(_) => Ok(()),
            Err(e) if error_chain_contains(&e, "maximum bytes exceeded") => Err(Error::StreamFull),
            Err(e) => Err(failed("storing a saved search")(e.into())),
        }
    }

    /// Replaces a saved search unless it has changed since `revision`. Returns whether it did.
    pub async fn update_saved_search(
        &self,
        id: &str,
        value: Bytes,
        revision: u64,
    ) -> Result<bool, Error> {
        let store = self.open_bucket(self.saved_searches_bucket()).await?;
        match store.update(id, value, revision).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
            Err(e) => Err(failed("updating a saved search")(e.into())),
        }
    }

    /// Deletes a saved search, and then its matches, the queue of its webhook and the state of its
    /// webhook.
    pub async fn delete_saved_search(&self, id: &str) -> Result<(), Error> {
        let failed = failed("deleting a saved search");
        let store = self.open_bucket(self.saved_searches_bucket()).await?;
        store.delete(id).await.map_err(|e| failed(e.into()))?;
        self.delete_traces_of_search(id).await
    }

    /// Deletes what is stored of a saved search that does not exist.
    pub async fn delete_traces_of_search(&self, id: &str) -> Result<(), Error> {
        self.delete_webhook_queue(id).await?;
        self.purge_matches(id).await?;
        let states = self.open_bucket(self.webhooks_bucket()).await?;
        // A purge leaves no delete marker, which would fill the bucket.
        let subject = format!("$KV.{}.{id}", self.webhooks_bucket());
        let purged = states.stream.purge().filter(subject).await;
        purged
            .map(|_| ())
            .map_err(|e| failed("deleting the state of a webhook")(e.into()))
    }

    /// Returns the stored state of the webhook of a saved search.
    pub async fn read_webhook_state(&self, id: &str) -> Result<Option<Bytes>, Error> {
        let store = self.open_bucket(self.webhooks_bucket()).await?;
        let value = store.get(id).await;
        value.map_err(|e| failed("reading the state of a webhook")(e.into()))
    }

    /// Stores the state of the webhook of a saved search.
    pub async fn store_webhook_state(&self, id: &str, value: Bytes) -> Result<(), Error> {
        let store = self.open_bucket(self.webhooks_bucket()).await?;
        let stored = store.put(id, value).await;
        stored
            .map(|_| ())
            .map_err(|e| failed("storing the state of a webhook")(e.into()))
    }

    async fn open_bucket(&self, bucket: String) -> Result<Store, Error> {
        let store = self.jetstream.get_key_value(bucket).await;
        store.map_err(|e| failed("opening a bucket of saved searches")(e.into()))
    }

    fn saved_searches_bucket(&self) -> String {
        format!("{}_saved_searches", self.settings.namespace)
    }

    fn webhooks_bucket(&self) -> String {
        format!("{}_webhooks", self.settings.namespace)
    }
}

async fn read_entry(store: &Store, id: &str) -> Result<Option<StoredSavedSearch>, Error> {
    let entry = store.entry(id).await;
    let entry = entry.map_err(|e| failed("reading a saved search")(e.into()))?;
    let entry = entry.filter(|entry| entry.operation == Operation::Put);
    Ok(entry.map(|entry| StoredSavedSearch {
        id: entry.key,
        value: entry.value,
        revision: entry.revision,
        stored_ns: to_unix_nanos(entry.created),
    }))
}

fn error_chain_contains(error: &(dyn std::error::Error + 'static), text: &str) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|error| error.to_string().contains(text))
}
