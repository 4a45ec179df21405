//! What all parts of a run write down: where the roles are, what was counted, what was wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::faults::Role;

/// Shared by the parts of one run.
#[derive(Debug, Clone, Default)]
pub struct Board {
    inner: Arc<Mutex<Notes>>,
}

/// The notes.
#[derive(Debug, Default)]
pub struct Notes {
    /// Where each role that runs listens.
    pub addresses: BTreeMap<Role, String>,
    /// Whether the service is held up by a fault of its own, so that no answer is no wonder.
    pub serve_is_disturbed: bool,
    /// How often that began or ended.
    pub serve_disturbances: u64,
    /// What must never be, in words, with how often it was seen.
    pub complaints: BTreeMap<String, u64>,
    /// Counts by name, for the report.
    pub counts: BTreeMap<String, u64>,
    /// Metrics of roles that have ended, summed up; the last that was seen of each.
    pub ended: BTreeMap<String, f64>,
    /// Metrics of each running role.
    pub running: BTreeMap<Role, BTreeMap<String, f64>>,
}

impl Board {
    /// The notes, to read or write.
    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// Counts one.
    pub fn count(&self, what: &str) {
        self.add(what, 1);
    }

    /// Counts some.
    pub fn add(&self, what: &str, by: u64) {
        *self.notes().counts.entry(what.to_owned()).or_default() += by;
    }

    /// Something that must never be.
    pub fn complain(&self, what: impl Into<String>) {
        let what = what.into();
        let mut notes = self.notes();
        let seen = notes.complaints.entry(what.clone()).or_default();
        *seen += 1;
        let is_new = *seen == 1;
        drop(notes);
        if is_new {
            eprintln!("WRONG: {what}");
        }
    }

    /// A role's process is gone: what its metrics said last is kept.
    pub fn gone(&self, role: Role) {
        let mut notes = self.notes();
        notes.addresses.remove(&role);
        for (name, value) in notes.running.remove(&role).unwrap_or_default() {
            *notes.ended.entry(name).or_default() += value;
        }
    }

    /// A metric over all processes that ran, as far as it was seen.
    pub fn metric(&self, name: &str) -> u64 {
        let notes = self.notes();
        let running = notes.running.values().filter_map(|of| of.get(name));
        let sum = notes.ended.get(name).copied().unwrap_or(0.0) + running.sum::<f64>();
        sum as u64
    }
}
