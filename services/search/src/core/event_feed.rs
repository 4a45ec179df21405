//! What happens to the index, as it happens: the source of `GET /v1/events`.
//!
//! Two tasks follow the stream of outcomes and the stream of matches, and keep the newest events in
//! memory. Each reader has only a place in that list, so a hundred readers cost little, and a slow one
//! delays no other: once its place is no longer in the list, it is dropped. A reader skips what its request
//! may not see.
//!
//! Services may list the events of the two streams in different orders. The place of an event therefore
//! contains a position in each stream, and a reader that resumes gets what is after either of them.
//!
//! | step | where |
//! |---|---|
//! | follow the streams of outcomes and matches | [`follow`], [`follow_matches`] |
//! | a place in both streams, and its text | [`place`] |
//! | keep the newest events; let readers read and resume | [`EventFeed`], [`EventReader`] |

mod follow;
mod follow_matches;
mod place;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lookalike_bus::{StoredMatch, StreamPosition};
use lookalike_proto::OutcomeState;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub(crate) use follow::run_event_feed;
pub(crate) use place::{FeedPlace, format_position};

use super::visible::libraries::VisibleLibraries;
use crate::problem::{Code, Problem};
use place::FeedStream;

/// Events kept in memory, about 300 bytes each.
const MAX_EVENTS: usize = 10_000;

/// One outcome of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveEvent {
    pub position: StreamPosition,
    pub library: String,
    pub image_id: String,
    pub state: OutcomeState,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

/// What one event reports.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FeedItem {
    Outcome(LiveEvent),
    Match(StoredMatch),
}

impl FeedItem {
    fn position(&self) -> (FeedStream, &StreamPosition) {
        match self {
            Self::Outcome(event) => (FeedStream::Outcomes, &event.position),
            Self::Match(found) => (FeedStream::Matches, &found.position),
        }
    }

    /// Whether a request that sees these libraries sees the event. Saved searches cover all libraries.
    fn is_visible(&self, libraries: &VisibleLibraries) -> bool {
        match self {
            Self::Outcome(event) => libraries.contains(&event.library),
            Self::Match(_) => !libraries.is_limited(),
        }
    }
}

/// An event and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FeedEvent {
    /// After this event.
    pub place: FeedPlace,
    pub item: FeedItem,
}

/// Counts of one library, or of several together; `None` while they are not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub on_disk: Option<u64>,
    pub indexed: Option<u64>,
    pub failed: Option<u64>,
    pub ignored: Option<u64>,
    pub in_flight: Option<u64>,
}

impl Progress {
    /// Returns the sums. A count is unknown if it is unknown for one of the libraries, or if there is no
    /// library.
    fn sum(libraries: &[&Self]) -> Self {
        let sum =
            |count: fn(&Self) -> Option<u64>| sum_known(libraries, |progress| count(progress));
        Self {
            on_disk: sum(|progress| progress.on_disk),
            indexed: sum(|progress| progress.indexed),
            failed: sum(|progress| progress.failed),
            ignored: sum(|progress| progress.ignored),
            in_flight: sum(|progress| progress.in_flight),
        }
    }
}

/// Returns the sum over all libraries, or `None` if it is unknown for one of them. Without a library,
/// nothing is known either: no watcher has reported one yet.
pub(crate) fn sum_known<T, N: std::iter::Sum>(
    libraries: &[T],
    count: impl Fn(&T) -> Option<N>,
) -> Option<N> {
    match libraries.is_empty() {
        true => None,
        false => libraries.iter().map(count).sum(),
    }
}

/// The counts of one library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LibraryProgress {
    pub library: String,
    pub progress: Progress,
}

/// Sums the counts of the libraries that a reader may see.
fn sum_visible(libraries: &[LibraryProgress], visible: &VisibleLibraries) -> Progress {
    let libraries = libraries.iter();
    let libraries = libraries.filter(|library| visible.contains(&library.library));
    Progress::sum(
        &libraries
            .map(|library| &library.progress)
            .collect::<Vec<_>>(),
    )
}

#[derive(Debug, Default)]
struct Ring {
    /// The service stops: readers end.
    is_closed: bool,
    events: VecDeque<Arc<FeedEvent>>,
    /// The number of events that were dropped from the front.
    dropped: u64,
    /// The place before the oldest event: readers may resume after it.
    before: FeedPlace,
    /// The place after the newest event.
    last: FeedPlace,
}

impl Ring {
    fn end(&self) -> u64 {
        self.dropped + self.events.len() as u64
    }

    /// Returns the number of the first event after `place`, if all events after it are known.
    fn first_after(&self, place: &FeedPlace) -> Option<u64> {
        if !place.is_between(&self.before, &self.last) {
            return None;
        }
        let is_new = |event: &Arc<FeedEvent>| !place.includes(event.item.position());
        let at = self.events.iter().position(is_new);
        Some(at.map_or(self.end(), |at| self.dropped + at as u64))
    }
}

/// The newest events and the readers' permits.
#[derive(Debug)]
pub(crate) struct EventFeed {
    ring: Mutex<Ring>,
    /// Changes with every event, and when the service stops.
    news: watch::Sender<u64>,
    progress: watch::Sender<Vec<LibraryProgress>>,
    readers: Arc<Semaphore>,
    max_readers: usize,
    max_events: usize,
}

impl EventFeed {
    pub(crate) fn new(max_readers: usize) -> Self {
        Self::with_capacity(max_readers, MAX_EVENTS)
    }

