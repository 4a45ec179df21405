//! Files that may still be written: each is looked at again until it looks the same twice.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use crate::disk::Facts;

type Key = (usize, Vec<u8>);

/// The files that wait for their second look.
pub struct Settling {
    interval: Duration,
    limit: usize,
    looks: HashMap<Key, (Facts, Instant)>,
    due: BinaryHeap<Reverse<(Instant, Key)>>,
}

impl Settling {
    /// Looks `interval` apart, at `limit` files at most.
    pub fn new(interval: Duration, limit: usize) -> Self {
        Self {
            interval,
            limit,
            looks: HashMap::new(),
            due: BinaryHeap::new(),
        }
    }

    /// Remembers what a file looks like now. `Some(true)`: it looked the same at least the
    /// interval ago, so it is settled, and forgotten here. `None`: too many files wait.
    pub fn look(&mut self, key: Key, facts: Facts, now: Instant) -> Option<bool> {
        let is_full = self.looks.len() >= self.limit;
        match self.looks.get_mut(&key) {
            Some((before, due)) if *before == facts => {
                if *due > now {
                    return Some(false);
                }
                self.looks.remove(&key);
                Some(true)
            }
            Some((before, due)) => {
                *before = facts;
                *due = now + self.interval;
                self.due.push(Reverse((now + self.interval, key)));
                Some(false)
            }
            None if is_full => None,
            None => {
                self.due.push(Reverse((now + self.interval, key.clone())));
                self.looks.insert(key, (facts, now + self.interval));
                Some(false)
            }
        }
    }

    /// The file needs no second look any more.
    pub fn forget(&mut self, key: &Key) {
        self.looks.remove(key);
    }

    /// Whether this very file waits, at whatever path. Where very many wait, none is said to.
    pub fn holds_file(&self, file: &Facts) -> bool {
        self.looks.len() <= 10_000 && self.looks.values().any(|(facts, _)| facts.same_file(file))
    }

    /// Whether a file of this size waits. Where very many wait, none is said to.
    pub fn holds_size(&self, size: u64) -> bool {
        self.looks.len() <= 10_000 && self.looks.values().any(|(facts, _)| facts.size == size)
    }

    /// Whether a file of this library waits.
    pub fn holds_any_of(&self, library: usize) -> bool {
        self.looks.keys().any(|(held, _)| *held == library)
    }

    /// When the next look is due.
    pub fn next_due(&mut self) -> Option<Instant> {
        while let Some(Reverse((due, key))) = self.due.peek() {
            // An entry of a file that settled, or whose look was put off, means nothing.
            if self.looks.get(key).is_some_and(|(_, actual)| actual == due) {
                return Some(*due);
            }
            self.due.pop();
        }
        None
    }

    /// A file whose look is due.
    pub fn take_due(&mut self, now: Instant) -> Option<Key> {
        if self.next_due()? > now {
            return None;
        }
        self.due.pop().map(|Reverse((_, key))| key)
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
        let facts = |size| Facts {
            size,
            ..Facts::default()
        };
        let mut settling = Settling::new(Duration::from_millis(100), 2);
        assert_eq!(settling.look(key.clone(), facts(1), at(0)), Some(false));
        assert_eq!(
            settling.look(key.clone(), facts(1), at(50)),
            Some(false),
            "too soon"
        );
        assert_eq!(settling.take_due(at(99)), None);
        assert_eq!(settling.take_due(at(100)), Some(key.clone()));
        assert_eq!(
            settling.look(key.clone(), facts(2), at(100)),
            Some(false),
            "it grew"
        );
        assert_eq!(settling.next_due(), Some(at(200)));
        assert_eq!(settling.take_due(at(200)), Some(key.clone()));
        assert_eq!(settling.look(key, facts(2), at(200)), Some(true));
        assert_eq!(settling.next_due(), None);
    }

    #[test]
    fn its_size_has_a_limit() {
        let mut settling = Settling::new(Duration::from_millis(100), 1);
        let now = Instant::now();
        assert_eq!(
            settling.look((0, vec![1]), Facts::default(), now),
            Some(false)
        );
        assert_eq!(settling.look((0, vec![2]), Facts::default(), now), None);
        settling.forget(&(0, vec![1]));
        assert_eq!(
            settling.look((0, vec![2]), Facts::default(), now),
            Some(false)
        );
    }
}
