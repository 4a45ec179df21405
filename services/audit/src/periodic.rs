//! Periodic audits: one embedder at a time counts rows often and compares everything rarely, or at
//! once if there is a reason to.
//!
//! [`run_periodic_audit`] awaits; [`AuditSchedule`] decides.

use std::collections::BTreeMap;
use std::time::Instant;

use lookalike_bus::{Bus, LibraryStatus};
use lookalike_index::{Error as IndexError, RowFilter};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::auditor::Auditor;
use crate::compare::DifferenceKind;
use crate::context::AuditOptions;
use crate::lease::hold_audit_lease;
use crate::metrics;
use crate::report::AuditReport;
use crate::schedule::AuditSchedule;

/// Runs audits until `shutdown`, while this process holds the audit lease and is not `paused`.
pub async fn run_periodic_audit(
    auditor: Auditor,
    bus: Bus,
    instance: String,
    paused: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    if !auditor.context.settings.enabled {
        return;
    }
    let (lease_sender, holds_lease) = watch::channel(false);
    let holding = hold_audit_lease(bus, instance, lease_sender, paused, shutdown.clone());
    let auditing = async {
        let mut schedule = AuditSchedule::new(&auditor.context.settings, Instant::now());
        loop {
            tokio::time::sleep(auditor.context.settings.check_interval).await;
            if *holds_lease.borrow() {
                run_tick(&auditor, &mut schedule).await;
            } else {
                // The embedder that holds the lease exports the drift.
                metrics::set_drift(|_| 0);
                schedule = AuditSchedule::new(&auditor.context.settings, Instant::now());
            }
        }
    };
    tokio::select! {
        // Ends after `shutdown`, when the lease is released.
        () = holding => {}
        // An interrupted audit leaves nothing behind that the next one does not find.
        () = auditing => {}
    }
}

/// Counts rows, and runs an audit if the schedule has a reason to.
async fn run_tick(auditor: &Auditor, schedule: &mut AuditSchedule) {
    let statuses = auditor.status.libraries();
    if statuses.is_empty() {
        return;
    }
    let counted = match count_library_rows(auditor, &statuses).await {
        Ok(counted) => counted,
        Err(error) => {
            schedule.record_milvus_failure(&error);
            if let IndexError::Missing { .. } = error
                && let Err(error) = auditor.context.index.ensure_collection().await
            {
                tracing::warn!(%error, "cannot create the collection again");
            }
            return;
        }
    };
    let Some(reason) = schedule.audit_reason(&statuses, &counted, Instant::now()) else {
        return;
    };
    tracing::info!(%reason, "comparing the index with the catalogs");
    let options = AuditOptions {
        repair: auditor.context.settings.repair,
        ..AuditOptions::default()
    };
    match auditor.run(&options, &|_| {}).await {
        Ok(report) => {
            publish_report(&report);
            schedule.record_audit(&report, &statuses, &counted, Instant::now());
        }
        Err(error) => {
            tracing::warn!(%error, "the audit could not be finished and will be repeated");
            schedule.record_unfinished(Instant::now());
        }
    }
}

/// Counts the rows of each library with the cheapest request.
async fn count_library_rows(
    auditor: &Auditor,
    statuses: &[LibraryStatus],
) -> Result<BTreeMap<String, u64>, IndexError> {
    let mut counted = BTreeMap::new();
    for status in statuses {
        let library = RowFilter::Library(vec![status.name.clone()]);
        let rows = auditor.context.index.approximate_count(&library).await?;
        counted.insert(status.name.clone(), rows);
    }
    Ok(counted)
}

fn publish_report(report: &AuditReport) {
    metrics::AUDITS.inc();
    metrics::AUDIT_SECONDS.observe(report.seconds);
    for kind in DifferenceKind::ALL {
        let repaired = report.count_repaired(kind);
        metrics::REPAIRED
            .with_label_values(&[kind.label()])
            .inc_by(repaired);
    }
    // A resent image counts as different until the next audit confirms the repair.
    metrics::set_drift(|kind| match kind {
        DifferenceKind::Unknown => report.count_differences(kind) - report.count_repaired(kind),
        kind => report.count_differences(kind),
    });
    let kinds = DifferenceKind::ALL.map(|kind| (kind.label(), report.count_differences(kind)));
    let summary: Vec<String> = kinds
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    if summary.is_empty() {
        tracing::info!(seconds = report.seconds, "the index matches the catalogs");
        return;
    }
    tracing::warn!(
        seconds = report.seconds,
        repaired = report.total_repaired(),
        "the index differs from the catalogs: {}",
        summary.join(", ")
    );
    for difference in report.differences.iter().take(5) {
        tracing::info!(
            kind = difference.kind.label(),
            library = difference.library,
            image = difference.id,
            path = difference.path,
            "{}",
            difference.detail
        );
    }
}