    fn with_capacity(max_readers: usize, max_events: usize) -> Self {
        let max_readers = max_readers.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            ring: Mutex::default(),
            news: watch::channel(0).0,
            progress: watch::channel(Vec::new()).0,
            readers: Arc::new(Semaphore::new(max_readers)),
            max_readers,
            max_events,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the position of a stream after which its events are known.
    fn start_after(&self, stream: FeedStream, position: StreamPosition) {
        let mut ring = self.lock();
        let is_known = |event: &Arc<FeedEvent>| event.item.position().0 == stream;
        if ring.events.iter().any(is_known) {
            // The stream was created again.
            ring.dropped = ring.end();
            ring.events.clear();
            ring.before = ring.last.clone();
        }
        ring.before.set(stream, position.clone());
        ring.last.set(stream, position);
    }

    /// Returns the position after which to follow a stream that ends at `end`: `last`, unless the stream was
    /// created again since. Otherwise readers get only what is after the position.
    fn resume_position(
        &self,
        stream: FeedStream,
        last: Option<StreamPosition>,
        end: StreamPosition,
    ) -> StreamPosition {
        if let Some(last) = last.filter(|last| last.is_within(&end)) {
            return last;
        }
        let start = StreamPosition {
            sequence: end.sequence.saturating_sub(self.max_events as u64),
            ..end
        };
        self.start_after(stream, start.clone());
        start
    }

    fn push(&self, item: FeedItem) {
        let end = {
            let mut ring = self.lock();
            let (stream, position) = item.position();
            ring.last.set(stream, position.clone());
            let place = ring.last.clone();
            ring.events.push_back(Arc::new(FeedEvent { place, item }));
            if ring.events.len() > self.max_events
                && let Some(oldest) = ring.events.pop_front()
            {
                ring.dropped += 1;
                let (stream, position) = oldest.item.position();
                ring.before.set(stream, position.clone());
            }
            ring.end()
        };
        self.news.send_replace(end);
    }

    /// Lets all readers end.
    fn close(&self) {
        self.lock().is_closed = true;
        self.news.send_modify(|_| {});
    }

    fn set_progress(&self, libraries: Vec<LibraryProgress>) {
        self.progress.send_if_modified(|known| {
            let changed = *known != libraries;
            *known = libraries;
            changed
        });
    }

    /// Starts to read the events of these libraries, after the place `after` or with the next event.
    ///
    /// # Errors
    /// If too many readers read already.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        after: Option<&FeedPlace>,
        visible: VisibleLibraries,
    ) -> Result<EventReader, Problem> {
        let permit = Arc::clone(&self.readers).try_acquire_owned().map_err(|_| {
            Problem::new(
                Code::Overloaded,
                format!(
                    "{} clients read events already (http.max_event_readers)",
                    self.max_readers
                ),
            )
        })?;
        let news = self.news.subscribe();
        let mut progress = self.progress.subscribe();
        let last_progress = sum_visible(&progress.borrow_and_update(), &visible);
        let ring = self.lock();
        let place = match after {
            Some(place) => ring.first_after(place),
            None => Some(ring.end()),
        };
        Ok(EventReader {
            place: place.unwrap_or_else(|| ring.end()),
            has_gap: place.is_none(),
            seen: after
                .filter(|_| place.is_some())
                .cloned()
                .unwrap_or_default(),
            feed: Arc::clone(self),
            visible,
            news,
            progress,
            last_progress,
            _permit: permit,
        })
    }
}

/// What a reader reads next.
#[derive(Debug, PartialEq)]
pub(crate) enum NextEvent {
    Live(Arc<FeedEvent>),
    Progress(Progress),
    /// Events are missing before the next one, because the reader resumes after one that is no longer
    /// known.
    Gap,
    /// The reader fell too far behind. It reads nothing more.
    TooSlow,
    /// The service stops. Nothing follows.
    Closed,
}

/// One reader's place in the list of events.
#[derive(Debug)]
pub(crate) struct EventReader {
    feed: Arc<EventFeed>,
    /// The number of the next event since the start of the process.
    place: u64,
    /// The reader has the events up to this place already.
    seen: FeedPlace,
    has_gap: bool,
    visible: VisibleLibraries,
    news: watch::Receiver<u64>,
    progress: watch::Receiver<Vec<LibraryProgress>>,
    last_progress: Progress,
    _permit: OwnedSemaphorePermit,
}

impl EventReader {
    /// Waits for the next event. The future may be dropped without losing one.
    pub(crate) async fn next(&mut self) -> NextEvent {
        if std::mem::take(&mut self.has_gap) {
            return NextEvent::Gap;
        }
        loop {
            // Before the look at the list, so that no event slips through between both.
            self.news.mark_unchanged();
            if let Some(next) = self.read_known() {
                return next;
            }
            tokio::select! {
                biased;
                _ = self.news.changed() => {}
                _ = self.progress.changed() => {
                    if let Some(progress) = self.read_progress() {
                        return NextEvent::Progress(progress);
                    }
                }
            }
        }
    }

    fn read_known(&mut self) -> Option<NextEvent> {
        let ring = self.feed.lock();
        let Some(at) = self.place.checked_sub(ring.dropped) else {
            return Some(NextEvent::TooSlow);
        };
        let at = usize::try_from(at).ok()?;
        for event in ring.events.range(at.min(ring.events.len())..) {
            self.place += 1;
            let is_new = !self.seen.includes(event.item.position());
            if is_new && event.item.is_visible(&self.visible) {
                return Some(NextEvent::Live(Arc::clone(event)));
            }
        }
        ring.is_closed.then_some(NextEvent::Closed)
    }

    /// Returns the counts if those that this reader may see have changed.
    fn read_progress(&mut self) -> Option<Progress> {
        let progress = sum_visible(&self.progress.borrow_and_update(), &self.visible);
        let changed = progress != self.last_progress;
        self.last_progress = progress;
        changed.then_some(progress)
    }
}

#[cfg(test)]
mod tests;
