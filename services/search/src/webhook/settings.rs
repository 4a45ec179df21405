//! The settings of the section `webhooks`.

use std::time::Duration;

use lookalike_chassis::settings::MinDuration;
use serde::{Deserialize, Serialize};

use super::address::AddressRange;
use super::allowed_host::AllowedHost;

/// Where matches may be sent, and how often a failed request is repeated.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookSettings {
    /// Hosts that requests may go to, such as `hooks.example.com`, `*.example.com` or
    /// `hooks.example.com:8443`, with https. A host with `http://` in front is reached without
    /// encryption. Empty: no saved search can have a webhook.
    pub allowed_hosts: Vec<AllowedHost>,
    /// Private, loopback and other special addresses that requests may go to nevertheless, such as
    /// `10.1.2.3` or `10.0.0.0/8`.
    pub allowed_addresses: Vec<AddressRange>,
    /// Time limit of one request.
    #[serde(with = "MinDuration::<100>")]
    pub timeout: Duration,
    /// The first wait after a failed request. Each further wait is twice as long.
    #[serde(with = "MinDuration::<10>")]
    pub retry_interval: Duration,
    /// The longest wait after a failed request.
    #[serde(with = "MinDuration::<10>")]
    pub max_retry_interval: Duration,
    /// A match is not sent again when a request fails so long after the picture was found.
    #[serde(with = "MinDuration::<100>")]
    pub give_up_after: Duration,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            allowed_addresses: Vec::new(),
            timeout: Duration::from_secs(10),
            retry_interval: Duration::from_secs(5),
            max_retry_interval: Duration::from_secs(3600),
            give_up_after: Duration::from_secs(3 * 24 * 3600),
        }
    }
}
