//! Scans: compare a folder and all below it with the catalog, one folder at a time, so that
//! hints and notes are never kept waiting.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::fs::ReadDir;
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

use super::observe::split;
use super::{Keeper, Now};
use crate::catalog::{self, Known};
use crate::disk::{self, Identity, Thing};
use crate::rules;

type Result<T> = std::result::Result<T, catalog::Error>;

/// Files of a folder compared in one step.
const FILES_A_STEP: usize = 256;

/// Known files looked for in a root that is another folder than before.
const PROOFS: usize = 256;

/// Where a scan begins: a library and a folder in it, empty for the whole library.
type Start = (usize, Vec<u8>);

/// The scans under way and planned. Folders that appeared go before whole libraries.
#[derive(Default)]
pub(super) struct Scans {
    folders: VecDeque<Scan>,
    wholes: VecDeque<Scan>,
    /// The folders of `folders` that were not begun.
    waiting: HashSet<Start>,
    /// When scans that must wait are due. A heap entry before its time here means nothing.
    later: HashMap<Start, Instant>,
    due: BinaryHeap<Reverse<(Instant, Start)>>,
}

impl Scans {
    /// Plans to compare a whole library; false where that is planned already.
    pub(super) fn plan_whole(&mut self, library: usize, now: Now) -> bool {
        let waits = |scan: &Scan| scan.library == library && !scan.begun;
        if self.wholes.iter().any(waits) {
            return false;
        }
        self.wholes.push_back(Scan::of((library, Vec::new()), now));
        true
    }

    /// Plans to compare a whole library after `wait`.
    pub(super) fn plan_whole_later(&mut self, library: usize, wait: Duration, now: Now) {
        self.plan_later((library, Vec::new()), now.mono + wait);
    }

    /// Scans a folder that appeared: now, and once more after the settle time, because what is
    /// put into a folder before it is watched is reported by nobody.
    pub(super) fn plan_folder(&mut self, library: usize, path: &[u8], settle: Duration, now: Now) {
        let start = (library, path.to_vec());
        if self.waiting.insert(start.clone()) {
            self.folders.push_back(Scan::of(start.clone(), now));
        }
        self.plan_later(start, now.mono + settle);
    }

    fn plan_later(&mut self, start: Start, due: Instant) {
        if self.later.insert(start.clone(), due).is_none() {
            self.due.push(Reverse((due, start)));
        }
    }

    /// Moves what is due by now to what is to be done.
    pub(super) fn take_due(&mut self, now: Now) {
        while self.next_due().is_some_and(|due| due <= now.mono) {
            let Some(Reverse((entered, start))) = self.due.pop() else {
                return;
            };
            match self.later.get(&start) {
                // It was put off since.
                Some(due) if *due > entered => self.due.push(Reverse((*due, start))),
                _ => {
                    self.later.remove(&start);
                    if start.1.is_empty() {
                        self.plan_whole(start.0, now);
                    } else if self.waiting.insert(start.clone()) {
                        self.folders.push_back(Scan::of(start, now));
                    }
                }
            }
        }
    }

    /// When the next one is due that has to wait.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// Whether there is something to do now.
    pub(super) fn any_ready(&self) -> bool {
        !self.folders.is_empty() || !self.wholes.is_empty()
    }

    /// Whether there is something to do for a library, now or later.
    pub(super) fn any_of(&self, library: usize) -> bool {
        let mut ready = self.folders.iter().chain(&self.wholes);
        ready.any(|scan| scan.library == library)
            || self.later.keys().any(|(held, _)| *held == library)
    }

    /// When the oldest one that is not finished was planned, in nanoseconds since 1970.
    pub(super) fn oldest_planned_ns(&self) -> Option<i64> {
        let oldest = [self.folders.front(), self.wholes.front()];
        oldest.iter().flatten().map(|scan| scan.planned_ns).min()
    }

    fn next(&mut self) -> Option<Scan> {
        self.folders.pop_front().or_else(|| self.wholes.pop_front())
    }

    fn put_back(&mut self, scan: Scan) {
        if scan.is_whole() {
            self.wholes.push_front(scan);
        } else {
            self.folders.push_front(scan);
        }
    }
}

/// A comparison under way.
struct Scan {
    library: usize,
    /// Where it began, below the root; empty for the whole library.
    start: Vec<u8>,
    planned_ns: i64,
    begun: bool,
    /// Folders still to enter.
    folders: Vec<Vec<u8>>,
    /// The folder that is being compared.
    open: Option<OpenFolder>,
    /// Folders that the catalog knows files in and that were not entered yet.
    unseen: HashSet<Vec<u8>>,
    /// Those of them that no folder led to.
    gone: Vec<Vec<u8>>,
}

/// A folder being compared, a few files at a time.
struct OpenFolder {
    path: Vec<u8>,
    entries: ReadDir,
    /// What was known in it and was not met yet.
    known: HashMap<Box<[u8]>, Known>,
}

