//! One client of Milvus: time limits, attempts, sorting of errors, measuring.
//!
//! The SDK's own retries are off, so that there is one place that retries. The SDK would try up to
//! 75 times, and never an upsert; here every call may be tried again, because every one of them
//! may be done twice: rows are replaced whole, deletes name a generation.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use lookalike_chassis::Backoff;
use milvus::v2::{
    ClientV2,
    error::Error as Sdk,
    prelude::{ConnectConfig, RetryConfig, TelemetryConfig},
};

use crate::{
    Error, Index, Settings,
    metrics::{MILVUS_SECONDS, MilvusCall},
};

#[derive(Clone)]
pub(crate) struct MilvusConnection {
    client: ClientV2,
}

impl MilvusConnection {
    /// Waits for the server up to `milvus.connect_timeout`.
    pub(crate) async fn open(settings: &Settings) -> Result<Self, Error> {
        let mut config = ConnectConfig::new()
            .uri(&settings.url)
            .connect_timeout(settings.connect_timeout)
            .rpc_timeout(settings.call_timeout)
            // A server that vanished without a word is found out within fifteen seconds.
            .keepalive_time(Duration::from_secs(10))
            .keepalive_timeout(Duration::from_secs(5))
            .keepalive_while_idle(true)
            .retry(
                RetryConfig::new()
                    .max_attempts(1)
                    .retry_on_rate_limit(false),
            )
            .telemetry(TelemetryConfig::new().enabled(false));
        if !settings.user.is_empty() {
            config = config.username(&settings.user).password(&settings.password);
        }
        if !settings.token.is_empty() {
            config = config.token(&settings.token);
        }
        // The SDK keeps the limit too, but not while it resolves the name and connects.
        let limit = settings.connect_timeout;
        let connected =
            tokio::time::timeout(limit + Duration::from_secs(1), ClientV2::new(&config));
        match connected.await {
            Ok(Ok(client)) => Ok(Self { client }),
            Ok(Err(source)) => Err(
                match Error::from_sdk(source.clone(), MilvusCall::Admin, limit, "") {
                    credentials @ Error::Credentials { .. } => credentials,
                    _ => Error::Connect {
                        url: settings.display_url(),
                        source: Box::new(source),
                    },
                },
            ),
            Err(_) => Err(Error::Connect {
                url: settings.display_url(),
                source: Box::new(Sdk::Timeout(format!("nothing within {limit:?}"))),
            }),
        }
    }

    /// One attempt.
    pub(crate) async fn send_once<T, F>(
        &self,
        call: MilvusCall,
        limit: Duration,
        target: &str,
        request: impl FnOnce(ClientV2) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Sdk>>,
    {
        let started = Instant::now();
        let answer = tokio::time::timeout(limit, request(self.client.clone())).await;
        MILVUS_SECONDS
            .with_label_values(&[call.label()])
            .observe(started.elapsed().as_secs_f64());
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Error::from_sdk(error, call, limit, target)),
            Err(_) => Err(Error::Timeout {
                call: call.label(),
                limit,
            }),
        }
    }
}

impl Index {
    /// A request to the collection in service: tried again where that may help at once, after
    /// loading the collection where the server says that it is not loaded.
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
            if backoff.attempts() + 1 >= settings.attempts {
                return Err(error);
            }
            let wait = backoff.next_delay();
            tracing::debug!(
                call = call.label(),
                %error,
                ?wait,
                "a request to Milvus failed and is tried again"
            );
            tokio::time::sleep(wait).await;
            if matches!(error, Error::NotLoaded { .. }) {
                // Loading may take longer than a caller waits; the server goes on without us.
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

    /// A request that creates, checks or loads: one attempt, with the long limit where `long`.
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
