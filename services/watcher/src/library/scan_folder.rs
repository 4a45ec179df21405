//! Scans: compare a folder and all below it with the catalog, one folder at a time, so that
//! hints and notes are never kept waiting.

use std::os::unix::ffi::OsStrExt as _;

use crate::catalog;
use crate::disk::{self, FileKind, FolderIdentity};
use crate::ignore_files::IgnoreRules;
use crate::keeper::{Keeper, Now};
use crate::library::scan_queue::{OpenFolder, PendingFolder, Scan, ScanScope};
use crate::notify::filesystem;
use crate::rules::{self, IgnoreReason};

type Result<T> = std::result::Result<T, catalog::Error>;

/// Files of a folder compared in one step.
const FILES_PER_STEP: usize = 256;

/// Known files looked for in a root that is another folder than before.
const MAX_PROOF_FILES: usize = 256;

impl Keeper {
    /// Does one step of the scan that goes first; false where there is none.
    pub(crate) fn step_scan(&mut self, now: Now) -> Result<bool> {
        let Some(mut scan) = self.scans.pop_next_scan() else {
            return Ok(false);
        };
        if !self.advance_scan(&mut scan, now)? {
            self.scans.put_scan_back(scan);
        }
        Ok(true)
    }

    /// One step; true when the scan is finished.
    pub(crate) fn advance_scan(&mut self, scan: &mut Scan, now: Now) -> Result<bool> {
        let library = scan.library;
        let key = self.libraries[library].key;
        if !scan.has_begun {
            return self.begin_scan(scan, now);
        }
        if let Some(open) = scan.open_folder.take() {
            scan.open_folder = self.compare_entries(scan, open, now)?;
            return Ok(false);
        }
        if let Some(folder) = scan.pending_folders.pop() {
            scan.unvisited_folders.remove(&folder.path);
            scan.open_folder = self.open_folder(scan, folder, now)?;
            return Ok(false);
        }
        scan.missing_folders.extend(scan.unvisited_folders.drain());
        // Folders with known files that were not met: gone, or not to be entered any more.
        if let Some(folder) = scan.missing_folders.pop() {
            for name in self.catalog.file_names_in(key, &folder)? {
                self.observe_path(library, &catalog::join_path(&folder, &name), false, now)?;
            }
            return Ok(false);
        }
        if scan.is_full() {
            self.finish_full_scan(scan, now)?;
        }
        Ok(true)
    }

    pub(crate) fn finish_full_scan(&mut self, scan: &mut Scan, now: Now) -> Result<()> {
        let library = scan.library;
        self.end_watch_round(scan, now);
        self.verify_file_count(scan)?;
        self.apply_confirmation(library, now)?;
        let held = &mut self.libraries[library];
        held.scanned_once = true;
        held.is_fully_scanned = true;
        // What takes long is not begun again at once.
        let took = now.mono.saturating_duration_since(scan.begun_at);
        held.next_rescan = held.next_rescan.max(now.mono + took);
        if !held.saw_unreadable {
            self.clear_degraded(library, "unreadable");
        }
        Ok(())
    }

    /// Promise 8, against the disk: the files that were met are those that are accounted for.
    /// Where something changed or could not be read meanwhile, this comparison tells nothing.
    pub(crate) fn verify_file_count(&mut self, scan: &Scan) -> Result<()> {
        let held = &self.libraries[scan.library];
        let is_peaceful = held.observation_count == scan.observations_before
            && !held.saw_unreadable
            && !self.settling.contains_library(scan.library);
        if is_peaceful {
            let on_disk = self.catalog.file_counts(held.key)?.on_disk;
            let difference = scan.file_count as i64 - on_disk as i64;
            if difference != 0 {
                tracing::error!(
                    library = %held.name, met = scan.file_count, on_disk,
                    "the files of a library are not all accounted for"
                );
            }
            crate::metrics::UNACCOUNTED_FILES
                .with_label_values(&[held.name.as_str()])
                .set(difference);
            debug_assert_eq!(
                difference, 0,
                "files of {} on disk, and accounted for",
                held.name
            );
        }
        Ok(())
    }

