//! Audits by themselves: one embedder of all counts rows often and compares everything seldom,
//! or at once where the counts do not fit, the collection was made anew, or Milvus was away.
//!
//! `run_periodic_audit` awaits; [`AuditSchedule`] decides.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lookalike_bus::{Bus, Lease, LibraryStatus};
use lookalike_chassis::Backoff;
use lookalike_index::{Error as IndexError, RowFilter};
use rand::Rng as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{AuditOptions, AuditReport, Auditor, DifferenceKind, Settings};
use crate::metrics;

/// How many counts the first audit waits for the watchers' first scans: one that has none, because
/// its folder is away, keeps the others waiting no longer.
const COUNTS_BEFORE_FIRST: u32 = 8;

/// After a full audit because of counts that found nothing, the next one for such a reason waits
/// for so many counts, then for twice as many, up to four times.
const COUNTS_AFTER_NOTHING: u32 = 20;

/// How long an audit that could not be finished is left, at most, before the next try.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(600);

/// How often an embedder that does not audit asks whether it may.
const LEASE_POLL_INTERVAL: Duration = Duration::from_secs(3);

/// Audits until `stop`, while no other embedder does.
pub(crate) async fn run_periodic_audit(
    auditor: Auditor,
    bus: Bus,
    instance: String,
    paused: watch::Receiver<bool>,
    ended: CancellationToken,
) {
    if !auditor.settings.enabled {
        return;
    }
    let (lease_sender, holds_lease) = watch::channel(false);
    let holding = hold_audit_lease(bus, instance, lease_sender, paused, ended.clone());
    let auditing = async {
        let mut schedule = AuditSchedule::new(&auditor.settings, Instant::now());
        loop {
            tokio::time::sleep(auditor.settings.check_interval).await;
            if *holds_lease.borrow() {
                run_tick(&auditor, &mut schedule).await;
            } else {
                // Another one tells what differs.
                metrics::set_drift(|_| 0);
                schedule = AuditSchedule::new(&auditor.settings, Instant::now());
            }
        }
    };
    tokio::select! {
        // Ends with `stop`, when it has given the lease up.
        () = holding => {}
        // Cut off in the midst, it leaves no more than the next audit finds.
        () = auditing => {}
    }
}

/// Takes the lease and keeps it until `stop`; says whether it is held.
async fn hold_audit_lease(
    bus: Bus,
    instance: String,
    lease_sender: watch::Sender<bool>,
    mut paused: watch::Receiver<bool>,
    ended: CancellationToken,
) {
    let mut lease: Option<Lease> = None;
    let holding = async {
        loop {
            if *paused.borrow_and_update() {
                lease_sender.send_replace(false);
                if let Some(held) = lease.take() {
                    let _ =
                        tokio::time::timeout(Duration::from_secs(1), held.release_lease()).await;
                }
            } else {
                take_or_renew_lease(&bus, &instance, &mut lease).await;
                lease_sender.send_replace(lease.is_some());
            }
            let wait = lease
                .as_ref()
                .map_or(LEASE_POLL_INTERVAL, |lease| lease.term() / 3);
            let _ = tokio::time::timeout(wait, paused.changed()).await;
        }
    };
    let _: Option<()> = ended.run_until_cancelled(holding).await;
    if let Some(lease) = lease {
        // Without NATS it ends by itself.
        let _ = tokio::time::timeout(Duration::from_secs(1), lease.release_lease()).await;
    }
}

async fn take_or_renew_lease(bus: &Bus, instance: &str, lease: &mut Option<Lease>) {
    let done = match lease {
        Some(held) => match held.renew_lease().await {
            Ok(true) => Ok(()),
            Ok(false) => {
                *lease = None;
                Ok(())
            }
            // It lasts until its term is over; what is done beyond that is done twice at most.
            Err(error) => Err(error),
        },
        None => match bus.acquire_lease("audit", instance).await {
            Ok(taken) => {
                *lease = taken;
                Ok(())
            }
            Err(error) => Err(error),
        },
    };
    if let Err(error) = done {
        tracing::debug!(%error, "the lease of the audit can't be taken or renewed now");
    }
}

/// Counts, and audits where there is a reason to.
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
                && let Err(error) = auditor.index.ensure_collection().await
            {
                tracing::warn!(%error, "the collection can't be made again now");
            }
            return;
        }
    };
    let Some(reason) = schedule.audit_reason(&statuses, &counted, Instant::now()) else {
        return;
    };
    tracing::info!(%reason, "comparing the index with the catalogs");
    let options = AuditOptions {
        repair: auditor.settings.repair,
        ..AuditOptions::default()
    };
    match auditor.run(&options, &|_| {}).await {
        Ok(report) => {
            publish_report(&report);
            schedule.record_audit(&report, &statuses, &counted, Instant::now());
        }
        Err(error) => {
            tracing::warn!(%error, "the audit was not finished and is tried again");
            schedule.record_unfinished(Instant::now());
        }
    }
}

