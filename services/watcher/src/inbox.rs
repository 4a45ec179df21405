//! The keeper's inbox: hints from the system, and requests from the tasks. Adding never blocks,
//! because the system's queue of events is small.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lookalike_bus::{LibraryStatus, RowSummary, StreamPosition, WatcherReply, WatcherRequest};
use lookalike_proto::{FileEvent, Generation, ImageId, Outcome};
use tokio::sync::oneshot;

use crate::busy_files::{BusyFileReport, BusyFiles};
use crate::content_check::ContentCheckReport;
pub use crate::hint::{Hint, HintKind};
use crate::library::id::LibraryId;

/// What a task requests from the keeper.
///
/// Replies are sent after the catalog has committed. If the reply's channel closes instead, nothing
/// of the request was kept.
pub enum KeeperRequest {
    /// Takes at most so many events to publish. They count as in flight from now on.
    TakeEvents(usize, oneshot::Sender<Vec<FileEvent>>),
    /// Records how the publishing of events ended.
    RecordPublished(Vec<PublishReport>, oneshot::Sender<()>),
    /// Applies outcomes of a library, and stores the position of the last one.
    ApplyOutcomes(
        LibraryId,
        Vec<(StreamPosition, Outcome)>,
        oneshot::Sender<()>,
    ),
    /// Lists events sent before a time (nanoseconds) without an outcome, at most so many.
    ListOverdue(i64, usize, oneshot::Sender<Vec<OverdueEvent>>),
    /// Records which overdue events still exist.
    ResolveOverdue(
        Vec<(ImageId, Generation, EventDisposition)>,
        oneshot::Sender<()>,
    ),
    /// Records what the comparison of a file's content found. Has no reply.
    RecordContentCheck(ContentCheckReport),
    /// Handles a request that arrived over the bus.
    WatcherRequest(LibraryId, WatcherRequest, oneshot::Sender<WatcherReply>),
    /// Begins to recover a library whose lease is held now. Replies with the catalog's lease epoch
    /// of the library: 0 if it was never active.
    BeginRecovery(LibraryId, oneshot::Sender<u64>),
    /// Imports rows of the index.
    ImportRows(LibraryId, Vec<RowSummary>, oneshot::Sender<()>),
    /// Activates a library: the catalog is complete. Replies with the position of the last applied
    /// outcome and the new lease epoch.
    Activate(LibraryId, oneshot::Sender<(Option<StreamPosition>, u64)>),
}

/// What a task tells the keeper that needs neither catalog nor reply, so that it is not lost with a
/// tick that fails.
pub enum KeeperSignal {
    /// A library has a fault, with a reason and a detail.
    SetDegraded(LibraryId, &'static str, String),
    /// Another watcher holds a library's lease.
    EnterStandby(LibraryId),
    Stop,
}

/// How the publishing of one event ended.
#[derive(Debug, Clone)]
pub struct PublishReport {
    pub image_id: ImageId,
    pub generation: Generation,
    /// Where the event was stored; `None` if it was not, as far as is known.
    pub stored_at: Option<StreamPosition>,
}

/// An event without an outcome.
#[derive(Debug, Clone)]
pub struct OverdueEvent {
    pub image_id: ImageId,
    pub generation: Generation,
    /// Where the event was stored.
    pub position: StreamPosition,
}

/// Whether an overdue event still exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventDisposition {
    /// It waits in the stream, or a worker has it.
    Pending,
    /// The stream does not contain it any more.
    Lost,
}

/// The status that the keeper publishes to the tasks.
pub type PublishedStatus = Vec<LibraryStatus>;

/// The queues of hints and requests.
pub struct Inbox {
    queues: Mutex<InboxQueues>,
    arrived: Condvar,
    max_hints: usize,
    /// Never locked together with `queues`.
    busy_files: Mutex<BusyFiles>,
    /// When the keeper drained the queues for the tick that runs now.
    drained_at: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct InboxQueues {
    hints: VecDeque<Hint>,
    /// Libraries whose hints were dropped.
    overflowed: Vec<LibraryId>,
    signals: Vec<KeeperSignal>,
    requests: Vec<KeeperRequest>,
}

impl InboxQueues {
    fn is_empty(&self) -> bool {
        self.hints.is_empty()
            && self.overflowed.is_empty()
            && self.signals.is_empty()
            && self.requests.is_empty()
    }

