//! How long files settle, how often folders are compared, and every limit of the watcher.

use std::time::Duration;

use lookalike_chassis::settings::{duration, size};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// The settings of section `watch`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A file that nobody closed after writing is taken once it looks the same twice, this far
    /// apart.
    #[serde(with = "duration")]
    pub settle: Duration,
    /// A file whose inode did not change for this long needs no second look.
    #[serde(with = "duration")]
    pub quiet: Duration,
    /// A file that vanished is looked for elsewhere (a move) for this long before its row goes.
    #[serde(with = "duration")]
    pub move_grace: Duration,
    /// Every folder is compared with the catalog this often, whatever was or was not reported.
    #[serde(with = "duration")]
    pub rescan_interval: Duration,
    /// … and this often where the system can't report changes.
    #[serde(with = "duration")]
    pub poll_interval: Duration,
    /// Folders that are watched, of all libraries together; 0: as many as the system allows. The
    /// others are compared every `poll_interval` instead.
    pub max_watches: usize,
    /// When more files of a library than this …
    pub mass_delete_min_files: usize,
    /// … and more than this share of them (0 to 1; 1: never) are gone, they stay in the index
    /// until they are back, or `lookalike confirm` says that they are meant to be gone …
    #[serde(deserialize_with = "deserialize_share")]
    pub mass_delete_share: f64,
    /// … or this is over since they were missed.
    #[serde(with = "duration")]
    pub mass_delete_confirm_after: Duration,
    /// Larger files are ignored.
    #[serde(with = "size")]
    pub max_file_bytes: u64,
    /// Reports that may wait; above, they are dropped and the folder is compared instead.
    pub max_hints: usize,
    /// Files that may wait to settle; above, the folder is compared later instead.
    pub max_settling: usize,
    /// Events that may be under way (published, not answered).
    pub max_in_flight: usize,
    /// An event without an answer for this long is looked for, and sent again if it is gone.
    #[serde(with = "duration")]
    pub overdue: Duration,
}

fn deserialize_share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(deserializer)?;
    if !(0.0..=1.0).contains(&share) {
        return Err(D::Error::custom("a share is a number from 0 to 1"));
    }
    Ok(share)
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(500),
            quiet: Duration::from_secs(2),
            move_grace: Duration::from_millis(750),
            rescan_interval: Duration::from_secs(300),
            poll_interval: Duration::from_secs(15),
            max_watches: 0,
            mass_delete_min_files: 500,
            mass_delete_share: 0.5,
            mass_delete_confirm_after: Duration::from_secs(900),
            max_file_bytes: 256 << 20,
            max_hints: 65_536,
            max_settling: 100_000,
            max_in_flight: 20_000,
            overdue: Duration::from_secs(30),
        }
    }
}
