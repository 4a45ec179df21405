//! What all parts of a run write down: where the roles are, what was counted, what was wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::chaos::plan::faults::RoleProcess;

/// Shared by the parts of one run.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    records: Arc<Mutex<Records>>,
}

/// The notes.
#[derive(Debug, Default)]
pub struct Records {
    /// Where each role that runs listens.
    pub addresses: BTreeMap<RoleProcess, String>,
    /// Whether the service is held up by a fault of its own, so that no answer is no wonder.
    pub serve_is_disturbed: bool,
    /// How often that began or ended.
    pub serve_disturbances: u64,
    /// What must never be, in words, with how often it was seen.
    pub violations: BTreeMap<String, u64>,
    /// Counts by name, for the report.
    pub counts: BTreeMap<String, u64>,
    /// Metrics of roles that have ended, summed up; the last that was seen of each.
    pub ended_metrics: BTreeMap<String, f64>,
    /// Metrics of each running role.
    pub running_metrics: BTreeMap<RoleProcess, BTreeMap<String, f64>>,
}

impl Recorder {
    /// The notes, to read or write.
    pub fn lock_records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().expect("no holder of this lock panics")
    }

    /// Counts one.
    pub fn count_one(&self, name: &str) {
        self.add_count(name, 1);
    }

    /// Counts some.
    pub fn add_count(&self, name: &str, by: u64) {
        *self
            .lock_records()
            .counts
            .entry(name.to_owned())
            .or_default() += by;
    }

    /// Something that must never be.
    pub fn record_violation(&self, violation: impl Into<String>) {
        let violation = violation.into();
        let mut notes = self.lock_records();
        let seen = notes.violations.entry(violation.clone()).or_default();
        *seen += 1;
        let is_new = *seen == 1;
        drop(notes);
        if is_new {
            eprintln!("WRONG: {violation}");
        }
    }

    /// A role's process is gone: what its metrics said last is kept.
    pub fn record_role_end(&self, role: RoleProcess) {
        let mut notes = self.lock_records();
        notes.addresses.remove(&role);
        for (name, value) in notes.running_metrics.remove(&role).unwrap_or_default() {
            *notes.ended_metrics.entry(name).or_default() += value;
        }
    }

    /// A metric over all processes that ran, as far as it was seen.
    pub fn sum_metric(&self, name: &str) -> u64 {
        let notes = self.lock_records();
        let running = notes.running_metrics.values().filter_map(|of| of.get(name));
        let sum = notes.ended_metrics.get(name).copied().unwrap_or(0.0) + running.sum::<f64>();
        sum as u64
    }
}
