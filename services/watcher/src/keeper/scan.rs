//! Scans: compare a folder and all below it with the catalog, one folder at a time, so that
//! hints and notes are never kept waiting.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::Instant;

use super::{Keeper, Now};
use crate::catalog;
use crate::disk::{self, Thing};
use crate::rules;

type Result<T> = std::result::Result<T, catalog::Error>;

/// A comparison under way.
pub(super) struct Scan {
    pub(super) library: usize,
    /// Where it began, below the root; empty for the whole library.
    start: Vec<u8>,
    /// Not before then: the second scan of a folder that was just made.
    pub(super) not_before: Option<Instant>,
    begun: bool,
    /// Folders still to enter.
    folders: Vec<Vec<u8>>,
    /// Folders that the catalog knows files in and that were not entered yet.
    unseen: HashSet<Vec<u8>>,
    known_files_seen: u64,
}

impl Scan {
    pub(super) fn whole(library: usize) -> Self {
        Self::of(library, Vec::new(), None)
    }

    fn of(library: usize, start: Vec<u8>, not_before: Option<Instant>) -> Self {
        Self {
            library,
            start,
            not_before,
            begun: false,
            folders: Vec::new(),
            unseen: HashSet::new(),
            known_files_seen: 0,
        }
    }

    /// It will compare the whole library and has not begun.
    pub(super) fn waits_for_whole(&self, library: usize) -> bool {
        self.library == library && self.start.is_empty() && !self.begun
    }
}

impl Keeper {
    /// Scans a folder that appeared: now, and once more after the settle time, because what is
    /// put into a folder before it is watched is reported by nobody.
    pub(super) fn plan_folder_scan(&mut self, library: usize, path: &[u8], now: Now) {
        let again = now.mono + self.settings.settle;
        for not_before in [None, Some(again)] {
            let planned = self.scans.iter().any(|scan| {
                scan.library == library
                    && !scan.begun
                    && scan.start == path
                    && scan.not_before.is_some() == not_before.is_some()
            });
            if !planned {
                self.scans
                    .push_front(Scan::of(library, path.to_vec(), not_before));
            }
        }
    }

    /// Does one step of the first scan that may go on; false where none may.
    pub(super) fn step_scan(&mut self, now: Now) -> Result<bool> {
        let at = Instant::now();
        let ready = |scan: &Scan| scan.not_before.is_none_or(|not_before| not_before <= at);
        let Some(position) = self.scans.iter().position(ready) else {
            return Ok(false);
        };
        let mut scan = self
            .scans
            .remove(position)
            .expect("the position was found above");
        if !self.step(&mut scan, now)? {
            self.scans.insert(position.min(self.scans.len()), scan);
        }
        Ok(true)
    }

    /// One step; true when the scan is finished.
    fn step(&mut self, scan: &mut Scan, now: Now) -> Result<bool> {
        let library = scan.library;
        let key = self.libraries[library].key;
        let is_whole = scan.start.is_empty();
        if !scan.begun {
            scan.begun = true;
            if is_whole && !self.check_root(library, now)? {
                self.libraries[library].scanned_once = true;
                return Ok(true);
            }
            scan.folders.push(scan.start.clone());
            scan.unseen = self
                .catalog
                .folders_below(key, &scan.start)?
                .into_iter()
                .collect();
            return Ok(false);
        }
        if let Some(folder) = scan.folders.pop() {
            scan.unseen.remove(&folder);
            self.compare_folder(scan, &folder, now)?;
            return Ok(false);
        }
        // Folders with known files that were not met: gone, or not to be entered any more.
        if let Some(folder) = scan.unseen.iter().next().cloned() {
            scan.unseen.remove(&folder);
            let may_enter = folder.split(|byte| *byte == b'/').all(rules::enters);
            for row in self.catalog.in_folder(key, &folder)? {
                if may_enter {
                    self.observe(library, &row.path(), false, now)?;
                } else {
                    self.vanish(library, row, now)?;
                }
            }
            return Ok(false);
        }
        if is_whole {
            self.finish_whole(scan, now)?;
        }
        Ok(true)
    }

