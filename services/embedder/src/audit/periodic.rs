//! Audits by themselves: one embedder of all counts rows often and compares everything seldom,
//! or at once where the counts do not fit, the collection was made anew, or Milvus was away.
//!
//! `keep_equal` awaits; [`Watch`] decides.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lookalike_bus::{Bus, Lease, LibraryStatus};
use lookalike_chassis::Backoff;
use lookalike_index::{Error as IndexError, Filter};
use rand::Rng as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Auditor, Kind, Options, Report, Settings};
use crate::metrics;

/// How many counts the first audit waits for the watchers' first scans: one that has none, because
/// its folder is away, keeps the others waiting no longer.
const COUNTS_BEFORE_FIRST: u32 = 8;

/// After a full audit because of counts that found nothing, the next one for such a reason waits
/// for so many counts, then for twice as many, up to four times.
const COUNTS_AFTER_NOTHING: u32 = 20;

/// How long an audit that could not be finished is left, at most, before the next try.
const TRIED_AGAIN_WITHIN: Duration = Duration::from_secs(600);

/// How often an embedder that does not audit asks whether it may.
const LEASE_IS_ASKED_FOR: Duration = Duration::from_secs(3);

/// Audits until `ended`, while no other embedder does.
pub(crate) async fn keep_equal(
    auditor: Auditor,
    bus: Bus,
    instance: String,
    aside: watch::Receiver<bool>,
    ended: CancellationToken,
) {
    if !auditor.settings.enabled {
        return;
    }
    let (told, held) = watch::channel(false);
    let holding = hold_lease(bus, instance, told, aside, ended.clone());
    let auditing = async {
        let mut watch = Watch::new(&auditor.settings, Instant::now());
        loop {
            tokio::time::sleep(auditor.settings.check_interval).await;
            if *held.borrow() {
                turn(&auditor, &mut watch).await;
            } else {
                // Another one tells what differs.
                metrics::show_drift(|_| 0);
                watch = Watch::new(&auditor.settings, Instant::now());
            }
        }
    };
    tokio::select! {
        // Ends with `ended`, when it has given the lease up.
        () = holding => {}
        // Cut off in the midst, it leaves no more than the next audit finds.
        () = auditing => {}
    }
}

/// Takes the lease and keeps it until `ended`; says whether it is held.
async fn hold_lease(
    bus: Bus,
    instance: String,
    told: watch::Sender<bool>,
    mut aside: watch::Receiver<bool>,
    ended: CancellationToken,
) {
    let mut lease: Option<Lease> = None;
    let holding = async {
        loop {
            if *aside.borrow_and_update() {
                told.send_replace(false);
                if let Some(held) = lease.take() {
                    let _ = tokio::time::timeout(Duration::from_secs(1), held.give_up()).await;
                }
            } else {
                take_or_renew(&bus, &instance, &mut lease).await;
                told.send_replace(lease.is_some());
            }
            let wait = lease
                .as_ref()
                .map_or(LEASE_IS_ASKED_FOR, |lease| lease.term() / 3);
            let _ = tokio::time::timeout(wait, aside.changed()).await;
        }
    };
    let _: Option<()> = ended.run_until_cancelled(holding).await;
    if let Some(lease) = lease {
        // Without NATS it ends by itself.
        let _ = tokio::time::timeout(Duration::from_secs(1), lease.give_up()).await;
    }
}

