//! The book of a library's watches: which folders the system reports changes of, and which not,
//! because it allows too few watches or refuses.
//!
//! A watch belongs to a folder, not to its path, and goes on under the path that it was given
//! when the folder is moved. So an inode is watched under one path only, the one it was last met
//! at, and whatever the system says of a folder's coming or going makes the book doubt it:
//!
//! - notify ends the watches at and below a path when it hears that this went. It hears of it
//!   when it reads the event, which may be after another folder was met there; but the hint of the
//!   same event comes here too, and the folder is then met, and watched, anew ([`Watches::forget_below`]).
//! - Where the parent is not watched, only the moved folder's own watch tells of it; then the book
//!   ends the watches itself ([`Watches::remove_watches_below`]).
//! - A folder that was moved is met at its new place, by its hint or by a scan; the watch of the
//!   old place is ended first, so that no late word of that takes the new one along.
//! - When hints were lost, nothing is sure ([`Watches::mark_stale`]).

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::disk::FolderIdentity;
use crate::inbox::Inbox;
use crate::notify::hints::{NotifyWatcher, WATCHES_SINGLE_FOLDERS, WatchError};

/// The watches that all libraries together may have.
pub struct WatchBudget {
    /// 0: as many as the system gives.
    max_watches: usize,
    used: AtomicUsize,
}

impl WatchBudget {
    /// At most so many; 0: as many as the system gives.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            max_watches: most,
            used: AtomicUsize::new(0),
        })
    }

    fn is_exhausted(&self) -> bool {
        self.max_watches > 0 && self.used.load(Ordering::Relaxed) >= self.max_watches
    }
}

/// Why folders are not watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchShortage {
    /// `watch.max_watches` are used.
    Budget,
    /// The system allows no more.
    SystemLimit,
    /// The system refuses, and says this.
    Refused(String),
}

/// The book of one library.
pub struct WatchTable {
    library: usize,
    root: PathBuf,
    inbox: Arc<Inbox>,
    budget: Arc<WatchBudget>,
    /// Made when the first folder is watched.
    notify_watcher: Option<NotifyWatcher>,
    /// By path below the root.
    entries: BTreeMap<Vec<u8>, WatchEntry>,
    /// Where the folder of this device and inode is watched.
    paths_by_inode: HashMap<(u64, u64), Vec<u8>>,
    /// Folders without a watch, and the round that met them last.
    unwatched: BTreeMap<Vec<u8>, u64>,
    shortage: Option<WatchShortage>,
    /// The system refused; it is not asked again before.
    retry_at: Option<Instant>,
    /// Of comparing the whole library.
    round: u64,
    /// How often the system was asked for a watch.
    #[cfg(test)]
    pub add_count: usize,
}

struct WatchEntry {
    identity: FolderIdentity,
    /// The round that met it last.
    round: u64,
    /// No event is known to have been lost since.
    is_fresh: bool,
}

impl WatchTable {
    /// Of a library whose root lies at `root`; nothing is watched yet.
    pub fn new(library: usize, root: &Path, inbox: Arc<Inbox>, budget: Arc<WatchBudget>) -> Self {
        Self {
            library,
            root: root.to_owned(),
            inbox,
            budget,
            notify_watcher: None,
            entries: BTreeMap::new(),
            paths_by_inode: HashMap::new(),
            unwatched: BTreeMap::new(),
            shortage: None,
            retry_at: None,
            round: 0,
            #[cfg(test)]
            add_count: 0,
        }
    }

