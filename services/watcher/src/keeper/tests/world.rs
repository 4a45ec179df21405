//! The language of these tests: folders to change, a keeper that runs ticks, a model of the queue,
//! the embedder and the index behind it, and the guarantee that must hold in the end.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lookalike_bus::{RowSummary, StreamPosition, WatcherReply, WatcherRequest};
use lookalike_proto::{
    ContentHash, FileEvent, FileEventKind, Generation, ImageId, LibraryName, Outcome, OutcomeState,
    Timings,
};
use tokio::sync::{Notify, oneshot, watch};

use crate::catalog::Catalog;
use crate::clock::Now;
use crate::inbox::{
    DrainedInbox, EventDisposition, Hint, Inbox, KeeperRequest, KeeperSignal, OverdueEvent,
    PublishReport, PublishedStatus,
};
use crate::keeper::Keeper;
use crate::library::Library;
use crate::library::id::LibraryId;
use crate::settings::Settings;

/// When the model's stream was created.
const STREAM_CREATED_NS: i64 = 77;

/// A row of the model's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedRow {
    pub place: String,
    pub generation: Generation,
    pub hash: ContentHash,
    pub size: u64,
    pub mtime_ns: i64,
}

/// What an embedder would write for an event, after reading the disk.
#[derive(Debug, Clone)]
pub enum PlannedWrite {
    Upsert(SimulatedRow),
    Remove(OutcomeState),
    Skip(String),
}

/// Everything a test needs. Places are written `library/path`; the libraries are `one` and `two`.
pub struct KeeperWorld {
    pub dir: tempfile::TempDir,
    pub settings: Settings,
    pub roots: Vec<(LibraryName, PathBuf)>,
    keeper: Option<Keeper>,
    pub published: watch::Receiver<PublishedStatus>,
    /// Hints of the system that no tick has handled yet.
    pub hints: Vec<Hint>,
    /// Libraries whose hints were lost.
    pub overflowed: Vec<LibraryId>,
    /// While this is set, changes add no hints.
    pub are_hints_muted: bool,
    /// The events in JetStream.
    pub queue: VecDeque<FileEvent>,
    /// Events that cannot be handled while a root is missing.
    returned_events: Vec<FileEvent>,
    sequence: u64,
    /// All outcomes of each library, and how many the keeper applied.
    outcomes: Vec<(Vec<Outcome>, usize)>,
    pub index: BTreeMap<ImageId, SimulatedRow>,
    /// Contents that had to be embedded.
    pub embedded: usize,
    embedded_hashes: HashSet<ContentHash>,
    /// When the tests' clock started; it advances only by `advance_clock`.
    started_at: (SystemTime, Instant),
    /// How far the tests' clock was advanced.
    clock_advance: Duration,
    /// How far the wall clock was set back.
    clock_setback: Duration,
    /// Waits take real time.
    pub real_time: bool,
}

impl KeeperWorld {
    /// Two empty libraries, and a keeper that has scanned them.
    pub fn new() -> Self {
        let mut world = Self::with_settings(|_| {});
        world.settle();
        world
    }

    pub fn with_settings(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings {
            settle_interval: Duration::from_millis(20),
            quiet_interval: Duration::from_secs(86_400),
            move_timeout: Duration::from_millis(30),
            rescan_interval: Duration::from_secs(10_000_000),
            max_file_bytes: 1000,
            ..Settings::default()
        };
        change(&mut settings);
        let roots = ["one", "two"].map(|name| {
            let root = dir.path().join(name);
            fs::create_dir(&root).unwrap();
            (LibraryName::new(name).unwrap(), root)
        });
        let mut world = Self {
            dir,
            settings,
            roots: roots.into(),
            keeper: None,
            published: watch::channel(PublishedStatus::new()).1,
            hints: Vec::new(),
            overflowed: Vec::new(),
            are_hints_muted: false,
            queue: VecDeque::new(),
            returned_events: Vec::new(),
            sequence: 0,
            outcomes: vec![(Vec::new(), 0), (Vec::new(), 0)],
            index: BTreeMap::new(),
            embedded: 0,
            embedded_hashes: HashSet::new(),
            started_at: (SystemTime::now(), Instant::now()),
            clock_advance: Duration::ZERO,
            clock_setback: Duration::ZERO,
            real_time: false,
        };
        world.start();
        world
    }

