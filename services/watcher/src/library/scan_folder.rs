//! Scans of one library: compare a folder and everything below it with the catalog, one folder at a
//! time, so that hints and requests never wait long.

use std::io;
use std::os::unix::ffi::OsStrExt as _;

use super::scan_queue::{OpenFolder, PendingFolder, Scan, ScanScope};
use super::tick::Tick;
use super::{Library, Result};
use crate::disk::{self, FileKind};
use crate::ignore_files::IgnoreRules;
use crate::metrics;
use crate::paths::{join_path, split_path};
use crate::rules;

/// Files of a folder that are compared in one step.
const FILES_PER_STEP: usize = 256;

/// Result of comparing some of a folder's entries.
#[derive(Default)]
pub(super) struct ComparedEntries {
    /// Paths that differ from the catalog and must be observed.
    pub changed: Vec<Vec<u8>>,
    /// Entries whose folder may be listed but not entered.
    pub unreadable: Vec<UnreadableEntry>,
    /// Folders below which paths are too long for the system.
    pub deep_folders: Vec<Vec<u8>>,
    /// Every entry of the folder was compared.
    pub is_last: bool,
}

/// What a scan does with a subfolder.
enum SubfolderState {
    Entered,
    /// Its name or a rule excludes it.
    Skipped,
    /// Its path is too long for the system.
    TooDeep,
}

/// A folder's entry of which only the name is known.
pub(super) struct UnreadableEntry {
    pub path: Vec<u8>,
    pub is_folder: bool,
    pub error: io::Error,
}

impl Library {
    /// Begins a scan; true if it ends here because the root is missing.
    pub(super) fn begin_scan(&mut self, scan: &mut Scan, tick: &mut Tick<'_>) -> Result<bool> {
        tick.scans.begin_scan(scan, tick.now);
        scan.observations_before = self.observation_count;
        match scan.scope.clone() {
            ScanScope::Full => {
                if !self.verify_root(tick)? {
                    self.scanned_once = true;
                    self.watch_schedule.watches.remove_all();
                    return Ok(true);
                }
                scan.watch_round = self.watch_schedule.watches.begin_round();
                scan.pending_folders.push(PendingFolder {
                    path: Vec::new(),
                    parent_rules: Some(IgnoreRules::default()),
                });
                let folders = tick.catalog.folders_at_and_below(self.key, b"")?;
                scan.unvisited_folders.extend(folders);
            }
            ScanScope::Unwatched => {
                if !self.root.is_present() {
                    return Ok(true);
                }
                for folder in self.watch_schedule.watches.unwatched_folders() {
                    scan.push_folder(folder);
                }
            }
            ScanScope::Below(start) => {
                if !self.root.is_present() {
                    return Ok(true);
                }
                if matches!(self.root.stat_below(&start), Ok(Some(FileKind::Folder))) {
                    scan.push_folder(start.clone());
                }
                let folders = tick.catalog.folders_at_and_below(self.key, &start)?;
                scan.unvisited_folders.extend(folders);
            }
        }
        Ok(false)
    }

    /// Begins to compare the files directly in a folder. Watches it before listing it, so that no
    /// change is missed in between. `None` if it cannot be listed.
    pub(super) fn open_folder(
        &mut self,
        scan: &mut Scan,
        folder: PendingFolder,
        tick: &mut Tick<'_>,
    ) -> Result<Option<OpenFolder>> {
        let PendingFolder { path, parent_rules } = folder;
        let rules = match parent_rules {
            Some(above) => {
                let is_scanning = scan.scope != ScanScope::Unwatched;
                Some(self.read_folder_rules(&path, &above, is_scanning, tick))
            }
            None => self.rules_if_entered(&path, tick),
        };
        let Some(rules) = rules else {
            // It is not entered any more: the rows of its files leave the index.
            self.watch_schedule.watches.remove_watches_below(&path);
            scan.missing_folders.push(path);
            return Ok(None);
        };
        self.watch_folder(scan, &path, tick);
        match std::fs::read_dir(self.full_path(&path)) {
            Ok(entries) => {
                self.forget_readable_folder(&path, tick)?;
                let unmatched = tick.catalog.files_in(self.key, &path)?;
                Ok(Some(OpenFolder {
                    path,
                    rules,
                    entries,
                    unmatched,
                }))
            }
            Err(error) if disk::is_not_found(&error) => {
                self.watch_schedule.watches.remove_watches_below(&path);
                if scan.scope == ScanScope::Unwatched {
                    // Nothing else would report what was below it.
                    let folders = tick.catalog.folders_at_and_below(self.key, &path)?;
                    scan.unvisited_folders.extend(folders);
                }
                scan.missing_folders.push(path);
                Ok(None)
            }
            Err(error) => {
                // An error does not show what the folder contains.
                self.record_unreadable_folder(scan, &path, &error, tick)?;
                Ok(None)
            }
        }
    }

