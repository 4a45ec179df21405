//! The settings of the section `saved_searches`.

use std::time::Duration;

use lookalike_bus::SavedSearchLimits;
use lookalike_chassis::settings::size::MinSize;
use lookalike_chassis::settings::{MinDuration, deserialize_positive};
use serde::{Deserialize, Serialize};

/// Limits of saved searches and their matches.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SavedSearchSettings {
    /// The number of saved searches; one more is refused.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_searches: usize,
    /// The stored size of one saved search, with a small copy of each picture of its query; at most
    /// 900 KiB, because NATS by default accepts messages of at most 1 MiB.
    #[serde(with = "MinSize::<16384>")]
    pub max_search_bytes: u64,
    /// The stored size of all saved searches together.
    #[serde(with = "MinSize::<65536>")]
    pub max_bytes: u64,
    /// The stored size of the matches of all saved searches together; the oldest are dropped.
    #[serde(with = "MinSize::<65536>")]
    pub max_matches_bytes: u64,
    /// Older matches are dropped.
    #[serde(with = "MinDuration::<60_000>")]
    pub max_match_age: Duration,
    /// New or changed pictures that are compared at once.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_batch: usize,
}

impl Default for SavedSearchSettings {
    fn default() -> Self {
        Self {
            max_searches: 200,
            max_search_bytes: 512 << 10,
            max_bytes: 32 << 20,
            max_matches_bytes: 64 << 20,
            max_match_age: Duration::from_secs(30 * 24 * 3600),
            max_batch: 100,
        }
    }
}

impl SavedSearchSettings {
    /// Returns [`max_search_bytes`](Self::max_search_bytes), but never more than NATS accepts.
    pub(crate) fn search_bytes(&self) -> usize {
        usize::try_from(self.max_search_bytes.min(900 << 10)).unwrap_or(900 << 10)
    }

    /// Returns the limits of the buckets and streams.
    pub(crate) fn bus_limits(&self) -> SavedSearchLimits {
        SavedSearchLimits {
            max_bytes: self.max_bytes,
            max_matches_bytes: self.max_matches_bytes,
            max_match_age: self.max_match_age,
        }
    }
}
