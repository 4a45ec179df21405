//! The keeper: one thread that owns the catalog and decides. Tasks around it await; it does not.
//!
//! Each turn takes what arrived, looks at the disk, writes what it saw in one transaction, and
//! only then answers. When the catalog can't be written (a full disk), the turn is undone, and
//! every folder is compared later, because the hints of that turn are spent.

mod answers;
mod brake;
mod observe;
mod outbox;
mod outcome;
mod scan;
mod scans;
mod standing;
mod status;
mod vanish;
mod watching;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lookalike_chassis::clock::to_nanos;
use lookalike_proto::Library;
use rand::Rng as _;
use tokio::sync::{Notify, oneshot, watch};

use crate::catalog::{self, Catalog, LibraryKey};
use crate::disk::Identity;
use crate::ignore_files::{self, IgnoreFiles, Rules};
use crate::inbox::{HintKind, Inbox, Note, Shown, Taken};
use crate::settings::Settings;
use crate::settle::Settling;
use crate::watches::Budget;
use brake::Brake;
use scans::Scans;
use standing::Standing;
use status::Throughput;
use watching::Watching;

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
    /// The mount on which it was found right.
    mount: Option<u64>,
    scanned_once: bool,
    /// It was compared as a whole since it is held and its root is there.
    is_compared: bool,
    /// Since when it is held, in nanoseconds since 1970.
    active_since_ns: i64,
    standing: Standing,
    /// Something could not be read since the last whole scan began.
    met_unreadable: bool,
    /// How often something was looked at, besides what a scan met unchanged.
    observed: u64,
    next_rescan: Instant,
    settled: Throughput,
    watching: Watching,
    brake: Brake,
}

impl Held {
    /// Whether the root, as it is there now, lies on the mount on which it was found right. Only
    /// asked of file systems that tell no births: their root folders have the same inode whatever
    /// is mounted, and devices are numbered again.
    fn is_of_mount(&self, there: &Identity, mount: Option<u64>) -> bool {
        there.born_ns != 0 || mount.is_none() || self.mount == mount
    }
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
    /// Of the libraries that this watcher works on, in their order.
    keys: Vec<LibraryKey>,
    settling: Settling,
    scans: Scans,
    /// Paths that moved images left: something else may lie there.
    left_behind: Vec<(usize, Vec<u8>)>,
    /// The folder that was found in this turn to be below the root by folders alone, no links.
    plain_folder: Option<(usize, Vec<u8>)>,
    ignore_files: IgnoreFiles,
    /// The rules in the folder that was asked for last in this turn; `None`: it is not entered.
    entered: Option<(usize, Vec<u8>, Option<Rules>)>,
    inbox: Arc<Inbox>,
    /// Woken when the outbox has something to send.
    outbox_filled: Arc<Notify>,
    shown: watch::Sender<Shown>,
    /// Sent once the turn has committed.
    answers: Vec<Box<dyn FnOnce() + Send>>,
    stopping: bool,
}