    fn has_stop(&self) -> bool {
        let is_stop = |signal: &KeeperSignal| matches!(signal, KeeperSignal::Stop);
        self.signals.iter().any(is_stop)
    }
}

/// What one tick takes out of the inbox, each queue in the order of arrival.
#[derive(Default)]
pub struct DrainedInbox {
    pub hints: Vec<Hint>,
    /// Libraries whose hints were dropped.
    pub overflowed: Vec<LibraryId>,
    pub signals: Vec<KeeperSignal>,
    pub requests: Vec<KeeperRequest>,
}

impl Inbox {
    /// Holds at most `max_hints` hints. `settle_interval`: how long a file that is written again and
    /// again must rest.
    pub fn new(max_hints: usize, settle_interval: Duration) -> Self {
        Self {
            queues: Mutex::default(),
            arrived: Condvar::new(),
            max_hints,
            busy_files: Mutex::new(BusyFiles::new(settle_interval)),
            drained_at: Mutex::default(),
        }
    }

    /// How long the current tick has been running; zero while the keeper waits.
    pub fn busy_for(&self) -> Duration {
        let drained_at = *self.drained_at.lock().expect("no holder panics");
        drained_at.map_or(Duration::ZERO, |at| at.elapsed())
    }

    fn set_busy(&self, is_busy: bool) {
        *self.drained_at.lock().expect("no holder panics") = is_busy.then(Instant::now);
    }

    fn lock_queues(&self) -> MutexGuard<'_, InboxQueues> {
        self.queues.lock().expect("no holder panics")
    }

    fn lock_busy_files(&self) -> MutexGuard<'_, BusyFiles> {
        self.busy_files.lock().expect("no holder panics")
    }

    /// Describes a file that is written again and again.
    pub fn find_busy_file(&self, library: LibraryId, path: &[u8]) -> Option<BusyFileReport> {
        self.lock_busy_files()
            .find_busy_file(library, path, Instant::now())
    }

    /// The number of a library's files that have been written again and again for so long, and the
    /// path of one.
    pub fn count_busy_files(
        &self,
        library: LibraryId,
        min_time: Duration,
    ) -> (usize, Option<Vec<u8>>) {
        self.lock_busy_files()
            .count_busy_files(library, min_time, Instant::now())
    }

    /// Adds a hint, unless it is one of very many of its file. When too many wait, drops it and
    /// reports an overflow instead.
    pub fn push_hint(&self, hint: Hint) {
        if self.lock_busy_files().absorb_hint(&hint, Instant::now()) {
            return;
        }
        let mut queues = self.lock_queues();
        if queues.hints.back() == Some(&hint) {
            return;
        }
        if queues.hints.len() >= self.max_hints {
            drop(queues);
            self.report_overflow(hint.library);
            return;
        }
        queues.hints.push_back(hint);
        self.arrived.notify_one();
    }

    /// Records that hints of a library were lost.
    pub fn report_overflow(&self, library: LibraryId) {
        let mut queues = self.lock_queues();
        if !queues.overflowed.contains(&library) {
            queues.overflowed.push(library);
        }
        self.arrived.notify_one();
    }

    /// Adds a request. Each task has at most a few outstanding, which bounds their number.
    pub fn push_request(&self, request: KeeperRequest) {
        self.lock_queues().requests.push(request);
        self.arrived.notify_one();
    }

    /// Adds a signal. Each task sends at most a few per second, which bounds their number.
    pub fn push_signal(&self, signal: KeeperSignal) {
        self.lock_queues().signals.push(signal);
        self.arrived.notify_one();
    }

    /// Waits for a stop signal, at most so long; true if there is one.
    pub fn wait_for_stop(&self, timeout: Duration) -> bool {
        let (queues, _) = self
            .arrived
            .wait_timeout_while(self.lock_queues(), timeout, |queues| !queues.has_stop())
            .expect("no holder panics");
        queues.has_stop()
    }

    /// Waits until something arrives or until `deadline`. Takes at most `max_hints` hints and
    /// everything else.
    pub fn wait_and_drain(&self, max_hints: usize, deadline: Instant) -> DrainedInbox {
        self.set_busy(false);
        let busy_due = self.lock_busy_files().next_due();
        let deadline = deadline.min(busy_due.unwrap_or(deadline));
        let timeout = deadline.saturating_duration_since(Instant::now());
        let (mut queues, _) = self
            .arrived
            .wait_timeout_while(self.lock_queues(), timeout, |queues| queues.is_empty())
            .expect("no holder panics");
        self.set_busy(true);
        let count = queues.hints.len().min(max_hints);
        let mut hints: Vec<Hint> = queues.hints.drain(..count).collect();
        let drained = DrainedInbox {
            overflowed: std::mem::take(&mut queues.overflowed),
            signals: std::mem::take(&mut queues.signals),
            requests: std::mem::take(&mut queues.requests),
            hints: Vec::new(),
        };
        drop(queues);
        hints.extend(self.lock_busy_files().take_due_hints(Instant::now()));
        DrainedInbox { hints, ..drained }
    }
}