    // --- the keeper ---

    pub fn start(&mut self) {
        self.open_keeper();
        for library in 0..self.roots.len() {
            self.activate_library(library);
        }
    }

    /// Opens a keeper that does not know yet which leases it holds.
    fn open_keeper(&mut self) {
        let catalog = Catalog::open(&self.dir.path().join("catalog.sqlite")).unwrap();
        let (show, shown) = watch::channel(PublishedStatus::new());
        let keeper = Keeper::new(
            self.settings.clone(),
            catalog,
            self.roots.clone(),
            Arc::new(Inbox::new(self.settings.max_hints, self.busy_interval())),
            Arc::new(Notify::new()),
            show,
        );
        self.published = shown;
        self.keeper = Some(keeper.unwrap());
    }

    /// This watcher gets a library's lease.
    pub fn activate_library(&mut self, library: usize) {
        let id = LibraryId::new(library);
        let (after, _) = self.ask_keeper(|reply| KeeperRequest::Activate(id, reply));
        self.outcomes[library].1 = after.map_or(0, |position| position.sequence as usize);
    }

    /// Another watcher gets a library's lease.
    pub fn enter_standby(&mut self, library: usize) {
        let signal = KeeperSignal::EnterStandby(LibraryId::new(library));
        let drained = DrainedInbox {
            signals: vec![signal],
            ..DrainedInbox::default()
        };
        self.tick_with(drained).unwrap();
    }

    /// Starts with a catalog that lacks rows of the index, and imports them.
    pub fn start_with_lost_catalog(&mut self) {
        self.open_keeper();
        for library in 0..self.roots.len() {
            let id = LibraryId::new(library);
            self.ask_keeper(|reply| KeeperRequest::BeginRecovery(id, reply));
            let name = format!("{}/", self.roots[library].0);
            let rows = self.index.iter().filter_map(|(id, row)| {
                Some(RowSummary {
                    id: id.to_string(),
                    path: row.place.strip_prefix(&name)?.to_owned(),
                    content_hash: row.hash.to_string(),
                    generation: row.generation.get(),
                    bytes: row.size,
                    modified_at_ms: row.mtime_ns / 1_000_000,
                })
            });
            let rows: Vec<_> = rows.collect();
            for page in rows.chunks(2) {
                self.ask_keeper(|reply| KeeperRequest::ImportRows(id, page.to_vec(), reply));
            }
        }
        for library in 0..self.roots.len() {
            self.activate_library(library);
        }
    }