    /// Compares the next few entries of a folder with the catalog, and adds its subfolders to the
    /// scan.
    pub(super) fn compare_entries(
        &mut self,
        scan: &mut Scan,
        folder: &mut OpenFolder,
        tick: &Tick<'_>,
    ) -> ComparedEntries {
        let mut compared = ComparedEntries::default();
        for _ in 0..FILES_PER_STEP {
            let Some(entry) = folder.entries.next() else {
                // Cataloged and not listed: each is observed before it counts as missing.
                let unmatched = folder.unmatched.drain();
                let paths = unmatched.map(|(name, _)| join_path(&folder.path, &name));
                compared.changed.extend(paths);
                compared.is_last = true;
                return compared;
            };
            let report = |error: &io::Error| self.report_missed_entries(&folder.path, error, tick);
            let Ok(entry) = entry.inspect_err(report) else {
                continue;
            };
            let name = entry.file_name();
            let name = name.as_bytes();
            let path = join_path(&folder.path, name);
            // The entry's own metadata, as from `lstat`: links are not followed.
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if disk::is_not_found(&error) => continue,
                Err(error) => {
                    folder.unmatched.remove(name);
                    let entry = UnreadableEntry {
                        is_folder: entry.file_type().is_ok_and(|kind| kind.is_dir()),
                        path,
                        error,
                    };
                    if !entry.is_folder || self.is_entered(&entry.path, folder, tick) {
                        scan.file_count += u64::from(!entry.is_folder);
                        compared.unreadable.push(entry);
                    }
                    continue;
                }
            };
            let cataloged = folder.unmatched.remove(name);
            let (stat, is_ignored) = match disk::kind_from_metadata(&metadata) {
                FileKind::Folder => {
                    match self.add_subfolder(scan, folder, &path, tick) {
                        SubfolderState::TooDeep => {
                            scan.file_count += 1;
                            compared.deep_folders.push(path);
                        }
                        SubfolderState::Entered if self.unreadable.contains(&path) => {}
                        _ if cataloged.is_some() => compared.changed.push(path),
                        _ => {}
                    }
                    continue;
                }
                FileKind::File(stat) => {
                    let reason = self.ignore_reason(&path, &stat, &folder.rules, tick.settings);
                    (stat, reason.is_some())
                }
                FileKind::Other { stat, .. } => (stat, true),
            };
            scan.file_count += 1;
            // The rules may have changed since the last scan, and a new mount changes the device.
            let is_as_cataloged = cataloged.is_some_and(|cataloged| {
                stat.is_unchanged_since(&cataloged.stat)
                    && stat.device == cataloged.stat.device
                    && is_ignored == cataloged.is_ignored
            });
            if is_as_cataloged {
                continue;
            }
            if !is_ignored && tick.inbox.find_busy_file(self.id, &path).is_some() {
                // It is observed when it rests. Until then, the catalog may not list it.
                scan.file_count -= u64::from(cataloged.is_none());
            } else {
                compared.changed.push(path);
            }
        }
        compared
    }

    /// Records that the system did not list every entry of a folder.
    fn report_missed_entries(&mut self, path: &[u8], error: &io::Error, tick: &Tick<'_>) {
        self.missed_entries = true;
        self.report_unreadable(path, error, tick);
    }

    /// Whether a subfolder of `folder` is entered, by its name and the rules.
    fn is_entered(&self, path: &[u8], folder: &OpenFolder, tick: &Tick<'_>) -> bool {
        let (_, name) = split_path(path);
        rules::is_entered_folder(name, tick.settings.enter_system_folders)
            && folder.rules.find_ignoring_rule(path, true).is_none()
    }

    /// Adds a subfolder to the scan if it is entered.
    fn add_subfolder(
        &mut self,
        scan: &mut Scan,
        folder: &OpenFolder,
        path: &[u8],
        tick: &Tick<'_>,
    ) -> SubfolderState {
        if !self.is_entered(path, folder, tick) {
            self.watch_schedule.watches.remove_watches_below(path);
            return SubfolderState::Skipped;
        }
        if self.root.is_folder_too_deep(path) {
            return SubfolderState::TooDeep;
        }
        if !self.is_polled_separately(scan, path) {
            scan.pending_folders.push(PendingFolder {
                path: path.to_vec(),
                parent_rules: Some(folder.rules.clone()),
            });
        }
        SubfolderState::Entered
    }

    pub(super) fn finish_full_scan(&mut self, scan: &mut Scan, tick: &mut Tick<'_>) -> Result<()> {
        self.end_watch_round(scan, tick);
        self.ignore_files.forget_missing_folders(self.root.path());
        self.verify_file_count(scan, tick)?;
        self.apply_confirmation(tick)?;
        self.scanned_once = true;
        self.is_fully_scanned = true;
        // A scan that takes long does not start again at once.
        let took = tick.now.mono.saturating_duration_since(scan.begun_at);
        self.next_rescan = self.next_rescan.max(tick.now.mono + took);
        Ok(())
    }

    /// Checks guarantee 8 against the disk: the catalog lists exactly the files that the scan
    /// found, or could not look for. Skipped if something changed during the scan.
    fn verify_file_count(&mut self, scan: &Scan, tick: &Tick<'_>) -> Result<()> {
        let is_undisturbed = self.observation_count == scan.observations_before
            && !self.missed_entries
            && !tick.settling.contains_library(self.id);
        if !is_undisturbed {
            return Ok(());
        }
        let on_disk = tick.catalog.file_counts(self.key)?.on_disk;
        let difference = scan.file_count as i64 - on_disk as i64;
        if difference != 0 {
            tracing::error!(
                library = %self.name, scanned = scan.file_count, cataloged = on_disk,
                "the scan counted a different number of files than the catalog lists"
            );
        }
        metrics::UNACCOUNTED_FILES
            .with_label_values(&[self.name.as_str()])
            .set(difference);
        debug_assert_eq!(
            difference, 0,
            "files of {} on disk, and in the catalog",
            self.name
        );
        Ok(())
    }
}
