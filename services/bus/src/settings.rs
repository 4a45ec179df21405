//! Where NATS is, what the streams are called, and every limit of them.

use std::time::Duration;

use lookalike_chassis::settings::{duration, size};
use serde::{Deserialize, Serialize};

/// The settings of section `nats`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `nats://host:port`, several separated by commas.
    pub url: String,
    /// User, where the server wants one.
    pub user: String,
    /// Password, where the server wants one.
    pub password: String,
    /// Stands before every stream and subject, so that two installations can share one server:
    /// 1 to 32 of `a-z`, `0-9` and `_`.
    pub namespace: String,
    /// How long a start waits for the server before it gives up.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long one request to the server may take.
    #[serde(with = "duration")]
    pub call_timeout: Duration,
    /// How long a search waits for a vector.
    #[serde(with = "duration")]
    pub embed_timeout: Duration,
    /// Copies of each stream that a cluster keeps.
    pub replicas: usize,
    /// The stream of events refuses more than this; publishing then waits.
    #[serde(with = "size")]
    pub events_max_bytes: u64,
    /// The stream of outcomes forgets the oldest above this.
    #[serde(with = "size")]
    pub outcomes_max_bytes: u64,
    /// The stream of outcomes forgets what is older.
    #[serde(with = "duration")]
    pub outcomes_max_age: Duration,
    /// An event that a worker holds this long without a sign of life goes to another one.
    #[serde(with = "duration")]
    pub ack_wait: Duration,
    /// Events that all workers together may hold.
    pub max_ack_pending: u32,
    /// A role that holds something alone (a library, the audit) and gives no sign of life for this
    /// long has lost it.
    #[serde(with = "duration")]
    pub lease_timeout: Duration,
    /// Events that are published before the first one's answer is waited for.
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
            events_max_bytes: 1 << 30,
            outcomes_max_bytes: 256 << 20,
            outcomes_max_age: Duration::from_secs(24 * 3600),
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 4096,
            lease_timeout: Duration::from_secs(10),
            publish_window: 512,
        }
    }
}