    /// Watches the folder at `file_path` under that path, unless it is watched already. To be called
    /// before the folder is listed. Where the system refuses, it is asked again after `retry_rows`.
    pub fn add_watch(&mut self, path: &[u8], there: FolderIdentity, now: Instant, retry: Duration) {
        if !WATCHES_SINGLE_FOLDERS && !path.is_empty() {
            return;
        }
        if let Some(armed) = self.entries.get_mut(path) {
            if armed.is_fresh && armed.identity.is_same_folder(&there) {
                armed.round = self.round;
                return;
            }
            self.remove_watch(path);
        }
        if let Some(elsewhere) = self.paths_by_inode.get(&inode_key(&there)).cloned() {
            self.remove_watch(&elsewhere);
        }
        match self.try_add_watch(path, now) {
            Ok(()) => {}
            Err(WatchError::NotFound) => {
                self.unwatched.remove(path);
            }
            Err(refusal) => {
                if self.retry_at.is_none_or(|at| at <= now) && !self.budget.is_exhausted() {
                    self.retry_at = Some(now + retry);
                    self.shortage = Some(match refusal {
                        WatchError::Refused(said) => WatchShortage::Refused(said),
                        _ => WatchShortage::SystemLimit,
                    });
                }
                self.unwatched.insert(path.to_vec(), self.round);
            }
        }
    }

    fn try_add_watch(&mut self, path: &[u8], now: Instant) -> Result<(), WatchError> {
        if self.budget.is_exhausted() {
            self.shortage = Some(WatchShortage::Budget);
            return Err(WatchError::SystemLimit);
        }
        if self.retry_at.is_some_and(|at| at > now) {
            return Err(WatchError::SystemLimit);
        }
        let full = self.full_path(path);
        let system = match &mut self.notify_watcher {
            Some(system) => system,
            none => none.insert(NotifyWatcher::new(self.library, &self.root, &self.inbox)?),
        };
        let before = FolderIdentity::from_path(&full);
        #[cfg(test)]
        {
            self.add_count += 1;
        }
        system.add_folder(&full)?;
        let Some(identity) = FolderIdentity::from_path(&full) else {
            return Err(WatchError::NotFound);
        };
        // Another folder may have come there meanwhile: then it is watched when it is met next.
        let sure = before == Some(identity);
        let round = self.round;
        self.entries.insert(
            path.to_vec(),
            WatchEntry {
                identity,
                round,
                is_fresh: sure,
            },
        );
        self.paths_by_inode
            .insert(inode_key(&identity), path.to_vec());
        self.budget.used.fetch_add(1, Ordering::Relaxed);
        self.unwatched.remove(path);
        self.retry_at = None;
        Ok(())
    }

    fn full_path(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() {
            return self.root.clone();
        }
        self.root.join(OsStr::from_bytes(path))
    }

    /// Takes a watch out of the book.
    fn remove_entry(&mut self, path: &[u8]) {
        let Some(armed) = self.entries.remove(path) else {
            return;
        };
        let key = inode_key(&armed.identity);
        if self
            .paths_by_inode
            .get(&key)
            .is_some_and(|place| place == path)
        {
            self.paths_by_inode.remove(&key);
        }
        self.budget.used.fetch_sub(1, Ordering::Relaxed);
        self.retry_at = None;
    }

    /// Ends the watch of one folder.
    fn remove_watch(&mut self, path: &[u8]) {
        let full = self.full_path(path);
        if let (true, Some(system)) = (self.entries.contains_key(path), &mut self.notify_watcher) {
            system.remove_folder(&full);
        }
        self.remove_entry(path);
    }

    /// What was at `file_path`, and all below it, went, says the system. If it is a folder of the book,
    /// notify heard that too, and ended those watches itself.
    pub fn forget_below(&mut self, path: &[u8]) {
        let is_known = self.entries.contains_key(path);
        for path in paths_at_and_below(&self.entries, path) {
            if is_known {
                self.remove_entry(&path);
            } else {
                self.remove_watch(&path);
            }
        }
        for path in paths_at_and_below(&self.unwatched, path) {
            self.unwatched.remove(&path);
        }
    }

    /// The folder at `file_path` was moved, says its own watch; of those below, nothing is said.
    pub fn remove_watches_below(&mut self, path: &[u8]) {
        for path in paths_at_and_below(&self.entries, path) {
            self.remove_watch(&path);
        }
        self.forget_below(path);
    }

