//! The keeper: one thread that owns the catalog and decides. Tasks around it await; it does not.
//!
//! Each turn takes what arrived, looks at the disk, writes what it saw in one transaction, and
//! only then answers. When the catalog can't be written (a full disk), the turn is undone, and
//! every folder is compared later, because the hints of that turn are spent.

mod observe;
mod outbox;
mod outcome;
mod scan;
mod status;
mod vanish;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lookalike_bus::{Failure, FailurePage, WatcherAnswer, WatcherQuestion};
use lookalike_chassis::clock::to_nanos;
use lookalike_proto::Library;
use rand::Rng as _;
use tokio::sync::{Notify, oneshot, watch};

use crate::catalog::{self, Catalog, LibraryKey, Row, State};
use crate::disk::Identity;
use crate::inbox::{HintKind, Inbox, Note, Shown, Taken};
use crate::settings::Settings;
use crate::settle::Settling;
use scan::Scans;
use status::Throughput;

/// Hints that one turn takes, so that notes never wait long.
const HINTS_A_TURN: usize = 1024;

/// How long one turn goes on scanning before it commits and looks at its inbox.
const SCAN_A_TURN: Duration = Duration::from_millis(20);

/// A library in the keeper's hands.
struct Held {
    name: Library,
    key: LibraryKey,
    root: PathBuf,
    /// Why it may lag behind, by reason, with a sentence and since when (nanoseconds).
    degraded: BTreeMap<&'static str, (String, i64)>,
    /// The root folder as the catalog knows it.
    identity: Option<Identity>,
    scanned_once: bool,
    /// Something could not be read since the last whole scan began.
    met_unreadable: bool,
    next_rescan: Instant,
    settled: Throughput,
}

/// One instant, on both clocks.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    wall: SystemTime,
    mono: Instant,
}

impl Now {
    pub(crate) fn read() -> Self {
        Self {
            wall: SystemTime::now(),
            mono: Instant::now(),
        }
    }

    fn nanos(self) -> i64 {
        to_nanos(self.wall)
    }
}

/// The thread's state.
pub(crate) struct Keeper {
    settings: Settings,
    catalog: Catalog,
    libraries: Vec<Held>,
    /// Of the libraries, in their order.
    keys: Vec<LibraryKey>,
    settling: Settling,
    scans: Scans,
    /// Paths that moved images left: something else may lie there.
    left_behind: Vec<(usize, Vec<u8>)>,
    /// The folder that was found in this turn to be below the root by folders alone, no links.
    plain_folder: Option<(usize, Vec<u8>)>,
    inbox: Arc<Inbox>,
    /// Woken when the outbox has something to send.
    outbox_filled: Arc<Notify>,
    shown: watch::Sender<Shown>,
    /// Sent once the turn has committed.
    answers: Vec<Box<dyn FnOnce() + Send>>,
    stopping: bool,
}

impl Keeper {
    /// Takes the catalog and the libraries, and plans their first scan.
    ///
    /// # Errors
    /// When the catalog can't be written.
    pub(crate) fn new(
        settings: Settings,
        catalog: Catalog,
        libraries: Vec<(Library, PathBuf)>,
        inbox: Arc<Inbox>,
        outbox_filled: Arc<Notify>,
        shown: watch::Sender<Shown>,
    ) -> Result<Self, catalog::Error> {
        let now = Instant::now();
        let mut held = Vec::new();
        catalog.begin()?;
        for (name, root) in libraries {
            let key = catalog.library(&name)?;
            if catalog.set_root_path(key, &root)? {
                tracing::info!(library = %name, root = %root.display(), "the library lies elsewhere now");
            }
            held.push(Held {
                identity: catalog.root(key)?.identity,
                key,
                name,
                root,
                degraded: BTreeMap::new(),
                scanned_once: false,
                met_unreadable: false,
                next_rescan: now + settings.rescan_interval,
                settled: Throughput::default(),
            });
        }
        let again = catalog.forget_half_published()?;
        catalog.commit()?;
        if again > 0 {
            tracing::info!(
                events = again,
                "sending again what was being sent when the last run ended"
            );
        }
        let settling = Settling::new(settings.settle, settings.max_settling);
        let mut scans = Scans::default();
        for library in 0..held.len() {
            scans.plan_whole(library, Now::read());
        }
        Ok(Self {
            settings,
            catalog,
            keys: held.iter().map(|held| held.key).collect(),
            libraries: held,
            settling,
            scans,
            left_behind: Vec::new(),
            plain_folder: None,
            inbox,
            outbox_filled,
            shown,
            answers: Vec::new(),
            stopping: false,
        })
    }

