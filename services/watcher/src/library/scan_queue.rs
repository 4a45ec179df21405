//! The scans under way and planned, in the order in which they are done.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::fs::ReadDir;
use std::time::{Duration, Instant};

use crate::catalog::CatalogedFile;
use crate::ignore_files::IgnoreRules;
use crate::keeper::Now;

/// What a scan compares.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ScanScope {
    /// The whole library.
    Full,
    /// The folders that have no watch, and what is new in them.
    Unwatched,
    /// A folder below the root, and all below it.
    Below(Vec<u8>),
}

type ScanKey = (usize, ScanScope);

/// All of them. Folders that appeared go before whole libraries.
#[derive(Default)]
pub(crate) struct ScanQueue {
    folder_scans: VecDeque<Scan>,
    full_scans: VecDeque<Scan>,
    /// The folders of `folders` that were not begun.
    pending: HashSet<ScanKey>,
    /// When scans that must wait are due. A heap entry before its time here means nothing.
    due_at: HashMap<ScanKey, Instant>,
    due_heap: BinaryHeap<Reverse<(Instant, ScanKey)>>,
}

impl ScanQueue {
    /// Plans to compare a whole library; false where that is planned already.
    pub(crate) fn plan_full_scan(&mut self, library: usize, now: Now) -> bool {
        let waits = |scan: &Scan| scan.is_full() && scan.library == library && !scan.has_begun;
        if self.full_scans.iter().any(waits) {
            return false;
        }
        self.full_scans
            .push_back(Scan::new((library, ScanScope::Full), now));
        true
    }

    /// Plans to compare a whole library after `sleep_unless_stopping`.
    pub(crate) fn plan_full_scan_later(&mut self, library: usize, wait: Duration, now: Now) {
        self.plan_scan_later((library, ScanScope::Full), now.mono + wait);
    }

    /// Plans to compare the folders without a watch, unless the library is being compared.
    pub(crate) fn plan_unwatched_scan(&mut self, library: usize, now: Now) {
        if self.full_scans.iter().all(|scan| scan.library != library) {
            let scan = Scan::new((library, ScanScope::Unwatched), now);
            self.full_scans.push_back(scan);
        }
    }

    /// Scans a folder that appeared: now, and once more after the settle time, because what is
    /// put into a folder before it is watched is reported by nobody.
    pub(crate) fn plan_folder_scan(
        &mut self,
        library: usize,
        path: &[u8],
        settle: Duration,
        now: Now,
    ) {
        let start = (library, ScanScope::Below(path.to_vec()));
        if self.pending.insert(start.clone()) {
            self.folder_scans.push_back(Scan::new(start.clone(), now));
        }
        self.plan_scan_later(start, now.mono + settle);
    }

    pub(crate) fn plan_scan_later(&mut self, start: ScanKey, due: Instant) {
        if self.due_at.insert(start.clone(), due).is_none() {
            self.due_heap.push(Reverse((due, start)));
        }
    }

    /// Moves what is due by now to what is to be done.
    pub(crate) fn queue_due_scans(&mut self, now: Now) {
        while self.next_due().is_some_and(|due| due <= now.mono) {
            let Some(Reverse((entered, start))) = self.due_heap.pop() else {
                return;
            };
            match self.due_at.get(&start) {
                // It was put off since.
                Some(due) if *due > entered => self.due_heap.push(Reverse((*due, start))),
                _ => {
                    self.due_at.remove(&start);
                    if start.1 == ScanScope::Full {
                        self.plan_full_scan(start.0, now);
                    } else if self.pending.insert(start.clone()) {
                        self.folder_scans.push_back(Scan::new(start, now));
                    }
                }
            }
        }
    }

    /// Forgets what was planned or begun of a library.
    pub(crate) fn remove_library(&mut self, library: usize) {
        self.folder_scans.retain(|scan| scan.library != library);
        self.full_scans.retain(|scan| scan.library != library);
        self.pending.retain(|(held, _)| *held != library);
        self.due_at.retain(|(held, _), _| *held != library);
        self.due_heap
            .retain(|Reverse((_, (held, _)))| *held != library);
    }

