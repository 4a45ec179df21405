//! Leases: mutual exclusion for work that one process does at a time (watching a library, auditing, a
//! rollover). A lease that its holder does not renew expires and can be acquired by another process.
//!
//! A holder that was frozen may briefly believe that it still has an expired lease. Leases therefore
//! only avoid duplicate work: the work itself must be idempotent.

use std::time::Duration;

use async_nats::jetstream::kv::{CreateErrorKind, Operation, Store, UpdateErrorKind};
use async_nats::jetstream::{kv, stream};

use crate::connect::Bus;
use crate::error::Error;

/// A lease of this process, until it is released or expires.
pub struct Lease {
    store: Store,
    key: String,
    holder: String,
    revision: u64,
    timeout: Duration,
}

impl Bus {
    pub(crate) async fn ensure_leases(&self) -> Result<(), Error> {
        self.jetstream
            .create_or_update_key_value(kv::Config {
                bucket: self.leases_bucket(),
                description: "Leases and their holders".into(),
                history: 1,
                max_age: self.settings.lease_timeout.max(Duration::from_secs(1)),
                max_bytes: 256 << 10,
                storage: stream::StorageType::File,
                num_replicas: self.settings.replicas,
                ..Default::default()
            })
            .await
            .map_err(|e| Error::jetstream_failure("creating the leases bucket")(e.into()))?;
        self.jetstream
            .create_or_update_key_value(kv::Config {
                bucket: self.epochs_bucket(),
                description: "The last epoch of every lease".into(),
                history: 1,
                max_bytes: 256 << 10,
                storage: stream::StorageType::File,
                num_replicas: self.settings.replicas,
                ..Default::default()
            })
            .await
            .map(|_| ())
            .map_err(|e| Error::jetstream_failure("creating the epochs bucket")(e.into()))
    }

    /// Acquires the lease `key` (of `a-z`, `0-9`, `-`, `_` and `.`), or returns `None` if another
    /// holder has it. A holder of the same name acquires it at once, so no two running processes may
    /// share a holder name.
    pub async fn acquire_lease(&self, key: &str, holder: &str) -> Result<Option<Lease>, Error> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream_failure("acquiring a lease")(e)
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
            timeout: self.settings.lease_timeout.max(Duration::from_secs(1)),
        }))
    }

    /// Returns the epoch that [`Bus::record_epoch`] stored last for the lease `key`. A holder that
    /// remembers another epoch has lost data since, or was restored from a backup.
    pub async fn last_epoch(&self, key: &str) -> Result<Option<String>, Error> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream_failure("reading the lease epoch")(e)
        };
        let bucket = self.jetstream.get_key_value(self.epochs_bucket()).await;
        let store = bucket.map_err(|e| failed(e.into()))?;
        let value = store.get(key).await.map_err(|e| failed(e.into()))?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    /// Stores the current epoch of the lease `key`; it does not expire.
    pub async fn record_epoch(&self, key: &str, epoch: &str) -> Result<(), Error> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream_failure("recording the lease epoch")(e)
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
    /// Time from a renewal until the lease expires.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Renews the lease; returns `false` if it was lost and must be acquired again.
    ///
    /// # Errors
    /// After any error the lease may or may not have been renewed.
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
                // An earlier renewal may have succeeded although its reply was lost.
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

    /// Releases the lease, so that others need not wait until it expires.
    pub async fn release_lease(self) {
        let deleted = self
            .store
            .delete_expect_revision(&self.key, Some(self.revision))
            .await;
        if let Err(error) = deleted {
            tracing::debug!(%error, key = self.key, "could not release a lease, it will expire");
        }
    }
}
