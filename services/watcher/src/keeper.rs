//! The keeper: one thread that owns the catalog and decides. Tasks around it await; it does not.
//!
//! Each turn takes what arrived, looks at the disk, writes what it saw in one transaction, and
//! only then answers. When the catalog can't be written (a full disk), the turn is undone, and
//! every folder is compared later, because the hints of that turn are spent.

mod outbox;
pub(crate) mod outcome;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lookalike_chassis::clock::to_nanos;
use lookalike_proto::LibraryName;
use rand::Rng as _;
use tokio::sync::{Notify, oneshot, watch};

use crate::catalog::{self, Catalog, LibraryKey};
use crate::disk::FolderIdentity;
use crate::ignore_files::{self, IgnoreFileCache, IgnoreRules};
use crate::inbox::{DrainedInbox, HintKind, Inbox, KeeperRequest, PublishedStatus};
use crate::lease::role_state::LeaseState;
use crate::library::mass_delete_guard::MassDeleteGuard;
use crate::library::scan_queue::ScanQueue;
use crate::library::settling::SettlingFiles;
use crate::library::status::Throughput;
use crate::notify::polling::WatchSchedule;
use crate::notify::watch_table::WatchBudget;
use crate::settings::Settings;

/// Hints that one turn takes, so that notes never wait long.
const MAX_HINTS_PER_TICK: usize = 1024;

/// How long one turn goes on scanning before it commits and looks at its inbox.
const SCAN_TIME_PER_TICK: Duration = Duration::from_millis(20);

/// A library in the keeper's hands.
pub(crate) struct KeptLibrary {
    pub(crate) name: LibraryName,
    pub(crate) key: LibraryKey,
    pub(crate) root: PathBuf,
    /// Why it may lag behind, by reason, with a sentence and since when (nanoseconds).
    pub(crate) degraded: BTreeMap<&'static str, (String, i64)>,
    /// The root folder as the catalog knows it.
    pub(crate) root_identity: Option<FolderIdentity>,
    /// The mount on which it was found right.
    pub(crate) mount_id: Option<u64>,
    pub(crate) scanned_once: bool,
    /// It was compared as a whole since it is held and its root is there.
    pub(crate) is_fully_scanned: bool,
    /// Since when it is held, in nanoseconds since 1970.
    pub(crate) active_since_ns: i64,
    pub(crate) lease_state: LeaseState,
    /// Something could not be read since the last whole scan began.
    pub(crate) saw_unreadable: bool,
    /// How often something was looked at, besides what a scan met unchanged.
    pub(crate) observation_count: u64,
    pub(crate) next_rescan: Instant,
    pub(crate) throughput: Throughput,
    pub(crate) watch_schedule: WatchSchedule,
    pub(crate) mass_delete_guard: MassDeleteGuard,
}

impl KeptLibrary {
    /// Whether the root, as it is there now, lies on the mount on which it was found right. Only
    /// asked of file systems that tell no births: their root folders have the same inode whatever
    /// is mounted, and devices are numbered again.
    pub(crate) fn is_on_same_mount(&self, there: &FolderIdentity, mount: Option<u64>) -> bool {
        there.born_ns != 0 || mount.is_none() || self.mount_id == mount
    }
}

/// One instant, on both clocks.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) wall: SystemTime,
    pub(crate) mono: Instant,
}

impl Now {
    pub(crate) fn from_clock() -> Self {
        Self {
            wall: SystemTime::now(),
            mono: Instant::now(),
        }
    }

    pub(crate) fn wall_nanos(self) -> i64 {
        to_nanos(self.wall)
    }
}