/// Rows of each library, as cheaply as they can be counted.
async fn count_library_rows(
    auditor: &Auditor,
    statuses: &[LibraryStatus],
) -> Result<BTreeMap<String, u64>, IndexError> {
    let mut counted = BTreeMap::new();
    for status in statuses {
        let library = RowFilter::Library(vec![status.name.clone()]);
        let rows = auditor.index.approximate_count(&library).await?;
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
    // What is only sent again differs until the next audit sees that it does not.
    metrics::set_drift(|kind| match kind {
        DifferenceKind::Unknown => report.count_differences(kind) - report.count_repaired(kind),
        kind => report.count_differences(kind),
    });
    let kinds = DifferenceKind::ALL.map(|kind| (kind.label(), report.count_differences(kind)));
    let found: Vec<String> = kinds
        .iter()
        .filter(|(_, found)| *found > 0)
        .map(|(kind, found)| format!("{found} {kind}"))
        .collect();
    if found.is_empty() {
        tracing::info!(seconds = report.seconds, "the index fits the catalogs");
        return;
    }
    tracing::warn!(
        seconds = report.seconds,
        repaired = report.total_repaired(),
        "the index differs from the catalogs: {}",
        found.join(", ")
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

/// Rows and what the watcher said, where they did not fit.
type CountMismatch = (u64, u64);

/// How many more rows there are than indexed files.
fn surplus_rows((rows, indexed): CountMismatch) -> i128 {
    i128::from(rows) - i128::from(indexed)
}

/// When to audit.
struct AuditSchedule {
    interval: Duration,
    due: Instant,
    audited_once: bool,
    counts_waited: u32,
    /// What did not fit at the last count, by library.
    mismatches: BTreeMap<String, CountMismatch>,
    /// How many more rows than indexed files there were when an audit found nothing: files that
    /// vanished, and are kept for a while, have rows and are not indexed. No reason for another one.
    accepted_surplus: BTreeMap<String, i128>,
    /// The last reason was a count.
    is_due_to_count: bool,
    /// No audit for a count before this.
    ignore_counts_until: Option<Instant>,
    /// Audits for counts that found nothing, one after the other.
    count_backoff: Backoff,
    /// No audit at all before this: the last one could not be finished.
    not_before: Option<Instant>,
    /// Audits that could not be finished, one after the other.
    unfinished_backoff: Backoff,
    milvus_was_unavailable: bool,
    /// Something was repaired: it is looked at again, at first soon.
    recheck_at: Option<Instant>,
    recheck_backoff: Backoff,
}

impl AuditSchedule {
    fn new(settings: &Settings, now: Instant) -> Self {
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
                let first = settings.check_interval * COUNTS_AFTER_NOTHING;
                // Its jitter takes up to a half.
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

    fn record_milvus_failure(&mut self, error: &IndexError) {
        tracing::debug!(%error, "rows can't be counted now");
        self.mismatches.clear();
        // A server that is only slow brings no rows back, and needs no more to do.
        self.milvus_was_unavailable |= !matches!(error, IndexError::Timeout { .. });
    }

    /// Why everything is to be compared now, if it is.
    fn audit_reason(
        &mut self,
        statuses: &[LibraryStatus],
        counted: &BTreeMap<String, u64>,
        now: Instant,
    ) -> Option<String> {
        let before = std::mem::take(&mut self.mismatches);
        for status in statuses {
            if let Some(rows) = counted.get(&status.name)
                && is_count_mismatch(status, *rows)
            {
                let found = (*rows, status.counts.indexed);
                if self.accepted_surplus.get(&status.name) != Some(&surplus_rows(found)) {
                    self.mismatches.insert(status.name.clone(), found);
                }
            }
        }
        self.is_due_to_count = false;
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let is_scanned = |status: &LibraryStatus| status.scanned_once && !status.scanning;
        if !self.audited_once {
            self.counts_waited += 1;
            let go = statuses.iter().all(is_scanned) || self.counts_waited >= COUNTS_BEFORE_FIRST;
            return go.then(|| "the embedder started".to_owned());
        }
        if self.milvus_was_unavailable {
            return Some("Milvus was away".to_owned());
        }
        if now >= self.due {
            return Some("it was time".to_owned());
        }
        let quiet = statuses
            .iter()
            .all(|status| is_scanned(status) && status.counts.in_flight == 0);
        if self.recheck_at.is_some_and(|at| now >= at) && quiet {
            return Some("something was repaired".to_owned());
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
            "library {name} has {rows} rows, and its watcher knows {indexed} indexed files"
        ))
    }

    fn record_audit(
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
            // The others need not wait for it.
            self.due = self.due.min(now + self.unfinished_backoff.next_delay());
        } else {
            self.unfinished_backoff.reset_attempts();
        }
        let resends_in_flight = self.recheck_at.is_some() && report.in_flight() > 0;
        if report.total_differences() > 0 || resends_in_flight {
            // Again and again the same: less and less often.
            self.recheck_at = Some(now + self.recheck_backoff.next_delay());
            self.ignore_counts_until = self.recheck_at;
            self.count_backoff.reset_attempts();
            return;
        }
        self.recheck_at = None;
        self.recheck_backoff.reset_attempts();
        // Counts that do not fit though nothing differs are the server's way of counting.
        for status in statuses {
            let compared = report.libraries.get(&status.name);
            if let Some(rows) = counted.get(&status.name)
                && compared.is_some_and(|library| library.not_compared.is_none())
            {
                let found = (*rows, status.counts.indexed);
                if is_count_mismatch(status, *rows) {
                    self.accepted_surplus
                        .insert(status.name.clone(), surplus_rows(found));
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

    /// Not finished: again after a while, and later each time.
    fn record_unfinished(&mut self, now: Instant) {
        let again = now + self.unfinished_backoff.next_delay();
        self.not_before = Some(again);
        self.due = self.due.min(again);
    }
}

/// Whether a library can't have so many rows. While things are under way, counts of both sides
/// are of different moments: then only the loss of a tenth counts.
fn is_count_mismatch(status: &LibraryStatus, rows: u64) -> bool {
    let indexed = status.counts.indexed;
    if status.counts.in_flight == 0 && !status.scanning {
        rows != indexed
    } else {
        rows < indexed - indexed / 10
    }
}

#[cfg(test)]
#[path = "periodic_tests.rs"]
mod tests;