    /// The process dies; what it had not committed is lost, and so are hints.
    pub fn stop(&mut self) {
        self.keeper = None;
        self.hints.clear();
        self.overflowed.clear();
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    pub fn keeper(&mut self) -> &mut Keeper {
        self.keeper.as_mut().expect("the keeper runs")
    }

    pub fn library(&mut self, index: usize) -> &mut Library {
        &mut self.keeper().libraries[LibraryId::new(index)]
    }

    /// Hints of a library are lost, and the system reports that.
    pub fn lose_hints(&mut self, library: usize) {
        self.overflowed.push(LibraryId::new(library));
    }

    pub fn now(&self) -> Now {
        let (wall, mono) = if self.real_time {
            (SystemTime::now(), Instant::now())
        } else {
            self.started_at
        };
        Now {
            wall: wall + self.clock_advance - self.clock_setback,
            mono: mono + self.clock_advance,
        }
    }

    pub fn advance_clock(&mut self, time: Duration) {
        if self.real_time {
            std::thread::sleep(time);
        } else {
            self.clock_advance += time;
        }
    }

    /// Sets the wall clock back by an hour more than the test has advanced it.
    pub fn set_clock_back(&mut self) {
        self.clock_setback += self.clock_advance + Duration::from_secs(3600);
    }

    /// Returns the keeper, to be run on a thread.
    pub fn take_keeper(&mut self) -> (Keeper, Arc<Inbox>) {
        let keeper = self.keeper.take().expect("the keeper runs");
        let inbox = keeper.inbox.clone();
        (keeper, inbox)
    }

    /// Runs one tick with all hints.
    pub fn run_tick(&mut self) {
        self.try_tick().unwrap();
    }

    pub fn try_tick(&mut self) -> Result<(), crate::catalog::Error> {
        self.tick_with(DrainedInbox::default())
    }

    fn tick_with(&mut self, drained: DrainedInbox) -> Result<(), crate::catalog::Error> {
        let now = self.now();
        let drained = DrainedInbox {
            hints: std::mem::take(&mut self.hints),
            overflowed: std::mem::take(&mut self.overflowed),
            ..drained
        };
        let result = self.keeper().run_tick(drained, now);
        if result.is_err() {
            self.keeper().discard_tick(Now::from_clock());
        }
        result
    }

    fn ask_keeper<T>(&mut self, request: impl FnOnce(oneshot::Sender<T>) -> KeeperRequest) -> T {
        let (sender, mut reply) = oneshot::channel();
        let drained = DrainedInbox {
            requests: vec![request(sender)],
            ..DrainedInbox::default()
        };
        self.tick_with(drained).unwrap();
        reply.try_recv().expect("answered within the tick")
    }

    /// Requests a full scan of every library.
    pub fn rescan_all(&mut self) {
        for library in 0..self.roots.len() {
            self.send_request(library, WatcherRequest::Scan);
        }
    }

    pub fn send_request(&mut self, library: usize, request: WatcherRequest) -> WatcherReply {
        let id = LibraryId::new(library);
        self.ask_keeper(|reply| KeeperRequest::WatcherRequest(id, request, reply))
    }

    // --- the queue ---

    /// Takes events from the outbox without publishing them.
    pub fn take_events(&mut self, limit: usize) -> Vec<FileEvent> {
        self.ask_keeper(|reply| KeeperRequest::TakeEvents(limit, reply))
    }

    /// JetStream stores these events and confirms that.
    pub fn publish_events(&mut self, events: Vec<FileEvent>) {
        let mut reports = Vec::new();
        for event in events {
            self.sequence += 1;
            reports.push(PublishReport {
                image_id: event.image_id,
                generation: event.generation,
                stored_at: Some(StreamPosition {
                    stream_created_ns: STREAM_CREATED_NS,
                    sequence: self.sequence,
                }),
            });
            self.queue.push_back(event);
        }
        self.ask_keeper(|reply| KeeperRequest::RecordPublished(reports, reply));
    }

    /// JetStream does not confirm these events.
    pub fn fail_to_publish(&mut self, events: &[FileEvent]) {
        let reports = events.iter().map(|event| PublishReport {
            image_id: event.image_id,
            generation: event.generation,
            stored_at: None,
        });
        let reports = reports.collect();
        self.ask_keeper(|reply| KeeperRequest::RecordPublished(reports, reply));
    }

    pub fn relay_outbox(&mut self) -> usize {
        let events = self.take_events(512);
        let count = events.len();
        if count > 0 {
            self.publish_events(events);
        }
        count
    }

    /// Checks events without an outcome, and returns which the queue lost.
    pub fn check_overdue(&mut self) -> Vec<EventDisposition> {
        let before = lookalike_chassis::clock::to_nanos(self.now().wall);
        let overdue: Vec<OverdueEvent> =
            self.ask_keeper(|reply| KeeperRequest::ListOverdue(before, 1000, reply));
        let stored: HashSet<_> = self
            .queue
            .iter()
            .chain(&self.returned_events)
            .map(|event| (event.image_id, event.generation))
            .collect();
        let resolved: Vec<_> = overdue
            .into_iter()
            .map(|event| {
                let disposition = if stored.contains(&(event.image_id, event.generation)) {
                    EventDisposition::Pending
                } else {
                    EventDisposition::Lost
                };
                (event.image_id, event.generation, disposition)
            })
            .collect();
        let dispositions = resolved.iter().map(|(_, _, disposition)| *disposition);
        let dispositions = dispositions.collect();
        self.ask_keeper(|reply| KeeperRequest::ResolveOverdue(resolved, reply));
        dispositions
    }

    // --- the embedder ---

    /// Returns what an embedder would write for an event now. `None`: it cannot be handled now.
    pub fn prepare_write(&mut self, event: &FileEvent) -> Option<PlannedWrite> {
        let root = &self.roots.iter().find(|(l, _)| *l == event.library)?.1;
        let path = event.path.join_to(root);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => Some(metadata),
            Err(error) if is_not_found(&error) && root.is_dir() => None,
            Err(_) => return None,
        };
        let is_there = metadata.as_ref().is_some_and(|metadata| {
            metadata.is_file() && metadata.len() == event.size && mtime(metadata) == event.mtime_ns
        });
        Some(match (event.kind, is_there) {
            (FileEventKind::Remove, true) => PlannedWrite::Skip("the file is there".into()),
            (FileEventKind::Remove, false) => PlannedWrite::Remove(OutcomeState::Removed),
            (FileEventKind::Put, false) => PlannedWrite::Skip("something else is there".into()),
            (FileEventKind::Put, true) => {
                let bytes = fs::read(&path).ok()?;
                let hash = ContentHash::hash_content(&bytes);
                if bytes.starts_with(b"bad") {
                    let (code, detail) = ("corrupt".to_owned(), String::new());
                    return Some(PlannedWrite::Remove(OutcomeState::Failed { code, detail }));
                }
                if self.embedded_hashes.insert(hash) {
                    self.embedded += 1;
                }
                PlannedWrite::Upsert(SimulatedRow {
                    place: format!("{}/{}", event.library, event.path),
                    generation: event.generation,
                    hash,
                    size: event.size,
                    mtime_ns: event.mtime_ns,
                })
            }
        })
    }

