//! The `[models]` section of the settings: where models are downloaded from, and the limits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How models are downloaded. They are stored in the folder `models` of the cache folder that the
/// servers' programs use (`servers.cache_dir`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// URL of the Hugging Face hub or of a mirror. `HF_ENDPOINT` sets it as well.
    pub hub: String,
    /// Access token for models that require one. `HF_TOKEN` sets it as well.
    pub token: String,
    /// Files larger than this are refused.
    #[serde(with = "lookalike_chassis::settings::size")]
    pub max_file_bytes: u64,
    /// Longest wait for a connection to the hub.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub connect_timeout: Duration,
    /// A request that receives no bytes for this long is repeated.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub stall_timeout: Duration,
    /// A fetch fails after this many consecutive attempts without progress.
    pub max_attempts: u32,
    /// Upper bound of the delay between two attempts.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub max_retry_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hub: "https://huggingface.co".to_owned(),
            token: String::new(),
            max_file_bytes: 4 << 30,
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            max_attempts: 6,
            max_retry_interval: Duration::from_secs(60),
        }
    }
}
