//! The scans under way and planned, in the order in which they are done.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::fs::ReadDir;
use std::time::{Duration, Instant};

use super::Now;
use crate::catalog::Known;
use crate::ignore_files::Rules;

/// What a scan compares.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Extent {
    /// The whole library.
    Whole,
    /// The folders that have no watch, and what is new in them.
    Unwatched,
    /// A folder below the root, and all below it.
    Below(Vec<u8>),
}

type Start = (usize, Extent);

/// All of them. Folders that appeared go before whole libraries.
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
        let waits = |scan: &Scan| scan.is_whole() && scan.library == library && !scan.begun;
        if self.wholes.iter().any(waits) {
            return false;
        }
        self.wholes
            .push_back(Scan::of((library, Extent::Whole), now));
        true
    }

    /// Plans to compare a whole library after `wait`.
    pub(super) fn plan_whole_later(&mut self, library: usize, wait: Duration, now: Now) {
        self.plan_later((library, Extent::Whole), now.mono + wait);
    }

    /// Plans to compare the folders without a watch, unless the library is being compared.
    pub(super) fn plan_unwatched(&mut self, library: usize, now: Now) {
        if self.wholes.iter().all(|scan| scan.library != library) {
            let scan = Scan::of((library, Extent::Unwatched), now);
            self.wholes.push_back(scan);
        }
    }

    /// Scans a folder that appeared: now, and once more after the settle time, because what is
    /// put into a folder before it is watched is reported by nobody.
    pub(super) fn plan_folder(&mut self, library: usize, path: &[u8], settle: Duration, now: Now) {
        let start = (library, Extent::Below(path.to_vec()));
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
                    if start.1 == Extent::Whole {
                        self.plan_whole(start.0, now);
                    } else if self.waiting.insert(start.clone()) {
                        self.folders.push_back(Scan::of(start, now));
                    }
                }
            }
        }
    }

    /// Forgets what was planned or begun of a library.
    pub(super) fn forget(&mut self, library: usize) {
        self.folders.retain(|scan| scan.library != library);
        self.wholes.retain(|scan| scan.library != library);
        self.waiting.retain(|(held, _)| *held != library);
        self.later.retain(|(held, _), _| *held != library);
        self.due.retain(|Reverse((_, (held, _)))| *held != library);
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

    pub(super) fn next(&mut self) -> Option<Scan> {
        self.folders.pop_front().or_else(|| self.wholes.pop_front())
    }

    pub(super) fn put_back(&mut self, scan: Scan) {
        if matches!(scan.extent, Extent::Below(_)) {
            self.folders.push_front(scan);
        } else {
            self.wholes.push_front(scan);
        }
    }

    /// A scan of a folder is begun.
    pub(super) fn begin(&mut self, scan: &mut Scan, now: Now) {
        scan.begun = true;
        scan.begun_at = now.mono;
        self.waiting.remove(&(scan.library, scan.extent.clone()));
    }
}

/// A comparison under way.
pub(super) struct Scan {
    pub(super) library: usize,
    pub(super) extent: Extent,
    planned_ns: i64,
    pub(super) begun: bool,
    pub(super) begun_at: Instant,
    /// Folders still to enter.
    pub(super) folders: Vec<ToEnter>,
    /// The folder that is being compared.
    pub(super) open: Option<OpenFolder>,
    /// Folders that the catalog knows files in and that were not entered yet.
    pub(super) unseen: HashSet<Vec<u8>>,
    /// Those of them that no folder led to.
    pub(super) gone: Vec<Vec<u8>>,
    /// Files met.
    pub(super) met: u64,
    /// The library's `observed` when it began.
    pub(super) observed_before: u64,
    /// Of the watches, when all is compared.
    pub(super) round: u64,
    /// By device, what it has for a file system that may change unseen.
    pub(super) devices: BTreeMap<u64, Option<&'static str>>,
    /// The file systems that were met of which changes may come unseen, and where.
    pub(super) unseen_systems: BTreeMap<&'static str, Vec<u8>>,
}

/// A folder to be compared.
pub(super) struct ToEnter {
    pub(super) path: Vec<u8>,
    /// The rules of the folder above, where that was compared right before.
    pub(super) above: Option<Rules>,
}

/// A folder being compared, a few files at a time.
pub(super) struct OpenFolder {
    pub(super) path: Vec<u8>,
    pub(super) rules: Rules,
    pub(super) entries: ReadDir,
    /// What was known in it and was not met yet.
    pub(super) known: HashMap<Box<[u8]>, Known>,
}

impl Scan {
    fn of((library, extent): Start, now: Now) -> Self {
        Self {
            library,
            extent,
            planned_ns: now.nanos(),
            begun: false,
            begun_at: now.mono,
            folders: Vec::new(),
            open: None,
            unseen: HashSet::new(),
            gone: Vec::new(),
            met: 0,
            observed_before: 0,
            round: 0,
            devices: BTreeMap::new(),
            unseen_systems: BTreeMap::new(),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.extent == Extent::Whole
    }

    /// A folder to be compared, of which nothing is known but where it lies.
    pub(super) fn enter(&mut self, path: Vec<u8>) {
        self.folders.push(ToEnter { path, above: None });
    }
}