    /// Writes to the index, and returns the event's outcome.
    pub fn commit_write(&mut self, event: &FileEvent, deed: PlannedWrite) -> Outcome {
        let mut content_hash = None;
        let state = match deed {
            PlannedWrite::Upsert(row) => {
                content_hash = Some(row.hash);
                self.index.insert(event.image_id, row);
                OutcomeState::Indexed
            }
            PlannedWrite::Remove(state) => {
                let row = self.index.get(&event.image_id);
                if row.is_some_and(|row| row.generation <= event.generation) {
                    self.index.remove(&event.image_id);
                }
                state
            }
            PlannedWrite::Skip(detail) => OutcomeState::Superseded { detail },
        };
        Outcome {
            image_id: event.image_id,
            library: event.library.clone(),
            generation: event.generation,
            state,
            content_hash,
            model: "m".into(),
            attributes: None,
            timings: Timings {
                committed_ns: lookalike_chassis::clock::to_nanos(self.now().wall),
                ..Timings::default()
            },
            deliveries: 1,
            reused: false,
        }
    }

    /// Handles an event correctly; false if it cannot be handled now.
    pub fn embed_event(&mut self, event: FileEvent) -> bool {
        let Some(deed) = self.prepare_write(&event) else {
            self.returned_events.push(event);
            return false;
        };
        let outcome = self.commit_write(&event, deed);
        self.store_outcome(outcome);
        true
    }

    /// JetStream stores an outcome.
    pub fn store_outcome(&mut self, outcome: Outcome) {
        let library = self.roots.iter().position(|(l, _)| *l == outcome.library);
        self.outcomes[library.unwrap()].0.push(outcome);
    }

