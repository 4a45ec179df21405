//! The running and planned scans, in the order in which they run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::fs::ReadDir;
use std::time::{Duration, Instant};

use super::id::LibraryId;
use crate::catalog::CatalogedFile;
use crate::clock::Now;
use crate::ignore_files::IgnoreRules;

/// What a scan compares with the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScanScope {
    /// The whole library.
    Full,
    /// The folders without a watch, and what is new in them.
    Unwatched,
    /// A folder below the root, and everything below it.
    Below(Vec<u8>),
}

type ScanKey = (LibraryId, ScanScope);

/// All scans. Scans of single folders run before those of whole libraries.
#[derive(Default)]
pub struct ScanQueue {
    folder_scans: VecDeque<Scan>,
    full_scans: VecDeque<Scan>,
    /// The scans of `folder_scans` that have not begun.
    pending: HashSet<ScanKey>,
    /// When delayed scans are due. A heap entry with an earlier time is outdated.
    due_at: HashMap<ScanKey, Instant>,
    due_heap: BinaryHeap<Reverse<(Instant, ScanKey)>>,
}

impl ScanQueue {
    /// Plans a full scan of a library; false if one is planned already.
    pub fn plan_full_scan(&mut self, library: LibraryId, now: Now) -> bool {
        let is_planned = |scan: &Scan| scan.is_full() && scan.library == library && !scan.has_begun;
        if self.full_scans.iter().any(is_planned) {
            return false;
        }
        self.full_scans
            .push_back(Scan::new((library, ScanScope::Full), now));
        true
    }

    /// Plans a full scan of a library after `delay`.
    pub fn plan_full_scan_later(&mut self, library: LibraryId, delay: Duration, now: Now) {
        self.plan_scan_later((library, ScanScope::Full), now.mono + delay);
    }

    /// Plans a scan of the folders without a watch, unless a full scan is planned or running.
    pub fn plan_unwatched_scan(&mut self, library: LibraryId, now: Now) {
        if self.full_scans.iter().all(|scan| scan.library != library) {
            let scan = Scan::new((library, ScanScope::Unwatched), now);
            self.full_scans.push_back(scan);
        }
    }

    /// Plans a scan of a folder that appeared: now, and again after the settle time, because files
    /// put into a folder before it is watched are not reported.
    pub fn plan_folder_scan(
        &mut self,
        library: LibraryId,
        path: &[u8],
        settle: Duration,
        now: Now,
    ) {
        let key = (library, ScanScope::Below(path.to_vec()));
        if self.pending.insert(key.clone()) {
            self.folder_scans.push_back(Scan::new(key.clone(), now));
        }
        self.plan_scan_later(key, now.mono + settle);
    }

    fn plan_scan_later(&mut self, key: ScanKey, due: Instant) {
        if self.due_at.insert(key.clone(), due).is_none() {
            self.due_heap.push(Reverse((due, key)));
        }
    }

    /// Moves delayed scans that are due to the scans that are ready.
    pub fn queue_due_scans(&mut self, now: Now) {
        while self.next_due().is_some_and(|due| due <= now.mono) {
            let Some(Reverse((entry_due, key))) = self.due_heap.pop() else {
                return;
            };
            match self.due_at.get(&key) {
                // It was delayed further meanwhile.
                Some(due) if *due > entry_due => self.due_heap.push(Reverse((*due, key))),
                _ => {
                    self.due_at.remove(&key);
                    if key.1 == ScanScope::Full {
                        self.plan_full_scan(key.0, now);
                    } else if self.pending.insert(key.clone()) {
                        self.folder_scans.push_back(Scan::new(key, now));
                    }
                }
            }
        }
    }

    /// Drops all planned and running scans of a library.
    pub fn remove_library(&mut self, library: LibraryId) {
        self.folder_scans.retain(|scan| scan.library != library);
        self.full_scans.retain(|scan| scan.library != library);
        self.pending.retain(|(id, _)| *id != library);
        self.due_at.retain(|(id, _), _| *id != library);
        self.due_heap.retain(|Reverse((_, (id, _)))| *id != library);
    }

