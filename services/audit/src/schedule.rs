//! Decides when a periodic audit runs: at its interval, or at once if the counts of rows do not
//! match, if Milvus was unavailable, or after a repair.
//!
//! [`AuditSchedule`] only decides; the time of each decision is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lookalike_bus::LibraryStatus;
use lookalike_chassis::Backoff;
use lookalike_index::Error as IndexError;
use rand::Rng as _;

use crate::report::AuditReport;
use crate::settings::Settings;

/// Counts for which the first audit waits for the watchers' first scans. A library that cannot be
/// scanned, because its folder is unavailable, delays the others no longer than that.
const MAX_COUNTS_BEFORE_FIRST_AUDIT: u32 = 8;

/// After an audit that was started by a mismatching count and found nothing, mismatching counts
/// start no audit for this many counts; then for twice as many, up to four times.
const COUNTS_IGNORED_AFTER_FALSE_ALARM: u32 = 20;

/// Longest wait before an unfinished audit is repeated.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(600);

/// Number of rows and the watcher's number of indexed files, where they differ.
type CountMismatch = (u64, u64);

fn surplus_rows((rows, indexed): CountMismatch) -> i128 {
    i128::from(rows) - i128::from(indexed)
}

/// State from which the next audit is decided.
pub(crate) struct AuditSchedule {
    interval: Duration,
    due: Instant,
    audited_once: bool,
    counts_waited: u32,
    /// Libraries whose last count did not match.
    mismatches: BTreeMap<String, CountMismatch>,
    /// Surplus of rows over indexed files at an audit that found nothing. Files that are missing
    /// and kept for a while have rows but do not count as indexed; the same surplus starts no
    /// further audit until the counts match again.
    accepted_surplus: BTreeMap<String, i128>,
    /// Whether a mismatching count started the last audit.
    is_due_to_count: bool,
    /// Mismatching counts start no audit before this time.
    ignore_counts_until: Option<Instant>,
    /// Grows with consecutive audits that counts started and that found nothing.
    count_backoff: Backoff,
    /// No audit starts before this time, because the last one could not be finished.
    not_before: Option<Instant>,
    /// Grows with consecutive unfinished audits.
    unfinished_backoff: Backoff,
    milvus_was_unavailable: bool,
    /// Time of the next audit after a repair.
    recheck_at: Option<Instant>,
    recheck_backoff: Backoff,
}

impl AuditSchedule {
    pub(crate) fn new(settings: &Settings, now: Instant) -> Self {
        Self {
            interval: settings.interval,
            due: now + settings.interval,
            audited_once: false,
            counts_waited: 0,
            mismatches: BTreeMap::new(),
            accepted_surplus: BTreeMap::new(),
            is_due_to_count: false,
            ignore_counts_until: None,
            count_backoff: {
                let first = settings.check_interval * COUNTS_IGNORED_AFTER_FALSE_ALARM;
                // Jitter may halve it.
                Backoff::new(first * 2, first * 8)
            },
            not_before: None,
            unfinished_backoff: Backoff::new(
                settings.check_interval * 2,
                settings
                    .interval
                    .min(MAX_RETRY_INTERVAL)
                    .max(settings.check_interval),
            ),
            milvus_was_unavailable: false,
            recheck_at: None,
            recheck_backoff: Backoff::new(
                settings.check_interval,
                settings.interval.max(settings.check_interval),
            ),
        }
    }

    pub(crate) fn record_milvus_failure(&mut self, error: &IndexError) {
        tracing::debug!(%error, "cannot count rows");
        self.mismatches.clear();
        // A slow server did not restart, so it restored no old rows; it also needs no more load.
        self.milvus_was_unavailable |= !matches!(error, IndexError::Timeout { .. });
    }

