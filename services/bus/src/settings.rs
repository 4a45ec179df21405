//! Settings of the connection to NATS and the limits of the streams.

use std::time::Duration;

use lookalike_chassis::settings::{MinDuration, deserialize_positive, size};
use serde::{Deserialize, Serialize};

/// The settings of section `nats`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `nats://host:port`; several addresses are separated by commas.
    pub url: String,
    /// User name, if the server requires one.
    pub user: String,
    /// Password, if the server requires one.
    pub password: String,
    /// Prefix of every stream and subject, so that two installations can share one server: 1 to 32 of
    /// `a-z`, `0-9` and `_`.
    pub namespace: String,
    /// Time that a starting role waits for the server.
    #[serde(with = "MinDuration::<10>")]
    pub connect_timeout: Duration,
    /// Time limit of one request to the server.
    #[serde(with = "MinDuration::<10>")]
    pub call_timeout: Duration,
    /// Time that a search waits for a vector.
    #[serde(with = "MinDuration::<10>")]
    pub embed_timeout: Duration,
    /// Replicas of each stream in a cluster.
    #[serde(deserialize_with = "deserialize_positive")]
    pub replicas: usize,
    /// Size limit of the stream of events; publishing waits while it is full.
    #[serde(with = "size")]
    pub max_events_bytes: u64,
    /// Size limit of the stream of outcomes, which drops the oldest messages.
    #[serde(with = "size")]
    pub max_outcomes_bytes: u64,
    /// Age limit of the messages in the stream of outcomes.
    #[serde(with = "MinDuration::<1000>")]
    pub max_outcomes_age: Duration,
    /// Time after which an unacknowledged event is delivered to another worker, unless its worker
    /// extends the deadline.
    #[serde(with = "MinDuration::<1000>")]
    pub ack_wait: Duration,
    /// Limit on the unacknowledged events of all workers together.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_ack_pending: u32,
    /// Time after which a lease (of a library, the audit or a rollover) expires if its holder does not
    /// renew it.
    #[serde(with = "MinDuration::<1000>")]
    pub lease_timeout: Duration,
    /// Number of events that are published before waiting for the first acknowledgement.
    #[serde(deserialize_with = "deserialize_positive")]
    pub publish_window: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".into(),
            user: String::new(),
            password: String::new(),
            namespace: "lookalike".into(),
            connect_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(5),
            embed_timeout: Duration::from_secs(5),
            replicas: 1,
            max_events_bytes: 1 << 30,
            max_outcomes_bytes: 256 << 20,
            max_outcomes_age: Duration::from_secs(24 * 3600),
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 4096,
            lease_timeout: Duration::from_secs(10),
            publish_window: 512,
        }
    }
}
