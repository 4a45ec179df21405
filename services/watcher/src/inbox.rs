//! What waits for the keeper: hints from the system, notes from the tasks around it. Putting
//! something in never blocks, because the system's queue of events is small.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lookalike_bus::{LibraryStatus, RowSummary, StreamPosition, WatcherReply, WatcherRequest};
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
pub enum KeeperRequest {
    /// Events to publish, at most so many: they count as under way from now on.
    TakeEvents(usize, oneshot::Sender<Vec<FileEvent>>),
    /// What JetStream said to the publishing of these.
    RecordPublished(Vec<PublishReport>, oneshot::Sender<()>),
    /// Outcomes that came in for a library, and where reading them goes on.
    ApplyOutcomes(usize, Vec<(StreamPosition, Outcome)>, oneshot::Sender<()>),
    /// Events without an answer since before (nanoseconds), at most so many.
    ListOverdue(i64, usize, oneshot::Sender<Vec<OverdueEvent>>),
    /// What was found out about overdue events.
    ResolveOverdue(
        Vec<(ImageId, Generation, EventDisposition)>,
        oneshot::Sender<()>,
    ),
    /// A question to a library.
    WatcherRequest(usize, WatcherRequest, oneshot::Sender<WatcherReply>),
    /// A library's watch works again (`None`) or has a fault.
    SetDegraded(usize, &'static str, Option<String>),
    /// A library is held by another watcher.
    EnterStandby(usize),
    /// A library is held by this watcher: which turn of holding it, as the catalog counts them,
    /// was the last one whose beginning was whole? None: 0.
    BeginRecovery(usize, oneshot::Sender<u64>),
    /// Rows of the index, to be taken over.
    ImportRows(usize, Vec<RowSummary>, oneshot::Sender<()>),
    /// The catalog is whole: watch the library. Behind which outcome does reading go on, and which
    /// turn of holding it is this?
    Activate(usize, oneshot::Sender<(Option<StreamPosition>, u64)>),
    /// Finish.
    Stop,
}

/// How the publishing of one event ended.
#[derive(Debug, Clone)]
pub struct PublishReport {
    /// Whose.
    pub image_id: ImageId,
    /// Which generation.
    pub generation: Generation,
    /// Where it was stored; `None`: it was not, as far as can be told.
    pub stored_at: Option<StreamPosition>,
}

/// An event without an answer.
#[derive(Debug, Clone)]
pub struct OverdueEvent {
    /// Whose.
    pub image_id: ImageId,
    /// Which generation.
    pub generation: Generation,
    /// Where it was stored.
    pub position: StreamPosition,
}

/// What became of an overdue event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventDisposition {
    /// It waits in the stream, or a worker holds it.
    Pending,
    /// The stream has it no more.
    Lost,
}

/// What the keeper shows to the tasks around it.
pub type PublishedStatus = Vec<LibraryStatus>;

/// The two queues, and what wakes the keeper.
pub struct Inbox {
    queues: Mutex<InboxQueues>,
    arrived: Condvar,
    max_hints: usize,
    /// When the keeper took out what it works on now.
    drained_at: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct InboxQueues {
    hints: VecDeque<Hint>,
    /// Libraries whose hints were dropped.
    overflowed: Vec<usize>,
    requests: VecDeque<KeeperRequest>,
}

/// What the keeper took out of the inbox.
pub struct DrainedInbox {
    /// In the order of arrival.
    pub hints: Vec<Hint>,
    /// Libraries whose hints were dropped.
    pub overflowed: Vec<usize>,
    /// In the order of arrival.
    pub requests: Vec<KeeperRequest>,
}

impl Inbox {
    /// An empty one.
    pub fn new(max_hints: usize) -> Self {
        Self {
            queues: Mutex::default(),
            arrived: Condvar::new(),
            max_hints,
            drained_at: Mutex::default(),
        }
    }

    /// How long the keeper has been working on what it took out last; nothing while it waits.
    pub fn busy_for(&self) -> Duration {
        let taken_at = *self.drained_at.lock().expect("no holder panics");
        taken_at.map_or(Duration::ZERO, |at| at.elapsed())
    }

    fn set_busy(&self, is_busy: bool) {
        *self.drained_at.lock().expect("no holder panics") = is_busy.then(Instant::now);
    }

    fn lock_queues(&self) -> MutexGuard<'_, InboxQueues> {
        self.queues
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Takes a hint in, or, when too many wait, drops it and remembers that the library's folder
    /// must be compared.
    pub fn push_hint(&self, hint: Hint) {
        let mut waiting = self.lock_queues();
        if waiting.hints.back() == Some(&hint) {
            return;
        }
        if waiting.hints.len() >= self.max_hints {
            drop(waiting);
            self.report_overflow(hint.library);
            return;
        }
        waiting.hints.push_back(hint);
        self.arrived.notify_one();
    }

    /// Remembers that hints of a library were lost.
    pub fn report_overflow(&self, library: usize) {
        let mut waiting = self.lock_queues();
        if !waiting.overflowed.contains(&library) {
            waiting.overflowed.push(library);
        }
        self.arrived.notify_one();
    }

    /// Takes a note in. Each task has at most a few under way, which bounds their number.
    pub fn push_request(&self, note: KeeperRequest) {
        self.lock_queues().requests.push_back(note);
        self.arrived.notify_one();
    }

    /// Waits until somebody wants the keeper to finish, at most so long; whether they do.
    pub fn wait_for_stop(&self, most: Duration) -> bool {
        let stops = |waiting: &InboxQueues| {
            waiting
                .requests
                .iter()
                .any(|n| matches!(n, KeeperRequest::Stop))
        };
        let (waiting, _) = self
            .arrived
            .wait_timeout_while(self.lock_queues(), most, |waiting| !stops(waiting))
            .expect("no holder panics");
        stops(&waiting)
    }

    /// Takes out at most `max` hints and all notes; waits for the first one until `until`.
    pub fn wait_and_drain(&self, max: usize, until: Option<Instant>) -> DrainedInbox {
        self.set_busy(false);
        let mut waiting = self.lock_queues();
        while waiting.hints.is_empty()
            && waiting.requests.is_empty()
            && waiting.overflowed.is_empty()
        {
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
        self.set_busy(true);
        let count = waiting.hints.len().min(max);
        DrainedInbox {
            hints: waiting.hints.drain(..count).collect(),
            overflowed: std::mem::take(&mut waiting.overflowed),
            requests: waiting.requests.drain(..).collect(),
        }
    }
}