/// The thread's state.
pub(crate) struct Keeper {
    pub(crate) settings: Settings,
    pub(crate) catalog: Catalog,
    pub(crate) libraries: Vec<KeptLibrary>,
    /// Of the libraries that this watcher works on, in their order.
    pub(crate) active_keys: Vec<LibraryKey>,
    pub(crate) settling: SettlingFiles,
    pub(crate) scans: ScanQueue,
    /// Paths that moved images left: something else may lie there.
    pub(crate) vacated_paths: Vec<(usize, Vec<u8>)>,
    /// The folder that was found in this turn to be below the root by folders alone, no links.
    pub(crate) verified_folder: Option<(usize, Vec<u8>)>,
    pub(crate) ignore_files: IgnoreFileCache,
    /// The rules in the folder that was asked for last in this turn; `None`: it is not entered.
    pub(crate) folder_rules: Option<(usize, Vec<u8>, Option<IgnoreRules>)>,
    pub(crate) inbox: Arc<Inbox>,
    /// Woken when the outbox has something to send.
    pub(crate) outbox_filled: Arc<Notify>,
    pub(crate) published: watch::Sender<PublishedStatus>,
    /// Sent once the turn has committed.
    pub(crate) replies: Vec<Box<dyn FnOnce() + Send>>,
    pub(crate) stopping: bool,
}

impl Keeper {
    /// Takes the catalog and the libraries. Each is left alone until it is held.
    ///
    /// # Errors
    /// When the catalog can't be written.
    pub(crate) fn new(
        settings: Settings,
        catalog: Catalog,
        libraries: Vec<(LibraryName, PathBuf)>,
        inbox: Arc<Inbox>,
        outbox_filled: Arc<Notify>,
        shown: watch::Sender<PublishedStatus>,
    ) -> Result<Self, catalog::Error> {
        let now = Instant::now();
        let budget = WatchBudget::new(settings.max_watches);
        let mut held = Vec::new();
        catalog.begin_transaction()?;
        for (name, root) in libraries {
            let key = catalog.library_key(&name)?;
            if catalog.set_root_path(key, &root)? {
                tracing::info!(library = %name, root = %root.display(), "the library lies elsewhere now");
            }
            held.push(KeptLibrary {
                watch_schedule: WatchSchedule::new(held.len(), &root, &inbox, &budget, now),
                mass_delete_guard: MassDeleteGuard::default(),
                root_identity: catalog.library_record(key)?.root_identity,
                mount_id: None,
                key,
                name,
                root,
                degraded: BTreeMap::new(),
                scanned_once: false,
                is_fully_scanned: false,
                active_since_ns: 0,
                lease_state: LeaseState::Unknown,
                saw_unreadable: false,
                observation_count: 0,
                next_rescan: now + settings.rescan_interval,
                throughput: Throughput::default(),
            });
        }
        let again = catalog.reset_half_published()?;
        catalog.commit_transaction()?;
        if again > 0 {
            tracing::info!(
                events = again,
                "sending again what was being sent when the last run ended"
            );
        }
        let settling = SettlingFiles::new(settings.settle, settings.max_settling);
        Ok(Self {
            settings,
            catalog,
            active_keys: Vec::new(),
            libraries: held,
            settling,
            scans: ScanQueue::default(),
            vacated_paths: Vec::new(),
            verified_folder: None,
            ignore_files: IgnoreFileCache::default(),
            folder_rules: None,
            inbox,
            outbox_filled,
            published: shown,
            replies: Vec::new(),
            stopping: false,
        })
    }

    /// The thread's life: turn after turn, until told to stop.
    pub(crate) fn run(mut self) {
        let mut backoff =
            lookalike_chassis::Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        while !self.stopping {
            let until = self.next_deadline();
            let taken = self.inbox.wait_and_drain(MAX_HINTS_PER_TICK, until);
            match self.run_tick(taken, Now::from_clock()) {
                Ok(()) => backoff.reset_attempts(),
                Err(error) => {
                    let wait = backoff.next_delay();
                    tracing::error!(%error, ?wait, "the catalog failed, trying again");
                    self.discard_tick();
                    if self.inbox.wait_for_stop(wait) {
                        return;
                    }
                }
            }
        }
    }

    /// Forgets a turn that could not be written. Its hints are spent, so everything is compared.
    pub(crate) fn discard_tick(&mut self) {
        self.replies.clear();
        self.catalog.roll_back_transaction();
        self.vacated_paths.clear();
        self.scans = ScanQueue::default();
        for library in 0..self.libraries.len() {
            let held = &mut self.libraries[library];
            if let Ok(root) = self.catalog.library_record(held.key) {
                held.root_identity = root.root_identity;
            }
            // Whoever confirmed something in this turn was told that it failed.
            held.mass_delete_guard = MassDeleteGuard::default();
            if self.is_active(library) {
                self.scans.plan_full_scan(library, Now::from_clock());
            }
        }
    }