    pub(crate) fn begin_scan(&mut self, scan: &mut Scan, now: Now) -> Result<bool> {
        let library = scan.library;
        let key = self.libraries[library].key;
        self.scans.begin_scan(scan, now);
        scan.observations_before = self.libraries[library].observation_count;
        match scan.scope.clone() {
            ScanScope::Full => {
                if !self.verify_root(library, now)? {
                    self.libraries[library].scanned_once = true;
                    self.libraries[library].watch_schedule.watches.remove_all();
                    return Ok(true);
                }
                scan.watch_round = self.libraries[library].watch_schedule.watches.begin_round();
                scan.pending_folders.push(PendingFolder {
                    path: Vec::new(),
                    parent_rules: Some(IgnoreRules::default()),
                });
                scan.unvisited_folders
                    .extend(self.catalog.folders_at_and_below(key, b"")?);
            }
            ScanScope::Unwatched => {
                if !self.is_root_present(library) {
                    return Ok(true);
                }
                for folder in self.libraries[library]
                    .watch_schedule
                    .watches
                    .unwatched_folders()
                {
                    scan.push_folder(folder);
                }
            }
            ScanScope::Below(start) => {
                if !self.is_root_present(library) {
                    return Ok(true);
                }
                if matches!(
                    self.stat_below_root(library, &start),
                    Ok(Some(FileKind::Folder))
                ) {
                    scan.push_folder(start.clone());
                }
                scan.unvisited_folders
                    .extend(self.catalog.folders_at_and_below(key, &start)?);
            }
        }
        Ok(false)
    }

    /// Whether the root can be compared: it is the folder it was, or proves to hold what the
    /// known files are. Says so if not.
    pub(crate) fn verify_root(&mut self, library: usize, now: Now) -> Result<bool> {
        self.libraries[library].saw_unreadable = false;
        let Some(there) = FolderIdentity::from_path(&self.libraries[library].root) else {
            self.report_root_missing(library, now);
            return Ok(false);
        };
        let known = self.libraries[library].root_identity;
        let mount = filesystem::mount_id(&self.libraries[library].root);
        let is_proven = known.is_some_and(|known| known.is_same_folder(&there))
            && self.libraries[library].is_on_same_mount(&there, mount);
        if !is_proven && !self.contains_known_files(library)? {
            self.report_root_missing(library, now);
            return Ok(false);
        }
        self.libraries[library].mount_id = mount;
        if known != Some(there) {
            self.set_root_identity(library, there)?;
        }
        self.clear_degraded(library, "root_missing");
        Ok(true)
    }

    /// Whether what lies at the root is what was indexed, whatever it is mounted from: some of
    /// the known files are there, with their sizes and times (cameras give all their cards the
    /// same names).
    ///
    /// Where no folder was seen before, somebody chose this one, and what was known of another
    /// one is no proof against it; but rows that were taken over from the index tell of this one.
    pub(crate) fn contains_known_files(&self, library: usize) -> Result<bool> {
        let held = &self.libraries[library];
        let mut rows = self.catalog.sample_rows(held.key, MAX_PROOF_FILES)?;
        if held.root_identity.is_none() {
            rows.retain(|row| row.stat.is_from_index());
        }
        let is_there = |row: &catalog::CatalogRow| {
            matches!(
                disk::stat_path(&self.full_path(library, &row.path())),
                Ok(Some(FileKind::File(stat) | FileKind::Other { stat, .. })) if stat.matches_index_stat(&row.stat)
            )
        };
        Ok(rows.is_empty() || rows.iter().any(is_there))
    }

    pub(crate) fn set_root_identity(
        &mut self,
        library: usize,
        identity: FolderIdentity,
    ) -> Result<()> {
        let held = &mut self.libraries[library];
        self.catalog.set_root_identity(held.key, identity)?;
        held.root_identity = Some(identity);
        Ok(())
    }

