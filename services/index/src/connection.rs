//! The client of Milvus: connects, applies time limits, classifies errors, measures.
//!
//! The SDK's own retries are switched off, so that only `calls` retries.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use milvus::v2::{
    ClientV2,
    error::Error as Sdk,
    prelude::{ConnectConfig, RetryConfig, TelemetryConfig},
};

use crate::{
    error::Error,
    metrics::{MILVUS_SECONDS, MilvusCall},
    settings::Settings,
};

#[derive(Clone)]
pub(crate) struct MilvusConnection {
    client: ClientV2,
}

impl MilvusConnection {
    /// Connects; waits at most `milvus.connect_timeout` for the server.
    pub(crate) async fn open(settings: &Settings) -> Result<Self, Error> {
        let mut config = ConnectConfig::new()
            .uri(&settings.url)
            .connect_timeout(settings.connect_timeout)
            .rpc_timeout(settings.call_timeout)
            // Detects a server that disappeared within fifteen seconds.
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
        // The SDK does not apply its limit while it resolves the name and connects.
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
                source: Box::new(Sdk::Timeout(format!("no connection within {limit:?}"))),
            }),
        }
    }

    /// Sends a request once. `target` names the object that may be missing.
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
