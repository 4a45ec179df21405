//! The keeper: one thread that owns the catalog and decides. Tasks around it await; it does not.
//!
//! Each turn takes what arrived, looks at the disk, writes what it saw in one transaction, and
//! only then answers. When the catalog can't be written (a full disk), the turn is undone, and
//! every folder is compared later, because the hints of that turn are spent.

mod observe;
mod outcome;
mod scan;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lookalike_bus::{
    Degraded, Failure, FailurePage, LibraryStatus, Rates, StreamPosition, WatcherAnswer,
    WatcherQuestion,
};
use lookalike_chassis::clock::to_nanos;
use lookalike_proto::{FileEvent, Generation, Kind, Library, RelativePath};
use rand::Rng as _;
use tokio::sync::{Notify, oneshot, watch};

use crate::catalog::{self, Catalog, LibraryKey, Row, State};
use crate::inbox::{Fate, HintKind, Inbox, Note, Overdue, Published, Shown, Taken};
use crate::settings::Settings;
use crate::settle::Settling;
use scan::Scan;

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
    settling: Settling,
    scans: VecDeque<Scan>,
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
        let scans = (0..held.len()).map(Scan::whole).collect();
        Ok(Self {
            settings,
            catalog,
            libraries: held,
            settling,
            scans,
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
                    self.answers.clear();
                    self.catalog.roll_back();
                    self.scans.clear();
                    self.scans
                        .extend((0..self.libraries.len()).map(Scan::whole));
                    std::thread::sleep(wait);
                }
            }
        }
    }

    /// Takes in what arrived and whatever is due; writes it down; answers.
    ///
    /// # Errors
    /// When the catalog can't be read or written: nothing of the turn is kept then.
    pub(crate) fn turn(&mut self, taken: Taken, now: Now) -> Result<(), catalog::Error> {
        self.catalog.begin()?;
        for library in taken.overflown {
            self.plan_whole_scan(library, "reports of changes were lost");
        }
        for note in taken.notes {
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
                self.plan_whole_scan(library, "it was time");
            }
        }
        let scan_until = now.mono + SCAN_A_TURN;
        while Instant::now() < scan_until && self.step_scan(now)? {}
        if self.scans.is_empty() {
            self.remove_vanished(now)?;
        }
        let anything_to_send = !self.catalog.outbox(now.nanos(), 1)?.is_empty();
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
        let mut until = now.mono + Duration::from_secs(1);
        for scan in &self.scans {
            match scan.not_before {
                Some(not_before) if not_before > now.mono => until = until.min(not_before),
                _ => return Some(now.mono),
            }
        }
        until = until.min(self.settling.next_due().unwrap_or(until));
        for library in &self.libraries {
            until = until.min(library.next_rescan);
        }
        let in_nanos =
            |at: i64| now.mono + Duration::from_nanos(u64::try_from(at - now.nanos()).unwrap_or(0));
        if let Ok(Some(vanished)) = self.catalog.first_vanished_ns() {
            until = until.min(in_nanos(vanished) + self.settings.move_grace);
        }
        if let Ok(Some(send)) = self.catalog.outbox_next_ns()
            && send > now.nanos()
        {
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
                let rows = self.catalog.overdue(before_ns, limit)?;
                let overdue = rows.into_iter().map(|row| Overdue {
                    image_id: row.id,
                    generation: row.in_flight,
                    position: StreamPosition {
                        stream_created_ns: row.sent_created,
                        sequence: row.sent_sequence,
                    },
                });
                self.answer(answer, overdue.collect());
            }
            Note::Checked(checked, answer) => {
                for (id, generation, fate) in checked {
                    let Some(mut row) = self.catalog.by_id(&id)? else {
                        continue;
                    };
                    if row.in_flight != generation {
                        continue;
                    }
                    match fate {
                        Fate::Waiting => row.sent_ns = now.nanos(),
                        Fate::Lost => {
                            tracing::info!(image = %id, "an event was lost, sending it again");
                            row.in_flight = Generation::NONE;
                            row.unsent = true;
                        }
                    }
                    self.catalog.update(&row)?;
                }
                self.answer(answer, ());
            }
            Note::Question(library, question, answer) => {
                let reply = self.reply(library, question, now)?;
                self.answer(answer, reply);
            }
            Note::Rescan(library, why) => self.plan_whole_scan(library, why),
            Note::Degraded(library, reason, detail) => match detail {
                Some(detail) => self.degrade(library, reason, detail, now),
                None => self.recover(library, reason),
            },
            Note::Stop => self.stopping = true,
        }
        Ok(())
    }

    fn answer<T: Send + 'static>(&mut self, channel: oneshot::Sender<T>, value: T) {
        self.answers
            .push(Box::new(move || drop(channel.send(value))));
    }

    /// Events to publish; from now on they are under way.
    fn hand_out(&mut self, limit: usize, now: Now) -> Result<Vec<FileEvent>, catalog::Error> {
        let room = self
            .settings
            .max_in_flight
            .saturating_sub(self.catalog.in_flight()?);
        let mut events = Vec::new();
        for mut row in self.catalog.outbox(now.nanos(), limit.min(room))? {
            let Some(library) = self.libraries.iter().find(|l| l.key == row.library) else {
                continue; // A library that this process does not hold.
            };
            let path = String::from_utf8(row.path())
                .ok()
                .and_then(|p| RelativePath::new(p).ok());
            let Some(path) = path else {
                // Only files with a usable name are ever to be sent.
                debug_assert!(false, "a row without a usable path is to be sent");
                row.unsent = false;
                self.catalog.update(&row)?;
                continue;
            };
            row.attempt += 1;
            row.unsent = false;
            row.in_flight = row.generation;
            row.sent_ns = now.nanos();
            row.sent_created = 0;
            row.sent_sequence = 0;
            events.push(FileEvent {
                image_id: row.id,
                library: library.name.clone(),
                path,
                kind: if row.present && row.state != State::Ignored {
                    Kind::Put
                } else {
                    Kind::Remove
                },
                generation: row.generation,
                attempt: row.attempt,
                size: row.facts.size,
                mtime_ns: row.facts.mtime_ns,
                observed_at_ns: row.observed_ns,
            });
            self.catalog.update(&row)?;
        }
        Ok(events)
    }

    fn note_published(&mut self, published: &Published, now: Now) -> Result<(), catalog::Error> {
        let Some(mut row) = self.catalog.by_id(&published.image_id)? else {
            return Ok(());
        };
        if row.in_flight != published.generation {
            return Ok(()); // Its outcome came first.
        }
        match &published.stored {
            Some(position) => {
                row.sent_created = position.stream_created_ns;
                row.sent_sequence = position.sequence;
                crate::metrics::EVENTS_PUBLISHED.inc();
            }
            None => {
                row.in_flight = Generation::NONE;
                row.unsent = true;
                row.not_before_ns = now.nanos() + 200_000_000;
            }
        }
        self.catalog.update(&row)
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
                self.plan_whole_scan(library, "somebody asked");
                WatcherAnswer::Scanning
            }
            WatcherQuestion::Confirm => {
                if self.confirm_root(library)? {
                    WatcherAnswer::Scanning
                } else {
                    WatcherAnswer::Refused("no folder lies at the library's root".into())
                }
            }
        })
    }

    fn plan_whole_scan(&mut self, library: usize, why: &str) {
        let held = &mut self.libraries[library];
        let interval = if held
            .degraded
            .keys()
            .any(|reason| reason.starts_with("watch_"))
        {
            self.settings.poll_interval
        } else {
            self.settings.rescan_interval
        };
        // Jitter: many libraries must not be compared at the same moment.
        held.next_rescan =
            Instant::now() + interval.mul_f64(rand::thread_rng().gen_range(0.8..1.2));
        if !self.scans.iter().any(|scan| scan.waits_for_whole(library)) {
            tracing::debug!(library = %held.name, why, "comparing the folder with the catalog");
            self.scans.push_back(Scan::whole(library));
        }
    }

    fn degrade(&mut self, library: usize, reason: &'static str, detail: String, now: Now) {
        let held = &mut self.libraries[library];
        if !held.degraded.contains_key(reason) {
            tracing::warn!(library = %held.name, reason, detail, "a library may lag behind its folder");
        }
        let since = held
            .degraded
            .get(reason)
            .map_or(now.nanos(), |(_, since)| *since);
        held.degraded.insert(reason, (detail, since));
        crate::metrics::WATCH_DEGRADED
            .with_label_values(&[held.name.as_str(), reason])
            .set(1);
    }

    fn recover(&mut self, library: usize, reason: &'static str) {
        let held = &mut self.libraries[library];
        if held.degraded.remove(reason).is_some() {
            tracing::info!(library = %held.name, reason, "a library is whole again");
            crate::metrics::WATCH_DEGRADED
                .with_label_values(&[held.name.as_str(), reason])
                .set(0);
        }
    }

    /// Shows to the tasks around what the libraries are like now.
    fn show(&mut self, now: Now) -> Result<(), catalog::Error> {
        let mut statuses = Vec::with_capacity(self.libraries.len());
        for (index, held) in self.libraries.iter_mut().enumerate() {
            let counts = self.catalog.counts(held.key)?;
            debug_assert_eq!(
                counts.on_disk,
                counts.indexed + counts.failed + counts.ignored + counts.in_flight
            );
            crate::metrics::show_counts(held.name.as_str(), &counts);
            statuses.push(LibraryStatus {
                name: held.name.to_string(),
                root: held.root.display().to_string(),
                counts,
                degraded: held
                    .degraded
                    .iter()
                    .map(|(reason, (detail, since))| Degraded {
                        reason: (*reason).to_owned(),
                        detail: detail.clone(),
                        since_ms: since / 1_000_000,
                    })
                    .collect(),
                scanning: self.scans.iter().any(|scan| scan.library == index),
                scanned_once: held.scanned_once,
                rates: Rates {
                    files_per_second: held.settled.per_second(now.mono),
                },
            });
        }
        self.shown.send_if_modified(|shown| {
            let changed = *shown != statuses;
            *shown = statuses;
            changed
        });
        Ok(())
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
            self.plan_whole_scan(library, "the root folder changed");
            return Ok(());
        }
        let folders = path.split(|byte| *byte == b'/').rev().skip(1);
        if folders.into_iter().all(crate::rules::enters) {
            self.observe(library, path, kind == HintKind::Ready, now)?;
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

/// Events a second over the last ten seconds.
#[derive(Default)]
struct Throughput {
    events: VecDeque<(Instant, u64)>,
}

impl Throughput {
    const SPAN: Duration = Duration::from_secs(10);

    fn add(&mut self, count: u64, now: Instant) {
        self.events.push_back((now, count));
        while self
            .events
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) > Self::SPAN)
        {
            self.events.pop_front();
        }
    }

    /// To a tenth, so that a status does not change for nothing.
    fn per_second(&self, now: Instant) -> f64 {
        let recent = self
            .events
            .iter()
            .filter(|(at, _)| now.saturating_duration_since(*at) <= Self::SPAN);
        let first = recent.clone().map(|(at, _)| *at).min();
        let count: u64 = recent.map(|(_, count)| *count).sum();
        let span = first.map_or(1.0, |at| {
            now.saturating_duration_since(at).as_secs_f64().max(1.0)
        });
        (count as f64 / span * 10.0).round() / 10.0
    }
}

#[cfg(test)]
mod tests;
