//! The result of a run, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::chaos::observe::recorder::Recorder;

#[derive(Debug, Default)]
pub struct ChaosReport {
    pub seed: u64,
    /// How long faults were injected.
    pub fault_duration: Duration,
    /// Number of faults by kind.
    pub faults: BTreeMap<String, u64>,
    pub max_concurrent_faults: usize,
    /// Number of operations by kind.
    pub operations: BTreeMap<&'static str, u64>,
    pub files_touched: usize,
    /// Number of files at the end.
    pub files: usize,
    /// Number of those files that must be rows.
    pub pictures: usize,
    /// From the end of the last fault until the system reported that nothing is in flight.
    pub time_to_rest: Option<Duration>,
    /// From then until the index matched the folders.
    pub time_to_equal: Option<Duration>,
    /// Differences between index and folders at the end.
    pub differences: Vec<String>,
    /// Violated invariants, with how often each was seen.
    pub violations: BTreeMap<String, u64>,
    /// Numbers of requests and observations by name.
    pub counts: BTreeMap<String, u64>,
    pub metrics: BTreeMap<&'static str, u64>,
    /// The run was stopped early and proves nothing.
    pub interrupted: bool,
    /// The folder with files, data and logs, if it was kept.
    pub kept: Option<PathBuf>,
}

const MAX_SHOWN_DIFFERENCES: usize = 20;

impl ChaosReport {
    /// Moves counts and violations out of the records, and sums the metrics.
    pub fn take_records(&mut self, recorder: &Recorder) {
        self.metrics = [
            ("embedded", "lookalike_embeddings_total"),
            ("reused", "lookalike_embeddings_reused_total"),
            ("redelivered", "lookalike_redeliveries_total"),
            ("events published", "lookalike_events_published_total"),
            ("deferred", "lookalike_deferred_total"),
            ("repaired by the audit", "lookalike_repaired_total"),
        ]
        .map(|(name, metric)| (name, recorder.sum_metric(metric)))
        .into();
        let mut records = recorder.lock_records();
        self.violations = std::mem::take(&mut records.violations);
        self.counts = std::mem::take(&mut records.counts);
    }

    pub fn is_success(&self) -> bool {
        let was_proved = self.time_to_equal.is_some() && !self.interrupted;
        was_proved && self.differences.is_empty() && self.violations.is_empty()
    }

    pub fn verdict_line(&self) -> String {
        let seed = self.seed;
        match (self.is_success(), self.interrupted) {
            (true, _) => format!(
                "seed {seed}: the index matches the folders ({} files)",
                self.files
            ),
            (false, true) => format!("seed {seed}: stopped early"),
            (false, false) => format!(
                "seed {seed}: FAILED with {} differences and {} kinds of violations",
                self.differences.len(),
                self.violations.len()
            ),
        }
    }

    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let seconds = |time: Option<Duration>| {
            time.map_or("never".into(), |time| {
                format!("{:.1} s", time.as_secs_f64())
            })
        };
        let faults: u64 = self.faults.values().sum();
        let operations: u64 = self.operations.values().sum();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        line(
            "faulty for",
            format!("{:.0} s", self.fault_duration.as_secs_f64()),
        );
        line(
            "faults",
            format!(
                "{faults}, at most {} at the same time: {}",
                self.max_concurrent_faults,
                join_counts(&self.faults)
            ),
        );
        line(
            "operations",
            format!(
                "{operations} on {} files: {}",
                self.files_touched,
                join_counts(&self.operations)
            ),
        );
        line(
            "files",
            format!(
                "{} at the end, {} of them pictures",
                self.files, self.pictures
            ),
        );
        line(
            "work",
            format!(
                "{} (without the last metrics of killed processes)",
                join_counts(&self.metrics)
            ),
        );
        line("seen", join_counts(&self.counts));
        if !self.interrupted {
            line(
                "converged",
                format!(
                    "nothing in flight {} after the last fault, equal {} later",
                    seconds(self.time_to_rest),
                    seconds(self.time_to_equal)
                ),
            );
        }
        for (violation, count) in &self.violations {
            line("VIOLATED", format!("{violation} ({count} times)"));
        }
        for difference in self.differences.iter().take(MAX_SHOWN_DIFFERENCES) {
            line("DIFFERENCE", difference.clone());
        }
        if self.differences.len() > MAX_SHOWN_DIFFERENCES {
            let more = self.differences.len() - MAX_SHOWN_DIFFERENCES;
            line("", format!("… and {more} more"));
        }
        if let Some(kept) = &self.kept {
            line("kept", kept.display().to_string());
        }
        let _ = writeln!(text, "{}", self.verdict_line());
        text
    }

    pub fn to_json(&self) -> Value {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        json!({
            "seed": self.seed,
            "success": self.is_success(),
            "interrupted": self.interrupted,
            "fault_seconds": self.fault_duration.as_secs_f64(),
            "faults": self.faults,
            "max_concurrent_faults": self.max_concurrent_faults,
            "operations": self.operations,
            "files_touched": self.files_touched,
            "files": self.files,
            "pictures": self.pictures,
            "seconds_to_rest": seconds(self.time_to_rest),
            "seconds_from_rest_to_equal": seconds(self.time_to_equal),
            "metrics": self.metrics,
            "counts": self.counts,
            "violations": self.violations,
            "differences": self.differences,
            "kept": self.kept,
        })
    }
}

fn join_counts<K: std::fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
    let counts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    counts.join(", ")
}
