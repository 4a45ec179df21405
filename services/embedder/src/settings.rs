//! How much the embedder takes on at once, and every limit of it.

use std::time::Duration;

use lookalike_chassis::settings::{duration, size};
use serde::{Deserialize, Serialize};

/// The settings of section `embed`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Events held at once.
    pub max_in_flight: usize,
    /// Bytes of files held in memory at once; a larger file is read alone.
    #[serde(with = "size")]
    pub max_bytes_in_memory: u64,
    /// Threads that read in one library at once. Where its mount hangs, so many hang with it.
    pub library_readers: usize,
    /// After so long without any sign from a library's folder, what concerns it is put off.
    #[serde(with = "duration")]
    pub read_stall_timeout: Duration,
    /// One look or read that has given no sign for so long is waited for no more.
    #[serde(with = "duration")]
    pub read_timeout: Duration,
    /// Decoders that do not end, though nobody waits for them any more; above this, `lookalike embed`
    /// ends to be started anew, and `lookalike up` takes nothing in.
    pub max_leaked_threads: usize,
    /// After so many failures of Milvus one after another, nothing more is taken from the queue
    /// until it takes writes again.
    pub pause_after_failures: u32,
    /// Rows written to the index at once.
    pub commit_rows: usize,
    /// Contents whose vectors are kept in memory: for copies that come close together, and for
    /// files that are deleted and come back.
    pub cached_contents: usize,
    /// Queries for a vector held at once; more are refused.
    pub max_queries: usize,
    /// How long an empty queue is listened to before it is asked again.
    #[serde(with = "duration")]
    pub poll_timeout: Duration,
    /// How long a worker that leaves may go on with what it holds.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_in_flight: 192,
            max_bytes_in_memory: 512 << 20,
            library_readers: 8,
            read_stall_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(60),
            max_leaked_threads: 2,
            pause_after_failures: 3,
            commit_rows: 256,
            cached_contents: 16_384,
            max_queries: 256,
            poll_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(18),
        }
    }
}
