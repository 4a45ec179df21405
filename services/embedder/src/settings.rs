//! Settings of the embedder: its limits and timeouts.

use std::time::Duration;

use lookalike_chassis::settings::{MinDuration, deserialize_positive, duration, size};
use serde::{Deserialize, Serialize};

/// The settings of section `embed`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Events in flight at once.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_in_flight: usize,
    /// Bytes of files in memory at once; a larger file is read alone.
    #[serde(with = "size")]
    pub max_bytes_in_memory: u64,
    /// Threads that read in one library at once. If its mount hangs, at most so many threads hang.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_library_readers: usize,
    /// After so long without a heartbeat from a library's folder, its events are deferred.
    #[serde(with = "MinDuration::<10>")]
    pub read_stall_timeout: Duration,
    /// A read without a heartbeat for so long is abandoned.
    #[serde(with = "MinDuration::<10>")]
    pub read_timeout: Duration,
    /// Abandoned decoders that still run. With more of them, `lookalike embed` exits to be restarted,
    /// and `lookalike up` takes no more events.
    pub max_leaked_threads: usize,
    /// After so many consecutive failures of Milvus, no more events are taken until it accepts
    /// writes again.
    pub pause_after_failures: u32,
    /// Rows written to the index at once.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_commit_rows: usize,
    /// Contents whose vectors are kept in memory, for copies and for files that are deleted and come
    /// back.
    pub max_cached_contents: usize,
    /// Queries for a vector that are answered at once; more are rejected.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_queries: usize,
    /// Whether the names of the folders around a file are tags of its row.
    pub folder_tags: bool,
    /// Whether sidecars (`NAME.xmp`, `NAME.json`) add tags, a time and a camera to rows.
    pub read_sidecars: bool,
    /// How long one request to an empty queue waits for events.
    #[serde(with = "MinDuration::<10>")]
    pub poll_timeout: Duration,
    /// How long a worker may finish its events in flight after a shutdown.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_in_flight: 384,
            max_bytes_in_memory: 512 << 20,
            max_library_readers: 8,
            read_stall_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(60),
            max_leaked_threads: 2,
            pause_after_failures: 3,
            max_commit_rows: 256,
            max_cached_contents: 16_384,
            max_queries: 256,
            folder_tags: true,
            read_sidecars: true,
            poll_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(18),
        }
    }
}
