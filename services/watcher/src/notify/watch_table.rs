//! The watch table of one library: which folders have a watch of the system, and which have none,
//! because the system allows too few watches or refuses.
//!
//! A watch belongs to a folder, not to its path. After a move it keeps reporting under the path that
//! it was added with. So the table watches each inode under one path only, the path where the folder
//! was last seen, and marks watches as stale when the system reports that folders come or go:
//!
//! - When a folder is reported as deleted or moved away, the table ends the watches at and below its
//!   path ([`WatchTable::remove_watches_below`]). Another folder may have been seen there before the
//!   report arrived; it is then visited and watched again.
//! - A moved folder is found at its new path by a hint or a scan. The watch of the old path is
//!   ended first, so that a late report about the old path cannot end the new watch.
//! - When hints were lost, every watch is stale ([`WatchTable::mark_stale`]).

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::watch_error::WatchError;
use super::{SystemWatcher, WATCHES_SINGLE_FOLDERS};
use crate::disk::FolderIdentity;
use crate::inbox::Inbox;
use crate::library::id::LibraryId;
use crate::paths::bounds_below;

/// Limits the watches of all libraries together.
pub struct WatchBudget {
    /// 0: as many as the system allows.
    max_watches: usize,
    used: AtomicUsize,
}

impl WatchBudget {
    /// Allows at most so many watches; 0: as many as the system allows.
    pub fn new(max_watches: usize) -> Arc<Self> {
        Arc::new(Self {
            max_watches,
            used: AtomicUsize::new(0),
        })
    }

    fn is_exhausted(&self) -> bool {
        self.max_watches > 0 && self.used.load(Ordering::Relaxed) >= self.max_watches
    }
}

/// Why folders are not watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnwatchedReason {
    /// `watch.max_watches` is reached.
    Budget,
    /// The system allows no more watches.
    SystemLimit,
    /// The system allows this user no more objects that watch, or this process no more descriptors.
    InstanceLimit,
    /// Any other error of the system.
    Refused(String),
}

/// The watches of one library.
pub struct WatchTable {
    library: LibraryId,
    root: PathBuf,
    inbox: Arc<Inbox>,
    budget: Arc<WatchBudget>,
    /// Created for the first watch.
    system_watcher: Option<SystemWatcher>,
    /// The watched folders, by path below the root.
    entries: BTreeMap<Vec<u8>, WatchEntry>,
    /// The path under which a folder is watched, by device and inode.
    paths_by_inode: HashMap<(u64, u64), Vec<u8>>,
    /// Folders without a watch, and the round that saw them last.
    unwatched: BTreeMap<Vec<u8>, u64>,
    shortage: Option<UnwatchedReason>,
    /// After a refusal, when the system is asked again.
    retry_at: Option<Instant>,
    /// Number of the latest full scan.
    round: u64,
    /// How often the system was asked for a watch.
    #[cfg(test)]
    pub add_count: usize,
}

struct WatchEntry {
    identity: FolderIdentity,
    /// The round that saw the folder last.
    round: u64,
    /// No report may have been lost since the watch was added.
    is_fresh: bool,
}

