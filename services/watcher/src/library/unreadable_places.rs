//! The list of places that the system does not let the watcher read, and when they are checked.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::time::{Duration, Instant};

use crate::paths::split_path;

/// How often places are checked, and how many at a time.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
const PLACES_PER_CHECK: usize = 64;

/// Places that are checked. Full scans visit further ones.
const MAX_PLACES: usize = 10_000;

/// The places of one library that cannot be read.
pub struct UnreadablePlaces {
    /// The errors, by path below the root.
    errors: BTreeMap<Vec<u8>, String>,
    next_check: Instant,
    /// The place that was checked last.
    last_checked: Option<Vec<u8>>,
}

impl UnreadablePlaces {
    pub fn new(now: Instant) -> Self {
        Self {
            errors: BTreeMap::new(),
            next_check: now,
            last_checked: None,
        }
    }

    pub fn contains(&self, path: &[u8]) -> bool {
        self.errors.contains_key(path)
    }

    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// Drops all places: another watcher takes over.
    pub fn clear(&mut self) {
        self.errors.clear();
    }

    /// Adds a place with its error, in place of what is in it.
    pub fn insert(&mut self, path: &[u8], error: &io::Error) {
        if let Some(known) = self.errors.get_mut(path) {
            *known = error.to_string();
            return;
        }
        // What is in it has the same cause.
        self.errors.retain(|place, _| split_path(place).0 != path);
        if self.errors.len() < MAX_PLACES {
            self.errors.insert(path.to_vec(), error.to_string());
        }
    }

    /// Removes a place; true if it was listed.
    pub fn remove(&mut self, path: &[u8]) -> bool {
        self.errors.remove(path).is_some()
    }

    /// Returns the places to check now, each in turn.
    pub fn take_due_places(&mut self, now: Instant) -> Vec<Vec<u8>> {
        if self.errors.is_empty() || self.next_check > now {
            return Vec::new();
        }
        self.next_check = now + CHECK_INTERVAL;
        let after = match &self.last_checked {
            Some(path) => Bound::Excluded(path.clone()),
            None => Bound::Unbounded,
        };
        let later = self.errors.range((after, Bound::Unbounded));
        let all = later.chain(&self.errors).map(|(path, _)| path.clone());
        let count = PLACES_PER_CHECK.min(self.errors.len());
        let due: Vec<_> = all.take(count).collect();
        self.last_checked = due.last().cloned();
        due
    }

    /// One sentence for users; `None`: everything can be read.
    pub fn describe(&self) -> Option<String> {
        let (path, error) = self.errors.first_key_value()?;
        let place = match lookalike_proto::path_to_text(path) {
            path if path.is_empty() => "the root folder".into(),
            path => path,
        };
        let subject = match self.errors.len() {
            1 => format!("{place} cannot be read ({error})"),
            count => format!("{count} places cannot be read, among them {place} ({error})"),
        };
        Some(format!(
            "{subject}. Indexed files there stay in the index; `lookalike failures` lists the \
             others. Let the user that runs lookalike list and enter the folder (chmod, chown), or \
             check the disk: lookalike continues there within seconds."
        ))
    }
}
