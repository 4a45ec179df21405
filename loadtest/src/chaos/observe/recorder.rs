//! Records that all parts of a run share: addresses of the roles, counts, metrics and violations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use lookalike_chassis::stdio;

use crate::chaos::plan::faults::RoleProcess;

/// A handle to the records of one run.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    records: Arc<Mutex<Records>>,
}

#[derive(Debug, Default)]
pub struct Records {
    /// HTTP address of each running role.
    pub addresses: BTreeMap<RoleProcess, String>,
    /// Whether a fault of the service's own process excuses missing responses now.
    pub serve_is_disturbed: bool,
    /// How often `serve_is_disturbed` was set.
    pub serve_disturbances: u64,
    /// Violated invariants, with how often each was seen.
    pub violations: BTreeMap<String, u64>,
    pub counts: BTreeMap<String, u64>,
    /// Last seen metrics of processes that have ended, summed by name.
    pub ended_metrics: BTreeMap<String, f64>,
    /// Last seen metrics of each running role.
    pub running_metrics: BTreeMap<RoleProcess, BTreeMap<String, f64>>,
}

impl Recorder {
    pub fn lock_records(&self) -> MutexGuard<'_, Records> {
        self.records
            .lock()
            .expect("no thread panics while it holds the lock")
    }

    pub fn count_one(&self, name: &str) {
        self.add_count(name, 1);
    }

    pub fn add_count(&self, name: &str, by: u64) {
        *self
            .lock_records()
            .counts
            .entry(name.to_owned())
            .or_default() += by;
    }

    /// Records a violated invariant, and prints it the first time.
    pub fn record_violation(&self, violation: impl Into<String>) {
        let violation = violation.into();
        let mut records = self.lock_records();
        let seen = records.violations.entry(violation.clone()).or_default();
        *seen += 1;
        let is_new = *seen == 1;
        drop(records);
        if is_new {
            stdio::eprint_line(&format!("VIOLATED: {violation}"));
        }
    }

    /// Removes a role's address and adds its last metrics to those of ended processes.
    pub fn record_role_end(&self, role: RoleProcess) {
        let mut records = self.lock_records();
        records.addresses.remove(&role);
        for (name, value) in records.running_metrics.remove(&role).unwrap_or_default() {
            *records.ended_metrics.entry(name).or_default() += value;
        }
    }

    /// Sums a metric over all processes, as far as it was read before they ended.
    pub fn sum_metric(&self, name: &str) -> u64 {
        let records = self.lock_records();
        let running = records
            .running_metrics
            .values()
            .filter_map(|metrics| metrics.get(name));
        let sum = records.ended_metrics.get(name).copied().unwrap_or(0.0) + running.sum::<f64>();
        sum as u64
    }
}
