//! Trials: which files workers died with. A worker notes a file that was delivered before, right
//! before it decodes it, and takes the note back when it is done. A note that is still there at
//! the next delivery says that a worker died, and with which file: the others in its hands at
//! that time are not to blame.

use async_nats::jetstream::{kv, stream};
use lookalike_proto::{Generation, ImageId};

use crate::{Bus, Error};

impl Bus {
    pub(crate) async fn ensure_trials(&self) -> Result<(), Error> {
        self.jetstream
            .create_or_update_key_value(kv::Config {
                bucket: self.trials_bucket(),
                description: "Files that are being tried again after a worker died".into(),
                history: 1,
                max_age: self.settings.outcomes_max_age,
                max_bytes: 4 << 20,
                storage: stream::StorageType::File,
                num_replicas: self.settings.replicas,
                ..Default::default()
            })
            .await
            .map(|_| ())
            .map_err(|e| Error::jetstream_failure("making the bucket of trials")(e.into()))
    }

    /// Notes that this generation of an image is about to be decoded, and says how many workers
    /// noted that before and never took it back.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn begin_trial(&self, id: &ImageId, generation: Generation) -> Result<u32, Error> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream_failure("noting a trial")(e)
        };
        let store = self.open_trials_bucket().await?;
        let name = trial_key(id, generation);
        let stored = store.get(&name).await.map_err(|e| failed(e.into()))?;
        let dead_workers = stored
            .and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok())
            .unwrap_or(0_u32);
        let count = dead_workers.saturating_add(1).to_string();
        if let Err(error) = store.put(&name, count.into()).await {
            // It may have been stored all the same, and no worker died.
            let _ = self.end_trial(id, generation).await;
            return Err(failed(error.into()));
        }
        Ok(dead_workers)
    }

    /// Takes the note back: the worker is alive.
    ///
    /// # Errors
    /// When JetStream does not answer; the note then goes by itself after a day.
    pub async fn end_trial(&self, id: &ImageId, generation: Generation) -> Result<(), Error> {
        // Removed without the marker that deleting a key leaves, which would fill the bucket.
        let subject = format!("$KV.{}.{}", self.trials_bucket(), trial_key(id, generation));
        let store = self.open_trials_bucket().await?;
        let purged = store.stream.purge().filter(subject).await;
        purged
            .map(|_| ())
            .map_err(|e| Error::jetstream_failure("taking a trial's note back")(e.into()))
    }

    async fn open_trials_bucket(&self) -> Result<kv::Store, Error> {
        let store = self.jetstream.get_key_value(self.trials_bucket()).await;
        store.map_err(|e| Error::jetstream_failure("opening the bucket of trials")(e.into()))
    }

    fn trials_bucket(&self) -> String {
        format!("{}_trials", self.settings.namespace)
    }
}

fn trial_key(id: &ImageId, generation: Generation) -> String {
    format!("{id}.{generation}")
}
