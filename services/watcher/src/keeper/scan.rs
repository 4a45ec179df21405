//! Scans: compare a folder and all below it with the catalog, one folder at a time, so that
//! hints and notes are never kept waiting.

use std::os::unix::ffi::OsStrExt as _;

use super::scans::{Extent, OpenFolder, Scan, ToEnter};
use super::{Keeper, Now};
use crate::catalog;
use crate::disk::{self, Identity, Thing};
use crate::filesystem;
use crate::ignore_files::Rules;
use crate::rules::{self, Ignored};

type Result<T> = std::result::Result<T, catalog::Error>;

/// Files of a folder compared in one step.
const FILES_A_STEP: usize = 256;

/// Known files looked for in a root that is another folder than before.
const PROOFS: usize = 256;

impl Keeper {
    /// Does one step of the scan that goes first; false where there is none.
    pub(super) fn step_scan(&mut self, now: Now) -> Result<bool> {
        let Some(mut scan) = self.scans.next() else {
            return Ok(false);
        };
        if !self.step(&mut scan, now)? {
            self.scans.put_back(scan);
        }
        Ok(true)
    }

    /// One step; true when the scan is finished.
    fn step(&mut self, scan: &mut Scan, now: Now) -> Result<bool> {
        let library = scan.library;
        let key = self.libraries[library].key;
        if !scan.begun {
            return self.begin_scan(scan, now);
        }
        if let Some(open) = scan.open.take() {
            scan.open = self.compare_some(scan, open, now)?;
            return Ok(false);
        }
        if let Some(folder) = scan.folders.pop() {
            scan.unseen.remove(&folder.path);
            scan.open = self.open_folder(scan, folder, now)?;
            return Ok(false);
        }
        scan.gone.extend(scan.unseen.drain());
        // Folders with known files that were not met: gone, or not to be entered any more.
        if let Some(folder) = scan.gone.pop() {
            for name in self.catalog.names_in(key, &folder)? {
                self.observe(library, &catalog::join(&folder, &name), false, now)?;
            }
            return Ok(false);
        }
        if scan.is_whole() {
            self.finish_whole(scan, now)?;
        }
        Ok(true)
    }

    fn finish_whole(&mut self, scan: &mut Scan, now: Now) -> Result<()> {
        let library = scan.library;
        self.end_round(scan, now);
        self.account(scan)?;
        self.brake_after_scan(library, now)?;
        let held = &mut self.libraries[library];
        held.scanned_once = true;
        held.is_compared = true;
        // What takes long is not begun again at once.
        let took = now.mono.saturating_duration_since(scan.begun_at);
        held.next_rescan = held.next_rescan.max(now.mono + took);
        if !held.met_unreadable {
            self.recover(library, "unreadable");
        }
        Ok(())
    }

