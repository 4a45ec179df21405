//! What waits for the keeper: hints from the system, notes from the tasks around it. Putting
//! something in never blocks, because the system's queue of events is small.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lookalike_bus::{LibraryStatus, RowFacts, StreamPosition, WatcherAnswer, WatcherQuestion};
use lookalike_proto::{FileEvent, Generation, ImageId, Outcome};
use tokio::sync::oneshot;

/// Something happened near a path; may be lost, doubled or wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Which of the keeper's libraries.
    pub library: usize,
    /// Below its root, in the file system's bytes; empty for the root itself.
    pub path: Vec<u8>,
    /// What happened.
    pub kind: HintKind,
}

/// What is said to have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HintKind {
    /// A file was closed after writing, or renamed to here: it is complete.
    Ready,
    /// Something changed, and may go on changing.
    Changed,
    /// It was removed or renamed away.
    Gone,
    /// It was a folder and renamed away, says its own watch.
    MovedItself,
}

/// What a task around the keeper wants of it. Answers are sent once the catalog has committed;
/// where the answer's channel closes instead, nothing of the note was kept.
pub enum Note {
    /// Events to publish, at most so many: they count as under way from now on.
    Outbox(usize, oneshot::Sender<Vec<FileEvent>>),
    /// What JetStream said to the publishing of these.
    Published(Vec<Published>, oneshot::Sender<()>),
    /// Outcomes that came in for a library, and where reading them goes on.
    Outcomes(usize, Vec<(StreamPosition, Outcome)>, oneshot::Sender<()>),
    /// Events without an answer since before (nanoseconds), at most so many.
    Overdue(i64, usize, oneshot::Sender<Vec<Overdue>>),
    /// What was found out about overdue events.
    Checked(Vec<(ImageId, Generation, Fate)>, oneshot::Sender<()>),
    /// A question to a library.
    Question(usize, WatcherQuestion, oneshot::Sender<WatcherAnswer>),
    /// A library's watch works again (`None`) or has a fault.
    Degraded(usize, &'static str, Option<String>),
    /// A library is held by another watcher.
    StandBy(usize),
    /// A library is held by this watcher: which turn of holding it, as the catalog counts them,
    /// was the last one whose beginning was whole? None: 0.
    BeginToHold(usize, oneshot::Sender<u64>),
    /// Rows of the index, to be taken over.
    Adopt(usize, Vec<RowFacts>, oneshot::Sender<()>),
    /// The catalog is whole: watch the library. Behind which outcome does reading go on, and which
    /// turn of holding it is this?
    Activate(usize, oneshot::Sender<(Option<StreamPosition>, u64)>),
    /// Finish.
    Stop,
}

/// How the publishing of one event ended.
#[derive(Debug, Clone)]
pub struct Published {
    /// Whose.
    pub image_id: ImageId,
    /// Which generation.
    pub generation: Generation,
    /// Where it was stored; `None`: it was not, as far as can be told.
    pub stored: Option<StreamPosition>,
}

/// An event without an answer.
#[derive(Debug, Clone)]
pub struct Overdue {
    /// Whose.
    pub image_id: ImageId,
    /// Which generation.
    pub generation: Generation,
    /// Where it was stored.
    pub position: StreamPosition,
}

/// What became of an overdue event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It waits in the stream, or a worker holds it.
    Waiting,
    /// The stream has it no more.
    Lost,
}

/// What the keeper shows to the tasks around it.
pub type Shown = Vec<LibraryStatus>;

/// The two queues, and what wakes the keeper.
pub struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    max_hints: usize,
    /// When the keeper took out what it works on now.
    taken_at: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Waiting {
    hints: VecDeque<Hint>,
    /// Libraries whose hints were dropped.
    overflown: Vec<usize>,
    notes: VecDeque<Note>,
}

/// What the keeper took out of the inbox.
pub struct Taken {
    /// In the order of arrival.
    pub hints: Vec<Hint>,
    /// Libraries whose hints were dropped.
    pub overflown: Vec<usize>,
    /// In the order of arrival.
    pub notes: Vec<Note>,
}

impl Inbox {
    /// An empty one.
    pub fn new(max_hints: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            max_hints,
            taken_at: Mutex::default(),
        }
    }

    /// How long the keeper has been working on what it took out last; nothing while it waits.
    pub fn busy_for(&self) -> Duration {
        let taken_at = *self.taken_at.lock().expect("no holder panics");
        taken_at.map_or(Duration::ZERO, |at| at.elapsed())
    }

    fn note_busy(&self, is_busy: bool) {
        *self.taken_at.lock().expect("no holder panics") = is_busy.then(Instant::now);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Takes a hint in, or, when too many wait, drops it and remembers that the library's folder
    /// must be compared.
    pub fn hint(&self, hint: Hint) {
        let mut waiting = self.lock();
        if waiting.hints.back() == Some(&hint) {
            return;
        }
        if waiting.hints.len() >= self.max_hints {
            drop(waiting);
            self.overflow(hint.library);
            return;
        }
        waiting.hints.push_back(hint);
        self.arrived.notify_one();
    }

    /// Remembers that hints of a library were lost.
    pub fn overflow(&self, library: usize) {
        let mut waiting = self.lock();
        if !waiting.overflown.contains(&library) {
            waiting.overflown.push(library);
        }
        self.arrived.notify_one();
    }

    /// Takes a note in. Each task has at most a few under way, which bounds their number.
    pub fn note(&self, note: Note) {
        self.lock().notes.push_back(note);
        self.arrived.notify_one();
    }

    /// Waits until somebody wants the keeper to finish, at most so long; whether they do.
    pub fn wait_for_stop(&self, most: Duration) -> bool {
        let stops = |waiting: &Waiting| waiting.notes.iter().any(|n| matches!(n, Note::Stop));
        let (waiting, _) = self
            .arrived
            .wait_timeout_while(self.lock(), most, |waiting| !stops(waiting))
            .expect("no holder panics");
        stops(&waiting)
    }

    /// Takes out at most `max` hints and all notes; waits for the first one until `until`.
    pub fn take(&self, max: usize, until: Option<Instant>) -> Taken {
        self.note_busy(false);
        let mut waiting = self.lock();
        while waiting.hints.is_empty() && waiting.notes.is_empty() && waiting.overflown.is_empty() {
            let Some(until) = until else {
                waiting = self.arrived.wait(waiting).expect("no holder panics");
                continue;
            };
            let Some(left) = until
                .checked_duration_since(Instant::now())
                .filter(|d| !d.is_zero())
            else {
                break;
            };
            waiting = self
                .arrived
                .wait_timeout(waiting, left)
                .expect("no holder panics")
                .0;
        }
        self.note_busy(true);
        let count = waiting.hints.len().min(max);
        Taken {
            hints: waiting.hints.drain(..count).collect(),
            overflown: std::mem::take(&mut waiting.overflown),
            notes: waiting.notes.drain(..).collect(),
        }
    }
}
