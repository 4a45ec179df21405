//! Trials: a record of the files that workers died with.
//!
//! Before a worker decodes a redelivered file, it stores a note, and deletes it when it is done. A
//! note that is still stored at the next delivery means that a worker died while decoding this file.
//! Other files that were in flight at that time are not affected.

use async_nats::jetstream::{kv, stream};
use lookalike_proto::{Generation, ImageId};

use crate::connect::Bus;
use crate::error::Error;

impl Bus {
    pub(crate) async fn ensure_trials(&self) -> Result<(), Error> {
        self.jetstream
            .create_or_update_key_value(kv::Config {
                bucket: self.trials_bucket(),
                description: "Files that are retried after a worker died".into(),
                history: 1,
                max_age: self.settings.max_outcomes_age,
                max_bytes: 4 << 20,
                storage: stream::StorageType::File,
                num_replicas: self.settings.replicas,
                ..Default::default()
            })
            .await
            .map(|_| ())
            .map_err(|e| Error::jetstream_failure("creating the trials bucket")(e.into()))
    }

    /// Records that this generation of an image is about to be decoded, and returns how many workers
    /// died while decoding it.
    pub async fn begin_trial(&self, id: &ImageId, generation: Generation) -> Result<u32, Error> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream_failure("recording a trial")(e)
        };
        let store = self.open_trials_bucket().await?;
        let name = trial_key(id, generation);
        let stored = store.get(&name).await.map_err(|e| failed(e.into()))?;
        let dead_workers = stored
            .and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok())
            .unwrap_or(0_u32);
        let count = dead_workers.saturating_add(1).to_string();
        if let Err(error) = store.put(&name, count.into()).await {
            // The note may have been stored nevertheless, and no worker died.
            let _ = self.end_trial(id, generation).await;
            return Err(failed(error.into()));
        }
        Ok(dead_workers)
    }

    /// Deletes the record of [`Bus::begin_trial`]: the worker is alive. A record that is not deleted
    /// expires with `max_outcomes_age`.
    pub async fn end_trial(&self, id: &ImageId, generation: Generation) -> Result<(), Error> {
        // A purge leaves no delete marker, which would fill the bucket.
        let subject = format!("$KV.{}.{}", self.trials_bucket(), trial_key(id, generation));
        let store = self.open_trials_bucket().await?;
        let purged = store.stream.purge().filter(subject).await;
        purged
            .map(|_| ())
            .map_err(|e| Error::jetstream_failure("ending a trial")(e.into()))
    }

    async fn open_trials_bucket(&self) -> Result<kv::Store, Error> {
        let store = self.jetstream.get_key_value(self.trials_bucket()).await;
        store.map_err(|e| Error::jetstream_failure("opening the trials bucket")(e.into()))
    }

    fn trials_bucket(&self) -> String {
        format!("{}_trials", self.settings.namespace)
    }
}

fn trial_key(id: &ImageId, generation: Generation) -> String {
    format!("{id}.{generation}")
}
