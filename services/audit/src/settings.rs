//! When the index is audited by itself, and every limit of an audit.

use std::time::Duration;

use lookalike_chassis::settings::duration;
use serde::{Deserialize, Serialize};

/// The settings of section `audit`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Audit by itself: one embedder of all does.
    pub enabled: bool,
    /// What it finds, it repairs.
    pub repair: bool,
    /// How often everything is compared, give or take a fifth.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// How often rows are only counted: where their number is not what the watchers say, twice in
    /// a row, everything is compared at once. If that finds nothing, the next twenty counts and more
    /// are no reason.
    #[serde(with = "duration")]
    pub check_interval: Duration,
    /// What seems to differ is looked at again after this.
    #[serde(with = "duration")]
    pub recheck_delay: Duration,
    /// How long the watchers may take to compare their folders with their catalogs.
    #[serde(with = "duration")]
    pub scan_timeout: Duration,
    /// Images in one page of a catalog (a watcher gives 1,000 at most).
    pub page_images: usize,
    /// Rows in one page of the index.
    pub page_rows: usize,
    /// Suspects that are kept before they are looked at again.
    pub max_suspects: usize,
    /// Differences of one kind that are told one by one; all are counted.
    pub max_examples: usize,
    /// Files that a deep audit reads at once.
    pub max_deep_files: usize,
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
            max_deep_files: 4,
        }
    }
}
