//! Leases: what only one role may do at a time (watch a library, run the audit) is held by
//! whoever has the key. A key that its holder does not renew vanishes, and somebody else may
//! take it.
//!
//! A holder that was frozen may believe for a moment that it still holds what it lost. So a lease
//! only saves work and confusion: what is done under it must be harmless when it is done twice.

use std::time::Duration;

use async_nats::jetstream::kv::{CreateErrorKind, Operation, Store, UpdateErrorKind};
use async_nats::jetstream::{kv, stream};

use crate::{Bus, Error};

/// Something held alone, until it is given up or not renewed in time.
pub struct Lease {
    store: Store,
    key: String,
    holder: String,
    revision: u64,
    term: Duration,
}

impl Bus {
    pub(crate) async fn ensure_leases(&self) -> Result<(), Error> {
        self.jetstream
            .create_or_update_key_value(kv::Config {
                bucket: self.leases_bucket(),
                description: "What only one role may do at a time, and which one does".into(),
                history: 1,
                max_age: self.settings.lease_timeout.max(Duration::from_secs(1)),
                max_bytes: 256 << 10,
                storage: stream::StorageType::File,
                num_replicas: self.settings.replicas,
                ..Default::default()
            })
            .await
            .map_err(|e| Error::jetstream_failure("making the bucket of leases")(e.into()))?;
        self.jetstream
            .create_or_update_key_value(kv::Config {
                bucket: self.epochs_bucket(),
                description: "Who held what last".into(),
                history: 1,
                max_bytes: 256 << 10,
                storage: stream::StorageType::File,
                num_replicas: self.settings.replicas,
                ..Default::default()
            })
            .await
            .map(|_| ())
            .map_err(|e| Error::jetstream_failure("making the bucket of turns")(e.into()))
    }

    /// Takes what `trial_key` names (of `a-z`, `0-9`, `-`, `_` and `.`) unless somebody else holds it:
    /// `None` then. A holder of the same name gets it at once, so the name must be one that no
    /// two living roles share.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn acquire_lease(&self, key: &str, holder: &str) -> Result<Option<Lease>, Error> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream_failure("taking a lease")(e)
        };
        let bucket = self.jetstream.get_key_value(self.leases_bucket()).await;
        let store = bucket.map_err(|e| failed(e.into()))?;
        let entry = store.entry(key).await.map_err(|e| failed(e.into()))?;
        let current = entry.filter(|entry| entry.operation == Operation::Put);
        let value = bytes::Bytes::copy_from_slice(holder.as_bytes());
        let revision = match current {
            Some(entry) if entry.value != value => return Ok(None),
            Some(entry) => match store.update(key, value, entry.revision).await {
                Ok(revision) => revision,
                Err(e) if e.kind() == UpdateErrorKind::WrongLastRevision => return Ok(None),
                Err(e) => return Err(failed(e.into())),
            },
            None => match store.create(key, value).await {
                Ok(revision) => revision,
                Err(e) if e.kind() == CreateErrorKind::AlreadyExists => return Ok(None),
                Err(e) => return Err(failed(e.into())),
            },
        };
        Ok(Some(Lease {
            store,
            key: key.to_owned(),
            holder: holder.to_owned(),
            revision,
            term: self.settings.lease_timeout.max(Duration::from_secs(1)),
        }))
    }

    /// Who held `trial_key` last, and which of its turns that was, as [`Bus::record_epoch`] was told: a
    /// holder that remembers another turn has forgotten something since, or was put back.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn last_epoch(&self, key: &str) -> Result<Option<String>, Error> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream_failure("asking for a turn")(e)
        };
        let bucket = self.jetstream.get_key_value(self.epochs_bucket()).await;
        let store = bucket.map_err(|e| failed(e.into()))?;
        let value = store.get(key).await.map_err(|e| failed(e.into()))?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    /// Notes whose turn it is to hold `trial_key`, for good.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn record_epoch(&self, key: &str, epoch: &str) -> Result<(), Error> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream_failure("noting a turn")(e)
        };
        let bucket = self.jetstream.get_key_value(self.epochs_bucket()).await;
        let store = bucket.map_err(|e| failed(e.into()))?;
        let value = bytes::Bytes::copy_from_slice(epoch.as_bytes());
        store.put(key, value).await.map_err(|e| failed(e.into()))?;
        Ok(())
    }

    fn epochs_bucket(&self) -> String {
        format!("{}_epochs", self.settings.namespace)
    }

    fn leases_bucket(&self) -> String {
        format!("{}_leases", self.settings.namespace)
    }
}

impl Lease {
    /// How long it lasts from each renewal.
    pub fn term(&self) -> Duration {
        self.term
    }

    /// Renews it; false: it was lost, and whoever wants it must take it anew.
    ///
    /// # Errors
    /// When JetStream does not answer: it may or may not be held still, until its term is over.
    pub async fn renew_lease(&mut self) -> Result<bool, Error> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream_failure("renewing a lease")(e)
        };
        let value = bytes::Bytes::copy_from_slice(self.holder.as_bytes());
        match self
            .store
            .update(&self.key, value.clone(), self.revision)
            .await
        {
            Ok(revision) => {
                self.revision = revision;
                Ok(true)
            }
            Err(e) if e.kind() == UpdateErrorKind::WrongLastRevision => {
                // A renewal whose answer was lost is one, too.
                let entry = self.store.entry(&self.key).await;
                match entry.map_err(|e| failed(e.into()))? {
                    Some(entry) if entry.operation == Operation::Put && entry.value == value => {
                        self.revision = entry.revision;
                        Ok(true)
                    }
                    _ => Ok(false),
                }
            }
            Err(e) => Err(failed(e.into())),
        }
    }

    /// Gives it up, so that others need not wait until it is over.
    pub async fn release_lease(self) {
        let deleted = self
            .store
            .delete_expect_revision(&self.key, Some(self.revision))
            .await;
        if let Err(error) = deleted {
            tracing::debug!(%error, key = self.key, "a lease ends by itself");
        }
    }
}
