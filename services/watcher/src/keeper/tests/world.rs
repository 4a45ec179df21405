//! The small language of these tests: folders to change, a keeper to turn, a model of what
//! lies behind it, and the promise that all ends in.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lookalike_bus::{RowFacts, StreamPosition, WatcherAnswer, WatcherQuestion};
use lookalike_proto::{
    ContentHash, FileEvent, Generation, ImageId, Kind, Library, Outcome, State, Timings,
};
use tokio::sync::{Notify, oneshot, watch};

use crate::catalog::Catalog;
use crate::inbox::{Fate, Hint, Inbox, Note, Overdue, Published, Shown, Taken};
use crate::keeper::{Keeper, Now};
use crate::settings::Settings;

/// When the model's stream was made.
const CREATED: i64 = 77;

/// A row of the model's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexRow {
    pub place: String,
    pub generation: Generation,
    pub hash: ContentHash,
    pub size: u64,
    pub mtime_ns: i64,
}

/// What an embedder would write for an event, once it has looked at the disk.
#[derive(Debug, Clone)]
pub enum Deed {
    Upsert(IndexRow),
    Remove(State),
    Nothing(String),
}

/// Everything a test needs. Places are written `library/path`; the libraries are `one` and `two`.
pub struct World {
    pub dir: tempfile::TempDir,
    pub settings: Settings,
    pub roots: Vec<(Library, PathBuf)>,
    keeper: Option<Keeper>,
    pub shown: watch::Receiver<Shown>,
    /// Hints that the system would give, not taken yet.
    pub hints: Vec<Hint>,
    /// Libraries of which hints were lost, says the system.
    pub overflown: Vec<usize>,
    /// Nothing is hinted at while this is set.
    pub deaf: bool,
    /// What JetStream holds.
    pub queue: VecDeque<FileEvent>,
    /// Events that can't be done while a root is away.
    given_back: Vec<FileEvent>,
    sequence: u64,
    /// All outcomes of each library, and how many the keeper took.
    outcomes: Vec<(Vec<Outcome>, usize)>,
    pub index: BTreeMap<ImageId, IndexRow>,
    /// Contents that had to be embedded.
    pub embedded: usize,
    known: HashSet<ContentHash>,
    /// When the tests' clock was started; it goes on only when it is told to.
    begun: (SystemTime, Instant),
    /// How far the tests' clock is ahead.
    ahead: Duration,
    /// How far the wall's clock was set back.
    back: Duration,
    /// Waits take real time.
    pub real_time: bool,
}

impl World {
    /// Two empty libraries, and a keeper that has compared them.
    pub fn new() -> Self {
        let mut world = Self::with(|_| {});
        world.settle();
        world
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings {
            settle: Duration::from_millis(20),
            quiet: Duration::from_secs(86_400),
            move_grace: Duration::from_millis(30),
            rescan_interval: Duration::from_secs(10_000_000),
            max_file_bytes: 1000,
            ..Settings::default()
        };
        change(&mut settings);
        let roots = ["one", "two"].map(|name| {
            let root = dir.path().join(name);
            fs::create_dir(&root).unwrap();
            (Library::new(name).unwrap(), root)
        });
        let mut world = Self {
            dir,
            settings,
            roots: roots.into(),
            keeper: None,
            shown: watch::channel(Shown::new()).1,
            hints: Vec::new(),
            overflown: Vec::new(),
            deaf: false,
            queue: VecDeque::new(),
            given_back: Vec::new(),
            sequence: 0,
            outcomes: vec![(Vec::new(), 0), (Vec::new(), 0)],
            index: BTreeMap::new(),
            embedded: 0,
            known: HashSet::new(),
            begun: (SystemTime::now(), Instant::now()),
            ahead: Duration::ZERO,
            back: Duration::ZERO,
            real_time: false,
        };
        world.start();
        world
    }

    // --- the keeper ---

    pub fn start(&mut self) {
        self.open();
        for library in 0..self.roots.len() {
            self.activate(library);
        }
    }

