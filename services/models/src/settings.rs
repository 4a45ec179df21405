//! The section `[models]` of the settings: where models are fetched from, and how long we wait.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How models are fetched. They are kept in the cache folder of the servers' programs
/// (`servers.cache_dir`), in `run_models`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address of the Hugging Face hub, or of a mirror; `HF_ENDPOINT` says it as well.
    pub hub: String,
    /// Token for the hub, for models that need one; `HF_TOKEN` says it as well.
    pub token: String,
    /// The largest file that is fetched.
    #[serde(with = "lookalike_chassis::settings::size")]
    pub max_file_bytes: u64,
    /// How long the hub may take to accept a connection.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub connect_timeout: Duration,
    /// How long the hub may send nothing before the request is made again.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub stall_timeout: Duration,
    /// Attempts in a row that may bring nothing new before a fetch is given up.
    pub max_attempts: u32,
    /// The longest that is waited between two attempts.
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
