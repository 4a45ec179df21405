//! The connection to NATS, and the streams and buckets that every role expects.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::{self, kv, stream};
use async_nats::{Client, ConnectOptions, Event};
use lookalike_chassis::Retry;

use crate::embedder_pool::EmbedderPools;
use crate::error::Error;
use crate::local_queries::LocalSubscribers;
use crate::settings::Settings;

/// A connection to NATS with lookalike's streams; cheap to clone. It reconnects automatically.
#[derive(Clone)]
pub struct Bus {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) settings: Arc<Settings>,
    pub(crate) local_subscribers: LocalSubscribers,
    pub(crate) embedder_pools: EmbedderPools,
    /// Set by `close`: from then on a lost connection is expected and not logged as a warning.
    closing: Arc<AtomicBool>,
}

impl Bus {
    /// Connects, and creates missing streams.
    ///
    /// # Errors
    /// [`Error::Connect`] if the server cannot be reached within `connect_timeout`.
    pub async fn connect(settings: &Settings, role: &str) -> Result<Self, Error> {
        let bus = Self::open(settings, role).await?;
        bus.ensure_streams().await?;
        Ok(bus)
    }

    /// Connects without creating or updating streams: for commands that only send requests, whose
    /// settings may differ from those of the roles.
    ///
    /// # Errors
    /// [`Error::Connect`] if the server cannot be reached within `connect_timeout`.
    pub async fn open(settings: &Settings, role: &str) -> Result<Self, Error> {
        settings.check_values()?;
        let closing = Arc::new(AtomicBool::new(false));
        let closing_flag = closing.clone();
        let mut options = ConnectOptions::new()
            .name(format!("lookalike {role}"))
            .connection_timeout(settings.call_timeout)
            .request_timeout(Some(settings.call_timeout))
            .reconnect_delay_callback(|tries| {
                Duration::from_millis(50 << tries.min(6)).min(Duration::from_secs(2))
            })
            .ignore_discovered_servers()
            .event_callback(move |event| {
                let is_closing = closing_flag.load(Ordering::Relaxed);
                async move { log_connection_event(&event, is_closing) }
            });
        if !settings.user.is_empty() {
            options = options.user_and_password(settings.user.clone(), settings.password.clone());
        }
        let client = connect_within(options, settings).await?;
        let jetstream = jetstream_context(&client, settings);
        Ok(Self {
            client,
            jetstream,
            settings: Arc::new(settings.clone()),
            local_subscribers: LocalSubscribers::default(),
            embedder_pools: EmbedderPools::default(),
            closing,
        })
    }

    /// Creates missing streams and buckets, and updates the limits of existing ones.
    pub async fn ensure_streams(&self) -> Result<(), Error> {
        let s = &self.settings;
        let common = stream::Config {
            storage: stream::StorageType::File,
            num_replicas: s.replicas,
            allow_direct: true,
            ..Default::default()
        };
        let events = stream::Config {
            name: self.events_stream(),
            subjects: vec![format!("{}.v1.events.>", s.namespace)],
            description: Some("Changes of files, until a worker has processed them".into()),
            retention: stream::RetentionPolicy::WorkQueue,
            discard: stream::DiscardPolicy::New,
            max_bytes: i64::try_from(s.max_events_bytes).unwrap_or(i64::MAX),
            duplicate_window: Duration::from_secs(120),
            ..common.clone()
        };
        let outcomes = stream::Config {
            name: self.outcomes_stream(),
            subjects: vec![format!("{}.v1.outcomes.>", s.namespace)],
            description: Some("Results of the events".into()),
            retention: stream::RetentionPolicy::Limits,
            discard: stream::DiscardPolicy::Old,
            max_bytes: i64::try_from(s.max_outcomes_bytes).unwrap_or(i64::MAX),
            max_age: s.max_outcomes_age,
            duplicate_window: Duration::from_secs(120),
            ..common
        };
        for config in [events, outcomes] {
            self.jetstream
                .create_or_update_stream(config)
                .await
                .map_err(|e| Error::jetstream_failure("creating a stream")(e.into()))?;
        }
        self.jetstream
            .create_or_update_key_value(kv::Config {
                bucket: self.status_bucket(),
                description: "Status of every role".into(),
                history: 1,
                max_age: Duration::from_secs(30),
                max_bytes: 1 << 20,
                storage: stream::StorageType::Memory,
                num_replicas: s.replicas,
                ..Default::default()
            })
            .await
            .map_err(|e| Error::jetstream_failure("creating the status bucket")(e.into()))?;
        self.ensure_leases().await?;
        self.ensure_trials().await
    }

    /// Returns whether the connection is up now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Returns the version of the server that this connection uses.
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }

    /// Sends a request to JetStream and waits for the reply.
    pub async fn check_jetstream(&self) -> Result<(), Error> {
        self.jetstream
            .query_account()
            .await
            .map(|_| ())
            .map_err(|e| Error::jetstream_failure("querying JetStream")(e.into()))
    }

    /// Sends all buffered messages and waits until the server has received them.
    pub async fn flush_messages(&self) {
        if !self.is_connected() {
            return; // Nothing can be sent, and everything that matters is sent again later.
        }
        let _ = tokio::time::timeout(self.settings.call_timeout, self.client.flush()).await;
    }

    /// Sends all buffered messages and closes the connection, for every clone.
    pub async fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.flush_messages().await;
        if let Err(error) = self.client.drain().await {
            tracing::debug!(%error, "the connection was closed already");
        }
    }

    pub(crate) fn events_stream(&self) -> String {
        format!("{}_EVENTS", self.settings.namespace.to_ascii_uppercase())
    }

    pub(crate) fn outcomes_stream(&self) -> String {
        format!("{}_OUTCOMES", self.settings.namespace.to_ascii_uppercase())
    }

    pub(crate) fn status_bucket(&self) -> String {
        format!("{}_status", self.settings.namespace)
    }
}

fn log_connection_event(event: &Event, is_closing: bool) {
    match event {
        _ if is_closing => tracing::debug!("NATS, during shutdown: {event}"),
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => {
            tracing::warn!("lost the connection to NATS, reconnecting");
        }
        Event::SlowConsumer(_) => tracing::warn!("NATS drops messages: {event}"),
        Event::ServerError(_) | Event::ClientError(_) => tracing::warn!("NATS: {event}"),
        other => tracing::debug!("NATS: {other}"),
    }
}

/// Retries until `connect_timeout` has passed: servers and roles are often started together.
async fn connect_within(options: ConnectOptions, settings: &Settings) -> Result<Client, Error> {
    let addresses: Vec<&str> = settings.url.split(',').map(str::trim).collect();
    let connected = Retry::new(Duration::from_millis(100), Duration::from_secs(1))
        .with_timeout(settings.connect_timeout)
        .run(|| options.clone().connect(&addresses[..]), |_| true)
        .await;
    connected.map_err(|error| {
        let without_credentials = addresses.iter().map(|url| url.rsplit('@').next());
        Error::Connect {
            url: without_credentials.flatten().collect::<Vec<_>>().join(","),
            source: error.into(),
        }
    })
}

fn jetstream_context(client: &Client, settings: &Settings) -> jetstream::Context {
    jetstream::ContextBuilder::new()
        .timeout(settings.call_timeout)
        .ack_timeout(settings.call_timeout)
        .max_ack_inflight(settings.publish_window.max(1) * 4)
        .build(client.clone())
}