    /// Takes in what arrived and whatever is due; writes it down; answers.
    ///
    /// # Errors
    /// When the catalog can't be read or written: nothing of the turn is kept then.
    pub(crate) fn run_tick(&mut self, taken: DrainedInbox, now: Now) -> Result<(), catalog::Error> {
        self.verified_folder = None;
        self.folder_rules = None;
        for library in taken.overflowed {
            self.libraries[library]
                .watch_schedule
                .watches
                .mark_stale(b"");
            self.plan_full_scan(library, "reports of changes were lost", now);
        }
        // What needs no catalog is done first: it must not be lost with a turn that fails.
        let mut notes = Vec::with_capacity(taken.requests.len());
        for note in taken.requests {
            match note {
                KeeperRequest::SetDegraded(library, reason, Some(detail)) => {
                    self.set_degraded(library, reason, detail, now);
                }
                KeeperRequest::SetDegraded(library, reason, None) => {
                    self.clear_degraded(library, reason)
                }
                KeeperRequest::EnterStandby(library) => self.enter_standby(library, now),
                KeeperRequest::Stop => self.stopping = true,
                note => notes.push(note),
            }
        }
        self.catalog.begin_transaction()?;
        for note in notes {
            self.handle_request(note, now)?;
        }
        for hint in taken.hints {
            if self.is_active(hint.library) {
                self.handle_hint(hint.library, &hint.path, hint.kind, now)?;
            }
        }
        while let Some((library, path)) = self.settling.pop_due(now.mono) {
            let key = (library, path);
            if self.is_active(library) {
                self.observe_path(library, &key.1, false, now)?;
            } else {
                self.settling.forget_file(&key);
            }
        }
        for library in 0..self.libraries.len() {
            if self.libraries[library].next_rescan <= now.mono {
                self.plan_full_scan(library, "it was time", now);
            }
        }
        self.maintain_watches(now);
        self.scans.queue_due_scans(now);
        let scan_until = Instant::now() + SCAN_TIME_PER_TICK;
        while Instant::now() < scan_until && self.step_scan(now)? {}
        self.remove_missing_files(now)?;
        let anything_to_send =
            !self.sendable_rows(now, 1)?.is_empty() && self.remaining_in_flight()? > 0;
        self.catalog.commit_transaction()?;
        if anything_to_send {
            self.outbox_filled.notify_one();
        }
        for answer in self.replies.drain(..) {
            answer();
        }
        self.publish_status(now)
    }

