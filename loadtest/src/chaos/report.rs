//! What a run has shown, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::board::Board;

/// One run.
#[derive(Debug, Default)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// How long things went wrong.
    pub trouble: Duration,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// The most that were under way at once.
    pub faults_at_once: usize,
    /// Operations by kind.
    pub operations: BTreeMap<&'static str, u64>,
    /// Files that they touched.
    pub files_touched: usize,
    /// Files in the end.
    pub files: usize,
    /// Of those, pictures that must be rows.
    pub pictures: usize,
    /// From the end of the last fault until the system said that it is at rest.
    pub until_rest: Option<Duration>,
    /// From there until the index equalled the folders.
    pub until_equal: Option<Duration>,
    /// Where they differ in the end.
    pub differences: Vec<String>,
    /// What must never be, with how often it was seen.
    pub complaints: BTreeMap<String, u64>,
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
const SHOWN: usize = 20;

impl Report {
    /// Takes over what was noted.
    pub fn take(&mut self, board: &Board) {
        self.metrics = [
            ("embedded", "lookalike_embeddings_total"),
            ("reused", "lookalike_embeddings_reused_total"),
            (
                "duplicates (delivered again)",
                "lookalike_redeliveries_total",
            ),
            ("events published", "lookalike_events_published_total"),
            ("retries (put off)", "lookalike_put_off_total"),
            ("repaired by the audit", "lookalike_repaired_total"),
        ]
        .map(|(name, metric)| (name, board.metric(metric)))
        .into();
        let mut notes = board.notes();
        self.complaints = std::mem::take(&mut notes.complaints);
        self.counts = std::mem::take(&mut notes.counts);
    }

    /// Whether everything held.
    pub fn is_good(&self) -> bool {
        let was_proved = self.until_equal.is_some() && !self.interrupted;
        was_proved && self.differences.is_empty() && self.complaints.is_empty()
    }

    /// One line that says how it went.
    pub fn verdict(&self) -> String {
        let seed = self.seed;
        match (self.is_good(), self.interrupted) {
            (true, _) => format!(
                "seed {seed}: the index equals the folders ({} files)",
                self.files
            ),
            (false, true) => format!("seed {seed}: stopped before its end"),
            (false, false) => format!(
                "seed {seed}: FAILED with {} differences and {} kinds of complaints",
                self.differences.len(),
                self.complaints.len()
            ),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
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
        line("trouble", format!("{:.0} s", self.trouble.as_secs_f64()));
        line(
            "faults",
            format!(
                "{faults}, up to {} at once: {}",
                self.faults_at_once,
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
                    seconds(self.until_rest),
                    seconds(self.until_equal)
                ),
            );
        }
        for (complaint, times) in &self.complaints {
            let _ = writeln!(text, "WRONG        {complaint} ({times} times)");
        }
        for difference in self.differences.iter().take(SHOWN) {
            let _ = writeln!(text, "DIFFERENCE   {difference}");
        }
        if self.differences.len() > SHOWN {
            let more = self.differences.len() - SHOWN;
            let _ = writeln!(text, "             … and {more} more");
        }
        if let Some(kept) = &self.kept {
            let _ = writeln!(text, "{:<12} {}", "kept", kept.display());
        }
        let _ = writeln!(text, "{}", self.verdict());
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        json!({
            "seed": self.seed,
            "good": self.is_good(),
            "interrupted": self.interrupted,
            "trouble_seconds": self.trouble.as_secs_f64(),
            "faults": self.faults,
            "faults_at_once": self.faults_at_once,
            "operations": self.operations,
            "files_touched": self.files_touched,
            "files": self.files,
            "pictures": self.pictures,
            "seconds_until_rest": seconds(self.until_rest),
            "seconds_from_rest_until_equal": seconds(self.until_equal),
            "metrics": self.metrics,
            "counts": self.counts,
            "complaints": self.complaints,
            "differences": self.differences,
            "kept": self.kept,
        })
    }
}
