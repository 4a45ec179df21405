//! The book of a library's watches: which folders the system reports changes of, and which not,
//! because it allows too few watches or refuses.
//!
//! A watch belongs to a folder, not to its path, and goes on under the path that it was given
//! when the folder is moved. So an inode is watched under one path only, the one it was last met
//! at, and whatever the system says of a folder's coming or going makes the book doubt it:
//!
//! - notify ends the watches at and below a path when it hears that this went. It hears of it
//!   when it reads the event, which may be after another folder was met there; but the hint of the
//!   same event comes here too, and the folder is then met, and watched, anew ([`Watches::forget`]).
//! - Where the parent is not watched, only the moved folder's own watch tells of it; then the book
//!   ends the watches itself ([`Watches::release_below`]).
//! - A folder that was moved is met at its new place, by its hint or by a scan; the watch of the
//!   old place is ended first, so that no late word of that takes the new one along.
//! - When hints were lost, nothing is sure ([`Watches::doubt`]).

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::disk::Identity;
use crate::hints::{FOLDER_BY_FOLDER, Refusal, Watch};
use crate::inbox::Inbox;

/// The watches that all libraries together may have.
pub struct Budget {
    /// 0: as many as the system gives.
    most: usize,
    used: AtomicUsize,
}

impl Budget {
    /// At most so many; 0: as many as the system gives.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            used: AtomicUsize::new(0),
        })
    }

    fn is_used_up(&self) -> bool {
        self.most > 0 && self.used.load(Ordering::Relaxed) >= self.most
    }
}

/// Why folders are not watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// `watch.max_watches` are used.
    Budget,
    /// The system allows no more.
    Limit,
    /// The system refuses, and says this.
    Refused(String),
}

/// The book of one library.
pub struct Watches {
    library: usize,
    root: PathBuf,
    inbox: Arc<Inbox>,
    budget: Arc<Budget>,
    /// Made when the first folder is watched.
    system: Option<Watch>,
    /// By path below the root.
    armed: BTreeMap<Vec<u8>, Armed>,
    /// Where the folder of this device and inode is watched.
    places: HashMap<(u64, u64), Vec<u8>>,
    /// Folders without a watch, and the round that met them last.
    unwatched: BTreeMap<Vec<u8>, u64>,
    lack: Option<Lack>,
    /// The system refused; it is not asked again before.
    ask_again: Option<Instant>,
    /// Of comparing the whole library.
    round: u64,
    /// How often the system was asked for a watch.
    #[cfg(test)]
    pub arm_count: usize,
}

struct Armed {
    identity: Identity,
    /// The round that met it last.
    round: u64,
    /// No event is known to have been lost since.
    sure: bool,
}

impl Watches {
    /// Of a library whose root lies at `root`; nothing is watched yet.
    pub fn new(library: usize, root: &Path, inbox: Arc<Inbox>, budget: Arc<Budget>) -> Self {
        Self {
            library,
            root: root.to_owned(),
            inbox,
            budget,
            system: None,
            armed: BTreeMap::new(),
            places: HashMap::new(),
            unwatched: BTreeMap::new(),
            lack: None,
            ask_again: None,
            round: 0,
            #[cfg(test)]
            arm_count: 0,
        }
    }

    /// Watches the folder at `path` under that path, unless it is watched already. To be called
    /// before the folder is listed. Where the system refuses, it is asked again after `retry`.
    pub fn arm(&mut self, path: &[u8], there: Identity, now: Instant, retry: Duration) {
        if !FOLDER_BY_FOLDER && !path.is_empty() {
            return;
        }
        if let Some(armed) = self.armed.get_mut(path) {
            if armed.sure && armed.identity.is(&there) {
                armed.round = self.round;
                return;
            }
            self.release(path);
        }
        if let Some(elsewhere) = self.places.get(&key(&there)).cloned() {
            self.release(&elsewhere);
        }
        match self.try_to_arm(path, now) {
            Ok(()) => {}
            Err(Refusal::Gone) => {
                self.unwatched.remove(path);
            }
            Err(refusal) => {
                if self.ask_again.is_none_or(|at| at <= now) && !self.budget.is_used_up() {
                    self.ask_again = Some(now + retry);
                    self.lack = Some(match refusal {
                        Refusal::Other(said) => Lack::Refused(said),
                        _ => Lack::Limit,
                    });
                }
                self.unwatched.insert(path.to_vec(), self.round);
            }
        }
    }

    fn try_to_arm(&mut self, path: &[u8], now: Instant) -> Result<(), Refusal> {
        if self.budget.is_used_up() {
            self.lack = Some(Lack::Budget);
            return Err(Refusal::Limit);
        }
        if self.ask_again.is_some_and(|at| at > now) {
            return Err(Refusal::Limit);
        }
        let full = self.full(path);
        let system = match &mut self.system {
            Some(system) => system,
            none => none.insert(Watch::new(self.library, &self.root, &self.inbox)?),
        };
        let before = Identity::of(&full);
        #[cfg(test)]
        {
            self.arm_count += 1;
        }
        system.add(&full)?;
        let Some(identity) = Identity::of(&full) else {
            return Err(Refusal::Gone);
        };
        // Another folder may have come there meanwhile: then it is watched when it is met next.
        let sure = before == Some(identity);
        let round = self.round;
        self.armed.insert(
            path.to_vec(),
            Armed {
                identity,
                round,
                sure,
            },
        );
        self.places.insert(key(&identity), path.to_vec());
        self.budget.used.fetch_add(1, Ordering::Relaxed);
        self.unwatched.remove(path);
        self.ask_again = None;
        Ok(())
    }

