//! Files that may still be written: each is looked at again until it looks the same twice.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use crate::disk::FileStat;

type SettlingKey = (usize, Vec<u8>);

/// The files that wait for their second look.
pub struct SettlingFiles {
    interval: Duration,
    limit: usize,
    pending: HashMap<SettlingKey, (FileStat, Instant)>,
    due_heap: BinaryHeap<Reverse<(Instant, SettlingKey)>>,
}

impl SettlingFiles {
    /// Looks `interval` apart, at `limit` files at most.
    pub fn new(interval: Duration, limit: usize) -> Self {
        Self {
            interval,
            limit,
            pending: HashMap::new(),
            due_heap: BinaryHeap::new(),
        }
    }

    /// Remembers what a file looks like now. `Some(true)`: it looked the same at least the
    /// interval ago, so it is settled, and forgotten here. `None`: too many files wait.
    pub fn check_settled(
        &mut self,
        key: SettlingKey,
        facts: FileStat,
        now: Instant,
    ) -> Option<bool> {
        let is_full = self.pending.len() >= self.limit;
        match self.pending.get_mut(&key) {
            Some((before, due)) if *before == facts => {
                if *due > now {
                    return Some(false);
                }
                self.pending.remove(&key);
                Some(true)
            }
            Some((before, due)) => {
                *before = facts;
                *due = now + self.interval;
                self.due_heap.push(Reverse((now + self.interval, key)));
                Some(false)
            }
            None if is_full => None,
            None => {
                self.due_heap
                    .push(Reverse((now + self.interval, key.clone())));
                self.pending.insert(key, (facts, now + self.interval));
                Some(false)
            }
        }
    }

    /// The file needs no second look any more.
    pub fn forget_file(&mut self, key: &SettlingKey) {
        self.pending.remove(key);
    }

    /// Whether this very file waits, at whatever path. Where very many wait, none is said to.
    pub fn contains_file(&self, file: &FileStat) -> bool {
        self.pending.len() <= 10_000
            && self
                .pending
                .values()
                .any(|(facts, _)| facts.is_same_inode(file))
    }

    /// Whether a file of this size waits. Where very many wait, none is said to.
    pub fn contains_size(&self, size: u64) -> bool {
        self.pending.len() <= 10_000 && self.pending.values().any(|(facts, _)| facts.size == size)
    }

    /// Whether a file of this library waits.
    pub fn contains_library(&self, library: usize) -> bool {
        self.pending.keys().any(|(held, _)| *held == library)
    }

    /// When the next look is due.
    pub fn next_due(&mut self) -> Option<Instant> {
        while let Some(Reverse((due, key))) = self.due_heap.peek() {
            // An entry of a file that settled, or whose look was put off, means nothing.
            if self
                .pending
                .get(key)
                .is_some_and(|(_, actual)| actual == due)
            {
                return Some(*due);
            }
            self.due_heap.pop();
        }
        None
    }

    /// A file whose look is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<SettlingKey> {
        if self.next_due()? > now {
            return None;
        }
        self.due_heap.pop().map(|Reverse((_, key))| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_settles_when_it_looks_the_same_twice() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let key = (0, b"a.jpg".to_vec());
        let facts = |size| FileStat {
            size,
            ..FileStat::default()
        };
        let mut settling = SettlingFiles::new(Duration::from_millis(100), 2);
        assert_eq!(
            settling.check_settled(key.clone(), facts(1), at(0)),
            Some(false)
        );
        assert_eq!(
            settling.check_settled(key.clone(), facts(1), at(50)),
            Some(false),
            "too soon"
        );
        assert_eq!(settling.pop_due(at(99)), None);
        assert_eq!(settling.pop_due(at(100)), Some(key.clone()));
        assert_eq!(
            settling.check_settled(key.clone(), facts(2), at(100)),
            Some(false),
            "it grew"
        );
        assert_eq!(settling.next_due(), Some(at(200)));
        assert_eq!(settling.pop_due(at(200)), Some(key.clone()));
        assert_eq!(settling.check_settled(key, facts(2), at(200)), Some(true));
        assert_eq!(settling.next_due(), None);
    }

    #[test]
    fn its_size_has_a_limit() {
        let mut settling = SettlingFiles::new(Duration::from_millis(100), 1);
        let now = Instant::now();
        assert_eq!(
            settling.check_settled((0, vec![1]), FileStat::default(), now),
            Some(false)
        );
        assert_eq!(
            settling.check_settled((0, vec![2]), FileStat::default(), now),
            None
        );
        settling.forget_file(&(0, vec![1]));
        assert_eq!(
            settling.check_settled((0, vec![2]), FileStat::default(), now),
            Some(false)
        );
    }
}