    /// A keeper that does not know yet which libraries it holds.
    fn open(&mut self) {
        let catalog = Catalog::open(&self.dir.path().join("catalog.sqlite")).unwrap();
        let (show, shown) = watch::channel(Shown::new());
        let keeper = Keeper::new(
            self.settings.clone(),
            catalog,
            self.roots.clone(),
            Arc::new(Inbox::new(self.settings.max_hints)),
            Arc::new(Notify::new()),
            show,
        );
        self.shown = shown;
        self.keeper = Some(keeper.unwrap());
    }

    /// A library is held by this watcher from now on.
    pub fn activate(&mut self, library: usize) {
        let (after, _) = self.ask(|answer| Note::Activate(library, answer));
        self.outcomes[library].1 = after.map_or(0, |at| at.sequence as usize);
    }

    /// A library is held by another watcher.
    pub fn stand_by(&mut self, library: usize) {
        self.turn(vec![Note::StandBy(library)]);
    }

    /// Starts with a catalog that lacks what the index holds, and takes that over.
    pub fn start_with_lost_catalog(&mut self) {
        self.open();
        for library in 0..self.roots.len() {
            self.ask(|answer| Note::BeginToHold(library, answer));
            let name = format!("{}/", self.roots[library].0);
            let rows = self.index.iter().filter_map(|(id, row)| {
                Some(RowFacts {
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
                self.ask(|answer| Note::Adopt(library, page.to_vec(), answer));
            }
        }
        for library in 0..self.roots.len() {
            self.activate(library);
        }
    }

    /// The process dies; what it had not written down is lost, and so are hints.
    pub fn stop(&mut self) {
        self.keeper = None;
        self.hints.clear();
        self.overflown.clear();
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    pub fn keeper(&mut self) -> &mut Keeper {
        self.keeper.as_mut().expect("the keeper runs")
    }

    pub fn now(&self) -> Now {
        let (wall, mono) = if self.real_time {
            (SystemTime::now(), Instant::now())
        } else {
            self.begun
        };
        Now {
            wall: wall + self.ahead - self.back,
            mono: mono + self.ahead,
        }
    }

    /// Time goes by.
    pub fn pass(&mut self, time: Duration) {
        if self.real_time {
            std::thread::sleep(time);
        } else {
            self.ahead += time;
        }
    }

    /// From now on it is an hour and the time that tests let pass earlier, by the wall's clock.
    pub fn set_clock_back(&mut self) {
        self.back += self.ahead + Duration::from_secs(3600);
    }

    /// Hands the keeper out, to be run on a thread.
    pub fn take_keeper(&mut self) -> (Keeper, Arc<Inbox>) {
        let keeper = self.keeper.take().expect("the keeper runs");
        let inbox = keeper.inbox.clone();
        (keeper, inbox)
    }

    /// One turn with these notes and all hints.
    pub fn turn(&mut self, notes: Vec<Note>) {
        self.try_turn(notes).unwrap();
    }

    pub fn try_turn(&mut self, notes: Vec<Note>) -> Result<(), crate::catalog::Error> {
        let now = self.now();
        let taken = Taken {
            hints: std::mem::take(&mut self.hints),
            overflown: std::mem::take(&mut self.overflown),
            notes,
        };
        let result = self.keeper().turn(taken, now);
        if result.is_err() {
            self.keeper().undo();
        }
        result
    }

    fn ask<T>(&mut self, note: impl FnOnce(oneshot::Sender<T>) -> Note) -> T {
        let (answer, mut answered) = oneshot::channel();
        self.turn(vec![note(answer)]);
        answered.try_recv().expect("answered within the turn")
    }

    /// Everything is to be compared, as after an overflow of the system's queue.
    pub fn rescan(&mut self) {
        for library in 0..self.roots.len() {
            self.question(library, WatcherQuestion::Scan);
        }
    }

    pub fn question(&mut self, library: usize, question: WatcherQuestion) -> WatcherAnswer {
        self.ask(|answer| Note::Question(library, question, answer))
    }

    // --- the queue ---

    /// Events from the outbox, of which nothing is published yet.
    pub fn hand_out(&mut self, most: usize) -> Vec<FileEvent> {
        self.ask(|answer| Note::Outbox(most, answer))
    }

    /// JetStream stores these, and the keeper hears of it.
    pub fn publish(&mut self, events: Vec<FileEvent>) {
        let mut published = Vec::new();
        for event in events {
            self.sequence += 1;
            published.push(Published {
                image_id: event.image_id,
                generation: event.generation,
                stored: Some(StreamPosition {
                    stream_created_ns: CREATED,
                    sequence: self.sequence,
                }),
            });
            self.queue.push_back(event);
        }
        self.ask(|answer| Note::Published(published, answer));
    }

    /// JetStream does not take these, as far as can be told.
    pub fn fail_to_publish(&mut self, events: &[FileEvent]) {
        let published = events.iter().map(|event| Published {
            image_id: event.image_id,
            generation: event.generation,
            stored: None,
        });
        let published = published.collect();
        self.ask(|answer| Note::Published(published, answer));
    }

    pub fn relay(&mut self) -> usize {
        let events = self.hand_out(512);
        let count = events.len();
        if count > 0 {
            self.publish(events);
        }
        count
    }

    /// Looks for events that got no answer, and says which the queue lost.
    pub fn look_for_overdue(&mut self) -> Vec<Fate> {
        let before = lookalike_chassis::clock::to_nanos(self.now().wall);
        let late: Vec<Overdue> = self.ask(|answer| Note::Overdue(before, 1000, answer));
        let held: HashSet<_> = self
            .queue
            .iter()
            .chain(&self.given_back)
            .map(|event| (event.image_id, event.generation))
            .collect();
        let checked: Vec<_> = late
            .into_iter()
            .map(|late| {
                let is_held = held.contains(&(late.image_id, late.generation));
                let fate = if is_held { Fate::Waiting } else { Fate::Lost };
                (late.image_id, late.generation, fate)
            })
            .collect();
        let fates = checked.iter().map(|(_, _, fate)| *fate).collect();
        self.ask(|answer| Note::Checked(checked, answer));
        fates
    }

    // --- the embedder ---

    /// What an embedder would do about an event, as the disk is now. `None`: not now.
    pub fn prepare(&mut self, event: &FileEvent) -> Option<Deed> {
        let root = &self.roots.iter().find(|(l, _)| *l == event.library)?.1;
        let path = event.path.below(root);
        let found = match fs::symlink_metadata(&path) {
            Ok(metadata) => Some(metadata),
            Err(error) if is_gone(&error) && root.is_dir() => None,
            Err(_) => return None,
        };
        let is_there = found.as_ref().is_some_and(|metadata| {
            metadata.is_file() && metadata.len() == event.size && mtime(metadata) == event.mtime_ns
        });
        Some(match (event.kind, is_there) {
            (Kind::Remove, true) => Deed::Nothing("the file is there".into()),
            (Kind::Remove, false) => Deed::Remove(State::Removed),
            (Kind::Put, false) => Deed::Nothing("something else is there".into()),
            (Kind::Put, true) => {
                let bytes = fs::read(&path).ok()?;
                let hash = ContentHash::of(&bytes);
                if bytes.starts_with(b"bad") {
                    let (code, detail) = ("corrupt".to_owned(), String::new());
                    return Some(Deed::Remove(State::Failed { code, detail }));
                }
                if self.known.insert(hash) {
                    self.embedded += 1;
                }
                Deed::Upsert(IndexRow {
                    place: format!("{}/{}", event.library, event.path),
                    generation: event.generation,
                    hash,
                    size: event.size,
                    mtime_ns: event.mtime_ns,
                })
            }
        })
    }

    /// Writes to the index, and says what became of the event.
    pub fn commit(&mut self, event: &FileEvent, deed: Deed) -> Outcome {
        let mut content_hash = None;
        let state = match deed {
            Deed::Upsert(row) => {
                content_hash = Some(row.hash);
                self.index.insert(event.image_id, row);
                State::Indexed
            }
            Deed::Remove(state) => {
                let row = self.index.get(&event.image_id);
                if row.is_some_and(|row| row.generation <= event.generation) {
                    self.index.remove(&event.image_id);
                }
                state
            }
            Deed::Nothing(detail) => State::Superseded { detail },
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

    /// Does an event as it should be done; false where it can't be done now.
    pub fn embed(&mut self, event: FileEvent) -> bool {
        let Some(deed) = self.prepare(&event) else {
            self.given_back.push(event);
            return false;
        };
        let outcome = self.commit(&event, deed);
        self.tell(outcome);
        true
    }

    /// An outcome is stored.
    pub fn tell(&mut self, outcome: Outcome) {
        let library = self.roots.iter().position(|(l, _)| *l == outcome.library);
        self.outcomes[library.unwrap()].0.push(outcome);
    }

    /// The keeper takes outcomes, at most so many of each library; how many it took.
    pub fn deliver(&mut self, most: usize) -> usize {
        let mut count = 0;
        for library in 0..self.outcomes.len() {
            let (all, taken) = &self.outcomes[library];
            let batch: Vec<_> = all[*taken..]
                .iter()
                .take(most)
                .enumerate()
                .map(|(i, outcome)| {
                    let at = StreamPosition {
                        stream_created_ns: CREATED,
                        sequence: (taken + i + 1) as u64,
                    };
                    (at, outcome.clone())
                })
                .collect();
            if batch.is_empty() {
                continue;
            }
            count += batch.len();
            self.outcomes[library].1 += batch.len();
            self.ask(|answer| Note::Outcomes(library, batch, answer));
        }
        count
    }

    // --- until all rests ---

    /// Turns until nothing is to be looked at, sent, awaited or removed.
    pub fn settle(&mut self) {
        let given_back = std::mem::take(&mut self.given_back);
        self.queue.extend(given_back);
        for _ in 0..2000 {
            self.turn(Vec::new());
            let mut moved = self.relay();
            while let Some(event) = self.queue.pop_front() {
                moved += usize::from(self.embed(event));
            }
            moved += self.deliver(usize::MAX);
            if moved > 0 {
                continue;
            }
            if self.is_at_rest() {
                return;
            }
            let is_stuck =
                self.keeper().catalog.count("in_flight <> 0") > self.given_back.len() as i64;
            if is_stuck {
                self.look_for_overdue();
            }
            self.pass(Duration::from_millis(7));
        }
        panic!("it never rests: {}", self.unrest());
    }

    fn is_at_rest(&mut self) -> bool {
        let given_back = self.given_back.len() as i64;
        let keeper = self.keeper();
        let keys = |keys: Vec<i64>| {
            let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
            keys.join(",")
        };
        // What the brake holds back is no unrest.
        let braking = |library: &usize| keeper.is_braking(*library);
        let free = (0..keeper.libraries.len()).filter(|library| !braking(library));
        let free = free.map(|library| keeper.libraries[library].key).collect();
        let unrest = format!(
            "library IN ({}) AND unsent = 1 OR library IN ({}) AND present = 0 AND removing = 0",
            keys(keeper.keys.clone()),
            keys(free),
        );
        !keeper.scans.any_ready()
            && keeper.scans.next_due().is_none()
            && keeper.settling.next_due().is_none()
            && keeper.catalog.count(&unrest) == 0
            && keeper.catalog.count("in_flight <> 0") == given_back
    }

    fn unrest(&mut self) -> String {
        let keeper = self.keeper();
        format!(
            "scans {}, later {:?}, settling {:?}, unsent {}, in flight {}, vanished {}, removing {}",
            keeper.scans.any_ready(),
            keeper.scans.next_due().is_some(),
            keeper.settling.next_due().is_some(),
            keeper.catalog.count("unsent = 1"),
            keeper.catalog.count("in_flight <> 0"),
            keeper.catalog.count("present = 0 AND removing = 0"),
            keeper.catalog.count("removing = 1"),
        )
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

pub fn mtime(metadata: &fs::Metadata) -> i64 {
    metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()
}