    /// Whether the root can be compared at all; says so if not.
    fn check_root(&mut self, library: usize, now: Now) -> Result<bool> {
        self.libraries[library].met_unreadable = false;
        let held = &self.libraries[library];
        match std::fs::metadata(&held.root) {
            Ok(metadata) if metadata.is_dir() => {
                if self.catalog.root(held.key)?.identity.is_none() {
                    self.catalog
                        .set_root_identity(held.key, (metadata.dev(), metadata.ino()))?;
                }
                Ok(true)
            }
            _ => {
                self.degrade(library, "root_missing", self.root_detail(library), now);
                Ok(false)
            }
        }
    }

    /// Compares the files right in `folder` with the rows there, and plans its folders.
    fn compare_folder(&mut self, scan: &mut Scan, folder: &[u8], now: Now) -> Result<()> {
        let library = scan.library;
        let key = self.libraries[library].key;
        let entries = match std::fs::read_dir(self.full_path(library, folder)) {
            Ok(entries) => entries,
            Err(error) if disk::is_gone(&error) => {
                for row in self.catalog.in_folder(key, folder)? {
                    self.observe(library, &row.path(), false, now)?;
                }
                return Ok(());
            }
            Err(error) => {
                // It can't be read, which says nothing of what lies in it.
                scan.unseen.retain(|below| !is_below(below, folder));
                self.unreadable(library, folder, &error, now);
                return Ok(());
            }
        };
        let rows = self.catalog.in_folder(key, folder)?;
        let mut known: HashMap<Vec<u8>, _> = rows
            .into_iter()
            .map(|row| (row.name.clone(), row))
            .collect();
        for entry in entries {
            let Ok(entry) = entry else { continue };
            let name = entry.file_name();
            let name = name.as_bytes();
            // Like `lstat`: the entry's own metadata, links not followed.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let path = catalog::join(folder, name);
            match disk::thing(&metadata) {
                Thing::Folder => {
                    if rules::enters(name) {
                        scan.folders.push(path.clone());
                    }
                    if known.remove(name).is_some() {
                        self.observe(library, &path, false, now)?;
                    }
                }
                Thing::File(facts) | Thing::Other { facts, .. } => {
                    let row = known.remove(name);
                    scan.known_files_seen += u64::from(row.is_some());
                    if row.is_none_or(|row| !facts.unchanged_since(&row.facts)) {
                        self.observe(library, &path, false, now)?;
                    }
                }
            }
        }
        // Known, and not listed: each is looked at again before it counts as gone.
        for row in known.into_values() {
            self.observe(library, &row.path(), false, now)?;
        }
        Ok(())
    }

    fn finish_whole(&mut self, scan: &Scan, now: Now) -> Result<()> {
        let library = scan.library;
        let key = self.libraries[library].key;
        self.libraries[library].scanned_once = true;
        if let Ok(metadata) = std::fs::metadata(&self.libraries[library].root) {
            let identity = (metadata.dev(), metadata.ino());
            if self.catalog.root(key)?.identity != Some(identity) {
                // A root with known files in it is the right one, whatever it is mounted from.
                if scan.known_files_seen == 0 && self.catalog.counts(key)?.on_disk > 0 {
                    self.degrade(library, "root_missing", self.root_detail(library), now);
                    return Ok(());
                }
                self.catalog.set_root_identity(key, identity)?;
                self.plan_whole_scan(library, "the root is another one by now");
            }
            self.recover(library, "root_missing");
        }
        if !self.libraries[library].met_unreadable {
            self.recover(library, "unreadable");
        }
        Ok(())
    }

    /// Somebody says that the folder that lies at the root now is the one that is meant.
    pub(super) fn confirm_root(&mut self, library: usize) -> Result<bool> {
        let held = &self.libraries[library];
        let Ok(metadata) = std::fs::metadata(&held.root) else {
            return Ok(false);
        };
        if !metadata.is_dir() {
            return Ok(false);
        }
        self.catalog
            .set_root_identity(held.key, (metadata.dev(), metadata.ino()))?;
        self.plan_whole_scan(library, "the root was confirmed");
        Ok(true)
    }
}

fn is_below(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty()
        || path == folder
        || (path.starts_with(folder) && path.get(folder.len()) == Some(&b'/'))
}