impl Keeper {
    /// Takes the catalog and the libraries. Each is left alone until it is held.
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
        let budget = Budget::new(settings.max_watches);
        let mut held = Vec::new();
        catalog.begin()?;
        for (name, root) in libraries {
            let key = catalog.library(&name)?;
            if catalog.set_root_path(key, &root)? {
                tracing::info!(library = %name, root = %root.display(), "the library lies elsewhere now");
            }
            held.push(Held {
                watching: Watching::new(held.len(), &root, &inbox, &budget, now),
                brake: Brake::default(),
                identity: catalog.root(key)?.identity,
                mount: None,
                key,
                name,
                root,
                degraded: BTreeMap::new(),
                scanned_once: false,
                is_compared: false,
                active_since_ns: 0,
                standing: Standing::Undecided,
                met_unreadable: false,
                observed: 0,
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
        Ok(Self {
            settings,
            catalog,
            keys: Vec::new(),
            libraries: held,
            settling,
            scans: Scans::default(),
            left_behind: Vec::new(),
            plain_folder: None,
            ignore_files: IgnoreFiles::default(),
            entered: None,
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
            // Whoever confirmed something in this turn was told that it failed.
            held.brake = Brake::default();
            if self.is_active(library) {
                self.scans.plan_whole(library, Now::read());
            }
        }
    }

    /// Takes in what arrived and whatever is due; writes it down; answers.
    ///
    /// # Errors
    /// When the catalog can't be read or written: nothing of the turn is kept then.
    pub(crate) fn turn(&mut self, taken: Taken, now: Now) -> Result<(), catalog::Error> {
        self.plain_folder = None;
        self.entered = None;
        for library in taken.overflown {
            self.libraries[library].watching.watches.doubt(b"");
            self.plan_whole_scan(library, "reports of changes were lost", now);
        }
        // What needs no catalog is done first: it must not be lost with a turn that fails.
        let mut notes = Vec::with_capacity(taken.notes.len());
        for note in taken.notes {
            match note {
                Note::Degraded(library, reason, Some(detail)) => {
                    self.degrade(library, reason, detail, now);
                }
                Note::Degraded(library, reason, None) => self.recover(library, reason),
                Note::StandBy(library) => self.stand_by(library, now),
                Note::Stop => self.stopping = true,
                note => notes.push(note),
            }
        }
        self.catalog.begin()?;
        for note in notes {
            self.take_note(note, now)?;
        }
        for hint in taken.hints {
            if self.is_active(hint.library) {
                self.take_hint(hint.library, &hint.path, hint.kind, now)?;
            }
        }
        while let Some((library, path)) = self.settling.take_due(now.mono) {
            let key = (library, path);
            if self.is_active(library) {
                self.observe(library, &key.1, false, now)?;
            } else {
                self.settling.forget(&key);
            }
        }
        for library in 0..self.libraries.len() {
            if self.libraries[library].next_rescan <= now.mono {
                self.plan_whole_scan(library, "it was time", now);
            }
        }
        self.look_after_watches(now);
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
        for library in 0..self.libraries.len() {
            let key = self.libraries[library].key;
            if !self.is_active(library) {
                continue;
            }
            if let Ok(Some(vanished)) = self.catalog.first_vanished_ns(key) {
                // One whose grace is over waits for something else, and is looked at now and then.
                let now_and_then = if self.is_braking(library) { 500 } else { 20 };
                let grace_ends = in_nanos(vanished) + self.settings.move_grace;
                let soon = now.mono + Duration::from_millis(now_and_then);
                until = until.min(grace_ends.max(soon));
            }
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
            Note::BeginToHold(library, answer) => {
                let begun = self.begin_to_hold(library)?;
                self.answer(answer, begun);
            }
            Note::Adopt(library, rows, answer) => {
                self.adopt(library, &rows, now)?;
                self.answer(answer, ());
            }
            Note::Activate(library, answer) => {
                let after = self.activate(library, now)?;
                self.answer(answer, after);
            }
            Note::Question(library, question, answer) => {
                let reply = self.reply(library, question, now)?;
                self.answer(answer, reply);
            }
            Note::Degraded(..) | Note::StandBy(_) | Note::Stop => {
                unreachable!("a turn takes these before it begins")
            }
        }
        Ok(())
    }

    fn answer<T: Send + 'static>(&mut self, channel: oneshot::Sender<T>, value: T) {
        self.answers
            .push(Box::new(move || drop(channel.send(value))));
    }

    fn plan_whole_scan(&mut self, library: usize, why: &str, now: Now) {
        let interval = self.rescan_interval(library);
        let is_active = self.is_active(library);
        let held = &mut self.libraries[library];
        // Jitter: many libraries must not be compared at the same moment.
        held.next_rescan = now.mono + interval.mul_f64(rand::thread_rng().gen_range(0.8..1.2));
        if is_active && self.scans.plan_whole(library, now) {
            tracing::debug!(library = %held.name, why, "comparing the folder with the catalog");
        }
    }

    /// Often where nothing else would tell of a change.
    fn rescan_interval(&self, library: usize) -> Duration {
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
        let watches = &mut self.libraries[library].watching.watches;
        match kind {
            HintKind::Gone => watches.forget(path),
            HintKind::MovedItself => watches.release_below(path),
            HintKind::Ready => watches.doubt(path),
            HintKind::Changed => {}
        }
        self.observe(library, path, kind == HintKind::Ready, now)?;
        if matches!(kind, HintKind::Gone | HintKind::MovedItself) {
            self.not_a_folder_any_more(library, path, now)?;
        }
        if let (folder, ignore_files::NAME) = observe::split(path) {
            self.compare_below(library, folder, now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
