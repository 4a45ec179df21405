//! The published status of a library: its counts, its degraded reasons, its throughput.

use std::time::Duration;

use lookalike_bus::{Degradation, FileCounts, LibraryStatus, Rates};

use super::tick::Tick;
use super::{Library, Result};
use crate::disk::FolderIdentity;
use crate::lease::state::LeaseState;
use crate::metrics;

/// How long a file must be written again and again before the status mentions it.
const MIN_BUSY_TIME: Duration = Duration::from_secs(5);

impl Library {
    /// Records that the index may lag behind the folder. The next full scan comes no later than
    /// the reason's scan interval.
    pub fn set_degraded(&mut self, reason: &'static str, detail: String, tick: &Tick<'_>) {
        let since = self.degraded.get(reason).map(|(_, since)| *since);
        if since.is_none() {
            tracing::warn!(library = %self.name, reason, detail, "the index of a library may lag behind its folder");
            metrics::WATCH_DEGRADED
                .with_label_values(&[self.name.as_str(), reason])
                .set(1);
        }
        let entry = (detail, since.unwrap_or(tick.now.wall_nanos()));
        self.degraded.insert(reason, entry);
        let latest = tick.now.mono + self.rescan_interval(tick.settings);
        self.next_rescan = self.next_rescan.min(latest);
    }

    pub fn clear_degraded(&mut self, reason: &'static str) {
        if self.degraded.remove(reason).is_some() {
            tracing::info!(library = %self.name, reason, "a library has recovered");
            metrics::WATCH_DEGRADED
                .with_label_values(&[self.name.as_str(), reason])
                .set(0);
        }
    }

    /// Reports the files that have been written again and again for a while.
    pub fn report_busy_files(&mut self, tick: &Tick<'_>) {
        const REASON: &str = "being_written";
        let (count, path) = match self.is_active() {
            true => tick.inbox.count_busy_files(self.id, MIN_BUSY_TIME),
            false => (0, None),
        };
        let Some(path) = path else {
            return self.clear_degraded(REASON);
        };
        let path = lookalike_proto::path_to_text(&path);
        let subject = match count {
            1 => format!("{path} is still being written"),
            _ => format!("{count} files are still being written, among them {path}"),
        };
        let detail = format!(
            "{subject}, again and again. What changes so often is indexed when it has rested for \
             a few seconds, and until then at intervals that grow to ten minutes."
        );
        let is_reported = self.degraded.get(REASON).is_some_and(|(d, _)| *d == detail);
        if !is_reported {
            self.set_degraded(REASON, detail, tick);
        }
    }

    pub(super) fn is_degraded(&self, reason: &str) -> bool {
        self.degraded.contains_key(reason)
    }

    /// Whether a full scan compared everything and nothing hides a part of the folder, so that a
    /// file that the catalog does not list does not exist.
    pub(super) fn is_complete(&self) -> bool {
        self.is_active() && self.is_fully_scanned && !self.is_degraded("root_missing")
    }

    /// Returns the library's status, and sets the metrics of its counts.
    pub fn current_status(&mut self, tick: &Tick<'_>) -> Result<LibraryStatus> {
        let counts = tick.catalog.file_counts(self.key)?;
        debug_assert_eq!(
            counts.on_disk,
            counts.indexed + counts.failed + counts.ignored + counts.in_flight
        );
        // In standby the counts are outdated, and the active watcher exports them.
        let exported = if self.is_standby() {
            &FileCounts::default()
        } else {
            &counts
        };
        metrics::set_file_counts(self.name.as_str(), exported);
        let degraded = self.degraded.iter();
        Ok(LibraryStatus {
            name: self.name.to_string(),
            root: self.root.path().display().to_string(),
            root_folder: self.root.identity.and_then(FolderIdentity::root_folder),
            counts,
            degraded: degraded
                .map(|(reason, (detail, since))| Degradation {
                    reason: (*reason).to_owned(),
                    detail: detail.clone(),
                    since_ms: since / 1_000_000,
                })
                .collect(),
            scanning: tick.scans.has_scan_of(self.id),
            scanned_once: self.scanned_once,
            standby: matches!(self.lease_state, LeaseState::Standby | LeaseState::Unknown),
            rates: Rates {
                files_per_second: self.throughput.per_second(tick.now.mono),
            },
        })
    }
}