    /// When the next one is due that has to wait.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due_heap.peek().map(|Reverse((due, _))| *due)
    }

    /// Whether there is something to do now.
    pub(crate) fn has_ready_scan(&self) -> bool {
        !self.folder_scans.is_empty() || !self.full_scans.is_empty()
    }

    /// Whether there is something to do for a library, now or later.
    pub(crate) fn has_scan_of(&self, library: usize) -> bool {
        let mut ready = self.folder_scans.iter().chain(&self.full_scans);
        ready.any(|scan| scan.library == library)
            || self.due_at.keys().any(|(held, _)| *held == library)
    }

    /// When the oldest one that is not finished was planned, in nanoseconds since 1970.
    pub(crate) fn oldest_planned_ns(&self) -> Option<i64> {
        let oldest = [self.folder_scans.front(), self.full_scans.front()];
        oldest.iter().flatten().map(|scan| scan.planned_ns).min()
    }

    pub(crate) fn pop_next_scan(&mut self) -> Option<Scan> {
        self.folder_scans
            .pop_front()
            .or_else(|| self.full_scans.pop_front())
    }

    pub(crate) fn put_scan_back(&mut self, scan: Scan) {
        if matches!(scan.scope, ScanScope::Below(_)) {
            self.folder_scans.push_front(scan);
        } else {
            self.full_scans.push_front(scan);
        }
    }

    /// A scan of a folder is begun.
    pub(crate) fn begin_scan(&mut self, scan: &mut Scan, now: Now) {
        scan.has_begun = true;
        scan.begun_at = now.mono;
        self.pending.remove(&(scan.library, scan.scope.clone()));
    }
}

/// A comparison under way.
pub(crate) struct Scan {
    pub(crate) library: usize,
    pub(crate) scope: ScanScope,
    planned_ns: i64,
    pub(crate) has_begun: bool,
    pub(crate) begun_at: Instant,
    /// Folders still to enter.
    pub(crate) pending_folders: Vec<PendingFolder>,
    /// The folder that is being compared.
    pub(crate) open_folder: Option<OpenFolder>,
    /// Folders that the catalog knows files in and that were not entered yet.
    pub(crate) unvisited_folders: HashSet<Vec<u8>>,
    /// Those of them that no folder led to.
    pub(crate) missing_folders: Vec<Vec<u8>>,
    /// Files met.
    pub(crate) file_count: u64,
    /// The library's `observation_count` when it began.
    pub(crate) observations_before: u64,
    /// Of the watches, when all is compared.
    pub(crate) watch_round: u64,
    /// By device, what it has for a file system that may change unseen.
    pub(crate) filesystems_by_device: BTreeMap<u64, Option<&'static str>>,
    /// The file systems that were met of which changes may come unseen, and where.
    pub(crate) unreported_filesystems: BTreeMap<&'static str, Vec<u8>>,
}

/// A folder to be compared.
pub(crate) struct PendingFolder {
    pub(crate) path: Vec<u8>,
    /// The rules of the folder above, where that was compared right before.
    pub(crate) parent_rules: Option<IgnoreRules>,
}

/// A folder being compared, a few files at a time.
pub(crate) struct OpenFolder {
    pub(crate) path: Vec<u8>,
    pub(crate) rules: IgnoreRules,
    pub(crate) entries: ReadDir,
    /// What was known in it and was not met yet.
    pub(crate) unmatched: HashMap<Box<[u8]>, CatalogedFile>,
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

    pub(crate) fn is_full(&self) -> bool {
        self.scope == ScanScope::Full
    }

    /// A folder to be compared, of which nothing is known but where it lies.
    pub(crate) fn push_folder(&mut self, path: Vec<u8>) {
        self.pending_folders.push(PendingFolder {
            path,
            parent_rules: None,
        });
    }
}