impl WatchTable {
    pub fn new(
        library: LibraryId,
        root: &Path,
        inbox: Arc<Inbox>,
        budget: Arc<WatchBudget>,
    ) -> Self {
        Self {
            library,
            root: root.to_owned(),
            inbox,
            budget,
            system_watcher: None,
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

    /// Watches the folder at `path` under that path, unless it is watched already. Must be called
    /// before the folder is listed. After a refusal, the system is asked again after `retry`.
    pub fn add_watch(
        &mut self,
        path: &[u8],
        identity: FolderIdentity,
        now: Instant,
        retry: Duration,
    ) {
        if !WATCHES_SINGLE_FOLDERS && !path.is_empty() {
            return;
        }
        if let Some(entry) = self.entries.get_mut(path) {
            if entry.is_fresh && entry.identity.is_same_folder(&identity) {
                entry.round = self.round;
                return;
            }
            self.remove_watch(path);
        }
        if let Some(previous_path) = self.paths_by_inode.get(&inode_key(&identity)).cloned() {
            self.remove_watch(&previous_path);
        }
        match self.try_add_watch(path, now) {
            Ok(()) => {}
            Err(WatchError::NoAccess) => {
                self.unwatched.remove(path);
            }
            Err(error) => {
                if self.retry_at.is_none_or(|at| at <= now) && !self.budget.is_exhausted() {
                    self.retry_at = Some(now + retry);
                    self.shortage = Some(match error {
                        WatchError::Refused(message) => UnwatchedReason::Refused(message),
                        WatchError::InstanceLimit => UnwatchedReason::InstanceLimit,
                        _ => UnwatchedReason::SystemLimit,
                    });
                }
                self.unwatched.insert(path.to_vec(), self.round);
            }
        }
    }

    fn try_add_watch(&mut self, path: &[u8], now: Instant) -> Result<(), WatchError> {
        if self.budget.is_exhausted() {
            self.shortage = Some(UnwatchedReason::Budget);
            return Err(WatchError::SystemLimit);
        }
        if self.retry_at.is_some_and(|at| at > now) {
            return Err(WatchError::SystemLimit);
        }
        let full_path = self.full_path(path);
        let watcher = match &mut self.system_watcher {
            Some(watcher) => watcher,
            none => none.insert(SystemWatcher::new(self.library, &self.root, &self.inbox)?),
        };
        let before = FolderIdentity::from_path(&full_path);
        #[cfg(test)]
        {
            self.add_count += 1;
        }
        watcher.add_folder(path)?;
        let Some(identity) = FolderIdentity::from_path(&full_path) else {
            return Err(WatchError::NoAccess);
        };
        let entry = WatchEntry {
            identity,
            round: self.round,
            // Another folder may have replaced it meanwhile. Then the next visit adds a new watch.
            is_fresh: before == Some(identity),
        };
        self.entries.insert(path.to_vec(), entry);
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

    /// Removes a watch from the table only.
    fn remove_entry(&mut self, path: &[u8]) {
        let Some(entry) = self.entries.remove(path) else {
            return;
        };
        let key = inode_key(&entry.identity);
        if self.paths_by_inode.get(&key).is_some_and(|p| p == path) {
            self.paths_by_inode.remove(&key);
        }
        self.budget.used.fetch_sub(1, Ordering::Relaxed);
        self.retry_at = None;
    }

    /// Removes a watch from the system and from the table.
    fn remove_watch(&mut self, path: &[u8]) {
        if let (true, Some(watcher)) = (self.entries.contains_key(path), &mut self.system_watcher) {
            watcher.remove_folder(path);
        }
        self.remove_entry(path);
    }

    /// Ends the watches at and below `path`, which was deleted or moved away, or is not entered.
    pub fn remove_watches_below(&mut self, path: &[u8]) {
        for path in paths_at_and_below(&self.entries, path) {
            self.remove_watch(&path);
        }
        for path in paths_at_and_below(&self.unwatched, path) {
            self.unwatched.remove(&path);
        }
    }

    /// Has the watches at and below `path` added again when their folders are visited next.
    pub fn mark_stale(&mut self, path: &[u8]) {
        for path in paths_at_and_below(&self.entries, path) {
            if let Some(entry) = self.entries.get_mut(&path) {
                entry.is_fresh = false;
            }
        }
    }

    /// Ends all watches, and watches below another root from now on.
    pub fn move_root(&mut self, root: &Path) {
        self.remove_all();
        root.clone_into(&mut self.root);
    }

    pub fn remove_all(&mut self) {
        self.system_watcher = None;
        self.budget
            .used
            .fetch_sub(self.entries.len(), Ordering::Relaxed);
        self.entries.clear();
        self.paths_by_inode.clear();
        self.unwatched.clear();
        self.retry_at = None;
    }

    /// Begins a full scan; returns the number of its round.
    pub fn begin_round(&mut self) -> u64 {
        self.round += 1;
        self.round
    }

    /// Keeps the folders at and below `path`, which cannot be read now and may still exist.
    pub fn mark_seen_below(&mut self, path: &[u8]) {
        for path in paths_at_and_below(&self.entries, path) {
            if let Some(entry) = self.entries.get_mut(&path) {
                entry.round = self.round;
            }
        }
        for path in paths_at_and_below(&self.unwatched, path) {
            self.unwatched.insert(path, self.round);
        }
    }

    /// Ends a full scan: removes the watches of folders that were not seen since `round` began.
    pub fn end_round(&mut self, round: u64) {
        let unseen = self.entries.iter().filter(|(_, entry)| entry.round < round);
        let unseen: Vec<Vec<u8>> = unseen.map(|(path, _)| path.clone()).collect();
        for path in unseen {
            self.remove_watch(&path);
        }
        self.unwatched.retain(|_, seen| *seen >= round);
    }

    /// Whether a scan saw the folder at `path`, watched or not.
    pub fn has_folder(&self, path: &[u8]) -> bool {
        self.entries.contains_key(path) || self.unwatched.contains_key(path)
    }

    /// The number of folders with a watch, and without.
    pub fn folder_counts(&self) -> (usize, usize) {
        (self.entries.len(), self.unwatched.len())
    }

    /// The number of folders without a watch, and why; `None` if all are watched.
    pub fn watch_shortage(&self) -> Option<(usize, &UnwatchedReason)> {
        let shortage = self.shortage.as_ref()?;
        (!self.unwatched.is_empty()).then_some((self.unwatched.len(), shortage))
    }

    pub fn has_unwatched(&self) -> bool {
        !self.unwatched.is_empty()
    }

    pub fn unwatched_folders(&self) -> Vec<Vec<u8>> {
        self.unwatched.keys().cloned().collect()
    }

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

/// Returns the paths at and below `path` (all, if it is empty).
fn paths_at_and_below<T>(map: &BTreeMap<Vec<u8>, T>, path: &[u8]) -> Vec<Vec<u8>> {
    if path.is_empty() {
        return map.keys().cloned().collect();
    }
    let (from, to) = bounds_below(path);
    let itself = map.get_key_value(path).map(|(path, _)| path.clone());
    let below = map.range::<[u8], _>((Bound::Included(&from[..]), Bound::Excluded(&to[..])));
    itself
        .into_iter()
        .chain(below.map(|(path, _)| path.clone()))
        .collect()
}