    /// Promise 8, against the disk: the files that were met are those that are accounted for.
    /// Where something changed or could not be read meanwhile, this comparison tells nothing.
    fn account(&mut self, scan: &Scan) -> Result<()> {
        let held = &self.libraries[scan.library];
        let is_peaceful = held.observed == scan.observed_before
            && !held.met_unreadable
            && !self.settling.holds_any_of(scan.library);
        if is_peaceful {
            let on_disk = self.catalog.counts(held.key)?.on_disk;
            let difference = scan.met as i64 - on_disk as i64;
            if difference != 0 {
                tracing::error!(
                    library = %held.name, met = scan.met, on_disk,
                    "the files of a library are not all accounted for"
                );
            }
            crate::metrics::UNACCOUNTED
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

    fn begin_scan(&mut self, scan: &mut Scan, now: Now) -> Result<bool> {
        let library = scan.library;
        let key = self.libraries[library].key;
        self.scans.begin(scan, now);
        scan.observed_before = self.libraries[library].observed;
        match scan.extent.clone() {
            Extent::Whole => {
                if !self.check_root(library, now)? {
                    self.libraries[library].scanned_once = true;
                    self.libraries[library].watching.watches.drop_all();
                    return Ok(true);
                }
                scan.round = self.libraries[library].watching.watches.begin_round();
                scan.folders.push(ToEnter {
                    path: Vec::new(),
                    above: Some(Rules::default()),
                });
                scan.unseen.extend(self.catalog.folders_below(key, b"")?);
            }
            Extent::Unwatched => {
                if !self.root_is_there(library) {
                    return Ok(true);
                }
                for folder in self.libraries[library].watching.watches.unwatched() {
                    scan.enter(folder);
                }
            }
            Extent::Below(start) => {
                if !self.root_is_there(library) {
                    return Ok(true);
                }
                if matches!(self.look(library, &start), Ok(Some(Thing::Folder))) {
                    scan.enter(start.clone());
                }
                scan.unseen.extend(self.catalog.folders_below(key, &start)?);
            }
        }
        Ok(false)
    }

    /// Whether the root can be compared: it is the folder it was, or proves to hold what the
    /// known files are. Says so if not.
    fn check_root(&mut self, library: usize, now: Now) -> Result<bool> {
        self.libraries[library].met_unreadable = false;
        let Some(there) = Identity::of(&self.libraries[library].root) else {
            self.root_is_missing(library, now);
            return Ok(false);
        };
        let known = self.libraries[library].identity;
        let mount = filesystem::mount(&self.libraries[library].root);
        let is_proven = known.is_some_and(|known| known.is(&there))
            && self.libraries[library].is_of_mount(&there, mount);
        if !is_proven && !self.holds_known_files(library)? {
            self.root_is_missing(library, now);
            return Ok(false);
        }
        self.libraries[library].mount = mount;
        if known != Some(there) {
            self.set_identity(library, there)?;
        }
        self.recover(library, "root_missing");
        Ok(true)
    }

    /// Whether what lies at the root is what was indexed, whatever it is mounted from: some of
    /// the known files are there, with their sizes and times (cameras give all their cards the
    /// same names).
    ///
    /// Where no folder was seen before, somebody chose this one, and what was known of another
    /// one is no proof against it; but rows that were taken over from the index tell of this one.
    fn holds_known_files(&self, library: usize) -> Result<bool> {
        let held = &self.libraries[library];
        let mut rows = self.catalog.sample(held.key, PROOFS)?;
        if held.identity.is_none() {
            rows.retain(|row| row.facts.are_second_hand());
        }
        let is_there = |row: &catalog::Row| {
            matches!(
                disk::look(&self.full_path(library, &row.path())),
                Ok(Some(Thing::File(facts) | Thing::Other { facts, .. })) if facts.fits(&row.facts)
            )
        };
        Ok(rows.is_empty() || rows.iter().any(is_there))
    }

    fn set_identity(&mut self, library: usize, identity: Identity) -> Result<()> {
        let held = &mut self.libraries[library];
        self.catalog.set_root_identity(held.key, identity)?;
        held.identity = Some(identity);
        Ok(())
    }

    /// Begins to compare the files right in a folder with what is known there. It is watched
    /// before it is listed, so that nothing falls between.
    fn open_folder(
        &mut self,
        scan: &mut Scan,
        folder: ToEnter,
        now: Now,
    ) -> Result<Option<OpenFolder>> {
        let ToEnter { path, above } = folder;
        let library = scan.library;
        let key = self.libraries[library].key;
        let rules = match above {
            Some(above) => {
                let under_way = scan.extent != Extent::Unwatched;
                self.rules_in(library, &path, &above, under_way, now)
            }
            None => match self.enters(library, &path, now) {
                Some(rules) => rules,
                None => {
                    // It is not entered any more: what is known in it leaves the index.
                    self.libraries[library]
                        .watching
                        .watches
                        .release_below(&path);
                    scan.gone.push(path);
                    return Ok(None);
                }
            },
        };
        self.watch_folder(scan, &path, now);
        match std::fs::read_dir(self.full_path(library, &path)) {
            Ok(entries) => {
                let known = self.catalog.known_in(key, &path)?;
                Ok(Some(OpenFolder {
                    path,
                    rules,
                    entries,
                    known,
                }))
            }
            Err(error) if disk::is_gone(&error) => {
                self.libraries[library]
                    .watching
                    .watches
                    .release_below(&path);
                if scan.extent == Extent::Unwatched {
                    // Nobody else may tell of what lay below.
                    scan.unseen.extend(self.catalog.folders_below(key, &path)?);
                }
                scan.gone.push(path);
                Ok(None)
            }
            Err(error) => {
                // It can't be read, which says nothing of what lies in it.
                scan.unseen.retain(|below| !is_below(below, &path));
                self.libraries[library].watching.watches.keep(&path);
                self.unreadable(library, &path, &error, now);
                Ok(None)
            }
        }
    }

    /// Compares the next few files of a folder, and plans its folders; `None` at its end.
    fn compare_some(
        &mut self,
        scan: &mut Scan,
        mut open: OpenFolder,
        now: Now,
    ) -> Result<Option<OpenFolder>> {
        let library = scan.library;
        for _ in 0..FILES_A_STEP {
            let Some(entry) = open.entries.next() else {
                // Known, and not listed: each is looked at again before it counts as gone.
                for name in open.known.into_keys() {
                    self.observe(library, &catalog::join(&open.path, &name), false, now)?;
                }
                return Ok(None);
            };
            // Like `lstat`: the entry's own metadata, links not followed.
            let Ok((entry, metadata)) = entry.and_then(|e| e.metadata().map(|m| (e, m))) else {
                continue;
            };
            let name = entry.file_name();
            let name = name.as_bytes();
            let path = catalog::join(&open.path, name);
            let known = open.known.remove(name);
            let (facts, ignored) = match disk::thing(&metadata) {
                Thing::Folder => {
                    if known.is_some() {
                        self.observe(library, &path, false, now)?;
                    }
                    if !rules::enters(name) || open.rules.ignores(&path, true).is_some() {
                        self.libraries[library]
                            .watching
                            .watches
                            .release_below(&path);
                    } else if !self.is_polled_by_itself(scan, &path) {
                        let above = Some(open.rules.clone());
                        scan.folders.push(ToEnter { path, above });
                    }
                    continue;
                }
                Thing::File(facts) => {
                    let limit = self.settings.max_file_bytes;
                    let ignored = rules::ignored(&path, facts.size, limit);
                    let by_rule = || open.rules.ignores(&path, false).map(Ignored::Rule);
                    (facts, ignored.or_else(by_rule))
                }
                Thing::Other { link, facts } => (facts, Some(rules::other(link))),
            };
            scan.met += 1;
            // The rules may be others than when it was seen last; the device is another one when
            // it was mounted anew.
            let is_as_known = known.is_some_and(|known| {
                facts.unchanged_since(&known.facts)
                    && facts.device == known.facts.device
                    && ignored.is_some() == known.ignored
            });
            if !is_as_known {
                self.observe(library, &path, false, now)?;
            }
        }
        Ok(Some(open))
    }

    /// Somebody says that what lies at the root now is what is meant: the folder, if it was another
    /// one, and that files are missing from it.
    pub(super) fn confirm_root(&mut self, library: usize, now: Now) -> Result<bool> {
        let Some(there) = Identity::of(&self.libraries[library].root) else {
            return Ok(false);
        };
        self.set_identity(library, there)?;
        self.libraries[library].mount = filesystem::mount(&self.libraries[library].root);
        self.recover(library, "root_missing");
        self.confirm_vanished(library, now)?;
        self.plan_whole_scan(library, "somebody confirmed what lies there", now);
        Ok(true)
    }
}

fn is_below(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty()
        || path == folder
        || (path.starts_with(folder) && path.get(folder.len()) == Some(&b'/'))
}
