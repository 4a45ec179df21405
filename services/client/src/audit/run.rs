//! Runs the auditor, and repairs and compares again until the index equals the folders.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lookalike_audit::{AuditOptions, AuditReport, Auditor};
use lookalike_bus::StatusView;
use lookalike_chassis::stdio::{self, OutputError};
use lookalike_proto::LibraryName;

use super::args::AuditRunArgs;
use super::progress::AuditProgress;
use super::report;
use crate::terminal;
use crate::usage_error::usage_error;

/// How long the watchers' status may take to arrive.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// Without a named library, the wait ends when no further library appears for this long: stored
/// statuses arrive together, shortly after the first one.
const STATUS_QUIET_TIME: Duration = Duration::from_millis(300);
const STATUS_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long after a repair a watcher may take to report the resent files as in flight.
const RESEND_TIMEOUT: Duration = Duration::from_secs(3);
const RESEND_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Bounds the comparisons after a repair.
const MAX_ROUNDS: u32 = 5;

/// Prints the result, and fails if the index differs from the folders.
pub fn print_and_check(result: &AuditResult, args: &AuditRunArgs) -> Result<()> {
    let written = match args.json {
        true => terminal::write_json(&result.to_json()),
        false => result.write_summary(args),
    };
    // The exit code states the result even if the report cannot be written.
    result.check_equal(args)?;
    Ok(written?)
}

/// The reports before and after the repair.
pub struct AuditResult {
    first: AuditReport,
    last: AuditReport,
    /// Resent files that were not indexed when the timeout was over.
    still_in_flight: u64,
}

impl AuditResult {
    fn reason_not_compared(&self) -> Option<String> {
        first_not_compared(&self.last).or_else(|| first_not_compared(&self.first))
    }

    pub fn is_equal(&self) -> bool {
        self.last.total_differences() == 0
            && self.reason_not_compared().is_none()
            && self.still_in_flight == 0
    }

    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "equal": self.is_equal(),
            "found": self.first.total_differences(),
            "repaired": self.first.total_repaired(),
            "differences": self.last.total_differences(),
            "in_flight": self.last.in_flight(),
            "still_in_flight": self.still_in_flight,
            "first": self.first,
            "last": self.last,
        })
    }

    pub fn write_summary(&self, args: &AuditRunArgs) -> Result<(), OutputError> {
        let verdict = report::format_verdict(&self.first, &self.last, self.still_in_flight, args);
        stdio::write_text(&format!(
            "{}{verdict}\n",
            report::format_report(&self.first)
        ))
    }

    /// # Errors
    /// If the index differs from the folders, or files are still in flight after the timeout.
    pub fn check_equal(&self, args: &AuditRunArgs) -> Result<()> {
        if let Some(reason) = self.reason_not_compared() {
            bail!(reason);
        }
        if self.still_in_flight > 0 {
            bail!(
                "{} still in flight after {}: run the audit again later, or set a longer --timeout",
                match self.still_in_flight {
                    1 => "1 file is".to_owned(),
                    files => format!("{files} files are"),
                },
                format_duration(args.timeout),
            );
        }
        let is_repaired =
            args.repair && self.last.total_repaired() == self.last.total_differences();
        if self.is_equal() || (args.no_wait && is_repaired) {
            return Ok(());
        }
        let not_repaired = self.last.libraries.iter().find_map(|(name, library)| {
            let reason = library.not_repaired.as_ref()?;
            Some(format!("; library {name} was not repaired: {reason}"))
        });
        bail!(
            "the index differs from the folders in {} rows{}",
            self.last.total_differences(),
            not_repaired.unwrap_or_default()
        )
    }
}

/// Compares, and with `repair` also repairs and compares again until nothing is left to repair.
pub async fn audit_until_equal(
    auditor: &Auditor,
    status: &StatusView,
    args: &AuditRunArgs,
) -> Result<AuditResult> {
    let libraries = args
        .libraries
        .iter()
        .map(|name| LibraryName::new(name).map_err(usage_error))
        .collect::<Result<Vec<_>>>()?;
    wait_for_status_reports(status, &libraries).await;
    let mut options = AuditOptions {
        libraries,
        repair: args.repair,
        deep: args.deep,
        scan: true,
    };
    let progress = AuditProgress::new(args.json);
    let first = run_auditor(auditor, &options, &progress).await?;
    let mut last = first.clone();
    let mut rounds = 0;
    let mut still_in_flight = 0;
    let deadline = Instant::now() + args.timeout;
    options.scan = false;
    while args.repair && !args.no_wait && still_in_flight == 0 && needs_another_round(&last, rounds)
    {
        rounds += 1;
        still_in_flight = wait_until_resent(status, &last, deadline, &progress).await;
        // After the timeout, differences are only reported, not resent.
        options.repair = still_in_flight == 0;
        last = run_auditor(auditor, &options, &progress).await?;
    }
    // Some of them may have been indexed during the last comparison.
    still_in_flight = still_in_flight.min(last.in_flight());
    progress.clear_bar();
    Ok(AuditResult {
        first,
        last,
        still_in_flight,
    })
}

