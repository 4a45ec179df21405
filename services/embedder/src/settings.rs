//! How much the embedder takes on at once, and every limit of it.

use std::time::Duration;

use lookalike_chassis::settings::{duration, size};
use serde::{Deserialize, Serialize};

/// The settings of section `embed`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Events held at once.
    pub max_in_hand: usize,
    /// Bytes of files held in memory at once; a larger file is read alone.
    #[serde(with = "size")]
    pub max_bytes_in_memory: u64,
    /// Rows written to the index at once.
    pub commit_rows: usize,
    /// Contents whose vectors are kept in memory, for copies that come close together.
    pub remembered_contents: usize,
    /// Queries for a vector held at once; more are refused.
    pub max_queries: usize,
    /// How long an empty queue is listened to before it is asked again.
    #[serde(with = "duration")]
    pub patience: Duration,
    /// How long a worker that leaves may go on with what it holds.
    #[serde(with = "duration")]
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_in_hand: 192,
            max_bytes_in_memory: 512 << 20,
            commit_rows: 256,
            remembered_contents: 4096,
            max_queries: 256,
            patience: Duration::from_secs(5),
            drain: Duration::from_secs(20),
        }
    }
}