    /// Until when nothing happens by itself; `None` if there is work at once.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        let now = Now::from_clock();
        if self.scans.has_ready_scan() {
            return Some(now.mono);
        }
        let mut until = now.mono + Duration::from_secs(1);
        until = until.min(self.scans.next_due().unwrap_or(until));
        until = until.min(self.settling.next_due().unwrap_or(until));
        for library in &self.libraries {
            until = until.min(library.next_rescan);
        }
        let in_nanos = |at: i64| {
            now.mono + Duration::from_nanos(u64::try_from(at - now.wall_nanos()).unwrap_or(0))
        };
        for library in 0..self.libraries.len() {
            let key = self.libraries[library].key;
            if !self.is_active(library) {
                continue;
            }
            if let Ok(Some(vanished)) = self.catalog.first_missing_ns(key) {
                // One whose grace is over waits for something else, and is looked at now and then.
                let now_and_then = if self.is_holding_deletes(library) {
                    500
                } else {
                    20
                };
                let grace_ends = in_nanos(vanished) + self.settings.move_grace;
                let soon = now.mono + Duration::from_millis(now_and_then);
                until = until.min(grace_ends.max(soon));
            }
        }
        if let Ok(Some(send)) = self.catalog.next_send_ns(now.wall_nanos()) {
            until = until.min(in_nanos(send));
        }
        // A deadline that can't be met yet must not make the thread spin.
        Some(until.max(now.mono + Duration::from_millis(1)))
    }

    pub(crate) fn handle_request(
        &mut self,
        note: KeeperRequest,
        now: Now,
    ) -> Result<(), catalog::Error> {
        match note {
            KeeperRequest::TakeEvents(limit, answer) => {
                let events = self.take_events(limit, now)?;
                self.reply_after_commit(answer, events);
            }
            KeeperRequest::RecordPublished(published, answer) => {
                for one in published {
                    self.record_published(&one, now)?;
                }
                self.reply_after_commit(answer, ());
            }
            KeeperRequest::ApplyOutcomes(library, outcomes, answer) => {
                self.apply_outcomes(library, &outcomes, now)?;
                self.reply_after_commit(answer, ());
            }
            KeeperRequest::ListOverdue(before_ns, limit, answer) => {
                let overdue = self.overdue_events(before_ns, limit, now)?;
                self.reply_after_commit(answer, overdue);
            }
            KeeperRequest::ResolveOverdue(checked, answer) => {
                for (id, generation, fate) in checked {
                    self.resolve_overdue(&id, generation, fate, now)?;
                }
                self.reply_after_commit(answer, ());
            }
            KeeperRequest::BeginRecovery(library, answer) => {
                let begun = self.begin_recovery(library)?;
                self.reply_after_commit(answer, begun);
            }
            KeeperRequest::ImportRows(library, rows, answer) => {
                self.import_index_rows(library, &rows, now)?;
                self.reply_after_commit(answer, ());
            }
            KeeperRequest::Activate(library, answer) => {
                let after = self.activate_library(library, now)?;
                self.reply_after_commit(answer, after);
            }
            KeeperRequest::WatcherRequest(library, question, answer) => {
                let reply = self.handle_watcher_request(library, question, now)?;
                self.reply_after_commit(answer, reply);
            }
            KeeperRequest::SetDegraded(..)
            | KeeperRequest::EnterStandby(_)
            | KeeperRequest::Stop => {
                unreachable!("a turn takes these before it begins")
            }
        }
        Ok(())
    }

    pub(crate) fn reply_after_commit<T: Send + 'static>(
        &mut self,
        channel: oneshot::Sender<T>,
        value: T,
    ) {
        self.replies
            .push(Box::new(move || drop(channel.send(value))));
    }

    pub(crate) fn plan_full_scan(&mut self, library: usize, why: &str, now: Now) {
        let interval = self.rescan_interval(library);
        let is_active = self.is_active(library);
        let held = &mut self.libraries[library];
        // Jitter: many libraries must not be compared at the same moment.
        held.next_rescan = now.mono + interval.mul_f64(rand::thread_rng().gen_range(0.8..1.2));
        if is_active && self.scans.plan_full_scan(library, now) {
            tracing::debug!(library = %held.name, why, "comparing the folder with the catalog");
        }
    }

    /// Often where nothing else would tell of a change.
    pub(crate) fn rescan_interval(&self, library: usize) -> Duration {
        let needs_polling = |reason: &str| matches!(reason, "watch_polled" | "root_missing");
        if self.libraries[library]
            .degraded
            .keys()
            .any(|reason| needs_polling(reason))
        {
            self.settings.poll_interval
        } else {
            self.settings.rescan_interval
        }
    }

    pub(crate) fn handle_hint(
        &mut self,
        library: usize,
        path: &[u8],
        kind: HintKind,
        now: Now,
    ) -> Result<(), catalog::Error> {
        if path.is_empty() {
            // The root itself: it came, went or was changed.
            self.plan_full_scan(library, "the root folder changed", now);
            return Ok(());
        }
        let folders = path.split(|byte| *byte == b'/').rev().skip(1);
        if !folders.into_iter().all(crate::rules::is_entered_folder) {
            return Ok(());
        }
        let watches = &mut self.libraries[library].watch_schedule.watches;
        match kind {
            HintKind::Gone => watches.forget_below(path),
            HintKind::MovedItself => watches.remove_watches_below(path),
            HintKind::Ready => watches.mark_stale(path),
            HintKind::Changed => {}
        }
        self.observe_path(library, path, kind == HintKind::Ready, now)?;
        if matches!(kind, HintKind::Gone | HintKind::MovedItself) {
            self.record_missing_folder(library, path, now)?;
        }
        if let (folder, ignore_files::IGNORE_FILE_NAME) = crate::library::observe::split_path(path)
        {
            self.plan_scan_below(library, folder, now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
