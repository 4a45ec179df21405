//! The keeper: one thread that owns the catalog and makes every decision. Tasks wait on its behalf.
//!
//! Each tick takes what arrived, reads the disk, records what it saw in one transaction, and only
//! then replies. If the catalog cannot be written (a full disk), the tick is discarded and every
//! library is scanned later, because the tick's hints are used up.

mod outbox;
mod outcome;
mod requests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lookalike_bus::Degradation;
use lookalike_chassis::Backoff;
use lookalike_proto::LibraryName;
use tokio::sync::{Notify, watch};

use crate::catalog::{self, Catalog};
use crate::clock::Now;
use crate::content_checks::ContentChecks;
use crate::ignore_files::{IGNORE_FILE_NAME, NO_MEDIA_FILE_NAME};
use crate::inbox::{DrainedInbox, Hint, HintKind, Inbox, KeeperSignal, PublishedStatus};
use crate::library::Library;
use crate::library::id::LibraryId;
use crate::library::libraries::Libraries;
use crate::library::scan_queue::ScanQueue;
use crate::library::settling::SettlingFiles;
use crate::library::tick::Tick;
use crate::notify::watch_table::WatchBudget;
use crate::paths::split_path;
use crate::rules;
use crate::settings::Settings;

type Result<T> = std::result::Result<T, catalog::Error>;

/// Hints that one tick handles, so that requests never wait long.
const MAX_HINTS_PER_TICK: usize = 1024;

/// How long one tick scans before it commits.
const SCAN_TIME_PER_TICK: Duration = Duration::from_millis(20);

/// The longest time between two ticks.
const MAX_IDLE_TIME: Duration = Duration::from_secs(1);

/// The state of the keeper's thread.
pub struct Keeper {
    settings: Settings,
    catalog: Catalog,
    libraries: Libraries,
    settling: SettlingFiles,
    scans: ScanQueue,
    content_checks: Arc<ContentChecks>,
    inbox: Arc<Inbox>,
    /// Notified when the outbox has something to send.
    outbox_filled: Arc<Notify>,
    published: watch::Sender<PublishedStatus>,
    /// Sent once the tick has committed.
    replies: Vec<Box<dyn FnOnce() + Send>>,
    is_stopping: bool,
}

impl Keeper {
    /// Creates a keeper that works on no library until one is activated.
    pub fn new(
        settings: Settings,
        mut catalog: Catalog,
        libraries: Vec<(LibraryName, PathBuf)>,
        inbox: Arc<Inbox>,
        outbox_filled: Arc<Notify>,
        published: watch::Sender<PublishedStatus>,
    ) -> Result<Self> {
        let budget = WatchBudget::new(settings.max_watches);
        let mut list = Vec::new();
        catalog.begin_transaction()?;
        for (index, (name, root)) in libraries.into_iter().enumerate() {
            let id = LibraryId::new(index);
            let library = Library::new(id, name, &root, &mut catalog, &inbox, &budget, &settings)?;
            list.push(library);
        }
        let events = catalog.reset_half_published()?;
        catalog.commit_transaction()?;
        if events > 0 {
            tracing::info!(
                events,
                "resending events that the previous run did not finish publishing"
            );
        }
        Ok(Self {
            content_checks: Arc::new(ContentChecks::new(settings.max_settling)),
            settling: SettlingFiles::new(settings.settle_interval, settings.max_settling),
            settings,
            catalog,
            libraries: Libraries::new(list),
            scans: ScanQueue::default(),
            inbox,
            outbox_filled,
            published,
            replies: Vec::new(),
            is_stopping: false,
        })
    }

    /// Returns the queue of contents to compare, for the thread that reads.
    pub fn content_checks(&self) -> Arc<ContentChecks> {
        self.content_checks.clone()
    }

