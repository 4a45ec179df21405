//! Watching a library's folders: each is watched just before it is listed. Folders that cannot be
//! watched, and file systems that may change without reports, are polled.

use super::Library;
use super::scan_queue::{Scan, ScanScope};
use super::tick::Tick;
use crate::disk::FolderIdentity;
use crate::metrics;
use crate::notify::filesystem;
use crate::notify::polling::describe_shortage;

impl Library {
    /// Watches a folder that is about to be listed, and records its file system.
    pub(super) fn watch_folder(&mut self, scan: &mut Scan, path: &[u8], tick: &Tick<'_>) {
        let full_path = self.full_path(path);
        let Some(identity) = FolderIdentity::from_path(&full_path) else {
            return; // Listing it will fail, too.
        };
        let retry = tick.settings.poll_interval / 2;
        let schedule = &mut self.watch_schedule;
        schedule
            .watches
            .add_watch(path, identity, tick.now.mono, retry);
        let filesystem = scan
            .filesystems_by_device
            .entry(identity.device)
            .or_insert_with(|| filesystem::unreported_filesystem(&full_path).ok().flatten());
        if let Some(filesystem) = *filesystem
            && !scan.unreported_filesystems.contains_key(filesystem)
        {
            scan.unreported_filesystems
                .insert(filesystem, path.to_vec());
            let filesystems = &mut schedule.unreported_filesystems;
            if !filesystems.contains_key(filesystem) {
                filesystems.insert(filesystem, path.to_vec());
                self.report_unreported_filesystems(tick);
            }
        }
    }

    fn report_unreported_filesystems(&mut self, tick: &Tick<'_>) {
        let mut places = Vec::new();
        for (filesystem, path) in &self.watch_schedule.unreported_filesystems {
            places.push(match lookalike_proto::path_to_text(path) {
                path if path.is_empty() => format!("The library is on {filesystem}"),
                path => format!("{path} is on {filesystem}"),
            });
        }
        if places.is_empty() {
            return self.clear_degraded("watch_polled");
        }
        let detail = format!(
            "{}, where not all changes are reported; the library is scanned every \
             watch.poll_interval.",
            places.join(", ")
        );
        self.set_degraded("watch_polled", detail, tick);
    }

    /// After a full scan: removes the watches of folders that it did not find.
    pub(super) fn end_watch_round(&mut self, scan: &mut Scan, tick: &Tick<'_>) {
        let schedule = &mut self.watch_schedule;
        schedule.watches.end_round(scan.watch_round);
        schedule.unreported_filesystems = std::mem::take(&mut scan.unreported_filesystems);
        self.report_unreported_filesystems(tick);
    }

    /// Whether a scan of unwatched folders skips a subfolder: it has a watch, or it is unwatched
    /// and scanned on its own.
    pub(super) fn is_polled_separately(&self, scan: &Scan, path: &[u8]) -> bool {
        scan.scope == ScanScope::Unwatched && self.watch_schedule.watches.has_folder(path)
    }

    /// Does the maintenance of an active library's watches that is due.
    pub fn maintain_watches(&mut self, tick: &mut Tick<'_>) {
        if !self.is_active() {
            return;
        }
        let now = tick.now.mono;
        if self
            .watch_schedule
            .has_root_changed(self.root.given_path(), now)
        {
            self.plan_full_scan("the root is another folder", tick);
        }
        self.watch_schedule.renew_watches(now);
        if self
            .watch_schedule
            .is_poll_due(tick.settings.poll_interval, now)
        {
            tick.scans.plan_unwatched_scan(self.id, tick.now);
        }
        self.report_watch_shortage(tick);
    }

    fn report_watch_shortage(&mut self, tick: &Tick<'_>) {
        let to_gauge = |folders: usize| i64::try_from(folders).unwrap_or(i64::MAX);
        let (watched, unwatched) = self.watch_schedule.watches.folder_counts();
        let label = [self.name.as_str()];
        metrics::WATCHED_FOLDERS
            .with_label_values(&label)
            .set(to_gauge(watched));
        metrics::UNWATCHED_FOLDERS
            .with_label_values(&label)
            .set(to_gauge(unwatched));
        let Some(shortage) = self.watch_schedule.take_changed_shortage() else {
            return;
        };
        let Some((folders, shortage)) = shortage else {
            self.clear_degraded("watch_limit");
            return self.clear_degraded("watch_failed");
        };
        let (reason, detail) = describe_shortage(folders, &shortage);
        self.clear_degraded(match reason {
            "watch_limit" => "watch_failed",
            _ => "watch_limit",
        });
        self.set_degraded(reason, detail, tick);
    }
}
