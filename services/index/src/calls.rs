//! Requests to the collection of an [`Index`], with retries.
//!
//! The SDK would retry up to 75 times, and never an upsert. Here every call may be repeated,
//! because all of them are idempotent: rows are replaced whole, deletes name a generation.

use std::future::Future;

use lookalike_chassis::Backoff;
use milvus::v2::{ClientV2, error::Error as Sdk};

use crate::{error::Error, index::Index, metrics::MilvusCall};

impl Index {
    /// Sends a request to this index's collection. Retries errors that may pass at once, and first
    /// loads the collection if the server reports that it is not loaded.
    pub(crate) async fn call_with_retries<T, F>(
        &self,
        call: MilvusCall,
        request: impl Fn(ClientV2, String) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Sdk>>,
    {
        let settings = &self.inner.settings;
        let mut backoff = Backoff::new(settings.retry_interval, settings.call_timeout);
        loop {
            let collection = self.collection();
            let target = format!("collection {collection:?}");
            let result = self
                .inner
                .connection
                .send_once(call, settings.call_timeout, &target, |client| {
                    request(client, collection.to_string())
                })
                .await;
            let error = match result {
                Err(error) if error.is_retryable_at_once() => error,
                result => return result,
            };
            if backoff.attempts() + 1 >= settings.max_attempts {
                return Err(error);
            }
            let wait = backoff.next_delay();
            tracing::debug!(
                call = call.label(),
                %error,
                ?wait,
                "a request to Milvus failed, retrying"
            );
            tokio::time::sleep(wait).await;
            if matches!(error, Error::NotLoaded { .. }) {
                // Loading may take longer than a caller waits; the server continues without us.
                match tokio::time::timeout(
                    settings.call_timeout,
                    self.reload_collection(&collection),
                )
                .await
                {
                    Ok(loaded) => loaded?,
                    Err(_) => return Err(error),
                }
            }
        }
    }

    /// Sends an administrative request once. `long` selects `milvus.admin_timeout`.
    pub(crate) async fn call_admin<T, F>(
        &self,
        target: &str,
        long: bool,
        request: impl FnOnce(ClientV2) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Sdk>>,
    {
        let settings = &self.inner.settings;
        let limit = if long {
            settings.admin_timeout
        } else {
            settings.call_timeout
        };
        self.inner
            .connection
            .send_once(MilvusCall::Admin, limit, target, request)
            .await
    }
}