impl Scan {
    fn of((library, start): Start, now: Now) -> Self {
        Self {
            library,
            start,
            planned_ns: now.nanos(),
            begun: false,
            folders: Vec::new(),
            open: None,
            unseen: HashSet::new(),
            gone: Vec::new(),
        }
    }

    fn is_whole(&self) -> bool {
        self.start.is_empty()
    }
}

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
            scan.unseen.remove(&folder);
            scan.open = self.open_folder(scan, folder, now)?;
            return Ok(false);
        }
        scan.gone.extend(scan.unseen.drain());
        // Folders with known files that were not met: gone, or not to be entered any more.
        if let Some(folder) = scan.gone.pop() {
            let may_enter = folder.split(|byte| *byte == b'/').all(rules::enters);
            for name in self.catalog.names_in(key, &folder)? {
                if may_enter || folder.is_empty() {
                    self.observe(library, &catalog::join(&folder, &name), false, now)?;
                } else if let Some(row) = self.catalog.at(key, &folder, &name)? {
                    self.vanish(library, row, now)?;
                }
            }
            return Ok(false);
        }
        if scan.is_whole() {
            self.libraries[library].scanned_once = true;
            if !self.libraries[library].met_unreadable {
                self.recover(library, "unreadable");
            }
        }
        Ok(true)
    }

    fn begin_scan(&mut self, scan: &mut Scan, now: Now) -> Result<bool> {
        let library = scan.library;
        let key = self.libraries[library].key;
        scan.begun = true;
        if scan.is_whole() {
            if !self.check_root(library, now)? {
                self.libraries[library].scanned_once = true;
                return Ok(true);
            }
            scan.folders.push(Vec::new());
        } else {
            self.scans.waiting.remove(&(library, scan.start.clone()));
            if !self.root_is_there(library) {
                return Ok(true);
            }
            let (_, name) = split(&scan.start);
            if matches!(self.look(library, &scan.start), Ok(Some(Thing::Folder)))
                && rules::enters(name)
            {
                scan.folders.push(scan.start.clone());
            }
        }
        scan.unseen = self
            .catalog
            .folders_below(key, &scan.start)?
            .into_iter()
            .collect();
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
        match self.libraries[library].identity {
            Some(known) if known == there => {}
            Some(known) if !known.is(&there) && !self.holds_known_files(library)? => {
                self.root_is_missing(library, now);
                return Ok(false);
            }
            _ => self.set_identity(library, there)?,
        }
        self.recover(library, "root_missing");
        Ok(true)
    }

    /// Whether what lies at the root is what was indexed, whatever it is mounted from: some of
    /// the known files are there, with their sizes and times (cameras give all their cards the
    /// same names).
    fn holds_known_files(&self, library: usize) -> Result<bool> {
        let rows = self.catalog.sample(self.libraries[library].key, PROOFS)?;
        let is_there = |row: &catalog::Row| {
            matches!(
                disk::look(&self.full_path(library, &row.path())),
                Ok(Some(Thing::File(facts) | Thing::Other { facts, .. }))
                    if facts.size == row.facts.size && facts.mtime_ns == row.facts.mtime_ns
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

    /// Begins to compare the files right in `folder` with what is known there.
    fn open_folder(
        &mut self,
        scan: &mut Scan,
        path: Vec<u8>,
        now: Now,
    ) -> Result<Option<OpenFolder>> {
        let library = scan.library;
        let key = self.libraries[library].key;
        match std::fs::read_dir(self.full_path(library, &path)) {
            Ok(entries) => {
                let known = self.catalog.known_in(key, &path)?;
                Ok(Some(OpenFolder {
                    path,
                    entries,
                    known,
                }))
            }
            Err(error) if disk::is_gone(&error) => {
                scan.gone.push(path);
                Ok(None)
            }
            Err(error) => {
                // It can't be read, which says nothing of what lies in it.
                scan.unseen.retain(|below| !is_below(below, &path));
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
                    if rules::enters(name) {
                        scan.folders.push(path);
                    }
                    continue;
                }
                Thing::File(facts) => {
                    let limit = self.settings.max_file_bytes;
                    (facts, rules::ignored(&path, facts.size, limit))
                }
                Thing::Other { link, facts } => (facts, Some(rules::other(link))),
            };
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

    /// Somebody says that the folder that lies at the root now is the one that is meant.
    pub(super) fn confirm_root(&mut self, library: usize, now: Now) -> Result<bool> {
        let Some(there) = Identity::of(&self.libraries[library].root) else {
            return Ok(false);
        };
        self.set_identity(library, there)?;
        self.recover(library, "root_missing");
        self.plan_whole_scan(library, "the root was confirmed", now);
        Ok(true)
    }
}

fn is_below(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty()
        || path == folder
        || (path.starts_with(folder) && path.get(folder.len()) == Some(&b'/'))
}