    /// The watches at and below `file_path` are armed anew when their folders are met next.
    pub fn mark_stale(&mut self, path: &[u8]) {
        for path in paths_at_and_below(&self.entries, path) {
            if let Some(armed) = self.entries.get_mut(&path) {
                armed.is_fresh = false;
            }
        }
    }

    /// Ends all watches.
    pub fn remove_all(&mut self) {
        self.notify_watcher = None;
        self.budget
            .used
            .fetch_sub(self.entries.len(), Ordering::Relaxed);
        self.entries.clear();
        self.paths_by_inode.clear();
        self.unwatched.clear();
        self.retry_at = None;
    }

    /// The whole library is compared from now on: returns the number of this round.
    pub fn begin_round(&mut self) -> u64 {
        self.round += 1;
        self.round
    }

    /// What lies at and below `file_path` can't be met now, and may be there all the same.
    pub fn mark_seen_below(&mut self, path: &[u8]) {
        for path in paths_at_and_below(&self.entries, path) {
            if let Some(armed) = self.entries.get_mut(&path) {
                armed.round = self.round;
            }
        }
        for path in paths_at_and_below(&self.unwatched, path) {
            self.unwatched.insert(path, self.round);
        }
    }

    /// The whole library was compared: ends the watches of folders that were not met since
    /// `watch_round` began.
    pub fn end_round(&mut self, round: u64) {
        let missed = |armed: &(&Vec<u8>, &WatchEntry)| armed.1.round < round;
        let missed: Vec<_> = self.entries.iter().filter(missed).collect();
        let missed: Vec<Vec<u8>> = missed.into_iter().map(|(path, _)| path.clone()).collect();
        for path in missed {
            self.remove_watch(&path);
        }
        self.unwatched.retain(|_, met| *met >= round);
    }

    /// Whether the folder at `file_path` was met before, watched or not.
    pub fn has_folder(&self, path: &[u8]) -> bool {
        self.entries.contains_key(path) || self.unwatched.contains_key(path)
    }

    /// How many folders are watched, and how many are not.
    pub fn folder_counts(&self) -> (usize, usize) {
        (self.entries.len(), self.unwatched.len())
    }

    /// Folders that are not, and why.
    pub fn watch_shortage(&self) -> Option<(usize, &WatchShortage)> {
        let lack = self.shortage.as_ref()?;
        (!self.unwatched.is_empty()).then_some((self.unwatched.len(), lack))
    }

    /// Whether there are folders without a watch.
    pub fn has_unwatched(&self) -> bool {
        !self.unwatched.is_empty()
    }

    /// The folders without a watch.
    pub fn unwatched_folders(&self) -> Vec<Vec<u8>> {
        self.unwatched.keys().cloned().collect()
    }

    /// Every folder that is watched.
    #[cfg(test)]
    pub fn watched_folders(&self) -> Vec<Vec<u8>> {
        self.entries.keys().cloned().collect()
    }
}

impl Drop for WatchTable {
    fn drop(&mut self) {
        self.remove_all();
    }
}

fn inode_key(identity: &FolderIdentity) -> (u64, u64) {
    (identity.device, identity.inode)
}

/// The paths at and below `file_path` (all, if it is empty).
fn paths_at_and_below<T>(map: &BTreeMap<Vec<u8>, T>, path: &[u8]) -> Vec<Vec<u8>> {
    if path.is_empty() {
        return map.keys().cloned().collect();
    }
    // `/` is followed by `0`: everything in between begins with `path/`.
    let (from, to) = ([path, b"/"].concat(), [path, b"0"].concat());
    let itself = map.get_key_value(path).map(|(path, _)| path.clone());
    let below = map.range::<[u8], _>((Bound::Included(&from[..]), Bound::Excluded(&to[..])));
    itself
        .into_iter()
        .chain(below.map(|(path, _)| path.clone()))
        .collect()
}