async fn take_or_renew(bus: &Bus, instance: &str, lease: &mut Option<Lease>) {
    let done = match lease {
        Some(held) => match held.renew().await {
            Ok(true) => Ok(()),
            Ok(false) => {
                *lease = None;
                Ok(())
            }
            // It lasts until its term is over; what is done beyond that is done twice at most.
            Err(error) => Err(error),
        },
        None => match bus.take_lease("audit", instance).await {
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
async fn turn(auditor: &Auditor, watch: &mut Watch) {
    let statuses = auditor.status.libraries();
    if statuses.is_empty() {
        return;
    }
    let counted = match count(auditor, &statuses).await {
        Ok(counted) => counted,
        Err(error) => {
            watch.milvus_failed(&error);
            if let IndexError::Missing { .. } = error
                && let Err(error) = auditor.index.ensure().await
            {
                tracing::warn!(%error, "the collection can't be made again now");
            }
            return;
        }
    };
    let Some(reason) = watch.reason(&statuses, &counted, Instant::now()) else {
        return;
    };
    tracing::info!(%reason, "comparing the index with the catalogs");
    let options = Options {
        repair: auditor.settings.repair,
        ..Options::default()
    };
    match auditor.run(&options, &|_| {}).await {
        Ok(report) => {
            tell(&report);
            watch.audited(&report, &statuses, &counted, Instant::now());
        }
        Err(error) => {
            tracing::warn!(%error, "the audit was not finished and is tried again");
            watch.failed(Instant::now());
        }
    }
}

/// Rows of each library, as cheaply as they can be counted.
async fn count(
    auditor: &Auditor,
    statuses: &[LibraryStatus],
) -> Result<BTreeMap<String, u64>, IndexError> {
    let mut counted = BTreeMap::new();
    for status in statuses {
        let library = Filter::Library(vec![status.name.clone()]);
        let rows = auditor.index.approximate_count(&library).await?;
        counted.insert(status.name.clone(), rows);
    }
    Ok(counted)
}

fn tell(report: &Report) {
    metrics::AUDITS.inc();
    metrics::AUDIT_SECONDS.observe(report.seconds);
    for kind in Kind::ALL {
        let repaired = report.repaired(kind);
        metrics::REPAIRED
            .with_label_values(&[kind.word()])
            .inc_by(repaired);
    }
    // What is only sent again differs until the next audit sees that it does not.
    metrics::show_drift(|kind| match kind {
        Kind::Unknown => report.found(kind) - report.repaired(kind),
        kind => report.found(kind),
    });
    let kinds = Kind::ALL.map(|kind| (kind.word(), report.found(kind)));
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
        repaired = report.repaired_in_all(),
        "the index differs from the catalogs: {}",
        found.join(", ")
    );
    for difference in report.differences.iter().take(5) {
        tracing::info!(
            kind = difference.kind.word(),
            library = difference.library,
            image = difference.id,
            path = difference.path,
            "{}",
            difference.detail
        );
    }
}

/// Rows and what the watcher said, where they did not fit.
type Misfit = (u64, u64);

/// How many more rows there are than indexed files.
fn surplus((rows, indexed): Misfit) -> i128 {
    i128::from(rows) - i128::from(indexed)
}

/// When to audit.
struct Watch {
    interval: Duration,
    due: Instant,
    audited_once: bool,
    counts_waited: u32,
    /// What did not fit at the last count, by library.
    misfits: BTreeMap<String, Misfit>,
    /// How many more rows than indexed files there were when an audit found nothing: files that
    /// vanished, and are kept for a while, have rows and are not indexed. No reason for another one.
    accepted: BTreeMap<String, i128>,
    /// The last reason was a count.
    for_a_count: bool,
    /// No audit for a count before this.
    counts_rest_until: Option<Instant>,
    /// Audits for counts that found nothing, one after the other.
    rest: Backoff,
    /// No audit at all before this: the last one could not be finished.
    not_before: Option<Instant>,
    /// Audits that could not be finished, one after the other.
    unfinished: Backoff,
    milvus_was_away: bool,
    /// Something was repaired: it is looked at again, at first soon.
    look_again: Option<Instant>,
    patience: Backoff,
}

impl Watch {
    fn new(settings: &Settings, now: Instant) -> Self {
        Self {
            interval: settings.interval,
            due: now + settings.interval,
            audited_once: false,
            counts_waited: 0,
            misfits: BTreeMap::new(),
            accepted: BTreeMap::new(),
            for_a_count: false,
            counts_rest_until: None,
            rest: {
                let first = settings.check_interval * COUNTS_AFTER_NOTHING;
                // Its jitter takes up to a half.
                Backoff::new(first * 2, first * 8)
            },
            not_before: None,
            unfinished: Backoff::new(
                settings.check_interval * 2,
                settings
                    .interval
                    .min(TRIED_AGAIN_WITHIN)
                    .max(settings.check_interval),
            ),
            milvus_was_away: false,
            look_again: None,
            patience: Backoff::new(
                settings.check_interval,
                settings.interval.max(settings.check_interval),
            ),
        }
    }

    fn milvus_failed(&mut self, error: &IndexError) {
        tracing::debug!(%error, "rows can't be counted now");
        self.misfits.clear();
        // A server that is only slow brings no rows back, and needs no more to do.
        self.milvus_was_away |= !matches!(error, IndexError::Timeout { .. });
    }

    /// Why everything is to be compared now, if it is.
    fn reason(
        &mut self,
        statuses: &[LibraryStatus],
        counted: &BTreeMap<String, u64>,
        now: Instant,
    ) -> Option<String> {
        let before = std::mem::take(&mut self.misfits);
        for status in statuses {
            if let Some(rows) = counted.get(&status.name)
                && misfit(status, *rows)
            {
                let found = (*rows, status.counts.indexed);
                if self.accepted.get(&status.name) != Some(&surplus(found)) {
                    self.misfits.insert(status.name.clone(), found);
                }
            }
        }
        self.for_a_count = false;
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let rest = |status: &LibraryStatus| status.scanned_once && !status.scanning;
        if !self.audited_once {
            self.counts_waited += 1;
            let go = statuses.iter().all(rest) || self.counts_waited >= COUNTS_BEFORE_FIRST;
            return go.then(|| "the embedder started".to_owned());
        }
        if self.milvus_was_away {
            return Some("Milvus was away".to_owned());
        }
        if now >= self.due {
            return Some("it was time".to_owned());
        }
        let quiet = statuses
            .iter()
            .all(|status| rest(status) && status.counts.in_flight == 0);
        if self.look_again.is_some_and(|at| now >= at) && quiet {
            return Some("something was repaired".to_owned());
        }
        if self.counts_rest_until.is_some_and(|at| now < at) {
            return None;
        }
        let (name, (rows, indexed)) = self
            .misfits
            .iter()
            .find(|(name, _)| before.contains_key(*name))?;
        self.for_a_count = true;
        Some(format!(
            "library {name} has {rows} rows, and its watcher knows {indexed} indexed files"
        ))
    }

    fn audited(
        &mut self,
        report: &Report,
        statuses: &[LibraryStatus],
        counted: &BTreeMap<String, u64>,
        now: Instant,
    ) {
        self.audited_once = true;
        self.milvus_was_away = false;
        self.misfits.clear();
        self.not_before = None;
        self.counts_rest_until = None;
        self.due = now
            + self
                .interval
                .mul_f64(rand::thread_rng().gen_range(0.8..1.2));
        if report.not_compared().next().is_some() {
            // The others need not wait for it.
            self.due = self.due.min(now + self.unfinished.next_wait());
        } else {
            self.unfinished.reset();
        }
        let still_on_its_way = self.look_again.is_some() && report.in_flight() > 0;
        if report.found_in_all() > 0 || still_on_its_way {
            // Again and again the same: less and less often.
            self.look_again = Some(now + self.patience.next_wait());
            self.counts_rest_until = self.look_again;
            self.rest.reset();
            return;
        }
        self.look_again = None;
        self.patience.reset();
        // Counts that do not fit though nothing differs are the server's way of counting.
        for status in statuses {
            let compared = report.libraries.get(&status.name);
            if let Some(rows) = counted.get(&status.name)
                && compared.is_some_and(|library| library.not_compared.is_none())
            {
                let found = (*rows, status.counts.indexed);
                if misfit(status, *rows) {
                    self.accepted.insert(status.name.clone(), surplus(found));
                } else {
                    self.accepted.remove(&status.name);
                }
            }
        }
        self.accepted
            .retain(|name, _| statuses.iter().any(|status| status.name == *name));
        if self.for_a_count {
            self.counts_rest_until = Some(now + self.rest.next_wait());
        } else {
            self.rest.reset();
        }
    }

    /// Not finished: again after a while, and later each time.
    fn failed(&mut self, now: Instant) {
        let again = now + self.unfinished.next_wait();
        self.not_before = Some(again);
        self.due = self.due.min(again);
    }
}

/// Whether a library can't have so many rows. While things are under way, counts of both sides
/// are of different moments: then only the loss of a tenth counts.
fn misfit(status: &LibraryStatus, rows: u64) -> bool {
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