    /// When the next delayed scan is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.due_heap.peek().map(|Reverse((due, _))| *due)
    }

    pub fn has_ready_scan(&self) -> bool {
        !self.folder_scans.is_empty() || !self.full_scans.is_empty()
    }

    /// Whether a scan of a library is running, planned or delayed.
    pub fn has_scan_of(&self, library: LibraryId) -> bool {
        let mut ready = self.folder_scans.iter().chain(&self.full_scans);
        ready.any(|scan| scan.library == library)
            || self.due_at.keys().any(|(id, _)| *id == library)
    }

    /// When the oldest unfinished scan was planned, in nanoseconds since 1970.
    pub fn oldest_planned_ns(&self) -> Option<i64> {
        let oldest = [self.folder_scans.front(), self.full_scans.front()];
        oldest.iter().flatten().map(|scan| scan.planned_ns).min()
    }

    pub fn pop_next_scan(&mut self) -> Option<Scan> {
        self.folder_scans
            .pop_front()
            .or_else(|| self.full_scans.pop_front())
    }

    pub fn put_scan_back(&mut self, scan: Scan) {
        if matches!(scan.scope, ScanScope::Below(_)) {
            self.folder_scans.push_front(scan);
        } else {
            self.full_scans.push_front(scan);
        }
    }

    /// Marks a scan as begun: the same scan may be planned again from now on.
    pub fn begin_scan(&mut self, scan: &mut Scan, now: Now) {
        scan.has_begun = true;
        scan.begun_at = now.mono;
        self.pending.remove(&(scan.library, scan.scope.clone()));
    }
}

/// A comparison of folders with the catalog.
pub struct Scan {
    pub library: LibraryId,
    pub scope: ScanScope,
    planned_ns: i64,
    pub has_begun: bool,
    pub begun_at: Instant,
    /// Folders still to be compared.
    pub pending_folders: Vec<PendingFolder>,
    /// The folder that is being compared.
    pub open_folder: Option<OpenFolder>,
    /// Folders in which the catalog lists files and that were not visited yet.
    pub unvisited_folders: HashSet<Vec<u8>>,
    /// Those of them that no folder led to.
    pub missing_folders: Vec<Vec<u8>>,
    /// Number of files found on disk.
    pub file_count: u64,
    /// The library's `observation_count` when the scan began.
    pub observations_before: u64,
    /// The round of the watch table, for a full scan.
    pub watch_round: u64,
    /// By device, the name of its file system if that may change without reports.
    pub filesystems_by_device: BTreeMap<u64, Option<&'static str>>,
    /// File systems that may change without reports, and a folder on each.
    pub unreported_filesystems: BTreeMap<&'static str, Vec<u8>>,
}

/// A folder to be compared.
pub struct PendingFolder {
    pub path: Vec<u8>,
    /// The rules of the parent folder, if that was compared just before.
    pub parent_rules: Option<IgnoreRules>,
}

/// A folder being compared, a few files per step.
pub struct OpenFolder {
    pub path: Vec<u8>,
    pub rules: IgnoreRules,
    pub entries: ReadDir,
    /// Files that the catalog lists in it and that were not found yet.
    pub unmatched: HashMap<Box<[u8]>, CatalogedFile>,
}

impl Scan {
    fn new((library, scope): ScanKey, now: Now) -> Self {
        Self {
            library,
            scope,
            planned_ns: now.wall_nanos(),
            has_begun: false,
            begun_at: now.mono,
            pending_folders: Vec::new(),
            open_folder: None,
            unvisited_folders: HashSet::new(),
            missing_folders: Vec::new(),
            file_count: 0,
            observations_before: 0,
            watch_round: 0,
            filesystems_by_device: BTreeMap::new(),
            unreported_filesystems: BTreeMap::new(),
        }
    }

    pub fn is_full(&self) -> bool {
        self.scope == ScanScope::Full
    }

    /// Adds a folder to be compared whose parent's rules are not at hand.
    pub fn push_folder(&mut self, path: Vec<u8>) {
        self.pending_folders.push(PendingFolder {
            path,
            parent_rules: None,
        });
    }
}
