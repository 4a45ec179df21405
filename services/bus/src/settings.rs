//! Settings of the connection to NATS and the limits of the streams.

use std::time::Duration;

use lookalike_chassis::settings::{MinDuration, deserialize_positive, size};
use serde::{Deserialize, Serialize};

use crate::error::Error;

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
    /// Time after which a query without an answer is also sent to another embedder, at the earliest.
    /// The actual time is three times the usual time of an answer, but at most a quarter of
    /// `embed_timeout`.
    #[serde(with = "MinDuration::<1>")]
    pub embed_hedge_min_delay: Duration,
    /// Queries per hundred that may be sent to a second embedder while the first one works, 0 to 100.
    /// Queries to an embedder that answers nothing are not counted.
    pub embed_hedge_percent: u32,
    /// An embedder that answers no query for so long is ejected: it gets no more queries until it
    /// answers a trial.
    #[serde(with = "MinDuration::<1>")]
    pub embed_eject_timeout: Duration,
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
            embed_hedge_min_delay: Duration::from_millis(100),
            embed_hedge_percent: 10,
            embed_eject_timeout: Duration::from_secs(1),
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

impl Settings {
    /// Rejects values that cannot work.
    ///
    /// # Errors
    /// [`Error::InvalidNamespace`] or [`Error::InvalidSetting`], which name the setting.
    pub fn check_values(&self) -> Result<(), Error> {
        let is_legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let namespace = &self.namespace;
        if !(1..=32).contains(&namespace.len()) || !namespace.bytes().all(is_legal) {
            return Err(Error::InvalidNamespace(namespace.clone()));
        }
        let milliseconds = |name, value: Duration, least: u64, most: u64| {
            let is_allowed =
                (Duration::from_millis(least)..=Duration::from_millis(most)).contains(&value);
            (
                is_allowed,
                name,
                format!("{value:?}"),
                format!("{least} ms to {most} ms"),
            )
        };
        let percent = self.embed_hedge_percent;
        for (is_allowed, name, value, range) in [
            milliseconds("embed_timeout", self.embed_timeout, 100, 60_000),
            milliseconds(
                "embed_hedge_min_delay",
                self.embed_hedge_min_delay,
                1,
                10_000,
            ),
            milliseconds("embed_eject_timeout", self.embed_eject_timeout, 100, 60_000),
            (
                percent <= 100,
                "embed_hedge_percent",
                percent.to_string(),
                "0 to 100".into(),
            ),
        ] {
            if !is_allowed {
                return Err(Error::InvalidSetting(format!(
                    "nats.{name} = {value} must be {range}"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_and_nonsense_does_not() {
        Settings::default().check_values().unwrap();
        let refused = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check_values().unwrap_err().to_string()
        };
        assert!(refused(|s| s.namespace = "A".into()).contains("nats.namespace"));
        let percent = refused(|s| s.embed_hedge_percent = 101);
        assert_eq!(percent, "nats.embed_hedge_percent = 101 must be 0 to 100");
        let zero = refused(|s| s.embed_timeout = Duration::ZERO);
        assert_eq!(zero, "nats.embed_timeout = 0ns must be 100 ms to 60000 ms");
        assert!(refused(|s| s.embed_hedge_min_delay = Duration::ZERO).contains("1 ms"));
        assert!(refused(|s| s.embed_eject_timeout = Duration::MAX).contains("60000 ms"));
    }
}
