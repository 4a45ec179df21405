//! Settings of the section `audit`: the schedule of periodic audits and the limits of one audit.

use std::time::Duration;

use lookalike_chassis::settings::{MinDuration, deserialize_positive, duration};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether audits run periodically; one embedder at a time runs them.
    pub enabled: bool,
    /// Whether periodic audits repair the differences that they find.
    pub repair: bool,
    /// Time between two periodic audits, varied by up to a fifth.
    #[serde(with = "MinDuration::<1000>")]
    pub interval: Duration,
    /// Time between two counts of rows. An audit starts when the number of rows differs from the
    /// watchers' counts twice in a row. If that audit finds no difference, mismatching counts are
    /// ignored for the next twenty counts or more.
    #[serde(with = "MinDuration::<100>")]
    pub check_interval: Duration,
    /// Time after which images that seem to differ are read again.
    #[serde(with = "duration")]
    pub recheck_delay: Duration,
    /// Longest wait for the watchers' scans.
    #[serde(with = "MinDuration::<100>")]
    pub scan_timeout: Duration,
    /// Images in one page of a catalog (a watcher sends at most 1,000).
    #[serde(deserialize_with = "deserialize_positive")]
    pub page_images: usize,
    /// Rows in one page of the index.
    #[serde(deserialize_with = "deserialize_positive")]
    pub page_rows: usize,
    /// Suspects collected before they are read again.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_suspects: usize,
    /// Differences of one kind that are listed individually; all are counted.
    pub max_examples: usize,
    /// Files that a deep audit reads in parallel.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_concurrent_hashes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            repair: true,
            interval: Duration::from_secs(3600),
            check_interval: Duration::from_secs(15),
            recheck_delay: Duration::from_millis(500),
            scan_timeout: Duration::from_secs(600),
            page_images: 1000,
            page_rows: 4000,
            max_suspects: 8192,
            max_examples: 200,
            max_concurrent_hashes: 4,
        }
    }
}