    /// The thread's life: turn after turn, until told to stop.
    pub(crate) fn run(mut self) {
        let mut backoff =
            lookalike_chassis::Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        while !self.stopping {
            let until = self.next_deadline();
            let taken = self.inbox.take(HINTS_A_TURN, until);
            match self.turn(taken, Now::read()) {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    let wait = backoff.next_wait();
                    tracing::error!(%error, ?wait, "the catalog failed, trying again");
                    self.undo();
                    if self.inbox.wait_for_stop(wait) {
                        return;
                    }
                }
            }
        }
    }

    /// Forgets a turn that could not be written. Its hints are spent, so everything is compared.
    fn undo(&mut self) {
        self.answers.clear();
        self.catalog.roll_back();
        self.left_behind.clear();
        self.scans = Scans::default();
        for library in 0..self.libraries.len() {
            let held = &mut self.libraries[library];
            if let Ok(root) = self.catalog.root(held.key) {
                held.identity = root.identity;
            }
            self.scans.plan_whole(library, Now::read());
        }
    }

    /// Takes in what arrived and whatever is due; writes it down; answers.
    ///
    /// # Errors
    /// When the catalog can't be read or written: nothing of the turn is kept then.
    pub(crate) fn turn(&mut self, taken: Taken, now: Now) -> Result<(), catalog::Error> {
        self.plain_folder = None;
        for library in taken.overflown {
            self.plan_whole_scan(library, "reports of changes were lost", now);
        }
        // What needs no catalog is done first: it must not be lost with a turn that fails.
        let mut notes = Vec::with_capacity(taken.notes.len());
        for note in taken.notes {
            match note {
                Note::Rescan(library, why) => self.plan_whole_scan(library, why, now),
                Note::Degraded(library, reason, Some(detail)) => {
                    self.degrade(library, reason, detail, now);
                }
                Note::Degraded(library, reason, None) => self.recover(library, reason),
                Note::Stop => self.stopping = true,
                note => notes.push(note),
            }
        }
        self.catalog.begin()?;
        for note in notes {
            self.take_note(note, now)?;
        }
        for hint in taken.hints {
            self.take_hint(hint.library, &hint.path, hint.kind, now)?;
        }
        while let Some((library, path)) = self.settling.take_due(now.mono) {
            self.observe(library, &path, false, now)?;
        }
        for library in 0..self.libraries.len() {
            if self.libraries[library].next_rescan <= now.mono {
                self.plan_whole_scan(library, "it was time", now);
            }
        }
        self.scans.take_due(now);
        let scan_until = Instant::now() + SCAN_A_TURN;
        while Instant::now() < scan_until && self.step_scan(now)? {}
        self.remove_vanished(now)?;
        let anything_to_send = !self.to_send(now, 1)?.is_empty() && self.room()? > 0;
        self.catalog.commit()?;
        if anything_to_send {
            self.outbox_filled.notify_one();
        }
        for answer in self.answers.drain(..) {
            answer();
        }
        self.show(now)
    }

    /// Until when nothing happens by itself; `None` if there is work at once.
    fn next_deadline(&mut self) -> Option<Instant> {
        let now = Now::read();
        if self.scans.any_ready() {
            return Some(now.mono);
        }
        let mut until = now.mono + Duration::from_secs(1);
        until = until.min(self.scans.next_due().unwrap_or(until));
        until = until.min(self.settling.next_due().unwrap_or(until));
        for library in &self.libraries {
            until = until.min(library.next_rescan);
        }
        let in_nanos =
            |at: i64| now.mono + Duration::from_nanos(u64::try_from(at - now.nanos()).unwrap_or(0));
        if let Ok(Some(vanished)) = self.catalog.first_vanished_ns(&self.keys) {
            // One whose grace is over waits for something else, and is looked at now and then.
            let grace_ends = in_nanos(vanished) + self.settings.move_grace;
            until = until.min(grace_ends.max(now.mono + Duration::from_millis(20)));
        }
        if let Ok(Some(send)) = self.catalog.outbox_next_ns(now.nanos()) {
            until = until.min(in_nanos(send));
        }
        // A deadline that can't be met yet must not make the thread spin.
        Some(until.max(now.mono + Duration::from_millis(1)))
    }

    fn take_note(&mut self, note: Note, now: Now) -> Result<(), catalog::Error> {
        match note {
            Note::Outbox(limit, answer) => {
                let events = self.hand_out(limit, now)?;
                self.answer(answer, events);
            }
            Note::Published(published, answer) => {
                for one in published {
                    self.note_published(&one, now)?;
                }
                self.answer(answer, ());
            }
            Note::Outcomes(library, outcomes, answer) => {
                self.apply_outcomes(library, &outcomes, now)?;
                self.answer(answer, ());
            }
            Note::Overdue(before_ns, limit, answer) => {
                let overdue = self.overdue(before_ns, limit, now)?;
                self.answer(answer, overdue);
            }
            Note::Checked(checked, answer) => {
                for (id, generation, fate) in checked {
                    self.note_checked(&id, generation, fate, now)?;
                }
                self.answer(answer, ());
            }
            Note::Question(library, question, answer) => {
                let reply = self.reply(library, question, now)?;
                self.answer(answer, reply);
            }
            Note::Rescan(..) | Note::Degraded(..) | Note::Stop => {
                unreachable!("a turn takes these before it begins")
            }
        }
        Ok(())
    }

    fn answer<T: Send + 'static>(&mut self, channel: oneshot::Sender<T>, value: T) {
        self.answers
            .push(Box::new(move || drop(channel.send(value))));
    }

    fn reply(
        &mut self,
        library: usize,
        question: WatcherQuestion,
        now: Now,
    ) -> Result<WatcherAnswer, catalog::Error> {
        let key = self.libraries[library].key;
        Ok(match question {
            WatcherQuestion::Failures {
                after,
                limit,
                ignored,
            } => {
                let Ok(after) = after.map(|id| id.parse()).transpose() else {
                    return Ok(WatcherAnswer::Refused("after is not an image id".into()));
                };
                let (rows, total) =
                    self.catalog
                        .failures(key, after.as_ref(), limit.min(1000), ignored)?;
                let name = self.libraries[library].name.to_string();
                let failures = rows.into_iter().map(|row| failure(&row, &name)).collect();
                WatcherAnswer::Failures(FailurePage { failures, total })
            }
            WatcherQuestion::Retry { id, code } => {
                let ids = match id.map(|id| id.parse()).transpose() {
                    Err(_) => return Ok(WatcherAnswer::Refused("id is not an image id".into())),
                    Ok(Some(id)) => vec![id],
                    Ok(None) => self.catalog.failed(key, code.as_deref())?,
                };
                let mut retried = 0;
                for id in ids {
                    if let Some(mut row) = self.catalog.by_id(&id)?
                        && row.library == key
                        && row.present
                        && row.state == State::Failed
                    {
                        observe::send(&mut row, now);
                        self.catalog.update(&row)?;
                        retried += 1;
                    }
                }
                WatcherAnswer::Retried(retried)
            }
            WatcherQuestion::Scan => {
                self.plan_whole_scan(library, "somebody asked", now);
                WatcherAnswer::Scanning
            }
            WatcherQuestion::Confirm => {
                if self.confirm_root(library, now)? {
                    WatcherAnswer::Scanning
                } else {
                    WatcherAnswer::Refused("no folder lies at the library's root".into())
                }
            }
        })
    }

    fn plan_whole_scan(&mut self, library: usize, why: &str, now: Now) {
        let interval = self.rescan_interval(library);
        let held = &mut self.libraries[library];
        // Jitter: many libraries must not be compared at the same moment.
        held.next_rescan = now.mono + interval.mul_f64(rand::thread_rng().gen_range(0.8..1.2));
        if self.scans.plan_whole(library, now) {
            tracing::debug!(library = %held.name, why, "comparing the folder with the catalog");
        }
    }

    /// Often where nothing else would tell of a change.
    fn rescan_interval(&self, library: usize) -> Duration {
        let needs_polling = |reason: &str| reason.starts_with("watch_") || reason == "root_missing";
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

    fn take_hint(
        &mut self,
        library: usize,
        path: &[u8],
        kind: HintKind,
        now: Now,
    ) -> Result<(), catalog::Error> {
        if path.is_empty() {
            // The root itself: it came, went or was changed.
            self.plan_whole_scan(library, "the root folder changed", now);
            return Ok(());
        }
        let folders = path.split(|byte| *byte == b'/').rev().skip(1);
        if !folders.into_iter().all(crate::rules::enters) {
            return Ok(());
        }
        self.observe(library, path, kind == HintKind::Ready, now)?;
        if kind == HintKind::Gone {
            self.not_a_folder_any_more(library, path, now)?;
        }
        Ok(())
    }
}

fn failure(row: &Row, library: &str) -> Failure {
    Failure {
        id: row.id.to_string(),
        library: library.to_owned(),
        path: String::from_utf8_lossy(&row.path()).into_owned(),
        state: row.state.word().to_owned(),
        code: row.code.clone(),
        detail: row.detail.clone(),
        size: row.facts.size,
        since_ms: row.since_ns / 1_000_000,
    }
}

#[cfg(test)]
mod tests;