    /// The keeper applies outcomes, at most so many of each library; returns their number.
    pub fn deliver_outcomes(&mut self, limit: usize) -> usize {
        let mut count = 0;
        for library in 0..self.outcomes.len() {
            let (all, applied) = &self.outcomes[library];
            let batch: Vec<_> = all[*applied..]
                .iter()
                .take(limit)
                .enumerate()
                .map(|(i, outcome)| {
                    let position = StreamPosition {
                        stream_created_ns: STREAM_CREATED_NS,
                        sequence: (applied + i + 1) as u64,
                    };
                    (position, outcome.clone())
                })
                .collect();
            if batch.is_empty() {
                continue;
            }
            count += batch.len();
            self.outcomes[library].1 += batch.len();
            let id = LibraryId::new(library);
            self.ask_keeper(|reply| KeeperRequest::ApplyOutcomes(id, batch, reply));
        }
        count
    }

    /// Compares the contents of files of which only rights or link count changed; their number.
    pub fn compare_contents(&mut self) -> usize {
        let checks = self.keeper().content_checks();
        let mut requests = Vec::new();
        while let Some(check) = checks.pop_check() {
            requests.push(KeeperRequest::RecordContentCheck(check.compare_content()));
        }
        let count = requests.len();
        if count > 0 {
            let drained = DrainedInbox {
                requests,
                ..DrainedInbox::default()
            };
            self.tick_with(drained).unwrap();
        }
        count
    }

    // --- until nothing is left to do ---

    /// Runs ticks until nothing is to be observed, sent, awaited or removed.
    pub fn settle(&mut self) {
        let returned = std::mem::take(&mut self.returned_events);
        self.queue.extend(returned);
        for _ in 0..2000 {
            self.run_tick();
            let mut moved = self.relay_outbox();
            while let Some(event) = self.queue.pop_front() {
                moved += usize::from(self.embed_event(event));
            }
            moved += self.deliver_outcomes(usize::MAX);
            moved += self.compare_contents();
            if moved > 0 {
                continue;
            }
            if self.is_at_rest() {
                return;
            }
            let is_stuck = self.keeper().catalog.count_rows("in_flight <> 0")
                > self.returned_events.len() as i64;
            if is_stuck {
                self.check_overdue();
            }
            self.advance_clock(Duration::from_millis(7));
        }
        panic!("it never settles: {}", self.describe_unrest());
    }

    fn is_at_rest(&mut self) -> bool {
        let returned = self.returned_events.len() as i64;
        let keeper = self.keeper();
        let keys = |keys: Vec<i64>| {
            let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
            keys.join(",")
        };
        // The mass-delete guard may hold missing files.
        let free = keeper.libraries.iter();
        let free = free.filter(|library| !library.mass_delete_guard.is_holding());
        let free = free.map(|library| library.key).collect();
        let unrest = format!(
            "library IN ({}) AND is_unsent = 1 \
             OR library IN ({}) AND is_present = 0 AND is_removing = 0",
            keys(keeper.libraries.active_keys()),
            keys(free),
        );
        !keeper.scans.has_ready_scan()
            && keeper.scans.next_due().is_none()
            && keeper.settling.next_due().is_none()
            && keeper.content_checks.is_empty()
            && keeper.catalog.count_rows(&unrest) == 0
            && keeper.catalog.count_rows("in_flight <> 0") == returned
    }

    fn describe_unrest(&mut self) -> String {
        let keeper = self.keeper();
        format!(
            "scans {}, later {:?}, settling {:?}, unsent {}, in flight {}, missing {}, removing {}",
            keeper.scans.has_ready_scan(),
            keeper.scans.next_due().is_some(),
            keeper.settling.next_due().is_some(),
            keeper.catalog.count_rows("is_unsent = 1"),
            keeper.catalog.count_rows("in_flight <> 0"),
            keeper
                .catalog
                .count_rows("is_present = 0 AND is_removing = 0"),
            keeper.catalog.count_rows("is_removing = 1"),
        )
    }
}

fn is_not_found(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

pub fn mtime(metadata: &fs::Metadata) -> i64 {
    metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()
}