    /// Runs ticks until stopped.
    pub fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        while !self.is_stopping {
            let deadline = self.next_deadline();
            let drained = self.inbox.wait_and_drain(MAX_HINTS_PER_TICK, deadline);
            match self.run_tick(drained, Now::from_clock()) {
                Ok(()) => backoff.reset_attempts(),
                Err(error) => {
                    let wait = backoff.next_delay();
                    tracing::error!(%error, ?wait, "the catalog failed; trying again");
                    self.discard_tick(Now::from_clock());
                    self.publish_catalog_failure(&error, Now::from_clock());
                    if self.inbox.wait_for_stop(wait) {
                        return;
                    }
                }
            }
        }
    }

    /// Runs one tick: applies what arrived, does what is due, commits, replies, and publishes the
    /// status. If the catalog fails, nothing of the tick is kept.
    pub fn run_tick(&mut self, drained: DrainedInbox, now: Now) -> Result<()> {
        for library in self.libraries.iter_mut() {
            library.clear_tick_caches();
        }
        self.handle_overflows(drained.overflowed, now);
        // Signals need no catalog. They come first, so that a failing tick does not lose them.
        self.handle_signals(drained.signals, now);
        self.catalog.begin_transaction()?;
        for request in drained.requests {
            self.handle_request(request, now)?;
        }
        for hint in drained.hints {
            self.handle_hint(&hint, now)?;
        }
        self.observe_settling_files(now)?;
        self.check_unreadable_places(now)?;
        self.plan_due_scans(now);
        self.run_scans(now)?;
        let (libraries, mut tick) = self.borrow_for_tick(now);
        libraries.remove_missing_files(&mut tick)?;
        let has_sendable = !self.sendable_rows(now, 1)?.is_empty();
        let remaining = self.remaining_in_flight()?;
        let has_events = has_sendable && remaining > 0;
        let is_busy = has_sendable || remaining < self.settings.max_in_flight;
        self.content_checks.set_busy(is_busy);
        self.catalog.commit_transaction()?;
        if has_events {
            self.outbox_filled.notify_one();
        }
        for send_reply in self.replies.drain(..) {
            send_reply();
        }
        self.publish_status(now)
    }

    /// Discards a tick that could not be committed, and plans full scans.
    pub fn discard_tick(&mut self, now: Now) {
        self.replies.clear();
        self.catalog.roll_back_transaction();
        self.libraries.clear_vacated_paths();
        self.scans = ScanQueue::default();
        self.content_checks.clear_checks();
        for library in self.libraries.iter_mut() {
            if let Ok(record) = self.catalog.library_record(library.key) {
                library.root.identity = record.root_identity;
            }
            // The request that confirmed a deletion in this tick has failed.
            library.mass_delete_guard = Default::default();
            if library.is_active() {
                self.scans.plan_full_scan(library.id, now);
            }
        }
    }

    /// Splits the keeper into its libraries and what a tick's steps share.
    fn borrow_for_tick(&mut self, now: Now) -> (&mut Libraries, Tick<'_>) {
        let tick = Tick {
            settings: &self.settings,
            catalog: &mut self.catalog,
            settling: &mut self.settling,
            scans: &mut self.scans,
            inbox: &self.inbox,
            content_checks: &self.content_checks,
            now,
        };
        (&mut self.libraries, tick)
    }

    fn handle_overflows(&mut self, overflowed: Vec<LibraryId>, now: Now) {
        let (libraries, mut tick) = self.borrow_for_tick(now);
        for id in overflowed {
            let library = &mut libraries[id];
            library.watch_schedule.watches.mark_stale(b"");
            library.plan_full_scan("reports of changes were lost", &mut tick);
        }
    }

    fn handle_signals(&mut self, signals: Vec<KeeperSignal>, now: Now) {
        for signal in signals {
            let (libraries, mut tick) = self.borrow_for_tick(now);
            match signal {
                KeeperSignal::SetDegraded(id, reason, detail) => {
                    libraries[id].set_degraded(reason, detail, &tick);
                }
                KeeperSignal::EnterStandby(id) => libraries[id].enter_standby(&mut tick),
                KeeperSignal::Stop => self.is_stopping = true,
            }
        }
    }

    fn handle_hint(&mut self, hint: &Hint, now: Now) -> Result<()> {
        let (libraries, mut tick) = self.borrow_for_tick(now);
        let library = &mut libraries[hint.library];
        if !library.is_active() {
            return Ok(());
        }
        if hint.path.is_empty() {
            // The root itself was created, deleted or changed.
            library.plan_full_scan("the root folder changed", &mut tick);
            return Ok(());
        }
        let mut folders = hint.path.split(|byte| *byte == b'/').rev().skip(1);
        let enters_system_folders = tick.settings.enter_system_folders;
        if !folders.all(|name| rules::is_entered_folder(name, enters_system_folders)) {
            return Ok(());
        }
        let watches = &mut library.watch_schedule.watches;
        match hint.kind {
            HintKind::Gone | HintKind::MovedItself => watches.remove_watches_below(&hint.path),
            HintKind::Ready => watches.mark_stale(&hint.path),
            HintKind::Changed => {}
        }
        let is_complete = hint.kind == HintKind::Ready;
        libraries.observe_path(hint.library, &hint.path, is_complete, &mut tick)?;
        let library = &mut libraries[hint.library];
        if matches!(hint.kind, HintKind::Gone | HintKind::MovedItself) {
            library.record_missing_folder(&hint.path, &mut tick)?;
        }
        if let (folder, IGNORE_FILE_NAME | NO_MEDIA_FILE_NAME) = split_path(&hint.path) {
            library.plan_scan_below(folder, &mut tick);
        }
        Ok(())
    }

    /// Observes the files whose second check is due.
    fn observe_settling_files(&mut self, now: Now) -> Result<()> {
        let (libraries, mut tick) = self.borrow_for_tick(now);
        while let Some((id, path)) = tick.settling.pop_due(now.mono) {
            if libraries[id].is_active() {
                libraries.observe_path(id, &path, false, &mut tick)?;
            } else {
                tick.settling.forget_file(&(id, path));
            }
        }
        Ok(())
    }

    fn check_unreadable_places(&mut self, now: Now) -> Result<()> {
        let (libraries, mut tick) = self.borrow_for_tick(now);
        for library in libraries.iter_mut() {
            if !library.unreadable.is_empty() {
                library.check_unreadable_places(&mut tick)?;
            }
        }
        Ok(())
    }

    /// Plans the scans that are due, and maintains the watches.
    fn plan_due_scans(&mut self, now: Now) {
        let (libraries, mut tick) = self.borrow_for_tick(now);
        for library in libraries.iter_mut() {
            if library.next_rescan() <= now.mono {
                library.plan_full_scan("its interval is over", &mut tick);
            }
        }
        if tick.content_checks.take_overflow() {
            for library in libraries.iter_mut() {
                library.plan_full_scan("more contents must be compared", &mut tick);
            }
        }
        for library in libraries.iter_mut() {
            library.maintain_watches(&mut tick);
            library.report_busy_files(&tick);
        }
        tick.scans.queue_due_scans(now);
    }

    fn run_scans(&mut self, now: Now) -> Result<()> {
        let (libraries, mut tick) = self.borrow_for_tick(now);
        let deadline = Instant::now() + SCAN_TIME_PER_TICK;
        while Instant::now() < deadline && libraries.step_scan(&mut tick)? {}
        Ok(())
    }

    fn publish_status(&mut self, now: Now) -> Result<()> {
        let (libraries, tick) = self.borrow_for_tick(now);
        let statuses = libraries
            .iter_mut()
            .map(|library| library.current_status(&tick))
            .collect::<Result<Vec<_>>>()?;
        self.published.send_if_modified(|published| {
            let has_changed = *published != statuses;
            *published = statuses;
            has_changed
        });
        Ok(())
    }

    /// Publishes the last status with the reason why nothing is recorded now.
    fn publish_catalog_failure(&self, error: &catalog::Error, now: Now) {
        self.published.send_if_modified(|statuses| {
            let mut has_changed = false;
            for status in statuses.iter_mut() {
                let is_reported = |d: &Degradation| d.reason == "catalog_failed";
                if !status.degraded.iter().any(is_reported) {
                    status.degraded.push(Degradation {
                        reason: "catalog_failed".to_owned(),
                        detail: format!(
                            "No change is recorded: {error}. lookalike tries again every few \
                             seconds."
                        ),
                        since_ms: now.wall_nanos() / 1_000_000,
                    });
                    has_changed = true;
                }
            }
            has_changed
        });
    }

    /// When the next tick is due although nothing arrives.
    fn next_deadline(&mut self) -> Instant {
        let now = Now::from_clock();
        if self.scans.has_ready_scan() {
            return now.mono;
        }
        let mut deadline = now.mono + MAX_IDLE_TIME;
        deadline = deadline.min(self.scans.next_due().unwrap_or(deadline));
        deadline = deadline.min(self.settling.next_due().unwrap_or(deadline));
        let from_wall_ns = |at: i64| {
            now.mono + Duration::from_nanos(u64::try_from(at - now.wall_nanos()).unwrap_or(0))
        };
        for library in self.libraries.iter() {
            deadline = deadline.min(library.next_rescan());
            if !library.is_active() {
                continue;
            }
            if let Ok(Some(missing_ns)) = self.catalog.first_missing_ns(library.key) {
                // A file whose grace is over waits for something else, and is checked at times.
                let is_holding = library.mass_delete_guard.is_holding();
                let check_interval = Duration::from_millis(if is_holding { 500 } else { 20 });
                let grace_end = from_wall_ns(missing_ns) + self.settings.move_timeout;
                deadline = deadline.min(grace_end.max(now.mono + check_interval));
            }
        }
        if let Ok(Some(send_ns)) = self.catalog.next_send_ns(now.wall_nanos()) {
            deadline = deadline.min(from_wall_ns(send_ns));
        }
        // A deadline that cannot be met yet must not make the thread spin.
        deadline.max(now.mono + Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests;
