//! Settings of the watcher: times, intervals and limits.

use std::time::Duration;

use lookalike_chassis::settings::{MinDuration, MinSize, deserialize_positive, duration};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// The settings of section `watch`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A file that no program closed after writing counts as complete once two checks this far
    /// apart see the same stat.
    #[serde(with = "MinDuration::<10>")]
    pub settle_interval: Duration,
    /// A file whose inode did not change for this long counts as complete at once.
    #[serde(with = "duration")]
    pub quiet_interval: Duration,
    /// A missing file is searched for elsewhere (a move) for this long before its row is removed.
    #[serde(with = "duration")]
    pub move_timeout: Duration,
    /// Every folder is compared with the catalog this often, even if the system reported no change.
    #[serde(with = "MinDuration::<1000>")]
    pub rescan_interval: Duration,
    /// Folders whose changes the system cannot report are compared with the catalog this often.
    #[serde(with = "MinDuration::<100>")]
    pub poll_interval: Duration,
    /// Watched folders of all libraries together; 0: as many as the system allows. Other folders
    /// are polled every `poll_interval`.
    pub max_watches: usize,
    /// The mass-delete guard holds missing files in the index when more than this number of a
    /// library's files and more than `mass_delete_share` of them are missing. They stay until they
    /// are back, or until `lookalike confirm` confirms their deletion.
    pub mass_delete_min_files: usize,
    /// The share of a library's files (0 to 1; 1: never) that must be exceeded for the mass-delete
    /// guard to hold missing files. See `mass_delete_min_files`.
    #[serde(deserialize_with = "deserialize_share")]
    pub mass_delete_share: f64,
    /// Files that the mass-delete guard holds are removed after they have been missing for this
    /// long, as if a user had confirmed their deletion.
    #[serde(with = "duration")]
    pub mass_delete_confirm_after: Duration,
    /// Larger files are ignored.
    #[serde(with = "MinSize::<1>")]
    pub max_file_bytes: u64,
    /// Whether files are indexed whose names have no extension, as browsers' caches, forensic tools
    /// and old systems store them. Those that are no pictures are listed as failed.
    pub files_without_extension: bool,
    /// Whether to index pictures in folders that systems and storage devices make for themselves
    /// (`#recycle`, `@eaDir`, `$RECYCLE.BIN`, `lost+found`, …) and in folders with a `.nomedia`.
    pub enter_system_folders: bool,
    /// Reports that may wait. Further ones are dropped, and the library is scanned instead.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_hints: usize,
    /// Files that may wait to settle. For further ones, the library is scanned later.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_settling: usize,
    /// Events that may be in flight (published, without an outcome).
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_in_flight: usize,
    /// After this long without an outcome, an event is searched for, and sent again if it is lost.
    #[serde(with = "MinDuration::<1000>")]
    pub overdue_timeout: Duration,
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
            settle_interval: Duration::from_millis(500),
            quiet_interval: Duration::from_secs(2),
            move_timeout: Duration::from_millis(750),
            rescan_interval: Duration::from_secs(300),
            poll_interval: Duration::from_secs(15),
            max_watches: 0,
            mass_delete_min_files: 500,
            mass_delete_share: 0.5,
            mass_delete_confirm_after: Duration::from_secs(900),
            max_file_bytes: 256 << 20,
            files_without_extension: false,
            enter_system_folders: false,
            max_hints: 65_536,
            max_settling: 100_000,
            max_in_flight: 20_000,
            overdue_timeout: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use lookalike_chassis::settings::Layers;

    use super::*;

    #[test]
    fn values_with_which_nothing_would_work_are_refused_with_a_sentence() {
        for (key, value, sentence) in [
            ("rescan_interval", "0s", "the shortest is \"1s\""),
            ("poll_interval", "0s", "the shortest is \"100ms\""),
            ("settle_interval", "0ms", "the shortest is \"10ms\""),
            ("overdue_timeout", "0s", "the shortest is \"1s\""),
            ("rescan_interval", "-5s", "is not a duration"),
            ("rescan_interval", "5", "is not a duration"),
            (
                "rescan_interval",
                "900000years",
                "the longest is \"10years\"",
            ),
            (
                "quiet_interval",
                "900000years",
                "the longest is \"10years\"",
            ),
            ("max_file_bytes", "0B", "the smallest is \"1B\""),
            ("max_file_bytes", "-1MiB", "is not a size"),
            ("max_hints", "0", "the smallest is 1"),
            ("max_settling", "0", "the smallest is 1"),
            ("max_in_flight", "0", "the smallest is 1"),
            ("max_in_flight", "-1", "-1"),
            ("mass_delete_share", "1.5", "a number from 0 to 1"),
            ("mass_delete_share", "NaN", "a number from 0 to 1"),
        ] {
            let variable = format!("WATCH_{}", key.to_ascii_uppercase());
            let layers = Layers::new(Settings::default());
            let error = layers.with_environment("WATCH", [(variable, value.to_owned())]);
            let error = error.err().map(|error| error.to_string());
            let error = error.unwrap_or_else(|| panic!("{key} = {value} is accepted"));
            assert!(error.contains(sentence), "{key} = {value}: {error}");
        }
    }
}
