//! Files that may still be written: each is checked again until two checks see the same stat.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use super::id::LibraryId;
use crate::disk::FileStat;

/// A library and a path below its root.
type SettlingKey = (LibraryId, Vec<u8>);

/// Above so many files, searches among them are skipped, because each would take too long.
const MAX_SEARCHED_FILES: usize = 10_000;

/// Whether a file is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleResult {
    /// It had the same stat at least the settle time ago.
    Settled,
    /// It is checked again later.
    Waiting,
    /// Too many files wait already.
    Full,
}

/// Checks at which a file had changed before the interval grows, and how often it doubles then.
const STEADY_CHECKS: u32 = 4;
const MAX_DOUBLINGS: u32 = 3;

/// A file that waits for its next check.
struct SettlingFile {
    stat: FileStat,
    due: Instant,
    /// At how many checks in a row it had changed.
    changes: u32,
}

/// The files that wait for their second check.
pub struct SettlingFiles {
    interval: Duration,
    max_files: usize,
    pending: HashMap<SettlingKey, SettlingFile>,
    /// An entry whose time differs from the one in `pending` is outdated.
    due_heap: BinaryHeap<Reverse<(Instant, SettlingKey)>>,
}

impl SettlingFiles {
    pub fn new(interval: Duration, max_files: usize) -> Self {
        Self {
            interval,
            max_files,
            pending: HashMap::new(),
            due_heap: BinaryHeap::new(),
        }
    }

    /// Compares a file with the previous check. A settled file is removed from here.
    pub fn check_settled(
        &mut self,
        key: SettlingKey,
        stat: FileStat,
        now: Instant,
    ) -> SettleResult {
        let is_full = self.pending.len() >= self.max_files;
        match self.pending.get_mut(&key) {
            Some(file) if file.stat == stat => {
                if file.due > now {
                    return SettleResult::Waiting;
                }
                self.pending.remove(&key);
                SettleResult::Settled
            }
            Some(file) => {
                file.changes += u32::from(file.due <= now);
                let doublings = file
                    .changes
                    .saturating_sub(STEADY_CHECKS)
                    .min(MAX_DOUBLINGS);
                file.stat = stat;
                file.due = now + self.interval * (1 << doublings);
                self.due_heap.push(Reverse((file.due, key)));
                SettleResult::Waiting
            }
            None if is_full => SettleResult::Full,
            None => {
                let due = now + self.interval;
                self.due_heap.push(Reverse((due, key.clone())));
                let file = SettlingFile {
                    stat,
                    due,
                    changes: 0,
                };
                self.pending.insert(key, file);
                SettleResult::Waiting
            }
        }
    }

    /// Drops a file that needs no second check.
    pub fn forget_file(&mut self, key: &SettlingKey) {
        self.pending.remove(key);
    }

    /// Whether this file waits, at any path. Among very many files this returns false.
    pub fn contains_file(&self, file: &FileStat) -> bool {
        self.any_pending(|stat| stat.is_same_inode(file))
    }

    /// Whether a file of this size waits. Among very many files this returns false.
    pub fn contains_size(&self, size: u64) -> bool {
        self.any_pending(|stat| stat.size == size)
    }

    fn any_pending(&self, is_match: impl Fn(&FileStat) -> bool) -> bool {
        self.pending.len() <= MAX_SEARCHED_FILES
            && self.pending.values().any(|file| is_match(&file.stat))
    }

    pub fn contains_library(&self, library: LibraryId) -> bool {
        self.pending.keys().any(|(id, _)| *id == library)
    }

    /// When the next check is due.
    pub fn next_due(&mut self) -> Option<Instant> {
        while let Some(Reverse((due, key))) = self.due_heap.peek() {
            // An entry of a file that settled, or whose check was delayed, is outdated.
            if self.pending.get(key).is_some_and(|file| file.due == *due) {
                return Some(*due);
            }
            self.due_heap.pop();
        }
        None
    }

    /// Returns a file whose check is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<SettlingKey> {
        if self.next_due()? > now {
            return None;
        }
        self.due_heap.pop().map(|Reverse((_, key))| key)
    }
}

#[cfg(test)]
mod tests {
    use super::SettleResult::{Full, Settled, Waiting};
    use super::*;

    fn key(path: &[u8]) -> SettlingKey {
        (LibraryId::new(0), path.to_vec())
    }

    #[test]
    fn a_file_settles_when_it_looks_the_same_twice() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let key = key(b"a.jpg");
        let stat = |size| FileStat {
            size,
            ..FileStat::default()
        };
        let mut settling = SettlingFiles::new(Duration::from_millis(100), 2);
        let mut check = |size, ms| settling.check_settled(key.clone(), stat(size), at(ms));
        assert_eq!(check(1, 0), Waiting);
        assert_eq!(check(1, 50), Waiting, "too soon");
        assert_eq!(settling.pop_due(at(99)), None);
        assert_eq!(settling.pop_due(at(100)), Some(key.clone()));
        let mut check = |size, ms| settling.check_settled(key.clone(), stat(size), at(ms));
        assert_eq!(check(2, 100), Waiting, "it grew");
        assert_eq!(settling.next_due(), Some(at(200)));
        assert_eq!(settling.pop_due(at(200)), Some(key.clone()));
        let result = settling.check_settled(key, stat(2), at(200));
        assert_eq!(result, Settled);
        assert_eq!(settling.next_due(), None);
    }

    #[test]
    fn a_file_that_grows_for_long_is_checked_less_often() {
        let start = Instant::now();
        let mut settling = SettlingFiles::new(Duration::from_millis(500), 2);
        let mut now = start;
        let mut checks = 0;
        while now < start + Duration::from_secs(60) {
            let stat = FileStat {
                size: checks,
                ..FileStat::default()
            };
            assert_eq!(settling.check_settled(key(b"a.jpg"), stat, now), Waiting);
            checks += 1;
            now = settling.next_due().unwrap();
            assert_eq!(settling.pop_due(now), Some(key(b"a.jpg")));
        }
        assert!((15..25).contains(&checks), "{checks} checks in a minute");
    }

    #[test]
    fn its_size_has_a_limit() {
        let mut settling = SettlingFiles::new(Duration::from_millis(100), 1);
        let now = Instant::now();
        let stat = FileStat::default();
        assert_eq!(settling.check_settled(key(&[1]), stat, now), Waiting);
        assert_eq!(settling.check_settled(key(&[2]), stat, now), Full);
        settling.forget_file(&key(&[1]));
        assert_eq!(settling.check_settled(key(&[2]), stat, now), Waiting);
    }
}