    /// Begins to compare the files right in a folder with what is known there. It is watched
    /// before it is listed, so that nothing falls between.
    pub(crate) fn open_folder(
        &mut self,
        scan: &mut Scan,
        folder: PendingFolder,
        now: Now,
    ) -> Result<Option<OpenFolder>> {
        let PendingFolder {
            path,
            parent_rules: above,
        } = folder;
        let library = scan.library;
        let key = self.libraries[library].key;
        let rules = match above {
            Some(above) => {
                let under_way = scan.scope != ScanScope::Unwatched;
                self.read_folder_rules(library, &path, &above, under_way, now)
            }
            None => match self.rules_if_entered(library, &path, now) {
                Some(rules) => rules,
                None => {
                    // It is not entered any more: what is known in it leaves the index.
                    self.libraries[library]
                        .watch_schedule
                        .watches
                        .remove_watches_below(&path);
                    scan.missing_folders.push(path);
                    return Ok(None);
                }
            },
        };
        self.watch_folder(scan, &path, now);
        match std::fs::read_dir(self.full_path(library, &path)) {
            Ok(entries) => {
                let known = self.catalog.files_in(key, &path)?;
                Ok(Some(OpenFolder {
                    path,
                    rules,
                    entries,
                    unmatched: known,
                }))
            }
            Err(error) if disk::is_not_found(&error) => {
                self.libraries[library]
                    .watch_schedule
                    .watches
                    .remove_watches_below(&path);
                if scan.scope == ScanScope::Unwatched {
                    // Nobody else may tell of what lay below.
                    scan.unvisited_folders
                        .extend(self.catalog.folders_at_and_below(key, &path)?);
                }
                scan.missing_folders.push(path);
                Ok(None)
            }
            Err(error) => {
                // It can't be read, which says nothing of what lies in it.
                scan.unvisited_folders
                    .retain(|below| !is_below(below, &path));
                self.libraries[library]
                    .watch_schedule
                    .watches
                    .mark_seen_below(&path);
                self.report_unreadable(library, &path, &error, now);
                Ok(None)
            }
        }
    }

    /// Compares the next few files of a folder, and plans its folders; `None` at its end.
    pub(crate) fn compare_entries(
        &mut self,
        scan: &mut Scan,
        mut open: OpenFolder,
        now: Now,
    ) -> Result<Option<OpenFolder>> {
        let library = scan.library;
        for _ in 0..FILES_PER_STEP {
            let Some(entry) = open.entries.next() else {
                // Known, and not listed: each is looked at again before it counts as gone.
                for name in open.unmatched.into_keys() {
                    self.observe_path(library, &catalog::join_path(&open.path, &name), false, now)?;
                }
                return Ok(None);
            };
            // Like `lstat`: the entry's own metadata, links not followed.
            let Ok((entry, metadata)) = entry.and_then(|e| e.metadata().map(|m| (e, m))) else {
                continue;
            };
            let name = entry.file_name();
            let name = name.as_bytes();
            let path = catalog::join_path(&open.path, name);
            let known = open.unmatched.remove(name);
            let (facts, ignored) = match disk::kind_from_metadata(&metadata) {
                FileKind::Folder => {
                    if known.is_some() {
                        self.observe_path(library, &path, false, now)?;
                    }
                    if !rules::is_entered_folder(name)
                        || open.rules.find_ignoring_rule(&path, true).is_some()
                    {
                        self.libraries[library]
                            .watch_schedule
                            .watches
                            .remove_watches_below(&path);
                    } else if !self.is_polled_separately(scan, &path) {
                        let above = Some(open.rules.clone());
                        scan.pending_folders.push(PendingFolder {
                            path,
                            parent_rules: above,
                        });
                    }
                    continue;
                }
                FileKind::File(facts) => {
                    let limit = self.settings.max_file_bytes;
                    let ignored = rules::ignore_reason(&path, facts.size, limit);
                    let by_rule = || {
                        open.rules
                            .find_ignoring_rule(&path, false)
                            .map(IgnoreReason::IgnoreFileRule)
                    };
                    (facts, ignored.or_else(by_rule))
                }
                FileKind::Other {
                    is_symlink: link,
                    stat: facts,
                } => (facts, Some(rules::special_file_reason(link))),
            };
            scan.file_count += 1;
            // The rules may be others than when it was seen last; the device is another one when
            // it was mounted anew.
            let is_as_known = known.is_some_and(|known| {
                facts.is_unchanged_since(&known.stat)
                    && facts.device == known.stat.device
                    && ignored.is_some() == known.is_ignored
            });
            if !is_as_known {
                self.observe_path(library, &path, false, now)?;
            }
        }
        Ok(Some(open))
    }

    /// Somebody says that what lies at the root now is what is meant: the folder, if it was another
    /// one, and that files are missing from it.
    pub(crate) fn confirm_root(&mut self, library: usize, now: Now) -> Result<bool> {
        let Some(there) = FolderIdentity::from_path(&self.libraries[library].root) else {
            return Ok(false);
        };
        self.set_root_identity(library, there)?;
        self.libraries[library].mount_id = filesystem::mount_id(&self.libraries[library].root);
        self.clear_degraded(library, "root_missing");
        self.confirm_missing_files(library, now)?;
        self.plan_full_scan(library, "somebody confirmed what lies there", now);
        Ok(true)
    }
}

fn is_below(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty()
        || path == folder
        || (path.starts_with(folder) && path.get(folder.len()) == Some(&b'/'))
}
