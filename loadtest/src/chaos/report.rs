//! What a run has shown, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::chaos::observe::recorder::Recorder;

/// One run.
#[derive(Debug, Default)]
pub struct ChaosReport {
    /// Its seed.
    pub seed: u64,
    /// How long things went wrong.
    pub trouble_duration: Duration,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// The most that were under way at once.
    pub max_concurrent_faults: usize,
    /// Operations by kind.
    pub operations: BTreeMap<&'static str, u64>,
    /// Files that they touched.
    pub files_touched: usize,
    /// Files in the end.
    pub files: usize,
    /// Of those, pictures that must be rows.
    pub pictures: usize,
    /// From the end of the last fault until the system said that it is at rest.
    pub time_to_rest: Option<Duration>,
    /// From there until the index equalled the folders.
    pub time_to_equal: Option<Duration>,
    /// Where they differ in the end.
    pub differences: Vec<String>,
    /// What must never be, with how often it was seen.
    pub violations: BTreeMap<String, u64>,
    /// Counts of what was asked and seen.
    pub counts: BTreeMap<String, u64>,
    /// Metrics summed over all processes.
    pub metrics: BTreeMap<&'static str, u64>,
    /// It was stopped before its end, and proves nothing.
    pub interrupted: bool,
    /// The folder with everything, where it was kept.
    pub kept: Option<PathBuf>,
}

/// Differences that are printed.
const MAX_SHOWN_DIFFERENCES: usize = 20;

impl ChaosReport {
    /// Takes over what was noted.
    pub fn take_records(&mut self, recorder: &Recorder) {
        self.metrics = [
            ("embedded", "lookalike_embeddings_total"),
            ("reused", "lookalike_embeddings_reused_total"),
            (
                "duplicates (delivered again)",
                "lookalike_redeliveries_total",
            ),
            ("events published", "lookalike_events_published_total"),
            ("retries (put off)", "lookalike_deferred_total"),
            ("repaired by the audit", "lookalike_repaired_total"),
        ]
        .map(|(name, metric)| (name, recorder.sum_metric(metric)))
        .into();
        let mut notes = recorder.lock_records();
        self.violations = std::mem::take(&mut notes.violations);
        self.counts = std::mem::take(&mut notes.counts);
    }

    /// Whether everything held.
    pub fn is_success(&self) -> bool {
        let was_proved = self.time_to_equal.is_some() && !self.interrupted;
        was_proved && self.differences.is_empty() && self.violations.is_empty()
    }

    /// One line that says how it went.
    pub fn verdict_line(&self) -> String {
        let seed = self.seed;
        match (self.is_success(), self.interrupted) {
            (true, _) => format!(
                "seed {seed}: the index equals the folders ({} files)",
                self.files
            ),
            (false, true) => format!("seed {seed}: stopped before its end"),
            (false, false) => format!(
                "seed {seed}: FAILED with {} differences and {} kinds of complaints",
                self.differences.len(),
                self.violations.len()
            ),
        }
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let seconds = |time: Option<Duration>| {
            time.map_or("never".into(), |time| {
                format!("{:.1} s", time.as_secs_f64())
            })
        };
        let list = |counts: &mut dyn Iterator<Item = (String, u64)>| {
            counts
                .map(|(name, count)| format!("{name} {count}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let faults: u64 = self.faults.values().sum();
        let operations: u64 = self.operations.values().sum();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        line(
            "trouble",
            format!("{:.0} s", self.trouble_duration.as_secs_f64()),
        );
        line(
            "faults",
            format!(
                "{faults}, up to {} at once: {}",
                self.max_concurrent_faults,
                list(&mut self.faults.iter().map(|(k, v)| (k.clone(), *v)))
            ),
        );
        line(
            "operations",
            format!(
                "{operations} on {} files: {}",
                self.files_touched,
                list(&mut self.operations.iter().map(|(k, v)| ((*k).to_owned(), *v)))
            ),
        );
        line(
            "files",
            format!("{} in the end, {} pictures", self.files, self.pictures),
        );
        line(
            "work",
            format!(
                "{} (as far as killed processes were seen)",
                list(&mut self.metrics.iter().map(|(k, v)| ((*k).to_owned(), *v)))
            ),
        );
        line(
            "seen",
            list(&mut self.counts.iter().map(|(k, v)| (k.clone(), *v))),
        );
        if !self.interrupted {
            line(
                "converged",
                format!(
                    "at rest {} after the last fault, equal {} later",
                    seconds(self.time_to_rest),
                    seconds(self.time_to_equal)
                ),
            );
        }
        for (complaint, times) in &self.violations {
            let _ = writeln!(text, "WRONG        {complaint} ({times} times)");
        }
        for difference in self.differences.iter().take(MAX_SHOWN_DIFFERENCES) {
            let _ = writeln!(text, "DIFFERENCE   {difference}");
        }
        if self.differences.len() > MAX_SHOWN_DIFFERENCES {
            let more = self.differences.len() - MAX_SHOWN_DIFFERENCES;
            let _ = writeln!(text, "             … and {more} more");
        }
        if let Some(kept) = &self.kept {
            let _ = writeln!(text, "{:<12} {}", "kept", kept.display());
        }
        let _ = writeln!(text, "{}", self.verdict_line());
        text
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        json!({
            "seed": self.seed,
            "good": self.is_success(),
            "interrupted": self.interrupted,
            "trouble_seconds": self.trouble_duration.as_secs_f64(),
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