    /// Returns the reason to start an audit now, if there is one.
    pub(crate) fn audit_reason(
        &mut self,
        statuses: &[LibraryStatus],
        counted: &BTreeMap<String, u64>,
        now: Instant,
    ) -> Option<String> {
        let before = std::mem::take(&mut self.mismatches);
        for status in statuses {
            let Some(rows) = counted.get(&status.name) else {
                continue;
            };
            let counts = (*rows, status.counts.indexed);
            let surplus = surplus_rows(counts);
            if surplus == 0 {
                // The rows are gone, or their count was late. The same surplus is news from now on.
                self.accepted_surplus.remove(&status.name);
            } else if is_count_mismatch(status, *rows)
                && self.accepted_surplus.get(&status.name) != Some(&surplus)
            {
                self.mismatches.insert(status.name.clone(), counts);
            }
        }
        self.is_due_to_count = false;
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let is_scanned = |status: &LibraryStatus| status.scanned_once && !status.scanning;
        if !self.audited_once {
            self.counts_waited += 1;
            let is_ready = statuses.iter().all(is_scanned)
                || self.counts_waited >= MAX_COUNTS_BEFORE_FIRST_AUDIT;
            return is_ready.then(|| "the embedder started".to_owned());
        }
        if self.milvus_was_unavailable {
            return Some("Milvus was unavailable".to_owned());
        }
        if now >= self.due {
            return Some("audit.interval has passed".to_owned());
        }
        let is_quiet = statuses
            .iter()
            .all(|status| is_scanned(status) && status.counts.in_flight == 0);
        if self.recheck_at.is_some_and(|at| now >= at) && is_quiet {
            return Some("the last audit repaired something".to_owned());
        }
        if self.ignore_counts_until.is_some_and(|at| now < at) {
            return None;
        }
        let (name, (rows, indexed)) = self
            .mismatches
            .iter()
            .find(|(name, _)| before.contains_key(*name))?;
        self.is_due_to_count = true;
        Some(format!(
            "library {name} has {rows} rows, and its watcher reports {indexed} indexed files"
        ))
    }

    pub(crate) fn record_audit(
        &mut self,
        report: &AuditReport,
        statuses: &[LibraryStatus],
        counted: &BTreeMap<String, u64>,
        now: Instant,
    ) {
        self.audited_once = true;
        self.milvus_was_unavailable = false;
        self.mismatches.clear();
        self.not_before = None;
        self.ignore_counts_until = None;
        self.due = now
            + self
                .interval
                .mul_f64(rand::thread_rng().gen_range(0.8..1.2));
        if report.not_compared().next().is_some() {
            // The skipped library is retried soon; the others were compared.
            self.due = self.due.min(now + self.unfinished_backoff.next_delay());
        } else {
            self.unfinished_backoff.reset_attempts();
        }
        let resends_in_flight = self.recheck_at.is_some() && report.in_flight() > 0;
        if report.total_differences() > 0 || resends_in_flight {
            // Differences that persist are compared less and less often.
            self.recheck_at = Some(now + self.recheck_backoff.next_delay());
            self.ignore_counts_until = self.recheck_at;
            self.count_backoff.reset_attempts();
            return;
        }
        self.recheck_at = None;
        self.recheck_backoff.reset_attempts();
        // A mismatching count without any difference comes from how the server counts.
        for status in statuses {
            let compared = report.libraries.get(&status.name);
            if let Some(rows) = counted.get(&status.name)
                && compared.is_some_and(|library| library.not_compared.is_none())
            {
                let surplus = surplus_rows((*rows, status.counts.indexed));
                // Fewer rows than files were a late count, and would hide rows that get lost.
                if surplus > 0 && is_count_mismatch(status, *rows) {
                    self.accepted_surplus.insert(status.name.clone(), surplus);
                } else {
                    self.accepted_surplus.remove(&status.name);
                }
            }
        }
        self.accepted_surplus
            .retain(|name, _| statuses.iter().any(|status| status.name == *name));
        if self.is_due_to_count {
            self.ignore_counts_until = Some(now + self.count_backoff.next_delay());
        } else {
            self.count_backoff.reset_attempts();
        }
    }

    /// Records an audit that could not be finished; each further one waits longer.
    pub(crate) fn record_unfinished(&mut self, now: Instant) {
        let again = now + self.unfinished_backoff.next_delay();
        self.not_before = Some(again);
        self.due = self.due.min(again);
    }
}

/// Returns whether this number of rows is implausible. While events are in flight, the two counts
/// belong to different times, and only a loss of more than a tenth counts as a mismatch.
fn is_count_mismatch(status: &LibraryStatus, rows: u64) -> bool {
    let indexed = status.counts.indexed;
    if status.counts.in_flight == 0 && !status.scanning {
        rows != indexed
    } else {
        rows < indexed - indexed / 10
    }
}

#[cfg(test)]
mod tests;