    fn full(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() {
            return self.root.clone();
        }
        self.root.join(OsStr::from_bytes(path))
    }

    /// Takes a watch out of the book.
    fn strike(&mut self, path: &[u8]) {
        let Some(armed) = self.armed.remove(path) else {
            return;
        };
        let key = key(&armed.identity);
        if self.places.get(&key).is_some_and(|place| place == path) {
            self.places.remove(&key);
        }
        self.budget.used.fetch_sub(1, Ordering::Relaxed);
        self.ask_again = None;
    }

    /// Ends the watch of one folder.
    fn release(&mut self, path: &[u8]) {
        let full = self.full(path);
        if let (true, Some(system)) = (self.armed.contains_key(path), &mut self.system) {
            system.remove(&full);
        }
        self.strike(path);
    }

    /// What was at `path`, and all below it, went, says the system. If it is a folder of the book,
    /// notify heard that too, and ended those watches itself.
    pub fn forget(&mut self, path: &[u8]) {
        let is_known = self.armed.contains_key(path);
        for path in at_and_below(&self.armed, path) {
            if is_known {
                self.strike(&path);
            } else {
                self.release(&path);
            }
        }
        for path in at_and_below(&self.unwatched, path) {
            self.unwatched.remove(&path);
        }
    }

    /// The folder at `path` was moved, says its own watch; of those below, nothing is said.
    pub fn release_below(&mut self, path: &[u8]) {
        for path in at_and_below(&self.armed, path) {
            self.release(&path);
        }
        self.forget(path);
    }

    /// The watches at and below `path` are armed anew when their folders are met next.
    pub fn doubt(&mut self, path: &[u8]) {
        for path in at_and_below(&self.armed, path) {
            if let Some(armed) = self.armed.get_mut(&path) {
                armed.sure = false;
            }
        }
    }

    /// Ends all watches.
    pub fn drop_all(&mut self) {
        self.system = None;
        self.budget
            .used
            .fetch_sub(self.armed.len(), Ordering::Relaxed);
        self.armed.clear();
        self.places.clear();
        self.unwatched.clear();
        self.ask_again = None;
    }

    /// The whole library is compared from now on: returns the number of this round.
    pub fn begin_round(&mut self) -> u64 {
        self.round += 1;
        self.round
    }

    /// What lies at and below `path` can't be met now, and may be there all the same.
    pub fn keep(&mut self, path: &[u8]) {
        for path in at_and_below(&self.armed, path) {
            if let Some(armed) = self.armed.get_mut(&path) {
                armed.round = self.round;
            }
        }
        for path in at_and_below(&self.unwatched, path) {
            self.unwatched.insert(path, self.round);
        }
    }

    /// The whole library was compared: ends the watches of folders that were not met since
    /// `round` began.
    pub fn end_round(&mut self, round: u64) {
        let missed = |armed: &(&Vec<u8>, &Armed)| armed.1.round < round;
        let missed: Vec<_> = self.armed.iter().filter(missed).collect();
        let missed: Vec<Vec<u8>> = missed.into_iter().map(|(path, _)| path.clone()).collect();
        for path in missed {
            self.release(&path);
        }
        self.unwatched.retain(|_, met| *met >= round);
    }

    /// Whether the folder at `path` was met before, watched or not.
    pub fn knows(&self, path: &[u8]) -> bool {
        self.armed.contains_key(path) || self.unwatched.contains_key(path)
    }

    /// How many folders are watched, and how many are not.
    pub fn counts(&self) -> (usize, usize) {
        (self.armed.len(), self.unwatched.len())
    }

    /// Folders that are not, and why.
    pub fn lacking(&self) -> Option<(usize, &Lack)> {
        let lack = self.lack.as_ref()?;
        (!self.unwatched.is_empty()).then_some((self.unwatched.len(), lack))
    }

    /// Whether there are folders without a watch.
    pub fn are_lacking(&self) -> bool {
        !self.unwatched.is_empty()
    }

    /// The folders without a watch.
    pub fn unwatched(&self) -> Vec<Vec<u8>> {
        self.unwatched.keys().cloned().collect()
    }

    /// Every folder that is watched.
    #[cfg(test)]
    pub fn armed(&self) -> Vec<Vec<u8>> {
        self.armed.keys().cloned().collect()
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.drop_all();
    }
}

fn key(identity: &Identity) -> (u64, u64) {
    (identity.device, identity.inode)
}

/// The paths at and below `path` (all, if it is empty).
fn at_and_below<T>(map: &BTreeMap<Vec<u8>, T>, path: &[u8]) -> Vec<Vec<u8>> {
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