/// Why the first library that was not compared was skipped.
fn first_not_compared(report: &AuditReport) -> Option<String> {
    let (name, reason) = report.not_compared().next()?;
    Some(format!("library {name} was not compared: {reason}"))
}

fn format_duration(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 120 => format!("{} min", seconds / 60),
        _ => format!("{} s", time.as_secs_f64()),
    }
}

/// Waits until the watchers of these libraries have reported; of any library, if none is named.
pub async fn wait_for_status_reports(status: &StatusView, libraries: &[LibraryName]) {
    let deadline = Instant::now() + STATUS_TIMEOUT;
    let (mut library_count, mut changed_at) = (0, Instant::now());
    while Instant::now() < deadline {
        let reported = status.libraries();
        let has_reported = |library: &LibraryName| {
            let mut statuses = reported.iter();
            statuses.any(|status| status.name == library.as_str())
        };
        if !libraries.is_empty() && libraries.iter().all(has_reported) {
            return;
        }
        if reported.len() != library_count {
            (library_count, changed_at) = (reported.len(), Instant::now());
        }
        let is_quiet = changed_at.elapsed() > STATUS_QUIET_TIME;
        if libraries.is_empty() && library_count > 0 && is_quiet {
            return;
        }
        tokio::time::sleep(STATUS_POLL_INTERVAL).await;
    }
}

async fn run_auditor(
    auditor: &Auditor,
    options: &AuditOptions,
    progress: &AuditProgress,
) -> Result<AuditReport> {
    let report = auditor
        .run(options, &|stage| progress.show_stage(stage))
        .await;
    Ok(report.inspect_err(|_| progress.clear_bar())?)
}

/// Whether to compare again after a repair: until nothing differs and nothing is in flight.
fn needs_another_round(last: &AuditReport, rounds: u32) -> bool {
    rounds < MAX_ROUNDS
        && match last.total_differences() {
            0 => rounds > 0 && last.in_flight() > 0,
            // Differences that were not repaired would be the same in the next round.
            _ => last.total_repaired() > 0,
        }
}

/// Waits until nothing is in flight in the compared libraries, or until the deadline. Returns how
/// many files are in flight then.
async fn wait_until_resent(
    status: &StatusView,
    report: &AuditReport,
    deadline: Instant,
    progress: &AuditProgress,
) -> u64 {
    let count_in_flight = || -> u64 {
        let statuses = status.libraries().into_iter();
        let compared = statuses.filter(|status| report.libraries.contains_key(&status.name));
        compared.map(|status| status.counts.in_flight).sum()
    };
    let started_at = Instant::now();
    let mut most_in_flight = 0;
    loop {
        let in_flight = count_in_flight();
        most_in_flight = most_in_flight.max(in_flight);
        if in_flight == 0 && (most_in_flight > 0 || started_at.elapsed() > RESEND_TIMEOUT) {
            return 0;
        }
        if in_flight > 0 && Instant::now() > deadline {
            return in_flight;
        }
        progress.show_waiting(most_in_flight - in_flight, most_in_flight);
        tokio::time::sleep(RESEND_POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use lookalike_audit::DifferenceKind;

    use super::*;

    fn make_report(differences: u64, repaired: u64, in_flight: u64) -> AuditReport {
        let mut report = AuditReport::default();
        let library = report.libraries.entry("shop".into()).or_default();
        library
            .differences
            .insert(DifferenceKind::Missing, differences);
        library.repaired.insert(DifferenceKind::Missing, repaired);
        library.in_flight = in_flight;
        report
    }

    #[test]
    fn a_repair_ends_whatever_is_in_flight() {
        assert!(needs_another_round(&make_report(3, 3, 0), 0));
        assert!(needs_another_round(&make_report(0, 0, 3), 1));
        assert!(!needs_another_round(&make_report(0, 0, 0), 1));
        assert!(
            !needs_another_round(&make_report(0, 0, 3), 0),
            "nothing was resent"
        );
        assert!(
            !needs_another_round(&make_report(3, 0, 0), 0),
            "not repaired"
        );
        // Missing files stay in flight as long as the mass-delete guard holds them.
        let count_rounds = |last: AuditReport| {
            (1..)
                .find(|&round| !needs_another_round(&last, round))
                .unwrap_or(u32::MAX)
        };
        assert_eq!(count_rounds(make_report(0, 0, 90)), MAX_ROUNDS);
        assert_eq!(count_rounds(make_report(3, 3, 0)), MAX_ROUNDS);
    }

    #[test]
    fn a_library_that_was_not_compared_is_reported() {
        let mut report = make_report(0, 0, 0);
        assert_eq!(first_not_compared(&report), None);
        let attic = report.libraries.entry("attic".into()).or_default();
        attic.not_compared = Some("no watcher answers".into());
        let reason = first_not_compared(&report).unwrap();
        assert!(
            reason.contains("attic") && reason.contains("no watcher answers"),
            "{reason}"
        );
    }
}
